"""The stages, what each needs, and the key under which its result is known.

Key = SHA-256 over stage, version, parameters, the clip, the keys of what it reads, and the fingerprints of its
adapters. A run does exactly the stages whose key is not in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from mien.core import MienError, Source, digest
from mien.media import CUTTER, shot_detector
from mien.pipeline.stack import AFFECT

Kind = Literal["vision", "sound", "derived"]


@dataclass(frozen=True, slots=True)
class Stage:
    """A versioned step on one clip.

    Attributes:
        slots: models it runs, and whose fingerprints its key carries. maybe: the same, but it does without them.
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
    maybe: tuple[str, ...] = ()


def _vision(name: str, version: int, **given: Any) -> Stage:
    return Stage(name, "vision", version, media="picture", **given)


READ = ("fps", "max_side_px")
STAGES: tuple[Stage, ...] = (
    _vision("objects", 3, slots=("objects",), params=(*READ, "objects_every", "calm_every", "window_s")),
    _vision(
        *("pose", 3),
        slots=("pose",),
        also=("objects",),
        needs=("objects",),
        params=(*READ, "max_people"),
    ),
    _vision("motion", 1, params=READ),
    _vision("explicit", 1, slots=("explicit",), params=READ),
    _vision("quality", 1, params=READ),
    _vision("actions", 1, slots=("actions",), params=READ),
    _vision("faces", 2, slots=("faces",), maybe=("identity",), params=(*READ, "calm_every", "window_s", "identity")),
    _vision("landmarks", 2, slots=("landmarks",), also=("faces",), needs=("faces",), params=("window_s",)),
    _vision(
        "expression", 2, slots=("expression",), also=("faces",), needs=("faces",), params=("window_s",), affect=True
    ),
    _vision(*("age", 3), slots=("age",), also=("faces",), needs=("faces",), maybe=("objects",)),
    _vision("scene", 2, slots=("scene",), also=("faces",), needs=("faces",), params=READ),
    Stage("sound", "sound", 3, maybe=("vad", "pitch"), params=("window_s",), media="sound"),
    Stage(
        "voice",
        "sound",
        3,
        slots=("voice_embedding", "voice_affect", "voice_arousal"),
        maybe=("voice_cues",),
        also=("vad", "pitch"),
        needs=("sound",),
        affect=True,
        media="sound",
    ),
    Stage("words", "sound", 1, slots=("words",), also=("vad", "pitch"), needs=("sound",), media="sound"),
    Stage("events", "sound", 1, slots=("sound_events",), media="sound"),
    Stage("descriptors", "sound", 1, slots=("voice_descriptors",), media="sound"),
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
    Stage(
        "sources",
        "derived",
        1,
        also=("vad", "pitch"),
        needs=("objects", "faces", "landmarks", "sound", "events", "body"),
        media="sound",
    ),
    Stage("affect", "derived", 2, also=("faces", "expression"), needs=("expression",), affect=True, media="picture"),
    Stage(
        "assess",
        "derived",
        3,
        needs=("faces", "body", "affect", "voice", "sources"),
        params=("window_s", "fusion"),
        affect=True,
    ),
    Stage(
        "claims",
        "derived",
        2,
        needs=(
            *("objects", "faces", "landmarks", "expression", "sound", "voice"),
            *("signals", "body", "sources", "affect", "assess"),
        ),
        params=("fusion",),
    ),
)
BY_NAME = {stage.name: stage for stage in STAGES}


def applies(stage: Stage, source: Source, has: Callable[[str], bool]) -> bool:
    """Whether a stage has anything to look at in a source, with the slots that are on."""
    if stage.affect and not has(AFFECT):
        return False
    held = {"picture": source.kind in ("video", "image"), "sound": source.audio_rate_hz is not None, "any": True}
    if stage.name == "assess":  # one source of evidence is enough
        sources = (("picture", "faces"), ("sound", "voice_affect"))
        return any(held[media] and has(slot) for media, slot in sources)
    return held[stage.media] and all(has(slot) for slot in (*stage.slots, *stage.also))


def cutting(source: Source, max_clip_s: float) -> tuple[str, str, int]:
    """The cutter of a source's clips, the key of its cutting, and the longest clip in µs."""
    cutter = f"{CUTTER}+{_detector()}" if source.kind == "video" else CUTTER
    max_us = round(max_clip_s * 1e6)
    return cutter, digest("clips", cutter, source.sha256, max_us), max_us


@cache
def _detector() -> str:
    return shot_detector()  # reads a package's metadata: once, not once a clip


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
