"""The stages, what each needs, and the key under which its result is known.

Key = SHA-256 over stage, version, parameters, the clip, the keys of what it reads, and the fingerprints of its
adapters. A run does exactly the stages whose key is not in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mien.core import MienError

Kind = Literal["vision", "sound", "derived"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A versioned step on one clip. `affect`: waits for an enrolled person in `care`."""

    name: str
    kind: Kind
    version: int
    slots: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    affect: bool = False


STAGES: tuple[Stage, ...] = (
    Stage("objects", "vision", 1, slots=("objects",), params=("fps", "max_side_px", "window_s")),
    Stage("motion", "vision", 1, params=("fps", "max_side_px")),
    Stage("explicit", "vision", 1, slots=("explicit",), params=("fps", "max_side_px")),
    Stage("faces", "vision", 1, slots=("faces",), params=("fps", "max_side_px", "window_s")),
    Stage("landmarks", "vision", 1, slots=("landmarks",), needs=("faces",), params=("window_s",)),
    Stage("expression", "vision", 1, slots=("expression",), needs=("faces",), params=("window_s",), affect=True),
    Stage("age", "vision", 1, slots=("age",), needs=("faces",)),
    Stage("sound", "sound", 1, slots=("vad", "pitch"), params=("window_s",)),
    Stage(
        "voice", "sound", 1, slots=("voice_embedding", "voice_affect", "voice_arousal"), needs=("sound",), affect=True
    ),
    Stage("signals", "derived", 1, needs=("motion", "landmarks", "sound")),
    Stage("affect", "derived", 1, needs=("expression",), affect=True),
    Stage("assess", "derived", 1, needs=("faces", "affect", "voice"), params=("window_s", "fusion"), affect=True),
    Stage(
        "claims",
        "derived",
        1,
        needs=("objects", "faces", "landmarks", "expression", "sound", "voice", "signals", "affect", "assess"),
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
