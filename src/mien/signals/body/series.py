"""One person's body points over time: as they come, and as the rules read them (NaN where unseen, with a scale)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mien.core import COCO_POINTS
from mien.signals.body.config import PointConfig

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
SIDES = ("left", "right")

# Lengths in trunk lengths (shoulder to hip, 0.288 of the stature): Winter, Biomechanics and Motor Control of Human
# Movement (2009), fig. 4.1, after Drillis & Contini (1966): shoulders 0.258, upper arm 0.186, forearm 0.146 of the
# stature; the hand's middle lies 0.055 beyond the wrist (0.506 of a hand of 0.108). Adults.
SHOULDER_WIDTH = 0.896
ARM = 1.153
HAND_BEYOND_WRIST = 0.375  # of the forearm


@dataclass(frozen=True, slots=True)
class BodySeries:
    """Points of one person.

    t_us int64 `[n]`, rising; points float32 `[n k 3]`: x, y px (y down) and visibility 0..1, NaN where not measured;
    names (k), `COCO_POINTS` among them. Any frame rate, with gaps.

    Raises:
        ValueError: a dtype or shape does not fit, time does not rise, or a point of COCO is missing.
    """

    t_us: I64
    points: F32
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        n, k = len(self.t_us), len(self.names)
        if self.t_us.dtype != np.int64 or self.t_us.ndim != 1:
            raise ValueError(f"t_us must be int64 [n], but got {self.t_us.dtype} {list(self.t_us.shape)}")
        if self.points.dtype != np.float32 or self.points.shape != (n, k, 3):
            raise ValueError(
                f"points must be float32 [{n} {k} 3], but got {self.points.dtype} {list(self.points.shape)}"
            )
        if np.any(np.diff(self.t_us) <= 0):
            raise ValueError("t_us must rise")
        missing = [name for name in COCO_POINTS if name not in self.names]
        if missing:
            raise ValueError(f"names must contain the points of COCO, but lack {missing}")

    def __len__(self) -> int:
        return len(self.t_us)


@dataclass(frozen=True, slots=True)
class Body:
    """A series as the rules read it.

    t_s float64 `[n]`; at: name → float64 `[n 2]` px, NaN where unseen; visibility float64 `[n 17]` (0 where not
    measured); scale float64 `[n]`: trunk length in px; step_s: median time between frames;
    bridge_s: how long points may be missing inside an event.
    """

    t_us: I64
    t_s: F64
    at: dict[str, F64]
    visibility: F64
    scale: F64
    step_s: float
    bridge_s: float

    @property
    def rate_hz(self) -> float:
        return 1 / self.step_s

    @property
    def shoulders(self) -> F64:
        """float64 `[n 2]`: their middle."""
        return (self.at["left_shoulder"] + self.at["right_shoulder"]) / 2

    @property
    def hips(self) -> F64:
        """float64 `[n 2]`: their middle."""
        return (self.at["left_hip"] + self.at["right_hip"]) / 2

    def hand(self, side: str) -> F64:
        """Middle of the hand `[n 2]`: beyond the wrist along the forearm. An elbow unseen for a moment is interpolated;
        without one the wrist itself is taken."""
        wrist, elbow = self.at[f"{side}_wrist"], self.at[f"{side}_elbow"]
        beyond = _bridged(self.t_s, HAND_BEYOND_WRIST * (wrist - elbow), self.bridge_s + self.step_s)
        return wrist + np.where(np.isfinite(beyond), beyond, 0)

    def seen(self, *names: str) -> F64:
        """Mean visibility `[n]` of some points."""
        return self.visibility[:, [COCO_POINTS.index(n) for n in names]].mean(axis=1)


def body_of(series: BodySeries, config: PointConfig | None = None) -> Body:
    """Points with unseen and impossible ones as NaN, and the trunk length of every frame.

    The trunk length is the larger of shoulder-hip distance and 1.116 × shoulder width (foreshortening only ever makes
    a length shorter), as a median over `scale_window_s`; NaN where neither was seen in that time.
    """
    config = config or PointConfig()
    order = [series.names.index(name) for name in COCO_POINTS]
    points = series.points[:, order].astype(np.float64)
    visibility = np.where(np.isfinite(points).all(axis=2), points[:, :, 2], 0.0)
    points[visibility < config.min_visibility] = np.nan
    at = {name: points[:, i, :2] for i, name in enumerate(COCO_POINTS)}
    t_s = (series.t_us - (series.t_us[0] if len(series) else 0)) / 1e6
    step_s = float(np.median(np.diff(t_s))) if len(series) > 1 else 0.2

    width = np.linalg.norm(at["left_shoulder"] - at["right_shoulder"], axis=1) / SHOULDER_WIDTH
    middles = ((at[f"left_{p}"] + at[f"right_{p}"]) / 2 for p in ("shoulder", "hip"))
    trunk = np.linalg.norm(np.subtract(*middles), axis=1)
    scale = _rolling_median(t_s, np.fmax(width, trunk), config.scale_window_s)
    scale[scale <= 0] = np.nan
    for side in SIDES:
        wrist = at[f"{side}_wrist"]
        away = np.linalg.norm(wrist - at[f"{side}_shoulder"], axis=1)
        wrist[(away > config.reach * scale) | _spikes(t_s, wrist, scale)] = np.nan
    return Body(series.t_us, t_s, at, visibility, scale, step_s, config.bridge_s)


def with_hands(body: Body, least_px: float) -> Body:
    """The body without wrists in frames where the trunk is too short in px to place a hand."""
    small = body.scale < least_px
    at = {**body.at, **{f"{s}_wrist": np.where(small[:, None], np.nan, body.at[f"{s}_wrist"]) for s in SIDES}}
    return replace(body, at=at)


def _spikes(t_s: F64, place: F64, scale: F64) -> npt.NDArray[np.bool_]:
    """Single frames out and back `[n]`: further than 0.4 trunk lengths from both neighbours, which agree, faster than
    an arm can turn (250 trunk lengths/s², 13 times gravity). Nothing at 5 frames/s is that fast."""
    spike = np.zeros(len(t_s), bool)
    if len(t_s) > 2:
        moved = np.diff(place, axis=0) / scale[1:, None]
        before, after = moved[:-1], moved[1:]
        step = np.diff(t_s)
        turn = np.linalg.norm(after - before, axis=1) / (step[:-1] * step[1:])
        out = np.minimum(np.linalg.norm(before, axis=1), np.linalg.norm(after, axis=1))
        back = np.linalg.norm(before + after, axis=1)
        spike[1:-1] = (turn > 250) & (out > 0.4) & (back < 0.5 * out)
    return spike


def _bridged(t_s: F64, value: F64, longest_s: float) -> F64:
    """`[n d]` with NaN rows interpolated between known ones at most `longest_s` apart."""
    known = np.flatnonzero(np.isfinite(value).all(axis=1))
    if not len(known) or len(known) == len(t_s):
        return value
    t = t_s[known]
    right = np.clip(np.searchsorted(t, t_s), 1, max(len(t) - 1, 1)) if len(t) > 1 else np.zeros(len(t_s), int)
    near = (t[right] - t[np.maximum(right - 1, 0)] <= longest_s) & (t_s >= t[0]) & (t_s <= t[-1])
    filled = np.stack([np.interp(t_s, t, column[known]) for column in value.T], axis=1)
    return np.where(near[:, None] | np.isfinite(value), filled, np.nan)


def _rolling_median(t_s: F64, value: F64, window_s: float) -> F64:
    out = np.full(len(value), np.nan)
    known = np.flatnonzero(np.isfinite(value))
    if not len(known):
        return out
    t, v = t_s[known], value[known]
    low = np.searchsorted(t, t_s - window_s / 2, "left")
    high = np.searchsorted(t, t_s + window_s / 2, "right")
    for i in np.flatnonzero(high > low):
        out[i] = np.median(v[low[i] : high[i]])
    return out
