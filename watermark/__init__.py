"""Marks that are trained into LoRAs and read from pictures; imports pipelines alone."""
