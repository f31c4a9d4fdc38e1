"""What a run tells its listener. Listeners only watch: they can neither change nor stop the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Event:
    """One step of a run.

    kind: `plan` (total media seconds known), `progress` (media seconds done of one clip), `stage` (a result is durable:
    no kill loses it from now on), `failed`, `waiting`, `source`, `done`.
    """

    kind: Literal["plan", "source", "progress", "stage", "failed", "waiting", "done"]
    unit: str = ""
    stage: str = ""
    done_s: float = 0.0
    total_s: float = 0.0
    text: str = ""


Listener = Callable[[Event], None]


def silent(_: Event) -> None:
    """Listens to nothing."""
