"""Thinning keeps every extreme and every hole; nothing that was not measured becomes a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_makers import curve, seconds

from mien.export.report.curves import MAX_POINTS, gap_spans, limits, pack, points_each, summary, thin

SPAN = seconds(0, 100)


def test_a_planted_spike_and_a_planted_hole_survive_thinning() -> None:
    value = np.sin(np.arange(60_000) / 500)
    gap = np.zeros(60_000, bool)
    value[31_417], value[44_001] = 9.0, -7.0
    gap[12_345] = True
    keep = set(thin(value, gap, MAX_POINTS).tolist())
    assert {0, 31_417, 44_001, 12_345, 59_999} <= keep
    assert len(keep) <= MAX_POINTS + 2


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3000), st.integers(30, 400))
def test_thinning_keeps_order_and_range(seed: int, n: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    value, gap = rng.normal(size=n), rng.random(n) < 0.2
    keep = thin(value, gap, limit)
    assert (np.diff(keep) > 0).all()
    assert len(keep) <= max(n if n <= limit else 0, limit + 2)
    if (~gap).any():
        kept = value[keep][~gap[keep]]
        assert kept.max() == value[~gap].max()
        assert kept.min() == value[~gap].min()


def test_gaps_are_spans_and_values_that_were_not_measured_are_null() -> None:
    view = curve("clip-x", None, "valence", "", SPAN, 10, 1, holes=((0.5, 0.6),))
    value = view.value.copy()
    value[100] = np.nan
    view = replace(view, value=value)
    assert gap_spans(view, SPAN) == [(50_000, 60_000)]  # the single lost sample is thinner than a line
    packed = pack(view, 2000)
    assert packed["v"][100] is None  # type: ignore[index]
    assert packed["g"].count("1") == 101  # type: ignore[attr-defined]
    assert packed["g"][100] == "1"  # type: ignore[index]
    assert np.cumsum(packed["t"]).tolist() == (view.t_us // 1000).tolist()  # type: ignore[arg-type]


def test_nothing_measured_is_none_and_not_zero() -> None:
    view = curve("clip-x", None, "pitch", "Hz", SPAN, 10, 1, holes=((0, 1),))
    assert summary(view) is None
    assert set(pack(view, 2000)["g"]) == {"1"}  # type: ignore[call-overload]


def test_valence_keeps_its_scale_however_small_the_change() -> None:
    assert limits(curve("clip-x", None, "valence", "", SPAN, 10, 1, swing=0.01)) == (-1, 1)
    low, high = limits(curve("clip-x", None, "loudness", "dB", SPAN, 10, 1, middle=-30, swing=5))
    assert -40 < low < -30 < high < -20


def test_more_curves_get_fewer_points_each() -> None:
    assert points_each(3) == MAX_POINTS
    assert points_each(400) == pytest.approx(1000)
