"""Adapters that look at pixels: objects, faces, landmarks, expression, explicit content, apparent age.

What may enter: one file per adapter, and the geometry they share. Every adapter takes uint8 RGB and answers in pixels
of the frame it was given. Each has a `tiny()` that runs the real pre- and post-processing around a numpy stand-in.
"""

__all__: list[str] = []
