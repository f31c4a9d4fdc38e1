"""A project whose claims pass their audit, over a short generated film: invented evidence, real pixels and sound."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from planted import observation

from mien.core import Clip, Source, Span, clip_id
from mien.media import hash_file
from mien.pipeline import Project
from mien.reason import Ledger, reason
from mien.store import StageResult, Store
from mien.testing.ledgers import invented

WHEN = {"run_id": "run-planted", "at_utc": "2026-01-01T00:00:00.000+00:00"}
SECONDS, FPS = 8, 10


def film(path: Path, seed: int = 0) -> Path:
    """Eight seconds of a moving bar on grey, 96 x 64, with a tone."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream("aac", rate=16_000, layout="mono")
        for i in range(SECONDS * FPS):
            pixels = np.full((64, 96, 3), 60 + 20 * seed, np.uint8)
            pixels[:, i : i + 8] = 230
            out.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(video.encode(None))
        for at in range(0, SECONDS * 16_000, 1024):
            tone = 0.3 * np.sin(2 * np.pi * (220 + 50 * seed) * np.arange(at, at + 1024) / 16_000)
            frame = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16_000, at
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    return path


def project(root: Path, seeds: tuple[int, ...] = (1, 2), context: str = "research", **planted: Any) -> Project:
    """One recording per seed, `Anna Example N.mp4`, in the order given.

    planted: by seed (or for all): `explicit` score, `age`, `subject` of the first face, `source` fields, `film` (what
    makes the file, given its path and the seed), `score` None (the gate has not run).
    """
    Project.init(root, context).close()
    with Store(root, write=True) as store:
        for seed in seeds:
            given = {k: v.get(seed) if _by_seed(v) else v for k, v in planted.items()}
            _recording(store, root, seed, context, given)
    return Project.open(root)


def sha_of(root: Path, seed: int) -> str:
    return hash_file(root / f"Anna Example {seed}.mp4")


def _by_seed(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(k, int) for k in value)


def _recording(store: Store, root: Path, seed: int, context: Any, planted: dict[str, Any]) -> None:
    path = (planted.get("film") or film)(root / f"Anna Example {seed}.mp4", seed)
    sha = sha_of(root, seed)
    picture = (96, 64, float(FPS))
    more = {"audio_rate_hz": 16_000, "audio_channels": 1, "context": context, "coverage": 1.0}
    source = Source(
        sha,
        str(path),
        "video",
        path.stat().st_size,
        SECONDS * 1_000_000,
        *picture,
        **(more | (planted.get("source") or {})),
    )
    made = invented(seed, windows=SECONDS // 2)
    span = Span(0, SECONDS * 1_000_000)
    clip = Clip(clip_id(sha, span, "planted-1"), sha, span, "start", "end", "planted-1")
    tracks = [replace(t, clip_id=clip.id) for t in made.tracks]
    if planted.get("subject"):
        tracks[0] = replace(tracks[0], subject_id=planted["subject"])
    rows = [replace(o, clip_id=clip.id) for o in made.observations]
    assessed = [replace(a, clip_id=clip.id) for a in made.assessments]
    ledger = Ledger(clip, tuple(tracks), tuple(rows), tuple(assessed), made.missing)
    trace, claims = reason(ledger)
    store.commit(StageResult(sha, "clips", "k", [source, clip]), **WHEN)
    score = planted["explicit"] if planted.get("explicit") else planted.get("score", 0.01)
    gate = [observation(clip, "explicit.max", span, value=score, unit="0..1")] if score is not None else []
    years = {"value": planted.get("age") or 50.0, "sd": 2.0, "unit": "years"}
    age = [observation(clip, "age", span, track_id=t.id, id=f"obs-age-{t.id}-{seed}", **years) for t in tracks]
    for stage, records in (
        ("explicit", gate), ("age", age), ("faces", tracks), ("expression", rows), ("assess", assessed),
        ("claims", [trace, *claims]),
    ):  # fmt: skip
        store.commit(StageResult(clip.id, stage, f"k-{stage}-{clip.id}", records, {}, ms=1.0), **WHEN)
