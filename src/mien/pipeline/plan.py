"""The stages, what each needs, and the key under which its result is known.

Key = SHA-256 over stage, version, parameters, the clip, the keys of what it reads, and the fingerprints of its
adapters. A run does exactly the stages whose key is not in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from mien.core import MienError

Kind = Literal["vision", "sound", "derived"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A versioned step on one clip.

    Attributes:
        slots: models it runs, and whose fingerprints its key carries; `optional`: it does with those that are on.
        also: slots that must be on, too. media: what the source must have.
        needs: stages it reads. params: sections or keys of the configuration that change its result.
        affect: waits for an enrolled person in `care`.
    """

    name: str
    kind: Kind
    version: int
    slots: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    affect: bool = False
    also: tuple[str, ...] = ()
    media: Literal["picture", "sound", "any"] = "any"
    optional: bool = False

    @property
    def must(self) -> tuple[str, ...]:
        return () if self.optional else self.slots


def _vision(name: str, version: int, **given: Any) -> Stage:
    return Stage(name, "vision", version, media="picture", **given)


READ = ("fps", "max_side_px")
STAGES: tuple[Stage, ...] = (
    _vision("objects", 1, slots=("objects",), params=(*READ, "window_s")),
    _vision("pose", 1, slots=("pose",), also=("objects",), needs=("objects",), params=(*READ, "max_people")),
    _vision("motion", 1, params=READ),
    _vision("explicit", 1, slots=("explicit",), params=READ),
    _vision("quality", 1, params=READ),
    _vision("faces", 1, slots=("faces",), params=(*READ, "window_s")),
    _vision("landmarks", 2, slots=("landmarks",), also=("faces",), needs=("faces",), params=("window_s",)),
    _vision(
        "expression", 2, slots=("expression",), also=("faces",), needs=("faces",), params=("window_s",), affect=True
    ),
    _vision("age", 1, slots=("age",), also=("faces",), needs=("faces",)),
    _vision("scene", 1, slots=("scene",), also=("faces",), needs=("faces",), params=READ),
    Stage("sound", "sound", 2, slots=("vad", "pitch"), params=("window_s",), media="sound", optional=True),
    Stage(
        "voice",
        "sound",
        2,
        slots=("voice_embedding", "voice_affect", "voice_arousal"),
        also=("vad", "pitch"),
        needs=("sound",),
        affect=True,
        media="sound",
    ),
    Stage("words", "sound", 1, slots=("words",), also=("vad", "pitch"), needs=("sound",), media="sound"),
    Stage("signals", "derived", 2, needs=("motion", "landmarks", "sound")),
    Stage(
        "body",
        "derived",
        1,
        also=("pose", "objects"),
        needs=("objects", "pose"),
        params=("window_s", "body"),
        media="picture",
    ),
    Stage("affect", "derived", 2, also=("faces", "expression"), needs=("expression",), affect=True, media="picture"),
    Stage("assess", "derived", 1, needs=("faces", "affect", "voice"), params=("window_s", "fusion"), affect=True),
    Stage(
        "claims",
        "derived",
        1,
        needs=(
            *("objects", "faces", "landmarks", "expression", "sound", "voice"),
            *("signals", "body", "affect", "assess"),
        ),
        params=("fusion",),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def check_plan(stages: tuple[Stage, ...] = STAGES) -> None:
    """Raise `plan.unknown-stage` if a stage reads one that does not come before it."""
    import difflib

    seen: list[str] = []
    for stage in stages:
        for need in stage.needs:
            if need not in seen:
                close = difflib.get_close_matches(need, [s.name for s in stages], 1)
                hint = f"did you mean {close[0]!r}?" if close else f"stages before it: {', '.join(seen) or 'none'}"
                raise MienError(
                    "plan.unknown-stage", f"stage {stage.name!r} needs {need!r}, which no earlier stage gives", hint
                )
        seen.append(stage.name)
