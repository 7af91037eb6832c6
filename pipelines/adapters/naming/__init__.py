"""What the modules of a base are called outside diffusers, and where in the base each of those names points."""
