"""Seeded body points with planted movements: a standing or sitting figure that idles and does what a script says.

Lengths are trunk lengths of an adult (Winter 2009, after Drillis & Contini 1966); movements are continuous in time, so
that the same script can be sampled at any frame rate. Nobody's body: an invented figure in the plane of the picture.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.core import COCO_POINTS, US, Span

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

Movement = Literal[
    "rocking", "pacing", "walking", "approaching", "hand_at_ear", "hand_near_face", "hand_at_head", "striking_head",
    "striking_out", "reaching", "self_contact", "gesturing", "swaying", "freezing",
]  # fmt: skip
UPPER_ARM, FOREARM, HAND = 0.646, 0.507, 1.375  # HAND: elbow to the hand's middle, in forearms
TRANSIT_S = 0.9
HIT_S, HIT_EVERY_S, BACK_S = 0.2, 1.0, 0.4

# x to the picture's right (the person's left: they face the camera), y down, from the middle of the hips
_STANDING: dict[str, tuple[float, float]] = {
    "nose": (0.0, -1.34), "left_eye": (0.06, -1.43), "left_ear": (0.14, -1.39), "left_shoulder": (0.448, -1.0),
    "left_hip": (0.25, 0.0), "left_knee": (0.25, 0.85), "left_ankle": (0.25, 1.70),
}  # fmt: skip
_SITTING = {**_STANDING, "left_knee": (0.30, 0.25), "left_ankle": (0.30, 1.05)}


@dataclass(frozen=True, slots=True)
class Act:
    """One scripted movement within [start_s, end_s). A hand is at its place then; it travels before and after.

    side: the person's own hand, "both" where that makes sense. hz, amplitude (trunk lengths): of rocking and swaying.
    """

    movement: Movement
    start_s: float
    end_s: float
    side: Literal["left", "right", "both"] = "right"
    hz: float = 0.8
    amplitude: float = 0.2

    @property
    def span(self) -> Span:
        return Span(round(self.start_s * US), round(self.end_s * US))


@dataclass(frozen=True, slots=True)
class Skeleton:
    """t_us int64 `[n]`, points float32 `[n 17 3]` (x, y px, visibility), names: those of COCO."""

    t_us: I64
    points: F32
    names: tuple[str, ...] = COCO_POINTS

    def mirrored(self, width_px: float = 1280.0) -> Skeleton:
        """The picture mirrored: left and right change places."""
        swap = {"left": "right", "right": "left"}
        swapped = ["_".join(swap.get(part, part) for part in name.split("_")) for name in self.names]
        points = self.points[:, [self.names.index(name) for name in swapped]].copy()
        points[:, :, 0] = width_px - points[:, :, 0]
        return Skeleton(self.t_us, points, self.names)

    def moved(self, scale: float = 1.0, shift_px: tuple[float, float] = (0.0, 0.0)) -> Skeleton:
        """The picture enlarged and shifted."""
        points = self.points.copy()
        points[:, :, :2] = points[:, :, :2] * scale + np.asarray(shift_px, np.float32)
        return Skeleton(self.t_us, points, self.names)

    def take(self, rows: npt.NDArray[np.intp]) -> Skeleton:
        """Only some frames."""
        return Skeleton(self.t_us[rows], self.points[rows], self.names)


def skeleton(
    seconds: float,
    acts: tuple[Act, ...] = (),
    *,
    rate_hz: float = 5.0,
    seed: int = 0,
    sitting: bool = False,
    idle: float = 1.0,
    jitter: float = 0.012,
    dropout: float = 0.0,
    scale_px: float = 120.0,
    at_px: tuple[float, float] = (640.0, 400.0),
) -> Skeleton:
    """A figure that idles (slow sway of trunk, head and hands, weight shifts) and does the acts.

    Args:
        idle: size of the idle movement, 1 is ours of a person who stands about. jitter: sd of every point's error in
            trunk lengths, independent per frame. dropout: share of points per frame that are seen badly (visibility
            below 0.2, place off by 0.3 trunk lengths).
    """
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    figure = _Figure(t, acts, np.random.default_rng(seed), sitting, idle)
    at = figure.points()
    rng = np.random.default_rng((seed, 1))
    points = np.stack([at[name] for name in COCO_POINTS], axis=1)
    points += rng.normal(0, jitter, points.shape)
    visibility = np.clip(rng.normal(0.9, 0.03, points.shape[:2]), 0, 1)
    lost = rng.random(points.shape[:2]) < dropout
    points[lost] += rng.normal(0, 0.3, (int(lost.sum()), 2))
    visibility[lost] = rng.uniform(0, 0.2, int(lost.sum()))
    px = points * (scale_px * figure.size[:, None, None]) + np.asarray(at_px)
    return Skeleton(
        np.round(t * US).astype(np.int64), np.concatenate([px, visibility[..., None]], 2).astype(np.float32)
    )


class _Figure:
    def __init__(self, t: F64, acts: tuple[Act, ...], rng: np.random.Generator, sitting: bool, idle: float) -> None:
        self.t, self.acts, self.sitting = t, acts, sitting
        # while somebody freezes their own clock stands still: idle movement stops where it was
        inner = t.copy()
        for act in acts:
            if act.movement == "freezing":
                inner -= np.clip(t - act.start_s, 0, act.end_s - act.start_s)
        self.sway = {name: idle * sd * _smooth(inner, rng) for name, sd in _IDLE.items()}
        self.sway["hip_x"] += idle * _shifts(inner, rng)
        self.size = np.ones(len(t))
        self.breath = idle * 0.01 * np.sin(2 * np.pi * 0.25 * inner)

    def points(self) -> dict[str, F64]:
        """Every point `[n 2]` in trunk lengths."""
        t, sway = self.t, self.sway
        hip = np.stack([sway["hip_x"], np.zeros(len(t))], axis=1)
        lean, turned, facing, phase, walking = 0.6 * sway["lean"], np.ones(len(t)), np.zeros(len(t)), 0 * t, 0 * t
        for act in self.acts:
            during = (t >= act.start_s) & (t < act.end_s)
            since = np.clip(t - act.start_s, 0, act.end_s - act.start_s)
            if act.movement == "rocking":
                lean = lean + during * math.asin(act.amplitude) * np.sin(2 * np.pi * act.hz * since)
            elif act.movement == "swaying":  # one slow bend to the side and back
                lean = lean + math.asin(act.amplitude) * np.sin(np.pi * since / (act.end_s - act.start_s)) ** 2
            elif act.movement in ("pacing", "walking"):
                way, sign = (
                    (_to_and_fro(since, 5.0, 1.8)) if act.movement == "pacing" else (2.2 * since, np.ones(len(t)))
                )
                hip[:, 0] += way
                turned, facing = np.where(during, 0.35, turned), np.where(during, sign, facing)
                walking, phase = walking + during, np.where(during, 2 * np.pi * 0.9 * since, phase)
            elif act.movement == "approaching":
                self.size *= np.exp(0.08 * since)
                walking, phase = walking + during, np.where(during, 2 * np.pi * 0.9 * since, phase)
        hip[:, 1] += walking * -0.04 * np.abs(np.sin(phase))
        lean = lean + walking * 0.03 * np.sin(phase)
        at = self._trunk(hip, lean, turned, facing)
        for side, sign in (("left", 1), ("right", -1)):
            swing = walking * 0.35 * sign * np.sin(phase) * np.where(facing == 0, 0.15, 1)
            at[f"{side}_knee"][:, 0] += 0.6 * swing
            at[f"{side}_ankle"][:, 0] += swing
            hand = self._hand(side, sign, at, swing)
            at[f"{side}_elbow"], at[f"{side}_wrist"] = _arm(at[f"{side}_shoulder"], hand, sign)
        return at

    def _trunk(self, hip: F64, lean: F64, turned: F64, facing: F64) -> dict[str, F64]:
        at: dict[str, F64] = {}
        cos, sin = np.cos(lean), np.sin(lean)
        for name, (x, y) in (_SITTING if self.sitting else _STANDING).items():
            for side, sign in (("left", 1), ("right", -1)):
                across, down = sign * x * turned, y + self.breath * (name == "left_shoulder")
                if y <= -1.2:
                    across = across + self.sway["head_x"] + 0.12 * facing * (name != "left_ear")
                    down = down + self.sway["head_y"]
                if y < 0:  # above the hips everything turns about them
                    across, down = across * cos - down * sin, across * sin + down * cos
                at[name.replace("left", side)] = hip + np.stack([across, np.broadcast_to(down, across.shape)], axis=1)
        return at

    def _hand(self, side: str, sign: int, at: dict[str, F64], swing: F64) -> F64:
        """Where the middle of a hand is `[n 2]`."""
        t = self.t
        hips = (at["left_hip"] + at["right_hip"]) / 2
        hanging = _beside(at[f"{side}_shoulder"], 0.1 * sign, 1.28)
        rest = _beside(hips, 0.2 * sign, 0.05) if self.sitting else hanging
        rest = rest + np.stack([self.sway[f"{side}_x"] + swing, self.sway[f"{side}_y"] - 0.1 * np.abs(swing)], axis=1)
        hand = rest
        for act in self.acts:
            if act.side not in (side, "both"):
                continue
            target = self._target(act, side, sign, at)
            if target is not None:
                w = _eased((t - act.start_s + TRANSIT_S) / TRANSIT_S) * (1 - _eased((t - act.end_s) / TRANSIT_S))
                hand = hand + w[:, None] * (target - hand)
        return hand

    def _target(self, act: Act, side: str, sign: int, at: dict[str, F64]) -> F64 | None:  # noqa: PLR0911
        """Where an act wants the middle of a hand `[n 2]`; None for acts without hands."""
        other = "right" if side == "left" else "left"
        still = 0.5 * np.stack([self.sway[f"{side}_x"], self.sway[f"{side}_y"]], axis=1)
        eyes, hips = ((at[f"left_{p}"] + at[f"right_{p}"]) / 2 for p in ("eye", "hip"))
        shoulder = at[f"{side}_shoulder"]
        match act.movement:
            case "hand_at_ear":
                return _beside(at[f"{side}_ear"] + still, 0.04 * sign, 0.0)
            case "hand_near_face":
                return at["nose"] + 0.75 * (at["nose"] - eyes) + still
            case "hand_at_head":
                return _beside(eyes + still, 0.0, -0.30)
            case "reaching":
                return _beside(shoulder + still, 1.30 * sign, -0.1)
            case "self_contact":
                return _beside(at[f"{other}_shoulder"] + still, -0.04 * sign, 0.36)
            case "gesturing":
                wave = 0.15 * np.sin(2 * np.pi * (0.9 + 0.1 * sign) * self.t)
                return _beside(hips, 0.32 * sign, -0.35) + np.stack([wave, 0.6 * wave], axis=1)
            case "striking_head":
                return _blows(self.t, act, _beside(shoulder, 0.7 * sign, 0.45), at[f"{side}_ear"])
            case "striking_out":
                return _blows(self.t, act, _beside(shoulder, 0.0, 0.35), _beside(shoulder, 1.22 * sign, -0.05))
        return None


def _beside(place: F64, x: float, y: float) -> F64:
    return place + np.array([x, y])


def _blows(t: F64, act: Act, ready: F64, goal: F64) -> F64:
    """Blows of `HIT_S`, one every `HIT_EVERY_S`: ever faster until they stop, drawn back more slowly."""
    since = t - act.start_s
    cycle = np.mod(since, HIT_EVERY_S)
    hit = np.where(cycle < HIT_S, (cycle / HIT_S) ** 2, 1 - _eased((cycle - HIT_S) / BACK_S))
    blow_ends = np.floor(since / HIT_EVERY_S) * HIT_EVERY_S + HIT_S
    going = (since >= 0) & (blow_ends <= act.end_s - act.start_s + 1e-6)
    return ready + (hit * going)[:, None] * (goal - ready)


_IDLE = {
    "lean": 0.03, "hip_x": 0.02, "head_x": 0.03, "head_y": 0.02, "left_x": 0.05, "left_y": 0.04, "right_x": 0.05,
    "right_y": 0.04,
}  # fmt: skip


def _smooth(t: F64, rng: np.random.Generator) -> F64:
    """Slow random movement of sd 1: ten sinusoids of 0.05 to 0.8 Hz."""
    hz, phase = np.geomspace(0.05, 0.8, 10) * rng.uniform(0.93, 1.07, 10), rng.uniform(0, 2 * np.pi, 10)
    return np.sin(2 * np.pi * hz * t[:, None] + phase).sum(axis=1) / math.sqrt(5)


def _shifts(t: F64, rng: np.random.Generator) -> F64:
    """Shifts of weight from leg to leg every 4 to 20 s, by up to 0.12 trunk lengths within 0.8 s."""
    place, when, out = 0.0, 0.0, np.zeros(len(t))
    while len(t) and when < t[-1]:
        when += float(rng.uniform(4, 20))
        target = float(rng.uniform(-0.12, 0.12))
        out += (target - place) * _eased((t - when) / 0.8)
        place = target
    return out


def _eased(share: F64) -> F64:
    """Movement from 0 to 1 of least jerk (Flash & Hogan 1985)."""
    s = np.clip(share, 0, 1)
    return s**3 * (10 - 15 * s + 6 * s * s)


def _to_and_fro(since_s: F64, way: float, speed: float) -> tuple[F64, F64]:
    """Place and direction of walking between 0 and `way`, with 0.4 s for each turn."""
    leg = way / speed + 0.4
    number = np.floor(since_s / leg)
    along = np.clip((since_s - number * leg) / (way / speed), 0, 1) * way
    forth = number % 2 == 0
    return np.where(forth, along, way - along), np.where(forth, 1.0, -1.0)


def _arm(shoulder: F64, hand: F64, sign: int) -> tuple[F64, F64]:
    """Elbow and wrist `[n 2]` for a hand's place: two bones; a hand out of reach is held back."""
    a, b = UPPER_ARM, FOREARM * HAND
    line = hand - shoulder
    length = np.maximum(np.linalg.norm(line, axis=1), 1e-6)
    reach = np.clip(length, abs(a - b) + 1e-3, a + b - 1e-3)
    along = (a * a - b * b + reach**2) / (2 * reach)
    out = np.sqrt(np.maximum(a * a - along**2, 0))
    unit = line / length[:, None]
    # the elbow lies on the outer and lower side; where that changes, it passes in front of the line to the hand
    normal = np.stack([-unit[:, 1], unit[:, 0]], axis=1)
    outward = np.clip(3 * (normal[:, 0] * sign + 0.5 * normal[:, 1]), -1, 1)
    elbow = shoulder + along[:, None] * unit + (out * outward)[:, None] * normal
    end = shoulder + reach[:, None] * unit
    return elbow, elbow + (end - elbow) / HAND
