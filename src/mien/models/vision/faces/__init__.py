"""Faces: where they are, their landmarks, their expression, and the identity window's embedding (memory only)."""
