"""Measurements of mien, each beside its partner in the same run. `python -m bench` lists them.

Figures go to RESULTS.md with date, machine and command.
"""
