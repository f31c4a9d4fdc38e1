"""The `sources` stage of one clip: whose each vocal event is, and what a tagger of sounds calls it where one is on."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from mien.core import Boxes, Curve, Observation, Span, Track
from mien.pipeline.rows import columns, observe
from mien.pipeline.stages.boxes import BOX, track_id
from mien.pipeline.stages.derive import Answer, View
from mien.signals.pairing import pair_faces
from mien.signals.synchrony import Mover, Sources, above_floor, sources
from mien.signals.vocal_events import pieces

RULE = "rule.sources@1"
MOUTH = ("lip_gap", "jaw_drop")
STEP_US = 50_000
LABELS = 5  # classes of the tagger kept of each event


def sources_stage(view: View) -> Answer:
    """`voice.source` of each event (of a long one, of each piece): shares of the tracks in view and "unknown".
    `voice.synchrony` of each track: the natural logarithm of its likelihood ratio, and what its mouth did."""
    events = [o.span for o in view.of("vocal.event")]
    records: list[Any] = _labels(view, events)
    grid = view.held("sound")
    if not events or grid is None:
        return records, {}
    held = columns(grid, ("t_us", "energy_dbfs"))
    energy = held["energy_dbfs"].astype(np.float32)[:, None]
    above = above_floor(Curve(energy, ("energy_dbfs",), int(held["t_us"][0]), STEP_US))
    movers = _movers(view)
    by = f"{RULE}+{view.stack.label('landmarks')}" if view.stack.has("landmarks") else RULE
    segments = [o.span for o in view.of("vocal.kind")]
    for event in events:
        for span in pieces(event, segments):
            records += _rows(view, span, sources(span, above, movers, events), by)
    return records, {}


def _rows(view: View, span: Span, found: Sources, by: str) -> list[Observation]:
    seen = None if math.isnan(found.seen) else found.seen
    rows = [observe(view.clip, "voice.source", span, by, dist=found.shares, quality=seen, n=len(found.heard))]
    return rows + [
        observe(
            view.clip, "voice.synchrony", span, by, track_id=h.id, value=math.log(h.ratio), unit="nat",
            dist=((f"mouth {h.mouth}", 1.0),), n=h.shifts,
        )
        for h in found.heard
    ]  # fmt: skip


def _movers(view: View) -> list[Mover]:
    """Every face, with the motion of its body, and every body whose face was never seen."""
    faces = columns(view.held("faces"), ("t_us", "track", *BOX))
    bodies = columns(view.held("objects"), ("t_us", "track", *BOX))
    people = {t.id: t for t in view.tracks if t.kind == "person"}
    numbers = {int(n): track_id(view.clip, "object", int(n)) for n in np.unique(bodies["track"])}
    is_person = np.isin(bodies["track"], [n for n, name in numbers.items() if name in people])
    bodies = {name: values[is_person] for name, values in bodies.items()}
    owner = bodies_of(faces, bodies)
    meshes = columns(view.held("landmarks"), ("t_us", "track", *MOUTH))
    made: list[Mover] = []
    for track in sorted((t for t in view.tracks if t.kind == "face"), key=lambda t: (t.span.start_us, t.id)):
        for n in np.unique(faces["track"]):
            if track_id(view.clip, "face", int(n)) != track.id:
                continue
            t_us = faces["t_us"][faces["track"] == n].astype(np.int64)
            mesh = meshes["track"] == n
            opening = np.mean([meshes[name][mesh] for name in MOUTH], axis=0, dtype=np.float64)
            mouth = _at(t_us, meshes["t_us"][mesh], opening)
            body = people.get(numbers.get(owner.get(int(n), -1), ""))
            made.append(Mover(track.id, t_us, mouth, _motion(view, body, t_us)))
    for n, name in numbers.items():
        if name in people and n not in owner.values():
            t_us = bodies["t_us"][bodies["track"] == n].astype(np.int64)
            made.append(Mover(name, t_us, np.full(len(t_us), np.nan), _motion(view, people[name], t_us)))
    return made


def bodies_of(faces: dict[str, Any], bodies: dict[str, Any]) -> dict[int, int]:
    """The body track of each face track: the one its box lay in most often."""
    times = np.intersect1d(faces["t_us"], bodies["t_us"])

    def boxes(of: dict[str, Any]) -> tuple[Boxes, Any]:
        rows = np.flatnonzero(np.isin(of["t_us"], times) & (of["track"] >= 0))
        frame = np.searchsorted(times, of["t_us"][rows]).astype(np.int64)
        order = np.argsort(frame, kind="stable")
        rows, frame = rows[order], frame[order]
        xyxy = np.stack([of[c][rows] for c in BOX], axis=1).astype(np.float32)
        n = len(rows)
        return Boxes(frame, xyxy, np.ones(n, np.float32), np.zeros(n, np.int64), ("box",)), of["track"][rows]

    (mine, face), (theirs, body) = boxes(faces), boxes(bodies)
    found = pair_faces(mine, theirs)
    votes: dict[int, Counter[int]] = {}
    for i in np.flatnonzero(np.isfinite(found).all(axis=1)):
        same = (theirs.frame == mine.frame[i]) & (theirs.xyxy == found[i]).all(axis=1)
        votes.setdefault(int(face[i]), Counter())[int(body[np.flatnonzero(same)[0]])] += 1
    return {n: count.most_common(1)[0][0] for n, count in votes.items()}


def _motion(view: View, person: Track | None, t_us: Any) -> Any:
    """How much a body moved at each time; NaN where it was not measured."""
    held = None
    if person is not None:
        held = view.store.table(f"signal-body.motion_body/{view.clip.id}.{person.id[-6:]}")
    if held is None or held.num_rows < 2:
        return np.full(len(t_us), np.nan)
    curve = columns(held, ("t_us", "value"))
    step = int(curve["t_us"][1] - curve["t_us"][0])
    return _at(t_us // step * step, curve["t_us"], curve["value"].astype(np.float64))


def _at(t_us: Any, known_us: Any, values: Any) -> Any:
    """Values at exactly these times, NaN elsewhere."""
    out = np.full(len(t_us), np.nan)
    if len(known_us):
        row = np.clip(np.searchsorted(known_us, t_us), 0, len(known_us) - 1)
        same = known_us[row] == t_us
        out[same] = values[row[same]]
    return out


def _labels(view: View, events: list[Span]) -> list[Observation]:
    """The tagger's mean scores over each event, of its likeliest classes: scores as given, not a distribution."""
    held = view.held("events")
    if held is None or not held.num_rows:
        return []
    t_us, name, score = held["t_us"].to_numpy(), np.array(held["event"].to_pylist()), held["score"].to_numpy()
    steps = np.unique(t_us)
    hop = int(np.median(np.diff(steps))) if len(steps) > 1 else int(view.clip.span.duration_us)
    rows: list[Observation] = []
    for span in events:
        inside = (t_us + hop > span.start_us) & (t_us < span.end_us)
        total: Counter[str] = Counter()
        for label, value in zip(name[inside].tolist(), score[inside].tolist(), strict=True):
            total[label] += value
        n = len(np.unique(t_us[inside]))
        best = tuple((label, value / n) for label, value in total.most_common(LABELS))
        if best:
            rows.append(observe(view.clip, "vocal.label", span, view.stack.label("sound_events"), dist=best, n=n))
    return rows
