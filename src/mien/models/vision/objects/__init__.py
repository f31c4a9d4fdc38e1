"""Detectors of things and of people as things, and of explicit content."""
