"""Whose a sound is, from stored rows: planted mouths, bodies and a tagger's scores; and what fusion makes of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import US, Clip, Observation, Span, Track
from mien.pipeline.config import load
from mien.pipeline.rows import observe, table
from mien.pipeline.stages.boxes import BOX, track_id
from mien.pipeline.stages.derive import View, voice_evidence
from mien.pipeline.stages.sources import sources_stage
from mien.signals.synchrony import UNKNOWN

CLIP = Clip("clip-1", "a" * 64, Span(0, 20 * US), "start of source", "end of source", "t")
CRY = Span(9 * US, 11 * US)
T = np.arange(0, 20 * US, 200_000)
LEFT, RIGHT = track_id(CLIP, "face", 0), track_id(CLIP, "face", 1)
BEATS = np.random.default_rng(2).uniform(0.3, 1, 100)
PRIOR = {"distress": 0.4, "pleasure": 0.3, "calm": 0.3}


class Held:
    """A store that holds tables."""

    def __init__(self, **tables: Any) -> None:
        self.tables = tables

    def table(self, name: str) -> Any:
        return self.tables.get(name.split("/", maxsplit=1)[0])


def cry_at(t_us: Any) -> Any:
    inside = (t_us >= CRY.start_us) & (t_us < CRY.end_us)
    return np.where(inside, BEATS[(t_us // 200_000) % 100], 0.0)


def boxes(x_of: dict[int, float], t_us: Any, size: float = 40.0) -> Any:
    rows = [(t, n, x, 0.0, x + size, size) for n, x in x_of.items() for t in t_us]
    t, n, *xyxy = (np.array(c) for c in zip(*sorted(rows), strict=True))
    return table({"t_us": t, "track": n.astype(np.int32), **dict(zip(BOX, xyxy, strict=True))})


def view(talker: int | None, people: dict[int, float] | None = None, **more: Any) -> View:
    """Two faces at x = 0 and 200, of which one, the other or none moves its mouth with the cry."""
    draw = np.random.default_rng(0)
    mouths = {n: draw.normal(0.1, 0.004, len(T)) + (0.2 * cry_at(T) if n == talker else 0) for n in (0, 1)}
    landmarks = {
        "t_us": np.tile(T, 2),
        "track": np.repeat([0, 1], len(T)).astype(np.int32),
        "lip_gap": np.concatenate([mouths[0], mouths[1]]),
        "jaw_drop": 1.2 + np.concatenate([mouths[0], mouths[1]]),
    }
    grid = np.arange(0, 20 * US, 50_000)
    tables = {
        "sound": table({"t_us": grid, "energy_dbfs": (-60 + 30 * cry_at(grid)).astype(np.float32)}),
        "faces": boxes({0: 0.0, 1: 200.0}, T),
        "landmarks": table(landmarks),
        "objects": boxes(people or {}, T[::2], 80.0) if people else None,
        **more,
    }
    tracks = [Track(name, "clip-1", "face", "face", CLIP.span, (0, 0, 1, 1), len(T)) for name in (LEFT, RIGHT)]
    for n in people or {}:
        name = track_id(CLIP, "person", n)
        tracks.append(Track(name, "clip-1", "person", "person", CLIP.span, (0, 0, 1, 1), len(T)))
    rows = [observe(CLIP, target, CRY, "rule@1", dist=(("speech", 0.1), ("voice", 0.9)), quality=1.0)
            for target in ("vocal.event", "vocal.kind")]  # fmt: skip
    config, _ = load(None, {"project": {"context": "research"}})
    stack: Any = SimpleNamespace(
        has=lambda slot: slot == "landmarks", label=lambda slot: f"{slot}@1", get=lambda _: SimpleNamespace(prior=PRIOR)
    )
    return View(CLIP, tracks, rows, Held(**tables), stack, config)  # pyright: ignore[reportArgumentType]


def shares(given: View) -> dict[str, float]:
    (row,) = [r for r in sources_stage(given)[0] if r.target == "voice.source"]
    assert row.span == CRY
    assert row.track_id is None
    return dict(row.dist)


@pytest.mark.parametrize(("talker", "who"), [(0, LEFT), (1, RIGHT)])
def test_the_face_whose_mouth_moved_has_the_sound(talker, who):
    got = shares(view(talker))
    assert got[who] > 0.75
    assert set(got) == {LEFT, RIGHT, UNKNOWN}


def test_with_no_mouth_moving_it_is_somebody_out_of_view():
    assert shares(view(None))[UNKNOWN] > 0.7


def test_every_share_says_what_its_mouth_did():
    rows = {r.track_id: r for r in sources_stage(view(1))[0] if r.target == "voice.synchrony"}
    assert (rows[LEFT].dist[0][0], rows[RIGHT].dist[0][0]) == ("mouth still", "mouth moved")
    assert rows[RIGHT].value > 1
    assert rows[LEFT].value < 0
    assert rows[RIGHT].unit == "nat"


def test_a_body_with_a_face_is_one_candidate_and_one_without_is_its_own():
    near, alone = track_id(CLIP, "person", 5), track_id(CLIP, "person", 6)
    got = shares(view(0, {5: -20.0, 6: 500.0}))
    assert near not in got
    assert got[alone] == pytest.approx(got[UNKNOWN], rel=0.01), "nothing is known of it: a fair share"
    assert got[LEFT] > 0.6


def test_without_landmarks_every_face_keeps_its_share():
    got = shares(view(0, landmarks=None))
    assert list(got.values()) == pytest.approx([1 / 3] * 3)


def test_nothing_heard_and_nobody_seen():
    given = view(0)
    assert sources_stage(replace(given, observations=[]))[0] == []
    assert shares(replace(given, store=Held(sound=given.held("sound")), tracks=[])) == {UNKNOWN: 1.0}  # pyright: ignore


def test_a_tagger_names_the_events_it_heard():
    steps = np.arange(0, 20 * US, 480_000)
    inside = (steps + 480_000 > CRY.start_us) & (steps < CRY.end_us)
    score = np.where(inside, 0.8, 0.01)
    events = table({"t_us": np.repeat(steps, 2), "event": ["Crying, sobbing", "Speech"] * len(steps),
                    "score": np.stack([score, np.full(len(steps), 0.1)], axis=1).reshape(-1)})  # fmt: skip
    (row,) = [r for r in sources_stage(view(0, events=events))[0] if r.target == "vocal.label"]
    assert row.dist == (("Crying, sobbing", 0.8), ("Speech", 0.1))
    assert row.span == CRY
    assert not [r for r in sources_stage(view(0))[0] if r.target == "vocal.label"]


# ---------------------------------------------------------------- fusion


def voices(talker: int | None, *, compared: bool = True) -> dict[str, Any]:
    """What each face's assessment gets of the voice in the window that holds half the cry."""
    given = view(talker)
    heard = (("distress", 0.8), ("pleasure", 0.1), ("calm", 0.1))
    state = observe(CLIP, "voice.state", CRY, "head@1", quality=1.0, dist=heard)
    kept: list[Observation] = sources_stage(given)[0] if compared else []
    given = replace(given, observations=[*given.observations, *kept, state])
    window = Span(10 * US, 12 * US)
    return {t.id: voice_evidence(given, given.config.fusion, window, t, sharing=2) for t in given.tracks}


def test_the_voice_weighs_as_much_as_it_is_likely_to_be_this_faces():
    got = voices(0)
    whole = load(None, {"project": {"context": "research"}})[0].fusion.weights.voice
    assert got[LEFT].weight > 0.7 * whole * 0.9
    assert got[RIGHT].weight < 0.15 * whole
    assert "mouth and sound compared" in got[LEFT].note
    turned = voices(1)
    assert turned[RIGHT].weight == pytest.approx(got[LEFT].weight, rel=0.2)
    assert turned[LEFT].weight < 0.15 * whole


def test_the_row_that_says_whose_it_is_is_cited():
    rows = {o.id: o.target for o in sources_stage(view(0))[0]}
    assert "voice.source" in {rows.get(i) for i in voices(0)[LEFT].evidence_ids}


def test_where_nothing_was_compared_the_shares_are_equal():
    got = voices(0, compared=False)
    assert got[LEFT].weight == pytest.approx(got[RIGHT].weight)
    assert "not compared, 2 faces in view" in got[LEFT].note
