"""The assess stage: what joins the assessments of a track over time, and who a track is."""

from types import SimpleNamespace

import numpy as np
import pytest

from mien.core import Assessment, Clip, Item, Span, Track, Verdict, label_key
from mien.fusion import Confirmed, FusionConfig, Reliability, SourceEvidence
from mien.pipeline.people import Cast, Marks, now
from mien.pipeline.rows import observe, table
from mien.pipeline.stages.assess import _trusted, assess_stage, fingerprint, over_time
from mien.pipeline.stages.boxes import track_id
from mien.pipeline.stages.derive import View

CONFIG = FusionConfig()
FLAT = tuple((name, 1 / 3) for name in CONFIG.names)
SEC = 1_000_000


def window(track, start_s, *p):
    post = tuple(zip(CONFIG.names, p, strict=True))
    span = Span(start_s * SEC, (start_s + 2) * SEC)
    return Assessment(f"a{track}{start_s}", "c", track, span, FLAT, post, (), 0, 0, 0, False, "", "f")


def test_states_over_time_are_kept_per_track_and_leave_the_posterior_alone():
    first = [window("t1", 0, 0.8, 0.1, 0.1), window("t1", 2, 0.4, 0.3, 0.3), window("t1", 4, 0.8, 0.1, 0.1)]
    other = [window("t2", 0, 0.1, 0.8, 0.1)]
    out = over_time(CONFIG, [*first, *other])
    assert [a.posterior for a in out] == [a.posterior for a in (*first, *other)]
    assert dict(out[1].smoothed)["distress"] > dict(out[1].filtered)["distress"] > 0.4
    assert dict(out[3].smoothed)["pleasure"] == pytest.approx(0.8)  # of its own track, with nothing before it
    assert [dict(a.smoothed) for a in over_time(CONFIG, first)] == [dict(a.smoothed) for a in out[:3]]
    assert over_time(CONFIG, []) == []


def test_the_fingerprint_is_of_everything_that_is_set():
    assert fingerprint(CONFIG) == fingerprint(FusionConfig())
    other = FusionConfig(people={"P1": {"face": Confirmed(windows=3, right=1)}})
    assert fingerprint(CONFIG) != fingerprint(other)


def who_is(track, verdicts=(), items=(), beside=()):
    held = {Verdict: list(verdicts), Item: list(items)}
    store = SimpleNamespace(all=lambda record, *_: held.get(record, []))
    clip = Clip("c", "a" * 64, Span(0, 8 * SEC), "", "", "x")
    return Marks(store, "research", now()).who(clip, track, [track, *beside])  # pyright: ignore[reportArgumentType]


def test_a_person_is_who_somebody_said_never_found_by_looks():
    box = (0.1, 0.1, 0.3, 0.4)
    track = Track("t", "c", "face", "face", Span(0, 4 * SEC), box, 20)
    other = Track("u", "c", "face", "face", Span(0, 4 * SEC), (0.6, 0.1, 0.8, 0.4), 20)
    key = label_key("a" * 64, track.span, box)
    said = [Verdict(key, "subject", v, "C1", at) for v, at in (("P1", "2026-01-01"), ("P2", "2026-01-02"))]
    assert who_is(track, said, beside=[other]) == "P2"
    assert who_is(track, beside=[other]) == ""
    items = [Item("i", "x.mp4", ("a" * 64,), subject_id="P7"), Item("j", "y.mp4", ("b" * 64,), subject_id="P8")]
    assert who_is(track, items=items) == "P7"
    assert who_is(track, items=items, beside=[other]) == ""  # somebody else is in view
    withdrawn = [*said, Verdict(key, "subject", "", "C1", "2026-01-03")]
    assert who_is(track, withdrawn, beside=[other]) == ""


def test_the_body_that_a_face_belongs_to_is_a_source_and_another_body_is_not():
    clip = Clip("c", "a" * 64, Span(0, 2 * SEC), "", "", "x")
    t_us = np.arange(10, dtype=np.int64) * SEC // 5
    face = Track(track_id(clip, "face", 0), "c", "face", "face", clip.span, (0.1, 0.1, 0.2, 0.2), 10)
    bodies = [Track(track_id(clip, "object", n), "c", "person", "person", clip.span, (0, 0, 1, 1), 10) for n in (3, 4)]

    def boxes(numbers, *xyxy):
        rows = [np.tile(box, (10, 1)) for box in xyxy]
        held = {"t_us": np.tile(t_us, len(xyxy)), "track": np.repeat(numbers, 10)}
        return table(held | {n: np.concatenate(rows)[:, i] for i, n in enumerate(("x1", "y1", "x2", "y2"))})

    own, other = (100.0, 40.0, 200.0, 400.0), (400.0, 40.0, 500.0, 400.0)
    tables = {"faces/c": boxes([0], (130.0, 50.0, 170.0, 100.0)), "objects/c": boxes([3, 4], own, other)}

    def assessed(moving):
        speed = [
            observe(clip, "body.motion_body", clip.span, "r", track_id=b.id, value=v, unit="", quality=0.8)
            for b, v in zip(bodies, moving, strict=True)
        ]
        config = SimpleNamespace(fusion=CONFIG, analysis=SimpleNamespace(window_s=2.0))
        store = SimpleNamespace(table=tables.get, all=lambda *_: [])
        seen = View(clip, [face, *bodies], speed, store, SimpleNamespace(), config)
        (made,), _ = assess_stage(seen, Cast())
        return speed, made

    speed, fast = assessed((2.0, 0.01))
    (body,) = fast.contributions
    assert (body.source, body.evidence_ids) == ("body", (speed[0].id,))
    assert body.weight == pytest.approx(0.35 * 0.8)
    assert dict(body.log_odds)["calm"] < 0
    assert fast.reason == "little evidence"  # the body alone never decides
    assert dict(assessed((0.01, 2.0))[1].contributions[0].log_odds)["calm"] > 0


def test_confirmations_take_weight_from_this_person_only():
    config = FusionConfig(
        reliability=Reliability(population={"face": 0.8}), people={"P1": {"face": Confirmed(windows=30, right=6)}}
    )
    flat = (1 / 3,) * 3
    sources = [SourceEvidence("face", flat, flat, 0.9), SourceEvidence("voice", flat, flat, 0.5)]
    face, voice = _trusted(config, "P1", sources)
    assert face.weight == pytest.approx(0.9 * (6 + 16) / 50 / 0.8)
    assert "6 of 30" in face.note
    assert voice is sources[1]
    assert _trusted(config, "P2", sources) == sources
    assert _trusted(config, "", sources) == sources
