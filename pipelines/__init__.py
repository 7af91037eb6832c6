"""Running and training diffusion models with several LoRAs at once: the engine of Loom, usable without the studio."""
