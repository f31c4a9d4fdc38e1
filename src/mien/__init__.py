"""mien: images, video and audio into evidence-linked training data about emotion and behaviour."""

__version__ = "0.1.0"
