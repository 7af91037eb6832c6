"""Exporters: the pictures of a batch as other programs want them laid out; a file in this folder is one more."""
