"""Running several adapters on one denoiser: a resident bank, gates, and a context that executes a plan."""
