"""The evaluator against published figures, and the tracker on real scenes: PETS09, TUD-Campus, one person at a time.

The bounds hold off a regression; the figures of the day are in bench/RESULTS.md.
"""

from pathlib import Path

import numpy as np
import pytest

from mien.evaluate import evaluate_tracks, read_mot
from mien.signals.tracking import TrackerConfig

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.peer


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, shared_data: Path):
    monkeypatch.syspath_prepend(ROOT)
    import bench.tracking

    monkeypatch.setattr(bench.tracking, "DATA", shared_data / "tracking")
    return bench.tracking


def test_tud_campus_gives_the_published_figures(shared_data: Path) -> None:
    """motmetrics 1.4.0, test_metrics.py:455-510, to 1e-3."""
    scene = shared_data / "tracking" / "TUD-Campus"
    s = evaluate_tracks(read_mot(scene / "gt.txt"), read_mot(scene / "test.txt"), range(1, 72))
    shares = (s.idf1, s.idp, s.idr, s.recall, s.precision, s.mota, s.motp)
    assert np.allclose(shares, (0.557659, 0.729730, 0.451253, 0.582173, 0.941441, 0.526462, 0.277201), atol=1e-3)
    counts = (s.people, s.mostly_tracked, s.partly_tracked, s.mostly_lost, s.false, s.misses, s.switches, s.fragments)
    assert counts == (8, 1, 6, 1, 13, 150, 7, 7)


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


def test_the_evaluator_sees_planted_faults(shared_data: Path) -> None:
    """Truth against itself is perfect; swapped ids, dropped boxes and shuffled frames are each counted."""
    truth = read_mot(shared_data / "tracking" / "PETS09-S2L1_gt.txt")
    frames = range(1, 796)
    perfect = evaluate_tracks(truth, truth, frames)
    assert (perfect.mota, perfect.idf1, perfect.switches, perfect.misses, perfect.false) == (1.0, 1.0, 0, 0, 0)

    renamed = {f: (b, i + 100 * (f >= 400)) for f, (b, i) in truth.items()}
    both = set(truth[399][1]) | {p for f in range(1, 400) for p in truth[f][1]}
    after = {p for f in range(400, 796) for p in truth[f][1]}
    swapped = evaluate_tracks(truth, renamed, frames)
    assert swapped.switches == len(both & after)
    counts = {
        p: [sum(p in i for f, (_, i) in truth.items() if (f >= 400) == late) for late in (False, True)]
        for p in {p for _, i in truth.values() for p in i}
    }
    assert swapped.idtp == sum(map(max, counts.values()))

    dropped = {f: (b[1:], i[1:]) if f == 100 else (b, i) for f, (b, i) in truth.items()}
    hole = evaluate_tracks(truth, dropped, frames)
    assert (hole.misses, hole.fragments, hole.switches) == (1, 1, 0)

    order = np.random.default_rng(0).permutation(795) + 1
    shuffled = evaluate_tracks(truth, {f: truth[int(order[f - 1])] for f in frames}, frames)
    assert shuffled.mota < 0


def test_one_person_at_a_time_never_has_two_ids(bench) -> None:
    answer, _ = bench.own(bench.DATA / "one-by-one-person-detection.mp4", 5)
    assert max(len(ids) for _, ids in answer.values()) == 1
    assert len({int(i) for _, ids in answer.values() for i in ids}) >= 2


def test_tud_campus_with_the_own_detector(bench) -> None:
    answer, _ = bench.own(bench.DATA / "TUD-Campus" / "TUD-Campus.mp4")
    score = evaluate_tracks(read_mot(bench.DATA / "TUD-Campus" / "gt.txt"), answer, range(1, 72))
    print(score)
    assert score.mota > 0.4
