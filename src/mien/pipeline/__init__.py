"""The imperative shell: configuration, plan, passes over media, the runner, projects.

What may enter: everything that ties the pure rooms, the models and the store together. Decisions belong below.
"""

from mien.pipeline.config import Config, flatten, load
from mien.pipeline.engine.books import utc_now
from mien.pipeline.engine.run import Runner
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.project import Outcome, Project
from mien.pipeline.stack import Stack

__all__ = [
    "Config",
    "Event",
    "Listener",
    "Outcome",
    "Project",
    "Runner",
    "Stack",
    "flatten",
    "load",
    "silent",
    "utc_now",
]
