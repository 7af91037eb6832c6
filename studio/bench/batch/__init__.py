"""What the batch engine costs on top of the pipeline that it drives."""
