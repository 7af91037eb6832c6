"""Prompt files of every format, read into rows that say what they ask for."""
