"""The LoRAs of some folders: the library itself, and what is known of how they respond to their strength."""
