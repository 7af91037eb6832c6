"""One file per prompt format or public prompt list, found by reading this folder."""
