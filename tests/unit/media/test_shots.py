"""Shots on made-up frames: real cuts stay, flashes are stitched, and the clips do not depend on when news came."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from mien.core import US
from mien.media import Decoder, Found, Scanning, cut
from mien.media.shots import Shots
from mien.testing.media import Recipe, make


def _scene(seed: int) -> np.ndarray:
    """A smooth picture of its own colours, uint8 [90 160 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (6, 10, 3))
    return np.kron(coarse, np.ones((15, 16, 1))).astype(np.uint8)


def _shots(frames: list[np.ndarray]) -> Shots:
    shots = Shots(Fraction(25))
    for i, frame in enumerate(frames):
        shots.feed(40_000 * i, frame)
    shots.finish()
    return shots


def test_a_cut_is_found_at_its_first_frame() -> None:
    shots = _shots([_scene(1)] * 30 + [_scene(2)] * 30)
    assert (shots.cuts_us, shots.stitched_us) == ([30 * 40_000], [])


def test_a_flash_is_stitched() -> None:
    bright = np.full_like(_scene(1), 255)
    shots = _shots([_scene(1)] * 30 + [bright] * 2 + [_scene(1)] * 30)
    assert shots.cuts_us == []
    assert shots.stitched_us


def test_a_lamp_switched_on_is_no_new_shot() -> None:
    dim = (_scene(1) // 3).astype(np.uint8)
    shots = _shots([dim] * 30 + [_scene(1)] * 30)
    assert shots.cuts_us == []


def test_what_is_settled_does_not_change() -> None:
    frames = [_scene(i // 20) for i in range(120)]
    shots, known = Shots(Fraction(25)), {}
    for i, frame in enumerate(frames):
        shots.feed(40_000 * i, frame)
        known[shots.settled_us] = [at for at in shots.cuts_us if at < shots.settled_us]
    shots.finish()
    assert len(shots.cuts_us) == 5
    assert all([at for at in shots.cuts_us if at < settled] == then for settled, then in known.items())


def test_clips_come_before_the_scan_ends_and_equal_the_whole(tmp_path: Path) -> None:
    made = make(tmp_path / "three.mp4", Recipe(seconds=6, cuts_s=(2.0, 4.5)))
    news: list[Found] = []
    with Decoder(made.path) as decoder:
        scan = decoder.scan(news.append)
    assert len(news) > 2
    assert [at for n in news for at in n.cuts_us] == list(scan.cuts_us)
    activity = [a for n in news for a in n.activity]
    assert len(activity) == scan.end_us // 200_000
    with Scanning(made.path, 2 * US) as scanning:
        clips = list(scanning)
    assert scanning.result == scan
    assert clips == cut(scan.end_us, scan.cuts_us, activity, max_us=2 * US)


def test_leaving_a_scan_ends_its_child(tmp_path: Path) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=6))
    with Scanning(made.path, 2 * US) as scanning:
        next(iter(scanning))
    assert scanning._decoder._child.returncode is not None


def test_quiet_is_quiet_and_loud_is_loud(tmp_path: Path) -> None:
    quiet, loud = (make(tmp_path / f"{f is None}.mp4", Recipe(seconds=3, tone_s=f)) for f in (None, (0.0, 3.0)))
    levels = []
    for made in (quiet, loud):
        news: list[Found] = []
        with Decoder(made.path) as decoder:
            decoder.scan(news.append)
        levels.append(np.mean([a for n in news for a in n.activity]))
    assert levels[1] > levels[0] + 0.05


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_flat_pictures_correlate_with_nothing(level: float) -> None:
    from mien.media.shots import _correlation

    assert _correlation(np.full((4, 4), level), np.eye(4)) == 0.0
