"""One file per kind of feature extractor, found by reading this folder."""
