"""`bench models`: no adapter is forgotten, a process of its own measures what it was given, a wrong GPU would show."""

from __future__ import annotations

import json
import pickle
from dataclasses import asdict

import numpy as np
import pytest

from bench import models, onecall
from bench.onecall import Task, answers_of, clocked, halve, many
from bench.seeded import BUILDERS, REASONS
from mien.core import Boxes, Device, Distribution, Embeddings, Faces, Frames, MienError
from mien.models.weights import load_adapters

NAME = "expression.deepface"


@pytest.fixture
def one_face() -> Faces:
    pixels = np.random.default_rng(0).integers(0, 255, (1, 96, 96, 3), dtype=np.uint8)
    none = np.zeros(1, np.int64)
    box = np.array([[20, 20, 70, 80]], np.float32)
    eyes = np.array([[[35, 40], [55, 40]]], np.float32)
    return Faces(Frames(pixels, none), Boxes(none, box, np.ones(1, np.float32), none, ("face",), eyes))


def test_every_adapter_is_measured_or_says_why_not(monkeypatch, tmp_path):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    for name, cls in load_adapters().items():
        said, weights = models.source(name), cls.spec.weights
        if weights is None:
            assert said == "not measured: asks an endpoint"
        elif name in BUILDERS:
            assert said.startswith("seeded: ")
        else:  # fetched, or accepted, or of the user's own for a reason that is stated
            assert said == "real" or said.startswith("not measured: ")
            assert weights.assets or not weights.runtime or name in REASONS, name
    assert not BUILDERS.keys() & REASONS.keys()
    assert BUILDERS.keys() | REASONS.keys() <= load_adapters().keys()


def test_a_process_of_its_own_measures_seeded_weights(one_face, tmp_path):
    BUILDERS[NAME][1](tmp_path)
    (tmp_path / "in").write_bytes(pickle.dumps({"Faces": one_face}))
    answers = tmp_path / "said.npz"
    task = Task(NAME, str(tmp_path / "in"), str(tmp_path), answers=str(answers))
    told = models.child(300, "--measure", json.dumps(asdict(task)))
    rows = {(t["rows"], t["threads"]) for t in told["timed"]}
    assert {(1, 1), (onecall.MANY, 1)} <= rows
    assert all(t["processor_ms"] > 0 and t["calls"] >= 1 for t in told["timed"])
    assert 20 < told["peak_mb"] < 4000
    given = load_adapters()[NAME].open(onecall.WeightFiles({p.name: p for p in tmp_path.glob("*.safetensors")}),
                                       load_adapters()[NAME].Config(), Device(threads=1))  # fmt: skip
    here = answers_of(given.run(many(one_face, onecall.MANY)))
    assert models.apart(models.read_answers(answers), here)[0] < 1e-6, "it ran the network that was built"


def test_a_child_that_fails_stops_nothing_and_says_why(tmp_path):
    with pytest.raises(MienError, match="bench.failed") as error:
        models.child(300, "--build", "no.such.adapter", str(tmp_path))
    assert "no.such.adapter" in error.value.message


# ---------------------------------------------------------------- a second device


class Off:
    """A network whose answers are off by a little."""

    def __init__(self, net, by):
        self._net, self._by, self.map = net, by, net.map

    def run(self, *inputs):
        return [out + np.float32(self._by) * (np.arange(out.size, dtype=np.float32).reshape(out.shape) % 2)
                for out in self._net.run(*inputs)]  # fmt: skip

    def close(self):
        """Nothing is held."""


@pytest.mark.parametrize(("by", "passes"), [(0.0, True), (1e-4, True), (0.5, False)])
def test_a_device_that_answers_otherwise_is_told_apart(one_face, tmp_path, monkeypatch, by, passes):
    """The processor beside a processor that is off: the same table as for CUDA."""

    def child(_, __, order):
        task = json.loads(order)
        model = load_adapters()["landmarks.facemesh"].tiny()
        if task["half"]:
            halve(model)  # no torch network: raises
        if task["device"] == "cuda":
            model._net = Off(model._net, by)
        np.savez(task["answers"], **answers_of(model.run(one_face)))
        return {"timed": [asdict(onecall.Timed(1, 1, 1.0, 2.0, 3))], "peak_mb": 9.0}

    monkeypatch.setattr(models, "child", child)
    (row,) = models.on_gpu(Task("landmarks.facemesh", ""), tmp_path, 60)
    assert row[:4] == ["1", "2.0", "2.0", "9"]
    assert ("above" not in row[4]) == passes
    assert row[5] == ""


def test_differences_are_shares_of_the_largest_value_and_gaps_are_infinite():
    one = {"a": np.array([200.0, 1, np.nan]), "b": np.array([0.5])}
    assert models.apart(one, one) == (0.0, "")
    far, where = models.apart(one, {"a": np.array([201.0, 1, np.nan]), "b": np.array([0.5])})
    assert (far, where) == (pytest.approx(1 / 200), "a")
    assert models.apart(one, one | {"b": np.array([0.52])})[0] == pytest.approx(0.02)
    for wrong in (one | {"a": np.zeros(3)}, one | {"b": np.zeros(2)}, {"a": one["a"]}):
        assert models.apart(one, wrong)[0] == np.inf
    assert models.verdict(one, one | {"b": np.array([0.52])}, 1e-3) == "2.0e-02 in b: above 0.001"


def test_bfloat16_changes_answers_a_little():
    torch = pytest.importorskip("torch")
    from mien.models.torchnet import TorchNet

    class Torch:
        spec = load_adapters()[NAME].spec

        def __init__(self):
            torch.manual_seed(0)
            self._net = TorchNet(torch.nn.Linear(64, 7), Device(threads=1), "linear")

        def run(self, x):
            return Distribution(np.abs(self._net.run(x)[0]), tuple("abcdefg"))

    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    model = Torch()
    full = answers_of(model.run(x))
    halve(model)
    assert 1e-5 < models.apart(full, answers_of(model.run(x)))[0] < 0.05
    with pytest.raises(MienError, match="bench.no-torch"):
        halve(load_adapters()[NAME].tiny())


# ---------------------------------------------------------------- one call


def test_calls_are_counted_and_a_long_one_is_made_once(monkeypatch):
    seen = []
    timed = clocked(seen.append, "batch", 4, 1)
    assert (timed.rows, timed.threads, timed.calls) == (4, 1, 15)
    assert len(seen) == 16, "one to warm up"
    monkeypatch.setattr(onecall, "LONG_S", -1.0)
    monkeypatch.setattr(onecall.time, "process_time", iter(np.arange(99) * 2.0).__next__)
    assert clocked(seen.append, "batch", 4, 1).calls == 1


def test_batches_repeat_their_row(one_face):
    assert len(many(one_face, 5)) == 5
    assert len(many(one_face.frames, 3)) == 3
    vectors = many(Embeddings(np.ones((1, 4), np.float32)), 6).vectors
    assert vectors.shape == (6, 4)
