"""All events of one body, and what a series cannot show."""

from __future__ import annotations

import numpy as np

from mien.signals.body.arms import reaching, striking
from mien.signals.body.config import BodyConfig
from mien.signals.body.hands import at_head, self_contact
from mien.signals.body.records import BodyEvent
from mien.signals.body.rhythm import NYQUIST, pacing, rocking
from mien.signals.body.series import Body, BodySeries, body_of, with_hands
from mien.signals.body.stillness import stillness

NEEDED = {
    "rocking": ("left_shoulder", "right_shoulder"),
    "pacing": ("left_hip", "right_hip"),
    "hand_at_ear": ("left_wrist", "right_wrist"),
    "hand_at_head": ("left_wrist", "right_wrist"),
    "hand_near_face": ("left_wrist", "right_wrist"),
    "striking": ("left_wrist", "right_wrist"),
    "reaching": ("left_wrist", "right_wrist"),
    "self_contact": ("left_wrist", "right_wrist"),
}


def events(series: BodySeries, config: BodyConfig | None = None) -> list[BodyEvent]:
    """Events of one person in order of time. An event says what was seen to move, never why.

    A rule that the series cannot serve finds nothing; `limits` says which and why.
    """
    config = config or BodyConfig()
    body = body_of(series, config.points)
    if len(body.t_s) < 3 or not np.isfinite(body.scale).any():
        return []
    near = with_hands(body, config.points.hand_scale_px)
    struck = striking(near, config.striking)
    found = [
        *rocking(body, config.rocking),
        *pacing(body, config.pacing),
        *at_head(near, config.hands),
        *self_contact(near, config.hands),
        *struck,
        *reaching(near, config.reaching, struck),
        *stillness(body, config.stillness),
    ]
    return sorted(found, key=lambda e: (e.span.start_us, e.span.end_us, e.kind, e.detail))


def limits(series: BodySeries, config: BodyConfig | None = None) -> dict[str, str]:
    """Kind → why its absence says nothing (or little) in this series: too few frames, points never seen."""
    config = config or BodyConfig()
    body = body_of(series, config.points)
    if len(body.t_s) < 3 or not np.isfinite(body.scale).any():
        return dict.fromkeys((*NEEDED, "freezing", "still"), "body.unseen: no frames with both shoulders")
    found = {
        kind: f"body.points-unseen: {', '.join(names)}" for kind, names in NEEDED.items() if not _seen(body, names)
    }
    if float(np.nanmedian(body.scale)) < config.points.hand_scale_px:
        least = config.points.hand_scale_px
        text = f"body.too-small: a trunk of {np.nanmedian(body.scale):.0f} px; hands need {least:.0f}"
        found |= {kind: text for kind in NEEDED if kind not in ("rocking", "pacing", *found)}
    if NYQUIST * body.rate_hz < config.rocking.high_hz:
        top = NYQUIST * body.rate_hz
        found.setdefault("rocking", f"body.frame-rate: above {top:.1f} Hz it cannot be told from slower movement")
    if body.rate_hz < config.striking.min_rate_hz:
        found.setdefault("striking", f"body.frame-rate: {body.rate_hz:.1f} frames/s are too few for it")
    elif body.rate_hz < config.striking.full_rate_hz:
        found.setdefault("striking", f"body.frame-rate: at {body.rate_hz:.1f} frames/s many blows fall between frames")
    if body.rate_hz < config.stillness.min_rate_hz:
        text = f"body.frame-rate: {body.rate_hz:.1f} frames/s are too few to tell movement from jitter"
        found.update(freezing=text, still=text)
    share = np.mean([np.isfinite(p).all(axis=1) for p in body.at.values()], axis=0)
    if not np.any(share >= config.stillness.visible):
        found.update(dict.fromkeys(("freezing", "still"), "body.points-unseen: too few of them at once"))
    return found


def _seen(body: Body, names: tuple[str, ...]) -> bool:
    return any(np.isfinite(body.at[name]).any() for name in names)
