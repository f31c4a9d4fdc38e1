"""Whole people: body pose, actions, apparent age and sex."""
