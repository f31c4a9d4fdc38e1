"""In `care`, affect models see enrolled people and nothing of anybody else: planted colours, a spy in their place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import Assessment, Assignment, Boxes, Clip, Consent, Distribution, Frames, Observation, Span, Track
from mien.core.records import Verdict
from mien.pipeline import Project
from mien.pipeline.people import CLOSED, Marks, now
from mien.pipeline.plan import STAGES
from mien.pipeline.stack import AFFECT, Stack
from mien.pipeline.stages.boxes import Tracked, track_id
from mien.pipeline.stages.masking import masked
from mien.policy import WAITING_CODE
from mien.store import Store, canonical_dump

RED, GREEN, BLUE = (210, 30, 30), (30, 200, 40), (30, 40, 200)
LEFT, RIGHT = (40, 60, 100, 130), (180, 60, 240, 130)  # faces, px
SIZE = (320, 240)


def film(path: Path) -> Path:
    """Two people: a red face on the left, a green one on the right, a green hand beside the red face."""
    import av

    picture = np.full((SIZE[1], SIZE[0], 3), BLUE, np.uint8)
    for (x1, y1, x2, y2), colour in ((LEFT, RED), (RIGHT, GREEN)):
        picture[y1:y2, x1:x2] = colour
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=10, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv444p"
        for i in range(12):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts = i
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


class Planted:
    """A detector that finds the same boxes in every frame."""

    def __init__(self, name: str, *boxes: tuple[float, ...]) -> None:
        self._name, self._boxes = name, np.array(boxes, np.float32)

    def run(self, frames: Frames) -> Boxes:
        n, k = len(frames), len(self._boxes)
        xyxy, score = np.tile(self._boxes, (n, 1)), np.full(n * k, 0.9, np.float32)
        return Boxes(np.repeat(np.arange(n), k), xyxy, score, np.zeros(n * k, np.int64), (self._name,))


class Spy:
    """Stands in for the expression model; keeps all it is shown."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []
        self.boxes: list[np.ndarray] = []

    def run(self, faces: Any) -> Distribution:
        self.seen.append(faces.frames.pixels)
        self.boxes.append(faces.boxes.xyxy)
        return Distribution(np.tile([[0.6, 0.4]], (len(faces.boxes), 1)).astype(np.float32), ("happiness", "sadness"))


def of(colour: tuple[int, int, int], pixels: np.ndarray) -> int:
    """How many pixels are about this colour."""
    return int((np.abs(pixels.astype(int) - colour).max(axis=-1) < 60).sum())


@pytest.fixture
def spy(monkeypatch) -> Spy:
    found = Spy()
    people = Planted("person", (25, 50, 120, 235), (165, 50, 260, 235))
    fakes = {"faces": Planted("face", LEFT, RIGHT), "objects": people, "expression": found}
    has, real = Stack.has, Stack.get
    on = {*fakes, "explicit", AFFECT}
    monkeypatch.setattr(Stack, "get", lambda self, slot: fakes.get(slot) or real(self, slot))
    monkeypatch.setattr(Stack, "has", lambda self, slot: slot in on and has(self, slot))
    monkeypatch.setenv("MIEN_RUN__RUNNER", "inline")
    return found


def project(tmp_path: Path, context: str) -> Project:
    made = Project.init(tmp_path / context, context)
    outcome = made.run([film(tmp_path / "two.mp4")])
    assert not outcome.failures
    return made


def tell(made: Project, *records: Any) -> None:
    assert made.root is not None
    with Store(made.root, write=True) as store:
        store.put(records, unit="people", stage="people")


def consent(at: str, *scopes: Any, until: str | None = None) -> Consent:
    return Consent(f"consent-{at}", "P1", scopes, at, until, "C1")


def assigned(made: Project, zone: tuple[float, float, float, float]) -> Assignment:
    (clip,) = made.store.all(Clip)
    return Assignment("assign-1", "P1", clip.source_sha, clip.span, "zone", zone, "C1", "2026-01-01T00:00:00+00:00")


ZONE = (0.0, 0.0, 0.5, 1.0)


def test_no_pixel_of_somebody_who_is_not_enrolled_reaches_an_affect_model(tmp_path, spy):
    made = project(tmp_path, "care")
    assert spy.seen == []  # nobody is enrolled
    tell(made, consent("2026-01-01T00:00:00+00:00", "analyse"), assigned(made, ZONE))
    before = canonical_dump(made.store)
    assert not made.run().failures
    shown = np.concatenate(spy.seen)
    assert of(RED, shown) > 1000
    assert of(GREEN, shown) == 0
    assert not shown[:, :, 160:].any()  # and nothing else of that side either
    assert np.concatenate(spy.boxes)[:, 0].max() < 160
    mine = {t.id for t in made.store.all(Track) if t.kind == "face" and t.geometry[2] < 0.5}
    assert {o.track_id for o in made.store.all(Observation, "target = 'expression'")} == mine
    assert {a.track_id for a in made.store.all(Assessment)} == mine
    neutral = [line for line in before.splitlines() if '"waiting' not in line and "claim" not in line]
    kept = set(canonical_dump(made.store).splitlines())
    affect = {s.name for s in STAGES if s.affect} | {"claims"}
    assert [line for line in neutral if line not in kept and not any(f'"{n}"' in line for n in affect)] == [
        line for line in neutral if line.startswith('["traces"')
    ]
    seen = len(spy.seen)
    assert made.run().done == 0
    assert len(spy.seen) == seen  # nothing changed, nothing is looked at again
    made.close()


@pytest.mark.parametrize(
    "later",
    [
        consent("2026-02-01T00:00:00+00:00"),
        consent("2026-02-01T00:00:00+00:00", "analyse", until="2026-02-02"),
        consent("2026-02-01T00:00:00+00:00", "export"),
    ],
    ids=["withdrawn", "expired", "another scope"],
)
def test_a_consent_that_ended_closes_what_it_opened(tmp_path, spy, later):
    made = project(tmp_path, "care")
    tell(made, consent("2026-01-01T00:00:00+00:00", "analyse"), assigned(made, ZONE))
    made.run()
    assert made.store.all(Assessment)
    tell(made, later)
    seen = len(spy.seen)
    made.run()
    assert len(spy.seen) == seen
    assert not made.store.all(Assessment)
    assert not made.store.all(Observation, "target = 'expression'")
    assert made.store.query("SELECT count(*) FROM past")[1] == [(0,)]  # nor does history keep it
    assert {s.stage for s in made.store.stages() if s.state == WAITING_CODE} >= {"expression", "affect", "assess"}
    made.close()


def test_an_assignment_without_consent_and_a_consent_without_assignment_open_nothing(tmp_path, spy):
    made = project(tmp_path, "care")
    tell(made, assigned(made, ZONE))
    made.run()
    tell(made, consent("2026-01-01T00:00:00+00:00", "analyse"), assigned(made, (0.9, 0.9, 1.0, 1.0)))
    made.run()
    assert spy.seen == []
    made.close()


def test_outside_care_an_assignment_makes_only_fusion_and_claims_stale(tmp_path, spy):
    made = project(tmp_path, "research")
    assert of(GREEN, np.concatenate(spy.seen)) > 1000  # the spy can see
    first = {(s.unit, s.stage): s.key for s in made.store.stages()}
    seen = len(spy.seen)
    tell(made, assigned(made, ZONE))
    made.run()
    assert len(spy.seen) == seen
    changed = {
        stage for (unit, stage), key in first.items() if (row := made.store.stage(unit, stage)) and row.key != key
    }
    assert changed == {"assess", "claims"}
    made.close()


def test_where_faces_overlap_the_part_that_may_be_the_others_is_black():
    clip = Clip("c", "a" * 64, Span(0, 10), "", "", "x")
    frames = Frames(np.full((1, 40, 60, 3), 255, np.uint8), np.zeros(1, np.int64))
    own, other = (10, 10, 30, 30), (26, 10, 46, 30)
    boxes = Boxes(
        np.zeros(2, np.int64),
        np.array([own, other], np.float32),
        np.ones(2, np.float32),
        np.zeros(2, np.int64),
        ("face",),
    )
    seen = masked(clip, Tracked(frames, boxes, np.array([0, -1])), frozenset({track_id(clip, "face", 0)}))
    (shown,) = seen.frames.pixels[..., 0]
    assert shown[10:30, 10:21].all()
    assert not shown[:, 21:].any()  # the other face, though never tracked, with its margin
    assert len(seen.track) == 1


def marks(tracks: list[Track], *said: Any, context: Any = "care") -> Any:
    held: dict[Any, list[Any]] = {Track: tracks}
    for record in said:
        held.setdefault(type(record), []).append(record)
    store: Any = SimpleNamespace(all=lambda record, *_: held.get(record, []))
    return Marks(store, context, now()).cast(Clip("c", "s", Span(0, 100), "", "", "x"))


WHOLE = Span(0, 100)


def face(name: str, left: float, kind: Any = "face", span: Span = WHOLE) -> Track:
    return Track(name, "c", kind, kind, span, (left, 0.1, left + 0.2, 0.3), 9)


def given(kind: Any, zone: Any = None, who: str = "P1", at: str = "2026-01-01") -> Assignment:
    return Assignment(f"a-{kind}-{who}-{at}", who, "s", Span(0, 100), kind, zone, "C1", at)


OK = consent("2026-01-01", "analyse")


def test_a_session_says_who_is_alone_and_opens_the_sound():
    one = marks([face("a", 0.1)], given("session"), OK)
    assert (one.who, one.affect, one.sound) == ({"a": "P1"}, {"a"}, True)
    two = marks([face("a", 0.1), face("b", 0.6)], given("session"), OK)
    assert (two.who, two.affect, two.sound, two.everybody) == ({}, frozenset(), True, False)
    later = marks([face("a", 0.1, span=Span(0, 50)), face("b", 0.6, span=Span(50, 100))], given("session"), OK)
    assert later.affect == {"a", "b"}
    assert marks([], given("session"), OK).sound  # a recording of sound alone
    assert marks([], given("session")) == CLOSED or not marks([], given("session")).sound


def test_the_sound_is_open_where_everybody_in_view_is_enrolled_and_else_closed():
    left, right = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    assert not marks([face("a", 0.1), face("b", 0.6)], given("zone", left), OK).sound
    both = marks([face("a", 0.1), face("b", 0.6)], given("zone", left), given("zone", right, at="2026-01-02"), OK)
    assert (both.sound, both.everybody) == (True, True)
    body = Track("p", "c", "person", "person", Span(0, 100), (0.05, 0.05, 0.35, 0.9), 9)
    assert marks([face("a", 0.1), body], given("track", face("a", 0.1).geometry), OK).sound
    stranger = Track("q", "c", "person", "person", Span(0, 100), (0.6, 0.05, 0.9, 0.9), 9)
    assert not marks([face("a", 0.1), body, stranger], given("track", face("a", 0.1).geometry), OK).sound


def test_a_track_goes_before_a_place_and_the_newest_of_a_kind_counts():
    left = (0.0, 0.0, 0.5, 1.0)
    tracks = [face("a", 0.1), face("b", 0.6)]
    said = [given("track", tracks[0].geometry, "P2"), given("zone", left, "P1", "2026-03-01")]
    assert marks(tracks, *said, context="research").who == {"a": "P2"}
    again = [*said, given("track", tracks[0].geometry, "unassigned", "2026-02-01")]
    assert marks(tracks, *again, context="research").who == {}
    assert marks(tracks, given("zone", left), given("zone", left, "P3", "2026-04-01"), context="studio").who == {
        "a": "P3"
    }


def test_words_of_a_table_open_nothing_and_may_close():
    from mien.core import Item, Subject

    item = Item("i", "x.mp4", ("s",), subject_id="P1")
    words = Subject("P1", "analyse, export")
    assert marks([face("a", 0.1)], item, words).affect == frozenset()
    assert marks([face("a", 0.1)], item, OK).affect == {"a"}
    assert marks([face("a", 0.1)], item, OK, Subject("P1", "withdrawn")).affect == frozenset()
    assert Verdict  # labels go the same way: test_assess_over_time
