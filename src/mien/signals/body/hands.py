"""Where a hand is on the own body: ears, face, head, the other arm, the chest. In the picture: depth is unseen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from mien.core import Span
from mien.signals.body.config import HandConfig
from mien.signals.body.records import BodyEvent, BodyKind
from mien.signals.body.series import SHOULDER_WIDTH, SIDES, Body
from mien.signals.body.timing import hysteresis, lasting, mean_of, runs, span_of

F64 = npt.NDArray[np.float64]
Rows = tuple[int, int]

# Our own coarse head, in trunk lengths of an adult: from the ears' level to the crown 0.30; the mouth lies as far below
# the nose as three quarters of the nose below the eyes; ears lie 1.15 eye distances from the middle of the eyes.
CROWN = 0.30
MOUTH = 0.75
EARS = 1.15


def places(body: Body) -> dict[str, F64]:
    """Places of the head, px `[n 2]` each, NaN where they cannot be told. An ear that a hand hides is put where the
    eyes say it should be."""
    at = body.at
    eyes = (at["left_eye"] + at["right_eye"]) / 2
    across = at["left_eye"] - at["right_eye"]
    ears = {s: at[f"{s}_ear"] for s in SIDES}
    for side, sign in zip(SIDES, (1, -1), strict=True):
        ears[side] = np.where(np.isfinite(ears[side]), ears[side], eyes + sign * EARS * across)
    mouth = at["nose"] + MOUTH * (at["nose"] - eyes)
    line = ears["left"] - ears["right"]
    line = line * np.where(line[:, :1] < 0, -1, 1)
    length = np.linalg.norm(line, axis=1)[:, None]
    # in profile the line between the ears is too short to say how the head is tilted
    tilted = np.isfinite(length) & (length > 0.15 * body.scale[:, None])
    up = np.where(tilted, np.stack([line[:, 1], -line[:, 0]], axis=1) / np.where(tilted, length, 1), [0.0, -1.0])
    centre = np.stack([mean_of([e[:, d] for e in (*ears.values(), at["nose"])]) for d in (0, 1)], axis=1)
    return {
        "left ear": ears["left"],
        "right ear": ears["right"],
        "eyes": eyes,
        "mouth": mouth,
        "left cheek": (ears["left"] + mouth) / 2,
        "right cheek": (ears["right"] + mouth) / 2,
        "crown": centre + CROWN * body.scale[:, None] * up,
    }


def at_head(body: Body, config: HandConfig) -> list[BodyEvent]:
    """`hand_at_ear`, `hand_near_face` (mouth, eyes, cheek) or `hand_at_head` (crown): by the place that was nearest for
    most of the time. Both hands at once are one event."""
    found: list[tuple[str, BodyEvent]] = []
    named = places(body)
    for side in SIDES:
        away = _head_distances(body, side, named)
        nearest = np.min(away, axis=1)
        state = hysteresis(np.where(np.isinf(nearest), np.nan, nearest), config.near, config.leave * config.near)
        for rows in runs(body.t_s, state, body.bridge_s, body.step_s):
            seconds = lasting(body.t_s, rows, body.step_s)
            if seconds < config.hold_s:
                continue
            inside = np.arange(rows[0], rows[1] + 1)[state[rows[0] : rows[1] + 1] == 1]
            which = np.argmin(away[inside], axis=1)
            place = list(named)[int(np.bincount(which).argmax())]
            kind = _kind_of(place)
            distance = float(np.mean(nearest[inside]))
            reason = (
                f"middle of the {side} hand within {config.near:.2f} trunk lengths of the {place} for {seconds:.1f} s"
            )
            found.append((side, _event(body, kind, rows, side, distance, f"{side} hand: {place}", reason, state)))
    return _paired(found, lambda e: e.kind)


def _kind_of(place: str) -> BodyKind:
    if "ear" in place.split():
        return "hand_at_ear"
    return "hand_at_head" if place == "crown" else "hand_near_face"


def _head_distances(body: Body, side: str, named: dict[str, F64]) -> F64:
    """`[n places]` in trunk lengths, infinite where unknown."""
    hand = body.hand(side)
    away = np.stack([np.linalg.norm(hand - p, axis=1) / body.scale for p in named.values()], axis=1)
    return np.where(np.isfinite(away), away, np.inf)


def self_contact(body: Body, config: HandConfig) -> list[BodyEvent]:
    """A hand on the other arm (its last third left out: folded hands do not count) or before the upper chest, held
    still or touching again and again. Only while the body faces the camera or turns its back."""
    found: list[tuple[str, BodyEvent]] = []
    width = np.linalg.norm(body.at["left_shoulder"] - body.at["right_shoulder"], axis=1)
    frontal = width >= config.frontal * SHOULDER_WIDTH * body.scale
    named = places(body)
    down = np.where(np.isfinite(body.hips), body.hips - body.shoulders, body.scale[:, None] * [0.0, 1.0])
    for side, other in zip(SIDES, SIDES[::-1], strict=True):
        hand = body.hand(side)
        shoulder, elbow, wrist = (body.at[f"{other}_{p}"] for p in ("shoulder", "elbow", "wrist"))
        arm = np.fmin(_to_segment(hand, shoulder, elbow), _to_segment(hand, elbow, elbow + 0.67 * (wrist - elbow)))
        chest = np.linalg.norm(hand - body.shoulders - 0.3 * down, axis=1)
        high = np.min(_head_distances(body, side, named), axis=1) <= config.near * config.leave
        for place, away, near in (("other arm", arm, config.touch), ("chest", chest, config.touch)):
            state = hysteresis(np.where(frontal, away / body.scale, np.nan), near, config.leave * near)
            state[high & (state == 1)] = 0
            found += [(side, e) for e in _touches(body, side, place, away / body.scale, state, config)]
    return _paired(found, lambda e: e.kind)


def _touches(body: Body, side: str, place: str, away: F64, state: F64, config: HandConfig) -> list[BodyEvent]:
    at = (body.hand(side) - body.shoulders) / body.scale[:, None]
    stretches = runs(body.t_s, state, body.bridge_s, body.step_s)
    found: list[BodyEvent] = []
    brief: list[Rows] = []
    for rows in stretches:
        seconds = lasting(body.t_s, rows, body.step_s)
        if seconds < config.touch_s:
            brief.append(rows)
        elif held_still(at[rows[0] : rows[1] + 1], config.still):
            distance = float(np.nanmean(away[rows[0] : rows[1] + 1]))
            reason = f"{side} hand within {distance:.2f} trunk lengths of the {place} for {seconds:.1f} s"
            found.append(
                _event(body, "self_contact", rows, side, distance, f"{side} hand: {place}", "held: " + reason, state)
            )
    group: list[Rows] = []
    for rows in [*brief, None]:
        if rows is not None and (not group or body.t_s[rows[0]] - body.t_s[group[-1][1]] <= config.touch_gap_s):
            group.append(rows)
            continue
        if len(group) >= config.touches:
            whole = (group[0][0], group[-1][1])
            distance = float(np.mean([np.nanmean(away[a : b + 1]) for a, b in group]))
            reason = f"repeated: {len(group)} touches of the {place} by the {side} hand"
            found.append(_event(body, "self_contact", whole, side, distance, f"{side} hand: {place}", reason, state))
        group = [rows] if rows is not None else []
    return found


def held_still(at: F64, limit: float) -> bool:
    """Whether four fifths of the places `[n 2]` lie within `limit` of their median."""
    known = at[np.isfinite(at).all(axis=1)]
    if not len(known):
        return False
    return float(np.percentile(np.linalg.norm(known - np.median(known, axis=0), axis=1), 80)) <= limit


def _to_segment(p: F64, a: F64, b: F64) -> F64:
    """Distance `[n]` of points to segments."""
    line = b - a
    along = ((p - a) * line).sum(axis=1) / np.maximum((line**2).sum(axis=1), 1e-9)
    return np.linalg.norm(p - a - np.clip(along, 0, 1)[:, None] * line, axis=1)


def _event(
    body: Body, kind: BodyKind, rows: Rows, side: str, distance: float, detail: str, reason: str, state: F64
) -> BodyEvent:
    part = slice(rows[0], rows[1] + 1)
    seen = body.seen(f"{side}_wrist")[part]
    quality = float(np.mean(np.where(np.isfinite(state[part]), seen, 0)))
    span = span_of(body.t_us, rows, body.step_s)
    return BodyEvent(kind, span, distance, "trunk lengths", quality, detail, reason)


def _paired(found: list[tuple[str, BodyEvent]], same: Callable[[BodyEvent], str]) -> list[BodyEvent]:
    """Events of the left and the right hand that share at least half of their time become one of both hands."""
    left, right = ([e for side, e in found if side == s] for s in SIDES)
    events: list[BodyEvent] = []
    for a in left:
        twin = next((b for b in right if same(a) == same(b) and _share(a.span, b.span) >= 0.5), None)
        if twin is None:
            events.append(a)
            continue
        right.remove(twin)
        span = Span(min(a.span.start_us, twin.span.start_us), max(a.span.end_us, twin.span.end_us))
        places_ = sorted({e.detail.split(": ")[1] for e in (a, twin)})
        events.append(
            BodyEvent(
                a.kind, span, (a.value + twin.value) / 2, a.unit, min(a.quality, twin.quality),
                f"both hands: {', '.join(places_)}", f"{a.reason}; {twin.reason}",
            )
        )  # fmt: skip
    return events + right


def _share(a: Span, b: Span) -> float:
    """Intersection over union of two spans."""
    both = a.overlap_us(b)
    return both / max(a.duration_us + b.duration_us - both, 1)
