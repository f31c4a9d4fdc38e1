"""Motion energy: zero without motion, per second, deaf to exposure and noise, local to where something moves."""

import numpy as np
import pytest

from mien.signals.motion import MotionEnergy


def _scene(seed: int = 0) -> np.ndarray:
    """A smooth static picture, float 0..255 [180 240 3]."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(40, 200, (7, 9))
    rows, cols = np.linspace(0, 5.999, 180), np.linspace(0, 7.999, 240)
    i, j = rows.astype(int)[:, None], cols.astype(int)[None]
    u, v = (rows % 1)[:, None], (cols % 1)[None]
    grey = (1 - u) * ((1 - v) * coarse[i, j] + v * coarse[i, j + 1]) + u * (
        (1 - v) * coarse[i + 1, j] + v * coarse[i + 1, j + 1]
    )
    return np.repeat(grey[..., None], 3, axis=2)


def _u8(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _with_square(x: int) -> np.ndarray:
    picture = _scene()
    picture[70:110, x : x + 40] = 250
    return _u8(picture)


def _pair(a: np.ndarray, b: np.ndarray, dt_us: int = 200_000, boxes: np.ndarray | None = None):
    energy = MotionEnergy()
    first = energy.update(0, a, boxes)
    assert np.isnan(first.whole)
    assert np.isnan(first.inside).all()
    return energy.update(dt_us, b, boxes)


def test_identical_frames_are_exactly_zero() -> None:
    m = _pair(_with_square(50), _with_square(50), boxes=np.array([[0, 0, 100, 100]], np.float32))
    assert m.whole == 0
    assert m.inside.tolist() == [0]


def test_motion_is_where_it_is() -> None:
    boxes = np.array([[40, 60, 120, 120], [150, 0, 240, 60], [300, 300, 400, 400]], np.float32)
    m = _pair(_with_square(50), _with_square(65), boxes=boxes)
    assert m.whole > 0
    assert m.inside[0] > 5 * m.whole
    assert m.inside[1] < 0.05 * m.inside[0]
    assert np.isnan(m.inside[2])


def test_more_motion_is_more_and_time_divides() -> None:
    little, much = (_pair(_with_square(50), _with_square(50 + d)).whole for d in (5, 20))
    assert much > 2 * little > 0
    assert _pair(_with_square(50), _with_square(70), dt_us=400_000).whole == pytest.approx(much / 2)


@pytest.mark.parametrize(("gain", "offset"), [(1.15, 0), (0.85, 0), (1, 12), (0.9, 10)])
def test_exposure_is_not_motion(gain: float, offset: float) -> None:
    moved = _pair(_with_square(50), _with_square(70)).whole
    exposed = _pair(_u8(_scene()), _u8(_scene() * gain + offset)).whole
    assert exposed < 0.02 * moved
    both = _pair(_with_square(50), _u8(_with_square(70).astype(float) * gain + offset)).whole
    assert both == pytest.approx(moved, rel=0.25)


def test_sensor_noise_is_not_motion() -> None:
    rng = np.random.default_rng(1)
    moved = _pair(_with_square(50), _with_square(70)).whole
    a, b = (_u8(_scene() + rng.normal(0, 4, (180, 240, 3))) for _ in range(2))
    assert _pair(a, b).whole < 0.02 * moved


def test_a_moving_camera_is_motion() -> None:
    picture = _scene()
    assert _pair(_u8(picture[:, :-20]), _u8(picture[:, 20:])).whole > 0.1


def test_reset_and_a_new_size_start_afresh() -> None:
    energy = MotionEnergy()
    energy.update(0, _u8(_scene()))
    energy.reset()
    assert np.isnan(energy.update(1, _u8(_scene())).whole)
    assert np.isnan(energy.update(2, _u8(_scene())[:100]).whole)


def test_bad_input_is_refused() -> None:
    energy = MotionEnergy()
    with pytest.raises(ValueError, match="uint8"):
        energy.update(0, np.zeros((4, 4, 3), np.float32))  # pyright: ignore[reportArgumentType]
    energy.update(5, np.zeros((4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="rise"):
        energy.update(5, np.zeros((4, 4, 3), np.uint8))
