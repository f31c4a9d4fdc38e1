"""Control vectors: what is not known is masked, bytes are the same, statistics are right and free of order."""

import json
import subprocess
import sys

import numpy as np
import pytest
from clips_made import Project, rows

from mien.export.captions import AXES, CaptionTerms, controls_row, describe, statistics, write_controls

TERMS = CaptionTerms()


def controls(curves, **more):
    project = Project()
    return describe(rows(project, curves, **more), project, TERMS).controls


def test_what_is_not_measured_is_zero_and_masked():
    half = np.where(np.arange(30) < 10, 0.5, np.nan)
    made = controls({"face.lip_gap": half, "loudness": -20.0}, weak=("loudness",))
    mouth, loud, yaw = (made.names.index(n) for n in ("mouth_opening", "loudness", "head_yaw"))
    assert made.known[:, mouth].tolist() == [True] * 10 + [False] * 20
    assert made.values[10:, mouth].tolist() == [0.0] * 20
    assert made.clip[mouth] == pytest.approx(0.5)
    assert not made.clip_known[yaw]
    assert made.weak[loud]
    assert not made.weak[mouth]
    row = controls_row("a", made)
    assert row["values"]["head_yaw"] is None
    assert row["known_share"]["mouth_opening"] == pytest.approx(1 / 3, abs=1e-3)
    assert row["weak"] == ["loudness"]


def test_the_file_reads_back_and_says_what_is_missing(tmp_path):
    from safetensors import safe_open

    made = controls({"face.lip_gap": np.linspace(0, 1, 30), "valence": np.linspace(-1, 1, 30)}, sd=0.1)
    with safe_open(write_controls(tmp_path / "a.safetensors", made), "numpy") as file:
        about = json.loads(file.metadata()["mien"])
        assert about["names"] == [a.name for a in AXES]
        assert "known" in about["missing"]
        assert np.array_equal(file.get_tensor("values"), made.values)
        assert file.get_tensor("known").dtype == np.uint8
        assert file.get_tensor("t_us").dtype == np.int64
        assert np.isfinite(file.get_tensor("sd")).all()


def test_another_process_writes_the_same_bytes(tmp_path):
    made = controls({"face.lip_gap": np.linspace(0, 1, 30)})
    mine = write_controls(tmp_path / "a.safetensors", made).read_bytes()
    code = (
        "import sys, numpy as np; sys.path.insert(0, sys.argv[2]); from test_controls import controls;"
        "from pathlib import Path; from mien.export.captions import write_controls;"
        "write_controls(Path(sys.argv[1]), controls({'face.lip_gap': np.linspace(0, 1, 30)}))"
    )
    folder = str(__import__("pathlib").Path(__file__).parent)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.safetensors"), folder], check=True)
    assert (tmp_path / "b.safetensors").read_bytes() == mine


def test_statistics_are_those_of_numpy_and_of_no_order():
    rng = np.random.default_rng(0)
    clips = [controls({"face.lip_gap": rng.uniform(0.1, 0.9, 30), "head.yaw": 5.0}) for _ in range(12)]
    found = statistics(clips)
    every = np.concatenate([c.values[:, c.names.index("mouth_opening")] for c in clips])
    mouth = found["mouth_opening"]
    assert mouth["mean"] == pytest.approx(every.mean(), rel=1e-5)
    assert mouth["sd"] == pytest.approx(every.std(), rel=1e-4)
    assert mouth["quantiles"]["0.5"] == pytest.approx(np.median(every), abs=0.01)
    assert mouth["coverage"] == 1.0
    assert found["pitch"] == {"unit": "Hz", "cells": 0, "clips": 0, "coverage": 0.0}
    assert json.dumps(statistics(clips[::-1])) == json.dumps(found)
