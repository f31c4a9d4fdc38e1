"""Helpers of the passes: tables from columns, observations from windows of frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mien.core import US, Clip, Dist, Observation, Span, content_id
from mien.store import array_schema

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]
UNITS = {
    "t_us": "us",
    "end_us": "us",
    "x1": "px",
    "y1": "px",
    "x2": "px",
    "y2": "px",
    "score": "1",
    "energy": "1/s",
    "value": "",
    "valence": "-1..1",
    "arousal": "-1..1",
    "level_dbfs": "dBFS",
    "f0_hz": "Hz",
    "centroid_hz": "Hz",
}


def table(columns: dict[str, Array | Sequence[Any]]) -> pa.Table:
    """An Arrow table with units and schema version in its metadata."""
    import pyarrow as pa

    return array_schema(pa.table({name: pa.array(values) for name, values in columns.items()}), UNITS)


def columns(held: pa.Table | None, names: Sequence[str]) -> dict[str, Array]:
    """Columns of a stored table as numpy (empty arrays when there is none)."""
    if held is None:
        return {name: np.zeros(0) for name in names}
    return {name: held[name].to_numpy() for name in names}


def windows(span: Span, step_s: float) -> Iterator[Span]:
    """Windows of `step_s` on the source's own grid (multiples from t = 0), cut to the span; a rest of less than half a
    window joins the one before."""
    step = round(step_s * US)
    start = span.start_us
    while start < span.end_us:
        end = (start // step + 1) * step
        if span.end_us - end < step // 2:
            end = span.end_us
        yield Span(start, end)
        start = end


def observe(
    clip: Clip,
    target: str,
    span: Span,
    adapter: str,
    *,
    track_id: str | None = None,
    value: float | None = None,
    sd: float | None = None,
    unit: str = "",
    dist: Dist = (),
    quality: float | None = None,
    n: int = 1,
    reason: str | None = None,
) -> Observation:
    """An observation whose id is made of clip, track, span, target and adapter. NaN becomes "not measured"."""
    if value is not None and math.isnan(value):
        value, reason = None, reason or "not-measured"
    if sd is not None and math.isnan(sd):
        sd = None
    return Observation(
        content_id("obs", clip.id, track_id, span, target, adapter),
        clip.id,
        track_id,
        span,
        target,
        _round(value),
        _round(sd),
        unit,
        tuple((k, round(p, 6)) for k, p in dist),
        _round(quality),
        n,
        adapter,
        reason,
    )


def _round(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")


def mean_dist(probs: Array, labels: Sequence[str]) -> Dist:
    """Mean of the measured rows of `[n c]`, as (label, probability)."""
    measured = probs[~np.isnan(probs).any(axis=1)]
    if not len(measured):
        return ()
    return tuple((label, float(p)) for label, p in zip(labels, measured.mean(0, dtype=np.float64), strict=True))
