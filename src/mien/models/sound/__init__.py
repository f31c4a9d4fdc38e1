"""Adapters for sound: voice activity, pitch, voice embedding, and what a voice suggests."""
