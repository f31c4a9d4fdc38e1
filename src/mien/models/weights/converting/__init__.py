"""Converters of pinned files into what a runtime loads."""
