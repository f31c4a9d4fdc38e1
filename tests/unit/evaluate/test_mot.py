"""The measures on scenes small enough to count by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.core import MienError
from mien.evaluate import Scene, evaluate_tracks, read_mot


def _scene(*rows: tuple[int, int, float]) -> Scene:
    """(frame, id, left): boxes of 10×10."""
    frames = sorted({f for f, _, _ in rows})
    return {
        f: (
            np.array([[x, 0, x + 10, 10] for g, _, x in rows if g == f], float),
            np.array([i for g, i, _ in rows if g == f], np.int64),
        )
        for f in frames
    }


def test_a_switch_a_gap_a_miss_and_a_false_box() -> None:
    truth = _scene(*[(f, 1, 0.0) for f in range(1, 7)], *[(f, 2, 100.0) for f in range(1, 7)])
    answer = _scene(
        *[(f, 7, 0.0) for f in (1, 2, 3)], *[(f, 8, 0.0) for f in (4, 5, 6)],  # 1: one switch
        *[(f, 9, 100.0) for f in (1, 2, 5, 6)],  # 2: one gap of two
        (3, 9, 300.0),
    )  # fmt: skip
    s = evaluate_tracks(truth, answer, range(1, 7))
    assert (s.switches, s.fragments, s.misses, s.false) == (1, 1, 2, 1)
    assert s.mota == pytest.approx(1 - 4 / 12)
    assert s.idtp == 3 + 4
    assert (s.mostly_tracked, s.partly_tracked) == (1, 1)


def test_a_correspondence_outlives_a_better_overlap() -> None:
    truth = _scene((1, 1, 0.0), (2, 1, 0.0))
    answer = _scene((1, 5, 1.0), (2, 5, 3.0), (2, 6, 0.0))
    s = evaluate_tracks(truth, answer, range(1, 3))
    assert (s.switches, s.false) == (0, 1)
    assert s.motp == pytest.approx(((1 - 9 / 11) + (1 - 7 / 13)) / 2)


def test_nothing_is_not_zero() -> None:
    s = evaluate_tracks({}, {}, range(1, 3))
    assert all(np.isnan(v) for v in (s.mota, s.idf1, s.recall, s.precision, s.motp))


def test_a_file_that_is_not_mot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "gt.txt").write_text("a,b,c\n")
    with pytest.raises(MienError, match="not-mot"):
        read_mot(tmp_path / "gt.txt")
