"""The `vlm` engine, pure: questions to a model of language and what its answers amount to.

Two roles, kept apart. The narrator sees the evidence and the posterior, and explains. The blind opinion sees neutral
events and no posterior, and says what it makes of them; that is one more source, which weighs nothing until labels have
taught its worth. Neither can change a number, and neither can lower the need for a person to look.
"""

from mien.reason.vlm.narrator import (
    Narration,
    Remark,
    attempt_status,
    narration,
    narrator_ask,
    narrator_engine,
    repair_of,
)
from mien.reason.vlm.opinion import (
    TARGET,
    Opinion,
    blind,
    is_blind,
    opinion,
    opinion_ask,
    opinion_engine,
    window_dist,
)
from mien.reason.vlm.prompts import VERSION, Shown
from mien.reason.vlm.quoting import data_block, neutral
from mien.reason.vlm.stability import Stability, stability

__all__ = [
    "TARGET", "VERSION", "Narration", "Opinion", "Remark", "Shown", "Stability", "attempt_status", "blind",
    "data_block", "is_blind", "narration", "narrator_ask", "narrator_engine", "neutral", "opinion", "opinion_ask",
    "opinion_engine", "repair_of", "stability", "window_dist",
]  # fmt: skip
