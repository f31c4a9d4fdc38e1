"""A project with planted rows and no model: two recordings (one with a face, one of sound), every kind of row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.core import (
    Assessment,
    Attribute,
    Claim,
    Clip,
    Contribution,
    Item,
    Observation,
    Signal,
    Source,
    Span,
    Trace,
    Track,
    clip_id,
)
from mien.pipeline import Project
from mien.pipeline.rows import table
from mien.pipeline.stages.boxes import track_id
from mien.store import StageResult, Store

WHEN = {"run_id": "run-planted", "at_utc": "2026-01-01T00:00:00.000+00:00"}
FACE_MODEL = "expression.minixception@1+4dd0e231.117945f0"
VIDEO, SOUND = "a" * 64, "b" * 64
FACE_BOX = (0.25, 0.25, 0.5, 0.75)


def source(sha: str = VIDEO, name: str = "talk, one.mp4", kind: Any = "video", **more: Any) -> Source:
    picture = (1280, 720, 25.0) if kind != "audio" else (None, None, None)
    fields = {"audio_rate_hz": 48_000, "audio_channels": 1, "context": "research", "coverage": 1.0} | more
    return Source(sha, f"/media/{name}", kind, 1000, 8_000_000, *picture, **fields)


def observation(clip: Clip, target: str, span: Span, **more: Any) -> Observation:
    fields = {
        "id": f"obs-{target}-{span.start_us}-{clip.id[-4:]}", "clip_id": clip.id, "track_id": None, "span": span,
        "target": target, "value": None, "sd": None, "unit": "", "dist": (), "quality": 0.9, "n": 5,
        "adapter": "rule.planted@1",
    }  # fmt: skip
    return Observation(**(fields | more))


def project(root: Path, context: str = "research", **planted: Any) -> Project:
    """Make the project. `planted`: `explicit` (score of the gate or None), `source` fields, `claim` text, `stages`."""
    Project.init(root, context).close()
    clips = planted.get("clips", (Span(0, 4_000_000), Span(4_000_000, 8_000_000)))
    with Store(root, write=True) as store:
        video = source(**{"context": context} | planted.get("source", {}))
        sound = source(SOUND, "=cmd.wav", "audio", context=context)
        store.put_adapter(FACE_MODEL, "expression.minixception", "expression", "4dd0e231" * 8, "{}")
        for held, spans in ((video, clips), (sound, (Span(0, 8_000_000),))):
            made = [
                Clip(clip_id(held.sha256, s, "planted-1"), held.sha256, s, "start", "end", "planted-1") for s in spans
            ]
            store.commit(StageResult(held.sha256, "clips", "k", [held, *made]), **WHEN)
            item = Item(f"item-{held.sha256[0]}", held.path, (held.sha256,))
            store.put([item, Attribute(item.id, "room", "text", "+1 @home")], unit=held.sha256, stage="input")
            for clip in made:
                (_picture if held is video else _voice)(store, clip, planted)
    return Project.open(root)


def _picture(store: Store, clip: Clip, planted: dict[str, Any]) -> None:
    def put(stage: str, records: list[Any], tables: dict[str, Any] | None = None) -> None:
        store.commit(StageResult(clip.id, stage, f"k-{stage}-{clip.id}", records, tables or {}, ms=100.0), **WHEN)

    span = clip.span
    face = track_id(clip, "face", 0)
    seen = Track(face, clip.id, "face", "face", span, FACE_BOX, 20, planted.get("subject", "unassigned"))
    person = Track(track_id(clip, "person", 0), clip.id, "person", "person", span, (0.1, 0.0, 0.9, 1.0), 20)
    t_us = np.arange(span.start_us, span.end_us, 1_000_000)
    n = len(t_us)
    put("motion", [], {f"motion/{clip.id}": table({"t_us": t_us, "energy": np.zeros(n, np.float32)})})
    if planted.get("explicit", 0.01) is not None:
        score = planted.get("explicit", 0.01)
        put("explicit", [observation(clip, "explicit.max", span, value=score, unit="0..1")])
    put("age", [observation(clip, "age", span, track_id=face, value=planted.get("age", 50.0), sd=2.0, unit="years")])
    put(
        "faces", [seen, observation(clip, "presence", span, track_id=face, value=1.0, unit="share")], _boxes(clip, t_us)
    )
    put("objects", [person])
    windows = [Span(t, t + 2_000_000) for t in range(span.start_us, span.end_us, 2_000_000)]
    dist = (("anger", 0.2), ("happiness", 0.5), ("neutral", 0.3))
    looks = [observation(clip, "expression", w, track_id=face, dist=dist, adapter=FACE_MODEL) for w in windows]
    felt = [
        observation(clip, "valence.derived", w, track_id=face, value=0.25, sd=0.1, unit="-1..1", adapter=FACE_MODEL)
        for w in windows
    ]
    put("expression", looks + felt)
    value = np.resize(np.array([0.1, np.nan, 0.3, 0.4], np.float32), n)
    curve = table({"t_us": t_us, "value": value, "sd": np.full(n, np.nan, np.float32), "gap": np.isnan(value)})
    name = f"signal-valence/{clip.id}.{face[-6:]}"
    args = (t_us[0].item(), 1_000_000, n, 0.75, name, FACE_MODEL)
    put(
        "affect",
        [Signal(f"signal-{clip.id[-6:]}", clip.id, face, "valence", "-1..1", *args, "r 0.4", True)],
        {name: curve},
    )
    post = (("distress", 0.2), ("pleasure", 0.7), ("calm", 0.1))
    moved = Contribution("face", 0.8, post, (("distress", 0.0), ("pleasure", 0.0), ("calm", 0.0)), (looks[0].id,))
    put(
        "assess",
        [
            Assessment(f"assess-{w.start_us}-{clip.id[-4:]}", clip.id, face, w, post, post, (moved,), 0.5, 0.0, 0.2,
                       False, "", "fusion@1")
            for w in windows
        ],
    )  # fmt: skip
    text = planted.get("claim", "Between 0:00 and 0:02 the signals of face 1 are consistent with pleasure.")
    trace = Trace(f"trace-{clip.id[-6:]}", clip.id, "ledger@1", "done", ())
    claims = [
        Claim(
            f"claim-1-{clip.id[-4:]}",
            trace.id,
            "inference",
            "posterior.top = pleasure",
            text,
            windows[0],
            face,
            (looks[0].id,),
        ),
        Claim(f"claim-2-{clip.id[-4:]}", trace.id, "uncertainty", "missing(body)", "Not known: body.", span, None, ()),
    ]
    put("claims", [trace, *claims])


def _boxes(clip: Clip, t_us: np.ndarray) -> dict[str, Any]:
    """One face per frame but the last, in px of analysed frames of 640x360, the source being 1280x720."""
    n = len(t_us) - 1
    data: dict[str, Any] = {"t_us": t_us[:n], "track": np.zeros(n, np.int32), "score": np.full(n, 0.9, np.float32)}
    data["label"] = ["face"] * n
    data["measured"] = np.arange(n) != 1
    data |= {k: np.full(n, v, np.float32) for k, v in zip(("x1", "y1", "x2", "y2"), (160, 90, 700, 270), strict=True)}
    data |= {f"p{i}{axis}": np.full(n, 200.0 + i, np.float32) for i in range(5) for axis in "xy"}
    data["p4x"] = np.full(n, np.nan, np.float32)
    made = table(data)
    return {f"faces/{clip.id}": made.replace_schema_metadata({**(made.schema.metadata or {}), "frame_px": "640x360"})}


def _voice(store: Store, clip: Clip, planted: dict[str, Any]) -> None:
    rows = [
        observation(clip, "vocal.kind", Span(1_000_000, 1_940_000), dist=(("speech", 0.9), ("voice", 0.1))),
        observation(clip, "vocal.kind", Span(3_000_000, 3_500_000), dist=(("speech", 0.2), ("voice", 0.8))),
    ]
    store.commit(StageResult(clip.id, "sound", f"k-{clip.id}", rows, ms=50.0), **WHEN)
