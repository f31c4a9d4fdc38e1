"""Descriptors on real photographs through the real mesh: do they move the way the labelled expressions do?

Area under the curve of one descriptor against "this label or any other" (0.5: tells nothing). The neutral head of
`signals.descriptors` was measured on the same photographs, without their labels; it serves the pose alone.
"""

import csv
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from mien.core import Faces, Frames
from mien.models.weights import load_adapters, open_adapter, present
from mien.signals.descriptors import NAMES, describe

MODELS = ("face.blazeface", "landmarks.facemesh")


def _reason() -> str:
    adapters = load_adapters()
    missing = [m for m in MODELS if (w := adapters[m].spec.weights) and not present(w)]
    return f"needs the weights of {', '.join(missing)}: mien models pull" if missing else ""


pytestmark = [pytest.mark.peer, pytest.mark.skipif(bool(_reason()), reason=_reason())]


@pytest.fixture(scope="module")
def described(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Values [n 15] of the best face of each picture, and its label."""
    import cv2

    detector, mesh = (open_adapter(name) for name in MODELS)
    values, labels = [], []
    folder = shared_data / "face_expression_muxspace"
    with (folder / "labels.csv").open() as f:
        rows = list(csv.DictReader(f))
    for row in rows:
        picture = cv2.imread(str(folder / row["file"]))
        if picture is None:
            continue
        frames = Frames(np.ascontiguousarray(picture[:, :, ::-1])[None], np.zeros(1, np.int64))
        boxes = detector.run(frames)
        if len(boxes):
            best = boxes.take(np.array([boxes.score.argmax()]))
            values.append(describe(mesh.run(Faces(frames, best))).values[0])
            labels.append(row["emotion"].lower())
    detector.close()
    mesh.close()
    return np.array(values), np.array(labels)


def _auc(values: np.ndarray, yes: np.ndarray) -> float:
    known = np.isfinite(values)
    values, yes = values[known], yes[known]
    n = yes.sum()
    return float((rankdata(values)[yes].sum() - n * (n + 1) / 2) / (n * (~yes).sum()))


def test_descriptors_follow_labelled_expressions(described: tuple[np.ndarray, np.ndarray]) -> None:
    values, labels = described
    assert np.isfinite(values[:, 0]).sum() > 180
    by = {name: values[:, i] for i, name in enumerate(NAMES)}
    found = {
        ("mouth_corner_raise", "happiness"): (0.80, 1.0),
        ("mouth_width", "happiness"): (0.70, 1.0),
        ("eye_opening", "fear"): (0.75, 1.0),
        ("brow_raise_inner", "anger"): (0.0, 0.42),
        ("brow_gap", "disgust"): (0.0, 0.35),
    }
    for (name, label), (low, high) in found.items():
        auc = _auc(by[name], labels == label)
        print(f"{name} for {label}: AUC {auc:.3f} (n={np.sum(labels == label)})")
        assert low <= auc <= high, name
    shuffled = np.random.default_rng(0).permutation(labels)
    assert abs(_auc(by["mouth_corner_raise"], shuffled == "happiness") - 0.5) < 0.15
    # a smile's corners agree with each other far more than with another face's
    left, right = by["mouth_corner_raise_left"], by["mouth_corner_raise_right"]
    both = np.isfinite(left) & np.isfinite(right)
    assert np.corrcoef(left[both], right[both])[0, 1] > 0.6


def test_portraits_look_about_at_the_camera(described: tuple[np.ndarray, np.ndarray]) -> None:
    pose = described[0][:, -3:]
    assert np.abs(np.nanmedian(pose, axis=0)).max() < 4
    assert np.nanpercentile(np.abs(pose), 95) < 35
