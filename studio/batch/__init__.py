"""Batches: many pictures from a suite of prompts, LoRA sets and methods, by many workers, of which any may die."""
