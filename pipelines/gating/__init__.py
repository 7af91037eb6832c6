"""Learned gates: who speaks where, in which layer and at which step, decided from what every adapter says there."""
