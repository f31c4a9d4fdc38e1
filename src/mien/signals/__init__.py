"""From model outputs to signals over time: tracks, descriptors, affect, motion, acoustics, filtering.

What may enter: pure functions of arrays (numpy, scipy). No I/O, no model runtime, no thresholds of policy.
"""
