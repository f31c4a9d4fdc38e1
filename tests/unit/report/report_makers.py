"""Small makers of records for the report's sample project."""

from __future__ import annotations

import numpy as np

from mien.core import (
    US,
    Assessment,
    Contribution,
    Dist,
    Observation,
    Signal,
    Span,
    content_id,
)
from mien.export.report import SignalView

STATES = ("distress", "pleasure", "effort", "calm", "unknown")
FACE = "face.expression@1+3f2a91c0.77aa01be"
VOICE = "voice.affect@1+90bc11d2.13fe0a44"
PRIOR: Dist = tuple((s, p) for s, p in zip(STATES, (0.2, 0.2, 0.15, 0.3, 0.15), strict=True))


def dist(*probs: float) -> Dist:
    return tuple(zip(STATES, probs, strict=True))


def seconds(start: float, end: float) -> Span:
    return Span(round(start * US), round(end * US))


def curve(
    clip: str,
    track: str | None,
    name: str,
    unit: str,
    span: Span,
    hz: float,
    seed: int,
    middle: float = 0.0,
    swing: float = 0.4,
    accuracy: str = "",
    weak: bool = False,
    holes: tuple[tuple[float, float], ...] = (),
) -> SignalView:
    """A smooth seeded curve with gaps at `holes` (shares of the clip), in which sd grows with the root of time."""
    rng = np.random.default_rng(seed)
    step = round(US / hz)
    t = np.arange(span.start_us, span.end_us, step, dtype=np.int64)
    walk = np.convolve(rng.normal(size=len(t) + 2 * int(hz)), np.hanning(2 * int(hz) + 1), "same")[int(hz) : -int(hz)]
    value = middle + swing * walk / max(1e-9, float(np.abs(walk).max()))
    sd = np.full(len(t), 0.12 * swing / 0.4) + 0.02 * np.abs(rng.normal(size=len(t))) * swing
    gap = np.zeros(len(t), bool)
    for a, b in holes:
        i, j = int(a * len(t)), int(b * len(t))
        gap[i:j] = True
        value[i:j] = value[max(0, i - 1)]
        sd[i:j] = sd[max(0, i - 1)] + 0.5 * swing * np.sqrt(np.arange(j - i) / max(1, len(t) // 6))
    signal = Signal(
        content_id("signal", clip, track, name),
        clip,
        track,
        name,
        unit,
        int(t[0]),
        step,
        len(t),
        float((~gap).mean()),
        f"arrays/{name}",
        FACE,
        accuracy,
        weak,
    )
    return SignalView(signal, t, value, sd, gap)


def observation(
    clip: str,
    track: str | None,
    span: Span,
    target: str,
    value: float | None,
    sd: float | None,
    unit: str,
    adapter: str,
    said: Dist = (),
    reason: str | None = None,
) -> Observation:
    identity = content_id("obs", clip, track, span, target)
    return Observation(identity, clip, track, span, target, value, sd, unit, said, 0.74, 12, adapter, reason)


def assessment(
    clip: str,
    track: str,
    span: Span,
    posterior: Dist,
    parts: tuple[Contribution, ...],
    ambiguity: float,
    conflict: float,
    vacuity: float,
    abstained: bool = False,
    reason: str = "",
) -> Assessment:
    identity = content_id("assessment", clip, track, span)
    return Assessment(
        identity,
        clip,
        track,
        span,
        PRIOR,
        posterior,
        parts,
        ambiguity,
        conflict,
        vacuity,
        abstained,
        reason,
        "fusion@1",
    )


def jpeg(seed: int) -> bytes:
    """A small blurred picture."""
    import cv2

    noise = np.random.default_rng(seed).integers(40, 215, (6, 10, 3), dtype=np.uint8)
    ok, coded = cv2.imencode(".jpg", cv2.resize(noise, (320, 180), interpolation=cv2.INTER_CUBIC))
    assert ok
    return coded.tobytes()
