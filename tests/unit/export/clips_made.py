"""Rows of one clip made by hand, and the least of a project that captions read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from mien.core import Assessment, Clip, Observation, Signal, Source, Span, Track, clip_id
from mien.export.selection.scope import ClipRows, Part
from mien.pipeline.config import load
from mien.pipeline.rows import table

SECONDS = 6.0
STEP = 200_000
SHA = "c" * 64


class Project:
    """`store` and `config` as captions use them; arrays lie in a dictionary."""

    def __init__(self, context: str = "research", clips: tuple[Clip, ...] = ()) -> None:
        self.config = load(None, {"project": {"context": context}})[0]
        self.tables: dict[str, Any] = {}
        self.rows: dict[type, list[Any]] = {Clip: list(clips)}
        self.runs = [(1, "now")]
        self.store = SimpleNamespace(
            table=self.tables.get, all=lambda record, *_: self.rows.get(record, []), query=lambda _: ((), self.runs)
        )


def clip(start_s: float = 0.0, seconds: float = SECONDS, starts: str = "cut", ends: str = "cut") -> Clip:
    span = Span(round(start_s * 1e6), round((start_s + seconds) * 1e6))
    return Clip(clip_id(SHA, span, "planted"), SHA, span, starts, ends, "planted")


def rows(
    project: Project,
    curves: dict[str, Any] | None = None,
    *,
    of: Clip | None = None,
    observations: tuple[Observation, ...] = (),
    assessments: tuple[Assessment, ...] = (),
    people: int = 1,
    sd: float | None = None,
    weak: tuple[str, ...] = (),
    kind: Any = "video",
) -> ClipRows:
    """A clip with one face and `people` bodies. curves: signal → value or `[n]` values on cells of 200 ms."""
    made = of or clip()
    picture = (640, 360, 25.0) if kind != "audio" else (None, None, None)
    source = Source(SHA, "/media/a.mp4", kind, 1, 60_000_000, *picture, 48_000, 1, "research")
    face = Track("track-face", made.id, "face", "face", made.span, (0.4, 0.1, 0.6, 0.5), 20)
    bodies = [
        Track(f"track-body{i}", made.id, "person", "person", made.span, (0.1 * i, 0.1, 0.1 * i + 0.5, 1.0), 20)
        for i in range(people)
    ]
    if kind != "audio":
        project.tables[f"objects/{made.id}"] = table({"t_us": np.zeros(0, np.int64)})
    signals: list[Signal] = []
    n = max(1, -(-made.span.duration_us // STEP))
    for name, given in (curves or {}).items():
        value = np.full(n, given, np.float32) if np.ndim(given) == 0 else np.asarray(given, np.float32)
        whose = (
            bodies[0].id if name.startswith("body.") and bodies else
            face.id if name.startswith(("face.", "head.")) or name in ("valence", "arousal") else None
        )  # fmt: skip
        array = f"signal-{name}/{made.id}"
        t_us = made.span.start_us + STEP * np.arange(len(value), dtype=np.int64)
        errors = np.full(len(value), np.nan if sd is None else sd, np.float32)
        project.tables[array] = table({"t_us": t_us, "value": value, "sd": errors})
        coverage = float(np.isfinite(value).mean())
        signals.append(
            Signal(f"signal-{name}", made.id, whose, name, "", int(t_us[0]), STEP, len(value), coverage, array,
                   "rule.planted@1", "", name in weak)
        )  # fmt: skip
    tracks = (face, *bodies) if people else ()
    return ClipRows(Part("a.mp4", source, made), tracks, observations, tuple(signals), assessments, None, (), {}, False)
