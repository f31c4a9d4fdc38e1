"""Clip by clip with all models loaded, or stage by stage with one: load a model, all pending clips, unload.

The second decodes every clip once per stage and needs the memory of one model at a time. Results are the same.
"""

from __future__ import annotations

from mien.pipeline.config import Config
from mien.pipeline.engine.crew import mode_of
from mien.pipeline.plan import STAGES
from mien.pipeline.stack import Stack


def by_stage(config: Config, stack: Stack) -> bool:
    """`run.order` as configured; `auto`: stage by stage where the models do not fit beside each other."""
    if config.run.order == "auto":
        return mode_of(config, stack).order == "stage"
    return config.run.order == "stage"


def groups(stack: Stack) -> list[frozenset[str]]:
    """The media stages that are on, in the order of the plan, each alone; those without a model go with the first."""
    media = [s for s in STAGES if s.kind != "derived" and all(stack.has(slot) for slot in (*s.slots, *s.also))]
    light = {s.name for s in media if not s.slots and not any(stack.has(slot) for slot in s.maybe)}
    heavy = [s.name for s in media if s.name not in light]
    return [frozenset({name, *(light if i == 0 else ())}) for i, name in enumerate(heavy)] or [frozenset(light)]
