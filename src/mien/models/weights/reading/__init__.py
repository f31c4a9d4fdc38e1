"""Readers of published files. They execute nothing that a file holds."""
