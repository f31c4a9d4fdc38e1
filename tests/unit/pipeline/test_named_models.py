"""What the passes make of models that answer more, or need more, than the default ones."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mien.core import Affect, Boxes, Clip, Distribution, FacePeople, Frames, MienError, Scalars, Span
from mien.pipeline.config import Analysis, Config
from mien.pipeline.engine.work import LINES, lines_of
from mien.pipeline.stack import Stack
from mien.pipeline.stages.boxes import Tracked
from mien.pipeline.stages.expression import ExpressionPass
from mien.pipeline.stages.vision import AgePass, ExplicitPass
from mien.policy.identity import REFUSED

STEP = 200_000
N = 10
CLIP = Clip("c", "s", Span(0, N * STEP), "start", "end", "cut")
SEVEN = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
EIGHT = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")


def frames(first: int, n: int) -> Frames:
    return Frames(np.zeros((n, 200, 300, 3), np.uint8), np.arange(first, first + n, dtype=np.int64) * STEP)


def boxes(per_frame: Sequence[Sequence[tuple[float, ...]]], name: str, batch: Frames) -> Tracked:
    frame = [i for i, found in enumerate(per_frame) for _ in found]
    flat = np.array([b for found in per_frame for b in found], np.float32).reshape(-1, 4)
    n = len(flat)
    found = Boxes(np.array(frame, np.int64), flat, np.ones(n, np.float32), np.zeros(n, np.int64), (name,))
    return Tracked(batch, found, np.arange(n, dtype=np.int64) % 2)


class Ages:
    """A MiVOLO-like model: notes the bodies it was given."""

    spec = SimpleNamespace(takes=FacePeople)

    def __init__(self) -> None:
        self.bodies: dict[tuple[int, int], list[float]] = {}

    def run(self, batch: FacePeople) -> Scalars:
        t = batch.frames.t_us[batch.boxes.frame] // STEP
        for k, box, body in zip(t.tolist(), batch.boxes.xyxy[:, 0].tolist(), batch.body.tolist(), strict=True):
            self.bodies[k, int(box)] = body
        return Scalars(np.full(len(batch), 30, np.float32), np.full(len(batch), 4, np.float32))


@pytest.mark.parametrize("batches", [[10], [3, 3, 4], [1] * 10, [5, 5]])
def test_faces_get_their_own_bodies_wherever_batches_begin(batches: list[int], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mien.pipeline.stages.vision.AGE_EVERY_S", 0.6)  # due at frames 0, 3, 6 and 9
    model = Ages()
    stack: Any = SimpleNamespace(get=lambda _: model, label=lambda _: "age@1")
    work = AgePass(CLIP, stack, Analysis())  # pyright: ignore[reportCallIssue]
    first = 0
    for n in batches:
        batch = frames(first, n)
        # two people side by side who drift to the right
        faces = boxes(
            [[(20 + k, 10, 50 + k, 40), (170 + k, 10, 200 + k, 40)] for k in range(first, first + n)], "f", batch
        )
        rows = [[(150 + k, 0, 220 + k, 190), (0 + k, 0, 70 + k, 190)] for k in range(first, first + n)]
        work.beside(batch, boxes(rows, "person", batch))
        work.feed(batch, faces)
        first += n
    for (k, x), body in model.bodies.items():
        assert body == ([k, 0, 70 + k, 190] if x < 150 else [150 + k, 0, 220 + k, 190]), k
    assert {k for k, _ in model.bodies} == {0, 3, 6, 9}
    records, _ = work.finish()
    assert [r.value for r in records] == [30, 30]


def test_a_face_without_a_body_says_so():
    model = Ages()
    stack: Any = SimpleNamespace(get=lambda _: model, label=lambda _: "age@1")
    work = AgePass(CLIP, stack, Analysis())  # pyright: ignore[reportCallIssue]
    batch = frames(0, 1)
    work.beside(batch, None)
    work.feed(batch, boxes([[(20, 10, 50, 40)]], "f", batch))
    assert np.isnan(model.bodies[0, 20]).all()


def test_lines_are_shared_only_where_bodies_are_judged():
    def stack(takes: type, objects: bool = True) -> Any:
        return SimpleNamespace(spec=lambda _: SimpleNamespace(takes=takes), has=lambda s: objects or s != "objects")

    assert lines_of(stack(Boxes)) == LINES
    assert lines_of(stack(FacePeople, objects=False)) == LINES
    shared, rest = lines_of(stack(FacePeople))
    assert {"objects", "faces", "age", "pose"} < set(shared)
    assert sorted((*shared, *rest)) == sorted(n for line in LINES for n in line)


class Says:
    def __init__(self, labels: tuple[str, ...], top: str, va: tuple[float, float] | None = None) -> None:
        self.labels, self.top, self.va = labels, top, va

    def run(self, faces: Any) -> Distribution | Affect:
        n = len(faces)
        probs = np.full((n, len(self.labels)), 0.3 / (len(self.labels) - 1), np.float32)
        probs[:, self.labels.index(self.top)] = 0.7
        if self.va is None:
            return Distribution(probs, self.labels)
        v, a = (np.full(n, x, np.float32) for x in self.va)
        return Affect(probs, self.labels, v, a, np.full((n, 2), 0.2, np.float32))


def expression(models: dict[str, Says]) -> tuple[list[Any], dict[str, Any]]:
    stack: Any = SimpleNamespace(
        get=lambda key: models[key] if key in models else next(iter(models.values())),
        label=lambda _: "e@1",
        opinions=lambda _: {name: name for name in models},
    )
    work = ExpressionPass(CLIP, stack, Analysis())  # pyright: ignore[reportCallIssue]
    batch = frames(0, N)
    seen = boxes([[(20, 10, 50, 40)]] * N, "f", batch)
    work.feed(batch, Tracked(batch, seen.boxes, np.zeros(N, np.int64)))
    return work.finish()


def test_measured_valence_is_taken_and_called_so():
    records, tables = expression({"emonet": Says(EIGHT, "contempt", (-0.4, 0.2))})
    by = {r.target: r for r in records}
    assert {"valence", "arousal", "expression"} == set(by)
    assert by["valence"].value == pytest.approx(-0.4, abs=1e-6)
    assert by["valence"].sd == pytest.approx(0.2, abs=1e-6)
    assert by["arousal"].value == pytest.approx(0.2, abs=1e-6)
    assert {label for label, _ in by["expression"].dist} == set(EIGHT) - {"contempt"}
    assert sum(p for _, p in by["expression"].dist) == pytest.approx(1, abs=1e-5)
    (table,) = tables.values()
    assert np.asarray(table["var_valence"]) == pytest.approx(0.04, abs=1e-6)


def test_a_model_without_valence_beside_one_with_it():
    records, _ = expression({"seven": Says(SEVEN, "happiness"), "eight": Says(EIGHT, "happiness", (0.6, 0.1))})
    by = {r.target: r for r in records}
    assert by["valence"].value == pytest.approx(0.6, abs=1e-6)
    assert max(by["expression"].dist, key=lambda p: p[1])[0] == "happiness"
    assert by["expression.disagreement"].value < 0.05
    records, _ = expression({"seven": Says(SEVEN, "sadness"), "eight": Says(EIGHT, "happiness", (0.6, 0.1))})
    assert {r.target: r for r in records}["expression.disagreement"].value > 0.1, (
        "labels are matched by name, not place"
    )


def test_derived_valence_keeps_its_name():
    records, _ = expression({"seven": Says(SEVEN, "happiness")})
    assert {"valence.derived", "arousal.derived", "expression"} == {r.target for r in records}


def test_opinions_that_lack_a_class_are_refused_with_a_way_out():
    five = ("neutral", "happiness", "sadness", "surprise", "fear")
    with pytest.raises(MienError, match="config.labels-differ") as error:
        expression({"seven": Says(SEVEN, "fear"), "five": Says(five, "fear", (0, 0))})
    assert "five" in error.value.message
    assert "disgust" in error.value.message or "anger" in error.value.message
    records, _ = expression({"five": Says(five, "fear", (-0.5, 0.5)), "seven": Says(SEVEN, "fear")})
    assert len({r.target: r for r in records}["expression"].dist) == 5


def test_a_biometric_expression_needs_the_leave_of_the_identity_window():
    made: dict[str, Any] = {"project": {"context": "research"}, "stack": {"expression": "expression.facenet"}}
    with pytest.raises(MienError, match=REFUSED):
        Stack(Config(**made))
    Stack(Config(**made, identity={"enabled": True}))  # pyright: ignore[reportArgumentType]


class Gate:
    """Scripted: closes at frame 5; names a region there."""

    def run(self, batch: Frames) -> Scalars:
        score = np.where(batch.t_us == 5 * STEP, 0.9, 0.05).astype(np.float32)
        return Scalars(score, np.full(len(score), np.nan, np.float32))


class NamingGate(Gate):
    def regions(self, batch: Frames) -> Boxes:
        assert batch.t_us.tolist() == [5 * STEP], "asked only where it closes"
        box = np.array([[1, 1, 9, 9], [2, 2, 8, 8]], np.float32)
        return Boxes(np.zeros(2, np.int64), box, np.array([0.9, 0.4], np.float32), np.array([1, 0]), ("a", "b"))


@pytest.mark.parametrize("gate", [Gate(), NamingGate()])
def test_a_gate_that_knows_regions_gives_the_reasons(gate: Gate):
    stack: Any = SimpleNamespace(get=lambda _: gate, label=lambda _: "gate@1")
    work = ExplicitPass(CLIP, stack, Analysis())  # pyright: ignore[reportCallIssue]
    for first, n in ((0, 3), (3, 7)):
        work.feed(frames(first, n), None)
    records, _ = work.finish()
    by = {r.target: r for r in records}
    assert by["explicit.max"].value == pytest.approx(0.9)
    if isinstance(gate, NamingGate):
        assert [(name, round(p, 3)) for name, p in by["explicit.regions"].dist] == [("b", 0.9), ("a", 0.4)]
    else:
        assert "explicit.regions" not in by
