"""Engines: who starts the workers of a batch; the worker is the same everywhere."""
