"""The tracker on a real scene: PETS09-S2L1 with its public detections, at every frame and at lower rates.

The detections bound the result: 3537 of 4650 persons have one at IoU ≥ 0.5. The bounds hold off a regression; the
figures of the day are in bench/RESULTS.md.
"""

from pathlib import Path

import numpy as np
import pytest

from mien.signals.tracking import TrackerConfig

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.peer


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, shared_data: Path):
    monkeypatch.syspath_prepend(ROOT)
    import bench.tracking

    monkeypatch.setattr(bench.tracking, "DATA", shared_data / "tracking")
    return bench.tracking


@pytest.mark.parametrize(
    ("step", "mota", "switches", "tracks"), [(1, 0.57, 80, 40), (2, 0.56, 60, 40), (4, 0.54, 55, 42)]
)
def test_pets_at_three_rates(bench, step: int, mota: float, switches: int, tracks: int) -> None:
    score = bench.pets(step)
    print(score)
    assert score.people == 19
    assert score.mota >= mota
    assert score.switches <= switches
    assert score.tracks <= tracks


def test_buffered_overlap_is_what_carries_low_rates(bench) -> None:
    plain = bench.pets(4, TrackerConfig(buffer_per_s=0))
    assert bench.pets(4).switches < plain.switches
    assert bench.pets(4).tracks < plain.tracks


def test_the_evaluator_sees_planted_faults(bench) -> None:
    """Truth against itself is perfect; swapped ids, dropped boxes and shuffled ids are each counted."""
    truth = bench.read_mot(bench.DATA / "PETS09-S2L1_gt.txt")
    frames = range(1, 796)
    perfect = bench.clear(truth, truth, frames)
    assert (perfect.mota, perfect.switches, perfect.misses, perfect.false) == (1.0, 0, 0, 0)

    renamed = {f: (b, np.where(f >= 400, i + np.array([100, 0]), i)) for f, (b, i) in truth.items()}
    both = set(truth[399][1][:, 0]) | {p for f in range(1, 400) for p in truth[f][1][:, 0]}
    after = {p for f in range(400, 796) for p in truth[f][1][:, 0]}
    assert bench.clear(truth, renamed, frames).switches == len(both & after)

    dropped = {f: (b[1:], i[1:]) if f == 100 else (b, i) for f, (b, i) in truth.items()}
    hole = bench.clear(truth, dropped, frames)
    assert (hole.misses, hole.fragments, hole.switches) == (1, 1, 0)

    rng = np.random.default_rng(0)
    shuffled = {f: (b, rng.permutation(i)) for f, (b, i) in truth.items()}
    assert bench.clear(truth, shuffled, frames).mota < 0.5
