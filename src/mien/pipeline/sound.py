"""The sound passes over one clip: observables (`sound`), then what the voice suggests (`voice`)."""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.core import SAMPLE_RATE_HZ, US, Clip, Curve, Observation, Sound, Span
from mien.pipeline.rows import columns, observe, table
from mien.pipeline.stack import Stack
from mien.signals.acoustics import describe
from mien.signals.vocal import vocal_segments

RULE = "rule.vocal-segments@1"
STEP_US = 50_000
CLIP_US, LEAST_CONTEXT_US = 2_000_000, 300_000
KEPT = ("energy_dbfs", "centroid_hz", "flatness", "harmonicity_db")


def sound_pass(clip: Clip, sound: Sound, stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """Speech probability, pitch and acoustic descriptors on a 50 ms grid, and the vocal segments as observations."""
    acoustics = describe(sound)
    vad: Curve | None = stack.get("vad").run(sound) if stack.has("vad") else None
    pitch: Curve | None = stack.get("pitch").run(sound) if stack.has("pitch") else None
    t_us = np.arange(-(-clip.span.start_us // STEP_US) * STEP_US, clip.span.end_us, STEP_US)
    data: dict[str, Any] = {"t_us": t_us}
    for curve, names in ((acoustics, KEPT), (vad, ("speech",)), (pitch, ("f0_hz", "voicing"))):
        for name in names:
            data[name] = _sampled(curve, name, t_us)
    records: list[Any] = []
    if vad is not None and pitch is not None:
        for segment in vocal_segments(acoustics, vad, pitch):
            records += _segment(clip, segment, acoustics, pitch, stack)
    return records, {f"sound/{clip.id}": table(data)}


def _segment(clip: Clip, segment: Any, acoustics: Curve, pitch: Curve, stack: Stack) -> list[Observation]:
    span: Span = segment.span
    f0 = _within(pitch, "f0_hz", span)
    level = _within(acoustics, "energy_dbfs", span)
    voiced = f0[np.isfinite(f0)]
    share = round(segment.speech, 6)
    return [
        observe(
            clip,
            "vocal.kind",
            span,
            f"{RULE}+{stack.label('vad')}",
            quality=segment.quality,
            dist=(("speech", share), ("voice", round(1 - share, 6))),
            n=len(level),
        ),
        observe(
            clip,
            "vocal.f0_hz",
            span,
            stack.label("pitch"),
            unit="Hz",
            n=len(voiced),
            quality=segment.voiced,
            value=float(np.median(voiced)) if len(voiced) else float("nan"),
            sd=float(np.std(voiced, dtype=np.float64)) if len(voiced) > 1 else None,
            reason=None if len(voiced) else "unvoiced",
        ),
        observe(
            clip,
            "vocal.level_dbfs",
            span,
            "rule.acoustics@1",
            unit="dBFS",
            n=len(level),
            value=float(10 * np.log10(np.mean(10 ** (level.astype(np.float64) / 10)))),
        ),
    ]


def voice_pass(clip: Clip, sound: Sound, segments: list[Observation], stack: Stack) -> tuple[list[Any], dict[str, Any]]:
    """States and arousal the voice suggests per vocal segment. The embeddings live and die in this function."""
    records: list[Any] = []
    if not segments:
        return records, {}
    pieces = [_piece(sound, o.span) for o in segments]
    embedded = stack.get("voice_embedding").run(pieces)
    try:
        states = stack.get("voice_affect").run(embedded)
        arousal = stack.get("voice_arousal").run(embedded) if stack.has("voice_arousal") else None
    finally:
        embedded.vectors.fill(0)
    for i, segment in enumerate(segments):
        probs = states.probs[i]
        measured = bool(np.isfinite(probs).all())
        records.append(
            observe(
                clip,
                "voice.state",
                segment.span,
                stack.label("voice_affect"),
                quality=segment.quality,
                dist=tuple(zip(states.labels, map(float, probs), strict=True)) if measured else (),
                reason=None if measured else "sound-not-measurable",
            )
        )
        if arousal is not None:
            records.append(
                observe(
                    clip,
                    "voice.arousal",
                    segment.span,
                    stack.label("voice_arousal"),
                    quality=segment.quality,
                    value=float(arousal.value[i]),
                    sd=float(arousal.sd[i]),
                    unit="-1..1",
                )
            )
    return records, {}


def segments_of(observations: list[Observation]) -> list[Observation]:
    """The vocal segments among a clip's observations, in order of time."""
    return sorted((o for o in observations if o.target == "vocal.kind"), key=lambda o: o.span.start_us)


def _piece(sound: Sound, span: Span) -> Sound:
    """A vocal segment with the quiet around it, 2 s at least: the head was trained on whole clips of that kind, and on
    bare segments its recall falls from 0.72 to 0.53 (docs/log.md)."""
    around = max(LEAST_CONTEXT_US, (CLIP_US - span.duration_us) // 2)
    first = max(0, round((span.start_us - around - sound.t0_us) * SAMPLE_RATE_HZ / US))
    last = round((span.end_us + around - sound.t0_us) * SAMPLE_RATE_HZ / US)
    return Sound(np.ascontiguousarray(sound.samples[first:last]), sound.t0_us + first * US // SAMPLE_RATE_HZ)


def _column(curve: Curve, name: str) -> np.ndarray[Any, Any]:
    return curve.values[:, curve.names.index(name)]


def _within(curve: Curve, name: str, span: Span) -> np.ndarray[Any, Any]:
    t = curve.t0_us + np.arange(len(curve)) * curve.hop_us
    return _column(curve, name)[(t >= span.start_us) & (t < span.end_us)]


def _sampled(curve: Curve | None, name: str, t_us: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The row of a curve that covers the middle of each grid cell; NaN outside."""
    out = np.full(len(t_us), np.nan, np.float32)
    if curve is None or not len(curve):
        return out
    row = (t_us + STEP_US // 2 - curve.t0_us) // curve.hop_us
    inside = (row >= 0) & (row < len(curve))
    out[inside] = _column(curve, name)[row[inside]]
    return out


def stored_sound(held: Any) -> dict[str, np.ndarray[Any, Any]]:
    """The stored 50 ms grid of a clip."""
    return columns(held, ("t_us", *KEPT, "speech", "f0_hz", "voicing"))
