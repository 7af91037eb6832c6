"""Fuzzing of the parsers that read what strangers wrote; `python -m lora_loom.studio.bench.fuzz` runs it."""
