"""Readable recipes: how the heads that mien ships, and a user's own, are trained and measured.

What may enter: fitting, people-grouped selection and the figures of a card. scikit-learn is imported where it is used.
"""
