"""How good an answer is: measures that hold a result against a truth, with the definitions of their papers.

What may enter: measures over records or arrays, and comparisons made of them. Models run only through the pipeline.
"""

from mien.evaluate.mot import MotScore, Scene, evaluate_tracks, read_mot

__all__ = ["MotScore", "Scene", "evaluate_tracks", "read_mot"]
