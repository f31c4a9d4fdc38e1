"""Which parts of pictures and sound must be made unrecognisable before they leave. A plan, pure: others do the pixels.

A face counts as seen between two detections, a little before the first, and after the last until it is found again or
the clip ends: one frame in between would undo the rest. Where no box tells where a person was, or one who said no may
be heard, nothing helps but to leave the picture or the sound out: such a region has no boxes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mien.core import US, Span, Track
from mien.policy.consent import State
from mien.policy.uses import PolicyTerms

Kind = Literal["face", "person", "picture", "sound"]
Box = tuple[float, float, float, float]
MARGIN = 0.2  # of a box's sides, added on each side: hair, ears, and the error of a detector
GROWTH = 0.5  # of a box's sides, added on each side per second after it was lost: whoever it is may have moved
HOLD_US = 500_000  # a box holds this long before its first and after its last detection
LONGEST_GAP_US = 2_000_000  # between detections further apart than this, the whole track's extent is covered


def _no_times() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


def _no_boxes() -> NDArray[np.float32]:
    return np.zeros((0, 4), np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """Where something must not be recognised.

    Attributes:
        span: when, on the source's clock.
        kind: `face` or `person`: the boxes; `picture`: the whole frame; `sound`: the sound of the span.
        t_us: int64 [n], increasing; box: float32 [n 4] xyxy as a share of the frame, holding from its time to the next;
            empty for `picture` and `sound`.
        reason: a stable code: `consent.refused` (a person said no), `consent.not-stated`, `policy.all-faces`.
    """

    span: Span
    kind: Kind
    reason: str
    t_us: NDArray[np.int64] = field(default_factory=_no_times)
    box: NDArray[np.float32] = field(default_factory=_no_boxes)

    def at(self, t_us: int) -> tuple[float, float, float, float] | None:
        """The box at a time; None outside of the span. The whole frame for `picture`."""
        if not self.span.contains(t_us) or self.kind == "sound":
            return None
        if not len(self.t_us):
            return (0.0, 0.0, 1.0, 1.0)
        i = max(0, int(np.searchsorted(self.t_us, t_us, side="right")) - 1)
        x1, y1, x2, y2 = self.box[i].tolist()
        return (x1, y1, x2, y2)


@dataclass(frozen=True, slots=True, eq=False)
class Boxes:
    """Detections of one track: t_us int64 [n], box float32 [n 4] xyxy as a share of the frame."""

    t_us: NDArray[np.int64]
    box: NDArray[np.float32]


def redactions(
    tracks: Sequence[Track],
    consents: Mapping[str, State],
    boxes: Mapping[str, Boxes],
    terms: PolicyTerms,
    *,
    clip: Span,
    heard: Collection[str] = (),
    places: Sequence[tuple[Span, Box, State]] = (),
) -> tuple[Region, ...]:
    """The regions of one clip that must not be recognised.

    Args:
        tracks: everybody's faces and bodies in the clip, also of those whose rows stay behind.
        consents: track id → whether its person agreed to the use (`policy.consent.state`); absent: unknown.
        boxes: track id → its detections; a track without any is covered by its extent, generously.
        terms: `redact` says which faces; `none` still covers people who said no.
        heard: ids of tracks whose voice may be in the sound.
        places: where people said that somebody is, when, and whether that person agreed: covered as a face is, whether
            or not a detector found anybody there.

    Returns:
        In order of time, then place. People who said no are covered whole (`person`) where a body is known. People
        about whom nothing was said are covered where somebody in view did agree (their agreement binds nobody else).
    """
    state: dict[str, State] = {t.id: consents.get(t.id, "unknown") for t in tracks}
    somebody_agreed = "yes" in (*state.values(), *(said for _, _, said in places))
    made: list[Region] = []
    for span, box, said in places:
        reason, start, end = _why(said, terms, somebody_agreed), max(span.start_us, clip.start_us), span.end_us
        if reason is not None and start < (end := min(end, clip.end_us)):
            cover = np.array([_grown(np.array(box, np.float64))], np.float32)
            made.append(Region(Span(start, end), "person", reason, np.array([start], np.int64), cover))
    reasons = {t.id: _reason(t, state[t.id], terms, somebody_agreed) for t in tracks}
    for track in tracks:
        reason = reasons[track.id]
        if reason is None:
            continue
        held = boxes.get(track.id)
        covered = [t for t in tracks if t.kind == track.kind and t.id != track.id and reasons[t.id] is not None]
        same = [boxes[t.id] for t in covered if t.id in boxes]
        made.append(_region(track, held, clip, reason, same))
        if reason == "consent.refused" and track.id in heard:
            made.append(Region(clip, "sound", reason))
    return tuple(sorted(made, key=lambda r: (r.span, r.kind, r.box.tobytes(), r.reason)))


def _reason(track: Track, said: State, terms: PolicyTerms, somebody_agreed: bool) -> str | None:
    if track.kind == "object":
        return None
    return _why(said, terms, somebody_agreed) if said == "no" or track.kind == "face" else None


def _why(said: State, terms: PolicyTerms, somebody_agreed: bool) -> str | None:
    if said == "no":
        return "consent.refused"
    if terms.redact == "none":
        return None
    if terms.redact == "all-faces":
        return "policy.all-faces"
    return "consent.not-stated" if said == "unknown" and somebody_agreed else None


def _region(track: Track, held: Boxes | None, clip: Span, reason: str, same: Sequence[Boxes]) -> Region:
    kind: Kind = "person" if track.kind == "person" else "face"
    if held is None or not len(held.t_us):  # only the median box is known: nobody knows where it was meanwhile
        return Region(clip, "picture", reason)
    order = np.argsort(held.t_us, kind="stable")
    t, box = held.t_us[order].astype(np.int64), held.box[order].astype(np.float64)
    seen = np.isfinite(box).all(axis=1)
    t, box = t[seen], box[seen]
    if not len(t):
        return Region(clip, "picture", reason)
    if reason == "consent.refused":  # also while they look away: wherever they are seen in this clip
        start, end, first, last = clip.start_us, clip.end_us, _union(box), _union(box)
    else:
        start, end = max(clip.start_us, int(t[0]) - HOLD_US), clip.end_us
        first, last = _union(box[:1]), _union(box[-1:])
    times, rows = [start], [first]
    for i in range(len(t) - 1):
        far = int(t[i + 1]) - int(t[i]) > LONGEST_GAP_US
        times.append(int(t[i]))
        rows.append(_union(box) if far else _union(box[i : i + 2]))  # also where it is on its way
    times.append(int(t[-1]))
    rows.append(last)
    grown = np.array([_grown(r) for r in rows], np.float32)
    if reason != "consent.refused":  # lost: somebody who turned away is still there, until they are found again
        later, wider = _lost(int(t[-1]), last, end, same)
        end = later[-1] if later else end
        times, grown = [*times, *later[:-1]], np.concatenate([grown, wider])
    at = np.maximum(np.array(times, np.int64), start)
    kept = np.append(np.diff(at) > 0, True)  # of boxes of one instant, the last one
    return Region(Span(start, max(end, start + 1)), kind, reason, at[kept], grown[kept])


def _lost(
    since: int, box: NDArray[np.float64], end: int, same: Sequence[Boxes]
) -> tuple[list[int], NDArray[np.float32]]:
    """Where somebody may be after their last detection: a box that grows, every `HOLD_US`, until a detection of another
    track of that kind lies in it, or to the end of the clip (clips end where shots do).

    Returns:
        Times from the second step on and the end; boxes of these times without the end.
    """
    times, wider = list[int](), list[NDArray[np.float64]]()
    now = since + HOLD_US
    while now < end:
        cover = _grown(box, MARGIN + GROWTH * (now + HOLD_US - since) / US)
        if any(_found(other, since, now, cover) for other in same):
            break
        times.append(now)
        wider.append(cover)
        now += HOLD_US
    return [*times, min(now, end)], np.array(wider, np.float32).reshape(-1, 4)


def _found(other: Boxes, since: int, now: int, cover: NDArray[np.float64]) -> bool:
    """Whether a track begins after `since`, by `now`, with its middle in the cover: they are found again."""
    if not len(other.t_us) or not since < int(other.t_us.min()) <= now:
        return False
    x1, y1, x2, y2 = other.box[int(np.argmin(other.t_us))].tolist()
    return cover[0] <= (x1 + x2) / 2 <= cover[2] and cover[1] <= (y1 + y2) / 2 <= cover[3]


def _union(box: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([box[:, :2].min(axis=0), box[:, 2:].max(axis=0)])


def _grown(box: NDArray[np.float64], by: float = MARGIN) -> NDArray[np.float64]:
    x1, y1, x2, y2 = box.tolist()
    w, h = by * (x2 - x1), by * (y2 - y1)
    return np.clip([x1 - w, y1 - h, x2 + w, y2 + h], 0.0, 1.0)


def coarse(utc: str, terms: PolicyTerms) -> str:
    """A time as exactly as it may be told: `2026-11-22`, `2026-11`; "" for what is no time (it might hold anything)."""
    from mien.policy.consent import moment

    found = moment(utc)
    if found is None:
        return ""
    return f"{found:%Y-%m-%d}" if terms.coarse_time == "day" else f"{found:%Y-%m}"
