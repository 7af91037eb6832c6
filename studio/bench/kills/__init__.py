"""Kills while the studio and batches draw: `python -m lora_loom.studio.bench.kills` counts what is lost or twice."""
