"""One file per metric, found by reading this folder."""
