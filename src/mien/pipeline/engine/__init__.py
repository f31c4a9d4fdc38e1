"""How the stages of clips get done: one ledger and one stage code, in this process, in several, or on a cluster.

What may enter: the runner, what it hands to those that work (`ClipTask`), and those (`inline`, `process`, `ray`).
"""

from mien.pipeline.engine.books import utc_now
from mien.pipeline.engine.run import Runner

__all__ = ["Runner", "utc_now"]
