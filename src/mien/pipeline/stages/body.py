"""The `body` stage of one clip: posture signals, pose events and interactions from stored points and boxes."""

from __future__ import annotations

from typing import Any

import numpy as np

from mien.core import COCO_POINTS, Observation, Track
from mien.pipeline.rows import columns, observe, windows
from mien.pipeline.stages.boxes import BOX, track_id
from mien.pipeline.stages.derive import Answer, View, gridded, signal
from mien.signals.body import (
    UNITS,
    WEAK,
    BodySeries,
    ObjectTrack,
    PersonTrack,
    events,
    interactions,
    limits,
    posture,
)

RULE = "rule.body@1"
SHOWN = ("trunk_lean", "head_tilt", "ear_height", "arm_openness", "motion_body", "tension")
LEAST_S = 1.0  # a body seen for less gives no curve
WEAK_NOTE = "never validated on people"


def body_stage(view: View) -> Answer:
    """Curves for each person seen long enough; events and interactions as observations, with a reason where a rule
    could not look."""
    series = _series(view)
    made: list[tuple[Any, str, Any]] = []
    records: list[Any] = []
    adapter = f"{RULE}+{view.stack.label('pose')}"
    people: list[PersonTrack] = []
    things: list[ObjectTrack] = []
    boxes = columns(view.held("objects"), ("t_us", "track", *BOX))
    for track in sorted(view.tracks, key=lambda t: (t.span.start_us, t.id)):
        if track.kind == "face":
            continue
        mine = boxes["track"] == _number(view, track, boxes["track"])
        t, xyxy = boxes["t_us"][mine], np.stack([boxes[c][mine] for c in BOX], axis=1).astype(np.float32)
        if track.kind == "object":
            things.append(ObjectTrack(track.id, track.label, t, xyxy))
            continue
        body = series.get(_number(view, track, boxes["track"]))
        people.append(PersonTrack(track.id, t, xyxy, body))
        if body is None:
            continue
        records += _events(view, track, body, adapter)
        if body.t_us[-1] - body.t_us[0] >= LEAST_S * 1e6:
            table = posture(body, view.config.body.events)
            for name in SHOWN:
                grid = gridded(track.span, body.t_us, table.of(name))
                note = WEAK_NOTE if name in WEAK else ""
                made.append(
                    signal(view, f"body.{name}", UNITS[name], *grid, adapter, track.id, note=note, weak=bool(note))
                )
            records += _posture(view, track, body, table, adapter)
    for found in interactions(people, things, view.config.body.interaction):
        records.append(
            observe(
                view.clip, f"interaction.{found.kind}", found.span, f"{adapter}+{found.other[-6:]}",
                track_id=found.person, value=found.value, unit=found.unit, quality=found.quality,
                dist=((found.label, 1.0),),
            )
        )  # fmt: skip
    return [*(s for s, *_ in made), *records], {name: data for _, name, data in made}


def _events(view: View, track: Track, body: BodySeries, adapter: str) -> list[Observation]:
    rows = [
        observe(
            view.clip, f"body.{e.kind}", e.span, f"{adapter}+{e.detail or 'body'}", track_id=track.id,
            value=e.value, unit=e.unit, quality=e.quality, dist=((e.detail, 1.0),) if e.detail else (),
        )
        for e in events(body, view.config.body.events)
    ]  # fmt: skip
    rows += [
        observe(view.clip, f"body.{kind}", track.span, adapter, track_id=track.id, n=len(body), reason=reason)
        for kind, reason in limits(body, view.config.body.events).items()
    ]
    return rows


def _posture(view: View, track: Track, body: BodySeries, table: Any, adapter: str) -> list[Observation]:
    """Mean and spread of each shown column per window, so that claims have rows to cite."""
    rows: list[Observation] = []
    for span in windows(track.span, view.config.analysis.window_s):
        inside = (body.t_us >= span.start_us) & (body.t_us < span.end_us)
        for name in SHOWN:
            values = table.of(name)[inside]
            values = values[np.isfinite(values)].astype(np.float64)
            if len(values):
                rows.append(
                    observe(
                        view.clip, f"body.{name}", span, adapter, track_id=track.id, unit=UNITS[name], n=len(values),
                        value=float(values.mean()), sd=float(values.std()) if len(values) > 1 else None,
                        quality=float(np.nanmean(table.of("quality")[inside])),
                    )
                )  # fmt: skip
    return rows


def _series(view: View) -> dict[int, BodySeries]:
    """Body points by the tracker's number."""
    held = view.held("pose")
    names = [f"{name}.{axis}" for name in COCO_POINTS for axis in "xyv"]
    c = columns(held, ("t_us", "track", *names))
    if not len(c["t_us"]):
        return {}
    points = np.stack([c[n] for n in names], axis=1).astype(np.float32).reshape(-1, len(COCO_POINTS), 3)
    numbers = c["track"]
    return {
        int(n): BodySeries(c["t_us"][numbers == n], points[numbers == n], COCO_POINTS)
        for n in np.unique(numbers)
        if (numbers == n).sum() >= 3
    }


def _number(view: View, track: Track, numbers: Any) -> int:
    """The tracker's number of a track of people and things (ids are hashes of it)."""
    for number in np.unique(numbers[numbers >= 0]):
        if track_id(view.clip, "object", int(number)) == track.id:
            return int(number)
    raise KeyError(track.id)
