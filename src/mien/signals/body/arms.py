"""What a whole arm does: a fast movement that stops abruptly, an arm stretched out and held."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.core import Span
from mien.signals.body.config import ReachingConfig, StrikingConfig
from mien.signals.body.hands import held_still, places
from mien.signals.body.records import BodyEvent
from mien.signals.body.series import ARM, SIDES, Body
from mien.signals.body.timing import hysteresis, lasting, mean_of, runs, span_of

F64 = npt.NDArray[np.float64]
DOWN = np.array([0.0, 1.0])


def striking(body: Body, config: StrikingConfig) -> list[BodyEvent]:
    """Fast movements of a hand against the trunk that stop abruptly: speed and loss of speed over 0.2 s.

    Where it ends says whether it went towards the own head or trunk (a candidate for self-directed) or outward. Below
    `min_rate_hz` nothing is looked for. A blow lasts 0.1-0.3 s: at 5 frames/s one or two frames see it, so many are
    missed, and quality falls with the frame rate below `full_rate_hz`.
    """
    if body.rate_hz < config.min_rate_hz:
        return []
    head = list(places(body).values())
    found: list[BodyEvent] = []
    for side in SIDES:
        hits = _hits(body, side, config)
        events = [e for e in (_struck(body, side, hit, head, config) for hit in hits) if e]
        found += _joined(events, config.bout_s)
    return found


def _against_trunk(body: Body, side: str) -> F64:
    return (body.hand(side) - body.shoulders) / body.scale[:, None]


def _hits(body: Body, side: str, config: StrikingConfig) -> list[tuple[int, int, float, float]]:
    """(row before, row of the end, peak speed, loss of speed per s) of each fast movement that stops or turns at once.

    The loss is that of the velocity along the movement, so that drawing back at once counts as stopping.
    """
    t, place = body.t_s, _against_trunk(body, side)
    known = np.flatnonzero(np.isfinite(place).all(axis=1))
    # differences over the base time, not over one frame: what 30 and 5 frames/s both can measure
    base = max(config.base_s, body.step_s)
    velocity, origin = np.full(place.shape, np.nan), np.full(len(t), -1, np.intp)
    for i, k in enumerate(known):
        f = _at_time(t, known[:i], t[k] - base)
        if f >= 0 and t[k] - t[f] <= 1.6 * base:
            velocity[k], origin[k] = (place[k] - place[f]) / (t[k] - t[f]), f
    speed = np.linalg.norm(velocity, axis=1)
    hits: list[tuple[int, int, float, float]] = []
    fast = np.where(np.isnan(speed), np.nan, speed >= config.speed)
    for first, last in runs(t, fast, 0, body.step_s):
        best, end = 0.0, -1
        for k in range(first, last + 1):
            stop = _at_time(t, known[known > k], t[k] + base)
            if stop < 0 or origin[stop] < 0 or t[stop] - t[k] > 1.6 * base:
                continue
            along = velocity[k] / speed[k]
            rest = float(velocity[stop] @ along)
            loss = (float(speed[k]) - rest) / float(t[stop] - t[k])
            there = np.linalg.norm(place[k] - place[origin[k]])
            jumped = body.rate_hz < 10 and np.linalg.norm(place[stop] - place[origin[k]]) < 0.25 * there
            if loss > best and rest <= config.left * speed[k] and not jumped:
                best, end = loss, k + int(np.nanargmax(place[k : stop + 1] @ along))
        if best >= config.stop:
            hits.append((int(origin[first]), end, float(np.nanmax(speed[first : last + 1])), best))
    return hits


def _at_time(t_s: F64, rows: npt.NDArray[np.intp], when: float) -> int:
    """The row nearest to a time, -1 where there is none."""
    if not len(rows):
        return -1
    i = int(np.searchsorted(t_s[rows], when))
    near = [j for j in (i - 1, i) if 0 <= j < len(rows)]
    return int(rows[min(near, key=lambda j: abs(t_s[rows[j]] - when))])


def _struck(
    body: Body, side: str, hit: tuple[int, int, float, float], head: list[F64], config: StrikingConfig
) -> BodyEvent | None:
    start, end, speed, stop = hit
    place = _against_trunk(body, side)
    arm = body.at[f"{side}_wrist"][end] - body.at[f"{side}_shoulder"][end]
    if _from_down(arm[None])[0] < config.hanging_deg:
        return None
    # from when a tenth of the way was gone until a tenth was left
    way = place[end] - place[start]
    gone = (place[start : end + 1] - place[start]) @ way / (way @ way)
    ended = start + int(np.flatnonzero(np.isfinite(gone) & (gone >= 0.9))[0])
    began = start + int(np.flatnonzero(np.isfinite(gone[: ended - start]) & (gone[: ended - start] <= 0.1))[-1])
    detail = f"{side} hand: {_target(body, side, (began, ended), head, config)}"
    span = Span(int(body.t_us[began]), int(body.t_us[ended]))
    reason = f"{side} hand at {speed:.1f} trunk lengths/s against the trunk, then slower by {stop:.0f} per s"
    quality = float(body.seen(f"{side}_wrist")[began : ended + 1].mean()) * min(1.0, body.rate_hz / config.full_rate_hz)
    return BodyEvent("striking", span, speed, "trunk lengths/s", quality, detail, reason)


def _target(body: Body, side: str, rows: tuple[int, int], head: list[F64], config: StrikingConfig) -> str:
    """Where the hand ended, if it came nearer to it on the way."""
    hand = body.hand(side)
    near_head = mean_of([np.linalg.norm(hand - p, axis=1) for p in head]) / body.scale
    closest = np.fmin.reduce([np.linalg.norm(hand - p, axis=1) for p in head]) / body.scale
    chest = np.linalg.norm(hand - (body.shoulders + 0.4 * body.scale[:, None] * DOWN), axis=1) / body.scale
    a, b = rows
    if closest[b] <= config.own and near_head[b] < near_head[a]:
        return "towards own head"
    return "towards own trunk" if chest[b] <= config.own and chest[b] < chest[a] else "outward"


def _joined(events: list[BodyEvent], bout_s: float) -> list[BodyEvent]:
    """Hits of one hand towards the same place within `bout_s` of each other as one event."""
    bouts: list[list[BodyEvent]] = []
    for event in events:
        if bouts and event.span.start_us - bouts[-1][-1].span.end_us <= bout_s * 1e6:
            bouts[-1].append(event)
        else:
            bouts.append([event])
    joined: list[BodyEvent] = []
    for bout in bouts:
        fastest = max(bout, key=lambda e: e.value)
        # drawing back is as fast as the blow: own body wins over outward
        own = [e.detail for e in bout if "own" in e.detail]
        text = f"; {len(bout)} such movements" if len(bout) > 1 else ""
        joined.append(
            BodyEvent(
                "striking", Span(bout[0].span.start_us, max(e.span.end_us for e in bout)), fastest.value, fastest.unit,
                float(np.mean([e.quality for e in bout])), own[0] if own else fastest.detail, fastest.reason + text,
            )
        )  # fmt: skip
    return joined


def _from_down(arm: F64) -> F64:
    """Angle `[n]` of vectors against straight down, degrees 0..180."""
    return np.degrees(np.arctan2(np.abs(arm[:, 0]), arm[:, 1]))


def reaching(body: Body, config: ReachingConfig, struck: list[BodyEvent]) -> list[BodyEvent]:
    """An arm that was bent or hanging becomes stretched in another direction and the hand stays there.

    Stretching that was seen from nowhere (the arm was out from the first frame) or ends a blow is no reaching. Towards
    the camera nothing is seen: the arm looks short.
    """
    found: list[BodyEvent] = []
    for side in SIDES:
        arm = body.at[f"{side}_wrist"] - body.at[f"{side}_shoulder"]
        extension = np.linalg.norm(arm, axis=1) / (ARM * body.scale)
        angle = _from_down(arm)
        lacking = np.maximum(
            (config.extension - extension) / (config.extension - config.leave), (config.hanging_deg - angle) / 10
        )
        state = hysteresis(lacking, 0.0, 1.0)
        place = _against_trunk(body, side)
        for rows in runs(body.t_s, state, body.bridge_s, body.step_s):
            seconds = lasting(body.t_s, rows, body.step_s)
            before = state[max(0, rows[0] - max(1, round(1.5 * body.rate_hz))) : rows[0]]
            part = slice(rows[0], rows[1] + 1)
            if seconds < config.hold_s or not np.any(before == 0) or not held_still(place[part], config.still):
                continue
            start_us = int(body.t_us[rows[0]])
            if any(e.detail.startswith(side) and abs(e.span.end_us - start_us) <= 500_000 for e in struck):
                continue
            mean, degrees = float(np.nanmean(extension[part])), float(np.nanmean(angle[part]))
            way = "up" if degrees >= 135 else "picture right" if np.nanmean(arm[part, 0]) > 0 else "picture left"
            reason = f"{side} arm at {mean:.2f} of its length, {degrees:.0f}° from straight down, for {seconds:.1f} s"
            seen = np.where(np.isfinite(state[part]), body.seen(f"{side}_shoulder", f"{side}_wrist")[part], 0)
            found.append(
                BodyEvent(
                    "reaching", span_of(body.t_us, rows, body.step_s), mean, "arm lengths", float(seen.mean()),
                    f"{side} arm: {way}", reason,
                )
            )  # fmt: skip
    return found
