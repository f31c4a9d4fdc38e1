"""Control vectors: named axes per cell of 200 ms and per clip, what is not known kept apart, and their statistics.

A value that was not measured is 0 with `known` false, never NaN: a trainer multiplies by the mask. The file says so.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.export.captions.measures import AXES, STEP_US, Measures

FORMAT = "mien.controls/1"
BINS = 512
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Controls:
    """One clip. names, units (k); t_us int64 `[n]` starts of cells of 200 ms on the source's clock; values and sd
    float32 `[n k]` (sd 0 where it is not known) and known bool `[n k]`; clip float32 `[k]`: medians over the known
    cells, clip_known bool `[k]`; weak: axes that we measured as weak; whose: track id of each axis, "" for the clip."""

    names: tuple[str, ...]
    units: tuple[str, ...]
    t_us: npt.NDArray[np.int64]
    values: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    sd: npt.NDArray[np.float32]
    clip: npt.NDArray[np.float32]
    clip_known: npt.NDArray[np.bool_]
    weak: tuple[bool, ...]
    whose: tuple[str, ...]

    def __post_init__(self) -> None:
        shape = (len(self.t_us), len(self.names))
        for name in ("values", "known", "sd"):
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {list(shape)}, but got {list(getattr(self, name).shape)}")
        if not (np.isfinite(self.values).all() and np.isfinite(self.sd).all() and np.isfinite(self.clip).all()):
            raise ValueError("values must be finite: what is not known is 0 with known false")


def controls_of(found: Measures) -> Controls:
    """The control vectors of one clip."""
    curves = [found.curves[a.name] for a in AXES]
    values = np.stack([c.value for c in curves], axis=1)
    sd = np.stack([c.sd for c in curves], axis=1)
    known = np.isfinite(values)
    clip = np.array([np.median(c.value[np.isfinite(c.value)]) if np.isfinite(c.value).any() else 0 for c in curves])
    return Controls(
        tuple(a.name for a in AXES),
        tuple(a.unit for a in AXES),
        found.t_us.astype(np.int64),
        np.where(known, values, 0).astype(np.float32),
        known,
        np.where(known & np.isfinite(sd), sd, 0).astype(np.float32),
        clip.astype(np.float32),
        np.asarray(known.any(axis=0)),
        tuple(c.signal is not None and c.signal.weak for c in curves),
        tuple((c.signal.track_id or "") if c.signal else "" for c in curves),
    )


def write_controls(path: Path, controls: Controls) -> Path:
    """Write one clip as safetensors; the same controls give the same bytes.

    Tensors: t_us int64 `[n]`, values, sd float32 `[n k]`, known uint8 `[n k]`, clip float32 `[k]`, clip_known uint8
    `[k]`. The header's metadata has one entry, "mien", in JSON: format, names, units, weak, step_us, missing.
    """
    from safetensors.numpy import save

    about = {
        "format": FORMAT, "names": controls.names, "units": controls.units, "weak": controls.weak, "step_us": STEP_US,
        "missing": "value 0 where known is 0; an sd of 0 is not known",
    }  # fmt: skip
    tensors = {
        "t_us": controls.t_us, "values": controls.values, "sd": controls.sd, "known": controls.known.astype(np.uint8),
        "clip": controls.clip, "clip_known": controls.clip_known.astype(np.uint8),
    }  # fmt: skip
    # one entry alone: the order of several is that of a hash map, another one in each process
    metadata = {"mien": json.dumps(about, sort_keys=True, separators=(",", ":"))}
    path.write_bytes(save({k: np.ascontiguousarray(v) for k, v in tensors.items()}, metadata))
    return path


def controls_row(name: str, controls: Controls) -> dict[str, Any]:
    """One line of JSONL: per axis the clip's value, or null where nothing was measured."""
    pairs = zip(controls.names, controls.clip.tolist(), controls.clip_known.tolist(), strict=True)
    share = controls.known.mean(axis=0).tolist() if len(controls.t_us) else [0.0] * len(controls.names)
    return {
        "clip": name,
        "values": {n: _short(v) if ok else None for n, v, ok in pairs},
        "known_share": {n: round(s, 4) for n, s in zip(controls.names, share, strict=True)},
        "weak": [n for n, w in zip(controls.names, controls.weak, strict=True) if w],
    }


@dataclass(slots=True)
class Statistics:
    """Published statistics of the axes over a selection, one clip at a time; the order of the clips changes nothing.

    Sums are exact (`math.fsum` over figures of clips, sorted); quantiles come from counts in 512 equal bins over the
    axis' range (values outside count in the first and last), so they are right to a bin.
    """

    _counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((len(AXES), BINS), np.int64))
    _sums: list[list[tuple[float, float]]] = field(default_factory=lambda: [[] for _ in AXES])
    _cells: int = 0
    _known: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(AXES), np.int64))
    clips: int = 0

    def add(self, controls: Controls) -> None:
        self.clips += 1
        self._cells += len(controls.t_us)
        self._known += controls.known.sum(axis=0)
        for k, axis in enumerate(AXES):
            v = controls.values[controls.known[:, k], k].astype(np.float64)
            if len(v):
                at = np.clip(((v - axis.low) / (axis.high - axis.low) * BINS).astype(np.int64), 0, BINS - 1)
                self._counts[k] += np.bincount(at, minlength=BINS)
                self._sums[k].append((math.fsum(v), math.fsum(v * v)))

    def result(self) -> dict[str, dict[str, Any]]:
        """Per axis: unit, coverage (share of cells), clips, mean, sd, quantiles, and a robust scale (IQR ÷ 1.349)."""
        made: dict[str, dict[str, Any]] = {}
        for k, axis in enumerate(AXES):
            n = int(self._known[k])
            row: dict[str, Any] = {"unit": axis.unit, "cells": n, "clips": len(self._sums[k])}
            row["coverage"] = round(n / self._cells, 6) if self._cells else 0.0
            if n:
                mean = math.fsum(sorted(s for s, _ in self._sums[k])) / n
                square = math.fsum(sorted(q for _, q in self._sums[k])) / n
                q = [self._quantile(k, p) for p in QUANTILES]
                row |= {"mean": _short(mean), "sd": _short(math.sqrt(max(0.0, square - mean * mean)))}
                row |= {"quantiles": {f"{p:g}": _short(v) for p, v in zip(QUANTILES, q, strict=True)}}
                row["robust_sd"] = _short((q[3] - q[1]) / 1.349)
            made[axis.name] = row
        return made

    def _quantile(self, k: int, p: float) -> float:
        axis, total = AXES[k], np.cumsum(self._counts[k])
        target = p * total[-1]
        at = int(np.searchsorted(total, target))
        before = float(total[at - 1]) if at else 0.0
        inside = (target - before) / max(1, int(self._counts[k][at]))
        return axis.low + (at + inside) * (axis.high - axis.low) / BINS


def statistics(of: Iterable[Controls]) -> dict[str, dict[str, Any]]:
    """`Statistics` of all of them."""
    held = Statistics()
    for controls in of:
        held.add(controls)
    return held.result()


def _short(x: float) -> float:
    return float(f"{x:.6g}")
