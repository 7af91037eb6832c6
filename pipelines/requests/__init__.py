"""All that a person can ask for, as plain data: fields and their checks, the choice of a LoRA, controls, tags."""
