"""What a run tells its listener. Listeners only watch: they can neither change nor stop the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run.

    kind: `plan` (total media seconds known), `progress` (media seconds done of one clip), `stage` (a result is durable:
    no kill loses it from now on), `failed`, `waiting`, `source`, `done`; `begun` (a clip was given out, `stage` names
    its stages), `ended` (what was asked of a clip is settled, or was before).
    code: of a failure. ms: what a stage took. clip_s: length of the clip that has begun or ended; where all clips are
    gone over several times, an end counts as the share of one, and all but the last say `again`.
    """

    kind: Literal["plan", "source", "begun", "progress", "stage", "failed", "waiting", "ended", "done"]
    unit: str = ""
    stage: str = ""
    done_s: float = 0.0
    total_s: float = 0.0
    text: str = ""
    code: str = ""
    ms: float | None = None
    clip_s: float = 0.0


Listener = Callable[[Event], None]


def silent(_: Event) -> None:
    """Listens to nothing."""
