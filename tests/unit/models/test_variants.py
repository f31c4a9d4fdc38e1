"""Variants in int8: compared before they are kept, kept before they can be asked for, and never the default."""

from __future__ import annotations

import json
from typing import ClassVar

import numpy as np
import pytest

from mien.core import AdapterSpec, Boxes, Device, Frames, MienError, Scalars, WeightFiles, fingerprint
from mien.models.sessions import Written
from mien.models.variants import Parity, Precise, at_precision, parity, place, tune
from mien.models.vision.faces.detection import CenterFace
from mien.models.vision.objects.explicit import OpenNsfw
from tests.unit.models.test_kept_graphs import network

NAN = float("nan")


class Judge:
    """A score of each frame: a mean over what the network answers."""

    spec: ClassVar = AdapterSpec("judge", "explicit", Frames, Scalars)

    def __init__(self, net, config):
        self._net = net

    def run(self, batch):
        said = [self._net.run(p.transpose(2, 0, 1)[None].astype(np.float32) / 255)[0] for p in batch.pixels]
        score = np.array([1 / (1 + np.exp(-s.mean())) for s in said], np.float32)
        return Scalars(score, np.full(len(score), np.nan, np.float32))


def frames(n: int, seed: int, top: int = 256) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, top, (n, 32, 32, 3)).astype(np.uint8)
    return Frames(pixels, np.arange(n, dtype=np.int64))


@pytest.fixture
def written(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(network())
    return Written((path,), "", path.read_bytes)


def boxes(*rows: tuple[float, float, float, float], label: int = 0, score: float = 0.9) -> Boxes:
    n = len(rows)
    xyxy = np.array(rows, np.float32).reshape(-1, 4)
    points = np.zeros((n, 1, 2), np.float32) + xyxy[:, None, :2]
    return Boxes(
        np.zeros(n, np.int64), xyxy, np.full(n, score, np.float32), np.full(n, label, np.int64), ("a", "b"), points
    )


A, B = (10, 10, 50, 50), (100, 10, 140, 60)


@pytest.mark.parametrize(
    ("other", "agreed", "kept"),
    [
        (boxes(A, B), 1.0, True),
        (boxes(B, A), 1.0, True),
        (boxes(A), 2 / 3, False),
        (boxes(A, B, (200, 200, 220, 220)), 4 / 5, False),
        (boxes(A, B, label=1), 0.0, False),
        (boxes(A, (300, 10, 340, 60)), 0.5, False),
        (boxes((13, 10, 53, 50), (104, 10, 144, 60)), 1.0, False),  # the same decisions, at other places
        (boxes(), 0.0, False),
    ],
)
def test_boxes_are_compared_by_class_and_place(other, agreed, kept):
    told = parity([boxes(A, B)], [other], [1])
    assert told.agreed == pytest.approx(agreed)
    assert told.kept is kept


def test_where_nothing_was_found_nothing_is_shown_to_agree():
    told = parity([boxes()], [boxes()], [1])
    assert np.isnan(told.agreed)
    assert not told.kept


def test_points_count():
    moved = boxes(A, B)
    far = Boxes(moved.frame, moved.xyxy, moved.score, moved.label, moved.names, moved.points + 4)
    assert parity([boxes(A, B)], [far], [1]).points == pytest.approx(np.hypot(4, 4) * (1 / 40 + 1 / 50) / 2)
    assert not parity([boxes(A, B)], [far], [1]).kept


def test_scores_are_compared_one_by_one():
    def scores(*v):
        return Scalars(np.array(v, np.float32), np.full(len(v), np.nan, np.float32))

    told = parity([scores(0.1, 0.5)], [scores(0.11, 0.6)], [2])
    assert (told.agreed, round(told.apart, 4), told.kept) == (0.5, 0.1, False)
    assert parity([scores(0.1)], [scores(0.11)], [1]).kept


def test_asking_for_what_was_not_made_says_what_to_do(written):
    with pytest.raises(MienError) as caught:
        at_precision(written, Precise(precision="int8"), "judge")
    assert caught.value.code == "models.not-tuned"
    assert "mien models tune judge" in caught.value.hint
    assert at_precision(written, Precise(), "judge") is written


def test_the_default_leaves_the_fingerprint_as_it_was_and_int8_changes_it():
    for cls in (CenterFace, OpenNsfw):
        plain, small = (fingerprint(cls.spec, cls.Config(precision=p)) for p in ("float32", "int8"))
        assert plain == fingerprint(cls.spec, cls.Config())
        assert "precision" not in cls.Config().model_dump()
        assert plain.config_sha256 != small.config_sha256


def test_a_real_network_is_quantised_kept_and_used(written, monkeypatch):
    told = tune(Judge, written, Precise(), frames(6, 0), [frames(6, 1)])
    assert {v.way for v in told.variants} == {"convolutions", "everything"}
    assert all(v.parity.kept and v.parity.apart > 0 for v in told.variants)  # near, and yet not the same
    # Whether it is faster depends on the machine: kept where it is.
    faster = [v for v in told.variants if v.ms < told.ms]
    assert bool(told.kept) == place(written).is_file()
    assert bool(told.kept) <= bool(faster)
    if told.kept:
        small = at_precision(written, Precise(precision="int8"), "judge")
        assert small.write() != written.write()
        assert json.loads(place(written).with_suffix(".json").read_text())["kept"] == told.kept


def test_a_variant_that_decides_otherwise_is_not_kept(written, monkeypatch):
    """Calibrated in the dark, it cannot tell bright pictures; and what an earlier look had kept is gone."""
    place(written).parent.mkdir(parents=True)
    place(written).write_bytes(b"kept before")
    told = tune(Judge, written, Precise(), frames(6, 0, top=2), [frames(6, 1)])
    assert told.kept == ""
    assert not any(v.parity.kept for v in told.variants)
    assert not place(written).exists()


def test_an_adapter_opens_only_what_was_tuned(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "centerface.onnx").write_bytes(network())
    files = WeightFiles({"centerface.onnx": tmp_path / "centerface.onnx"})
    with pytest.raises(MienError) as caught:
        CenterFace.open(files, CenterFace.Config(precision="int8"), Device())
    assert caught.value.code == "models.not-tuned"


def test_parity_is_not_kept_by_a_missing_figure():
    assert not Parity(3, NAN, NAN, 0.0, NAN).kept
    assert Parity(3, 1.0, NAN, 0.0, NAN).kept
