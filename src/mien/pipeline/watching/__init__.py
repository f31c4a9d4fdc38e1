"""Looking at a run while it goes on: its profile, its progress for other processes, its metrics.

What may enter: listeners and readers. Nothing here changes a result, and a run without listeners pays nothing.
"""

from mien.pipeline.watching.profile import Profile, Row
from mien.pipeline.watching.progress import Progress, look

__all__ = ["Profile", "Progress", "Row", "look"]
