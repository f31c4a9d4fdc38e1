"""The tracker on planted motion: crossing, gaps, variable frame rate, rocking, weak detections, bounded memory."""

import numpy as np
import pytest

from mien.signals.tracking import Tracker, TrackerConfig


def _step(tracker: Tracker, t_s: float, *people: tuple[float, float, float, int]) -> list[int]:
    """One frame of 40×100 px boxes: (cx, cy, score, label)."""
    boxes = np.array([[x - 20, y - 50, x + 20, y + 50] for x, y, _, _ in people], np.float32).reshape(-1, 4)
    score = np.array([s for *_, s, _ in people], np.float32)
    label = np.array([k for *_, k in people], np.int64)
    return tracker.update(round(t_s * 1e6), boxes, score, label).tolist()


def test_two_people_cross_and_keep_their_ids() -> None:
    tracker, seen = Tracker(), []
    for k in range(40):
        t = k / 10
        seen.append(_step(tracker, t, (100 + 60 * t, 100, 0.9, 0), (340 - 60 * t, 130, 0.9, 0)))
    assert {tuple(ids) for ids in seen} == {(0, 1)}
    assert tracker.finish().tolist() == [0, 1]


def test_order_of_detections_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    one, other = Tracker(), Tracker()
    for k in range(30):
        people = [(100 + 80 * i + 10 * k, 100 + rng.normal() * 3, 0.9, 0) for i in range(4)]
        turn = rng.permutation(4) if k else np.arange(4)
        a, b = _step(one, k / 5, *people), _step(other, k / 5, *(people[i] for i in turn))
        assert [a[i] for i in turn] == b


@pytest.mark.parametrize("fps", [25, 10, 5])
def test_a_walker_keeps_one_id_at_any_rate(fps: int) -> None:
    """1.2 body heights per second: at 5 frames/s they move 60 % of their own width between frames."""
    tracker = Tracker()
    ids = {i for k in range(4 * fps) for i in _step(tracker, k / fps, (50 + 120 * k / fps, 100, 0.9, 0))}
    assert ids == {0}


def test_variable_frame_rate_with_a_gap() -> None:
    """Speed is per second: after 0.8 s without the person the box is looked for where time, not frames, puts it."""
    times = [0, 0.04, 0.08, 0.2, 0.24, 0.28, 0.4, 0.6, 1.4, 1.44]
    tracker = Tracker()
    assert [_step(tracker, t, (50 + 150 * t, 100, 0.9, 0))[0] for t in times] == [0] * len(times)
    still = Tracker(TrackerConfig(buffer_per_s=0))
    for t in times[:8]:
        _step(still, t, (50 + 150 * t, 100, 0.9, 0))
    assert _step(still, 1.4, (50, 100, 0.9, 0)) != [0]  # back at the start is not where time puts them


@pytest.mark.parametrize(("amplitude", "hz"), [(50, 0.5), (100, 0.5), (100, 0.8), (50, 1.2)])
def test_rocking_is_one_track(amplitude: float, hz: float) -> None:
    """A face of 80×100 px that swings by up to its own height to both sides, seen five times a second."""
    tracker, ids = Tracker(), []
    for k in range(60):
        x = 300 + amplitude * np.sin(2 * np.pi * hz * k / 5)
        box = np.array([[x - 40, 50, x + 40, 150]], np.float32)
        ids += tracker.update(200_000 * k, box, np.full(1, 0.9, np.float32), np.zeros(1, np.int64)).tolist()
    assert set(ids) == {0}


def test_leaving_ends_the_track() -> None:
    tracker = Tracker()
    _step(tracker, 0, (100, 100, 0.9, 0))
    assert len(tracker) == 1
    assert _step(tracker, 1.0) == []
    assert _step(tracker, 2.0) == []
    assert len(tracker) == 0
    assert _step(tracker, 2.2, (100, 100, 0.9, 0)) == [-1]
    assert _step(tracker, 2.4, (100, 100, 0.9, 0)) == [1]


def test_one_after_another_are_two_people() -> None:
    """Someone leaves at the right; a second later someone comes in at the left."""
    tracker = Tracker()
    for k in range(10):
        _step(tracker, k / 5, (400 + 30 * k, 100, 0.9, 0))
    for k in range(5):
        _step(tracker, 2 + k / 5)
    ids = [_step(tracker, 3 + k / 5, (30 + 30 * k, 100, 0.9, 0))[0] for k in range(5)]
    assert ids == [-1, 1, 1, 1, 1]


def test_weak_detections_continue_a_track_but_start_none() -> None:
    tracker = Tracker()
    _step(tracker, 0, (100, 100, 0.9, 0))
    assert _step(tracker, 0.2, (104, 100, 0.3, 0), (400, 100, 0.3, 0)) == [0, -1]
    assert _step(tracker, 0.4, (108, 100, 0.05, 0)) == [-1]
    assert len(tracker) == 1


def test_labels_never_mix() -> None:
    tracker = Tracker()
    assert _step(tracker, 0, (100, 100, 0.9, 0), (105, 100, 0.9, 1)) == [0, 1]
    assert _step(tracker, 0.2, (100, 100, 0.9, 1), (105, 100, 0.9, 0)) == [1, 0]


def test_a_false_start_gets_no_id() -> None:
    tracker = Tracker()
    _step(tracker, 0, (100, 100, 0.9, 0))
    assert _step(tracker, 0.2, (100, 100, 0.9, 0), (500, 100, 0.9, 0)) == [0, -1]
    assert _step(tracker, 0.4, (100, 100, 0.9, 0)) == [0]
    assert _step(tracker, 0.6, (100, 100, 0.9, 0), (500, 100, 0.9, 0)) == [0, -1]


def test_memory_is_bounded_and_ids_are_never_reused() -> None:
    rng, tracker, most, seen = np.random.default_rng(0), Tracker(), 0, []
    for k in range(600):
        people = [(rng.uniform(0, 5000), rng.uniform(0, 5000), 0.9, 0) for _ in range(3)]
        seen += [i for i in _step(tracker, k / 5, *people) if i >= 0]
        most = max(most, len(tracker))
    assert most < 40
    tracker.finish()
    assert len(tracker) == 0
    assert _step(tracker, 0, (100, 100, 0.9, 0))[0] > max(seen)


def test_empty_boxes_are_not_tracked() -> None:
    ids = Tracker().update(
        0, np.array([[5, 5, 5, 9], [0, 0, 9, 9]], np.float32), np.full(2, 0.9, np.float32), np.zeros(2, np.int64)
    )
    assert ids.tolist() == [-1, 0]


def test_bad_input_is_refused() -> None:
    tracker = Tracker()
    _step(tracker, 1, (100, 100, 0.9, 0))
    with pytest.raises(ValueError, match="rise"):
        _step(tracker, 1, (100, 100, 0.9, 0))
    with pytest.raises(ValueError, match="must be"):
        tracker.update(2_000_000, np.zeros((1, 3), np.float32), np.ones(1, np.float32), np.zeros(1, np.int64))
    with pytest.raises(ValueError, match="finite"):
        _step(tracker, 3, (np.nan, 100, 0.9, 0))
