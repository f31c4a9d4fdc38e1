"""Who is near what: people and objects, people and people, from boxes and hands over time. In the picture only.

A camera sees no depth: somebody who walks past behind a table is "near" it. What narrows this down is said per rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le

from mien.core import Span, Strict
from mien.signals.body.config import PointConfig
from mien.signals.body.hands import held_still
from mien.signals.body.series import SIDES, BodySeries, body_of, with_hands
from mien.signals.body.timing import hysteresis, lasting, local_line, runs, span_of

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Positive = Annotated[float, Gt(0)]
MOVING_WINDOW_S = 0.6


class InteractionConfig(Strict):
    """Distances of boxes in heights of the person's box, of hands in trunk lengths.

    near, near_s: gap between the boxes of person and object, and for how long. hand, hand_s: distance of the hand's
    middle from the object's box. largest: an object with more than this share of the person's box area (a bed, a table)
    is never "at hand": hands lie before it all the time. moved: way of an object that counts as carried; speed: at
    least, trunk lengths/s; pause_s: longest rest on the way; with_hand: how far it may shift in the hand. close,
    close_s: gap between two people; alike: largest ratio of their heights (people of unlike size in the picture stand
    at different distances). leave: factor of a distance at which it has ended. bridge_s: how long a detection may be
    missing.
    """

    near: Positive = 0.1
    near_s: Positive = 1.0
    hand: Annotated[float, Ge(0)] = 0.1
    hand_s: Positive = 0.4
    largest: Positive = 0.5
    moved: Positive = 0.5
    speed: Positive = 0.35
    pause_s: Annotated[float, Ge(0)] = 1.5
    with_hand: Positive = 0.3
    close: Positive = 0.15
    close_s: Positive = 1.0
    alike: Annotated[float, Ge(1)] = 1.35
    leave: Annotated[float, Ge(1)] = 1.5
    bridge_s: Annotated[float, Ge(0)] = 1.0
    min_visibility: Annotated[float, Ge(0), Le(1)] = 0.3


@dataclass(frozen=True, slots=True)
class PersonTrack:
    """One person: boxes float32 `[n 4]` xyxy px at t_us int64 `[n]` (rising), and their body points where measured."""

    id: str
    t_us: I64
    xyxy: F32
    body: BodySeries | None = None

    def __post_init__(self) -> None:
        _checked(self.t_us, self.xyxy)


@dataclass(frozen=True, slots=True)
class ObjectTrack:
    """One object of class `label`: boxes float32 `[n 4]` xyxy px at t_us int64 `[n]` (rising), of the same clock."""

    id: str
    label: str
    t_us: I64
    xyxy: F32

    def __post_init__(self) -> None:
        _checked(self.t_us, self.xyxy)


@dataclass(frozen=True, slots=True)
class Interaction:
    """One stretch of a person with an object or another person.

    value: "near" and "close": least gap in box heights; "hand_at_object": mean distance of the hand from the object's
    box in trunk lengths; "carries": way of the object in trunk lengths. quality: share of the span's frames in which
    both were seen. label: the object's class, "person" for a person.
    """

    kind: Literal["near", "hand_at_object", "carries", "close"]
    span: Span
    person: str
    other: str
    label: str
    value: float
    unit: str
    quality: float
    reason: str


def interactions(
    people: list[PersonTrack], objects: list[ObjectTrack], config: InteractionConfig | None = None
) -> list[Interaction]:
    """All stretches in order of time. Tracks must share one clock: an object counts in the frame it was seen in."""
    config = config or InteractionConfig()
    found: list[Interaction] = []
    for person in people:
        for thing in objects:
            found += _near(person, thing, config)
            if person.body is not None:
                found += _at_hand(person, person.body, thing, config)
    for a, b in combinations(people, 2):
        found += _close(a, b, config)
    return sorted(found, key=lambda e: (e.span.start_us, e.span.end_us, e.kind, e.person, e.other))


def _near(person: PersonTrack, thing: ObjectTrack, config: InteractionConfig) -> list[Interaction]:
    boxes, other = person.xyxy.astype(np.float64), _aligned(person.t_us, thing.t_us, thing.xyxy)
    gap = _gap(boxes, other) / (boxes[:, 3] - boxes[:, 1])
    text = f"boxes of person and {thing.label} at most {config.near:.2f} box heights apart"
    return [
        Interaction("near", span, person.id, thing.id, thing.label, least, "box heights", quality, text)
        for span, least, quality in _stretches(person.t_us, gap, config.near, config.near_s, config)
    ]


def _close(a: PersonTrack, b: PersonTrack, config: InteractionConfig) -> list[Interaction]:
    first, second = a.xyxy.astype(np.float64), _aligned(a.t_us, b.t_us, b.xyxy)
    heights = np.stack([first[:, 3] - first[:, 1], second[:, 3] - second[:, 1]])
    gap = _gap(first, second) / heights.mean(axis=0)
    unlike = heights.max(axis=0) > config.alike * heights.min(axis=0)
    gap = np.where(np.isfinite(gap) & unlike, np.inf, gap)
    text = f"boxes of two people of like height at most {config.close:.2f} box heights apart"
    return [
        Interaction("close", span, a.id, b.id, "person", least, "box heights", quality, text)
        for span, least, quality in _stretches(a.t_us, gap, config.close, config.close_s, config)
    ]


def _at_hand(
    person: PersonTrack, series: BodySeries, thing: ObjectTrack, config: InteractionConfig
) -> list[Interaction]:
    """ "hand_at_object", and "carries" where the object moves with the hand. Both hands at one object: the longer."""
    points = PointConfig(min_visibility=config.min_visibility)
    body = with_hands(body_of(series, points), points.hand_scale_px)
    boxes = _aligned(series.t_us, person.t_us, person.xyxy)
    other = _aligned(series.t_us, thing.t_us, thing.xyxy)
    known = np.isfinite(other).all(axis=1)
    if not known.any():
        return []
    share = np.nanmedian(_area(other)[known]) / np.nanmedian(_area(person.xyxy.astype(np.float64)))
    if not share <= config.largest or not np.isfinite(boxes).any():
        return []
    found: list[Interaction] = []
    for side in SIDES:
        hand = body.hand(side)
        gap = _gap(np.concatenate([hand, hand], axis=1), other) / body.scale
        state = hysteresis(gap, config.hand, config.hand + 0.5 * config.with_hand)
        for rows in runs(body.t_s, state, config.bridge_s, body.step_s):
            seconds = lasting(body.t_s, rows, body.step_s)
            if seconds < config.hand_s:
                continue
            part = slice(rows[0], rows[1] + 1)
            quality = float((state[part] == 1).mean())
            span = span_of(series.t_us, rows, body.step_s)
            text = f"{side} hand at most {config.hand:.2f} trunk lengths from the {thing.label} for {seconds:.1f} s"
            mean = float(np.nanmean(gap[part]))
            found.append(
                Interaction(
                    "hand_at_object", span, person.id, thing.id, thing.label, mean, "trunk lengths", quality, text
                )
            )
            found += _carried(
                person, thing, body.t_us, rows, hand, other, body.scale, body.step_s, quality, side, config
            )
    return _longest(found)


def _carried(
    person: PersonTrack, thing: ObjectTrack, t_us: I64, rows: tuple[int, int], hand: F64, other: F64, scale: F64,
    step_s: float, quality: float, side: str, config: InteractionConfig,
) -> list[Interaction]:  # fmt: skip
    t_s, middle = t_us / 1e6, (other[:, :2] + other[:, 2:]) / 2
    unit = float(np.median(scale[rows[0] : rows[1] + 1]))
    speed = np.linalg.norm(local_line(t_s, middle, MOVING_WINDOW_S)[1], axis=1) / unit
    speed[: rows[0]] = speed[rows[1] + 1 :] = 0
    state = hysteresis(-speed, -config.speed, -0.7 * config.speed)
    stretches: list[tuple[int, int]] = []
    for first, last in runs(t_s, state, config.bridge_s, step_s):
        if stretches and t_s[first] - t_s[stretches[-1][1]] <= config.pause_s:
            stretches[-1] = (stretches[-1][0], last)
        else:
            stretches.append((first, last))
    found: list[Interaction] = []
    for first, last in stretches:
        known = np.arange(first, last + 1)
        known = known[np.isfinite(middle[known]).all(axis=1) & np.isfinite(hand[known]).all(axis=1)]
        if len(known) < 3 or not held_still((middle - hand)[known] / unit, config.with_hand):
            continue
        way, way_of_hand = (float(np.linalg.norm(p[known] - p[known[0]], axis=1).max()) / unit for p in (middle, hand))
        if way >= config.moved and way_of_hand >= 0.7 * way:
            span = span_of(t_us, (first, last), step_s)
            text = f"the {thing.label} moved by {way:.1f} trunk lengths and kept its place in the {side} hand"
            found.append(
                Interaction("carries", span, person.id, thing.id, thing.label, way, "trunk lengths", quality, text)
            )
    return found


def _longest(found: list[Interaction]) -> list[Interaction]:
    """Of stretches of one kind that overlap (left and right hand), the longest."""
    kept: list[Interaction] = []
    for event in sorted(found, key=lambda e: -e.span.duration_us):
        if not any(e.kind == event.kind and e.span.overlap_us(event.span) for e in kept):
            kept.append(event)
    return kept


def _stretches(
    t_us: I64, gap: F64, near: float, least_s: float, config: InteractionConfig
) -> list[tuple[Span, float, float]]:
    """(span, least gap, share of frames seen) of each stretch with a gap below `near` for long enough."""
    if len(t_us) < 2:
        return []
    t_s = (t_us - t_us[0]) / 1e6
    step_s = float(np.median(np.diff(t_s)))
    state = hysteresis(np.where(np.isinf(gap), 1e9, gap), near, config.leave * near)
    found: list[tuple[Span, float, float]] = []
    for rows in runs(t_s, state, config.bridge_s, step_s):
        if lasting(t_s, rows, step_s) >= least_s:
            part = slice(rows[0], rows[1] + 1)
            found.append((span_of(t_us, rows, step_s), float(np.nanmin(gap[part])), float((state[part] == 1).mean())))
    return found


def _checked(t_us: I64, xyxy: F32) -> None:
    if xyxy.shape != (len(t_us), 4):
        raise ValueError(f"xyxy must have shape [{len(t_us)} 4], but got {list(xyxy.shape)}")
    if np.any(np.diff(t_us) <= 0):
        raise ValueError("t_us must rise")


def _aligned(t_us: I64, other_us: I64, xyxy: F32) -> F64:
    """Boxes `[n 4]` of another track at these times (the nearest, at most half a frame away), else NaN."""
    out = np.full((len(t_us), 4), np.nan)
    if not len(other_us) or not len(t_us):
        return out
    half = int(np.median(np.diff(t_us)) / 2) if len(t_us) > 1 else 100_000
    right = np.clip(np.searchsorted(other_us, t_us), 0, len(other_us) - 1)
    left = np.maximum(right - 1, 0)
    nearest = np.where(np.abs(other_us[left] - t_us) <= np.abs(other_us[right] - t_us), left, right)
    there = np.abs(other_us[nearest] - t_us) <= half
    out[there] = xyxy[nearest[there]]
    return out


def _gap(a: F64, b: F64) -> F64:
    """Distance `[n]` between boxes, 0 where they overlap."""
    apart = np.maximum(np.maximum(a[:, :2] - b[:, 2:], b[:, :2] - a[:, 2:]), 0)
    return np.linalg.norm(apart, axis=1)


def _area(boxes: F64) -> F64:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
