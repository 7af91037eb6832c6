"""PocketCompose: sets of LoRAs with a known truth, on which every fusion method is judged."""
