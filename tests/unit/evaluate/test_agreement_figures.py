"""Agreement and calibration against published examples, other packages' code, and planted differences."""

import math

import numpy as np
import pytest

from mien.core import Span
from mien.evaluate import agreement, calibration
from mien.evaluate.agreement import estimate
from mien.evaluate.matching import Seen, matched

RNG = np.random.default_rng(5)


def sums_of(a, b, shift=0.0):
    return agreement.value_sums(np.stack([a, b], axis=1), shift)[None]


def test_kappa_of_a_known_table():
    """Fifty proposals, two readers: 20 yes/yes, 5 yes/no, 10 no/yes, 15 no/no: agreement 0.7, κ 0.4."""
    assert estimate(np.array([[20.0, 5, 10, 15]]), agreement.kappa).value == pytest.approx(0.4)
    assert math.isnan(estimate(np.array([[7.0, 0, 0, 0]]), agreement.kappa).value)  # one class alone: not defined


def test_figures_are_those_of_other_packages():
    from scipy.spatial.distance import jensenshannon
    from scipy.stats import pearsonr
    from sklearn.metrics import cohen_kappa_score

    a, b = RNG.integers(0, 4, (2, 300))
    table = np.zeros((4, 4))
    np.add.at(table, (a, b), 1)
    assert agreement.kappa(table.reshape(1, -1))[0] == pytest.approx(cohen_kappa_score(a, b))
    p, q = RNG.dirichlet(np.ones(5), 2)
    named = [dict(zip("vwxyz", d.tolist(), strict=True)) for d in (p, q)]
    assert agreement.divergence(*named) == pytest.approx(jensenshannon(p, q) ** 2)
    x = RNG.normal(40, 2, 200)
    y = 1.1 * x + RNG.normal(0, 1, 200)
    sums = sums_of(x, y, 40.0)
    assert agreement.correlation(sums)[0] == pytest.approx(pearsonr(x, y)[0])
    both = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    assert agreement.concordance(sums)[0] == pytest.approx(both)
    assert agreement.bias(sums)[0] == pytest.approx((y - x).mean())
    assert agreement.spread(sums)[0] == pytest.approx((y - x).std(ddof=1))
    assert agreement.upper(sums)[0] - agreement.lower(sums)[0] == pytest.approx(2 * 1.96 * (y - x).std(ddof=1))


def test_a_planted_shift_lowers_concordance_and_not_correlation():
    x = RNG.normal(0, 1, 500)
    moved = sums_of(x, x + 2.0)
    assert agreement.correlation(moved)[0] == pytest.approx(1.0)
    assert agreement.concordance(moved)[0] == pytest.approx(2 * x.var() / (2 * x.var() + 4))
    assert (agreement.bias(moved)[0], agreement.spread(moved)[0]) == pytest.approx((2.0, 0.0), abs=1e-6)


def test_the_same_answers_differ_by_exactly_nothing():
    x = RNG.normal(3, 1, 50)
    sums = sums_of(x, x.copy(), 2.9)
    found = [f(sums)[0] for f in (agreement.bias, agreement.spread, agreement.concordance)]
    assert found == [0.0, 0.0, 1.0]
    p = dict(zip("abc", RNG.dirichlet(np.ones(3)).tolist(), strict=True))
    assert agreement.divergence(p, dict(p)) == 0.0
    assert agreement.divergence({"a": 1.0}, {"b": 1.0}) == pytest.approx(math.log(2))
    assert math.isnan(agreement.spread(sums_of(x[:1], x[:1]))[0])  # one pair has no spread, and none is made up


def test_intervals_are_over_clusters_not_rows():
    """Ten people with fifty equal windows each: the interval is that of ten means, not of five hundred."""
    people = RNG.normal(0.3, 1.0, 10)
    sums = np.concatenate([sums_of(np.zeros(50), np.full(50, shift)) for shift in people])
    found = estimate(sums, agreement.bias)
    draws = RNG.choice(people, (4000, 10)).mean(1)
    assert found.value == pytest.approx(people.mean())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(draws, [0.025, 0.975])), abs=0.06)
    alone = estimate(sums[:1], agreement.bias)
    assert (alone.low, alone.high) == (None, None)


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    hits = 0
    for _ in range(60):
        shifts = RNG.normal(0.5, 0.4, 30)
        found = estimate(np.concatenate([sums_of(np.zeros(4), np.full(4, s)) for s in shifts]), agreement.bias)
        hits += found.low <= 0.5 <= found.high
    assert hits >= 50  # of 57 expected


# ---------------------------------------------------------------- calibration


def test_losses_are_those_of_another_package():
    from sklearn.metrics import log_loss

    probs, truth = RNG.dirichlet(np.ones(3), 80), RNG.integers(0, 3, 80)
    flat = dict.fromkeys("abc", 1 / 3)
    rows = [
        calibration.class_sums(dict(zip("abc", p.tolist(), strict=True)), flat, "abc"[t])
        for p, t in zip(probs, truth, strict=True)
    ]
    found = calibration.of_classes(np.sum(rows, axis=0)[None], 0)
    assert found.a["log_loss"].value == pytest.approx(log_loss(truth, probs, labels=[0, 1, 2]))
    assert found.b["log_loss"].value == pytest.approx(math.log(3))
    assert found.a["brier"].value == pytest.approx(((probs - np.eye(3)[truth]) ** 2).sum(1).mean())
    assert found.difference["brier"].value == pytest.approx(2 / 3 - found.a["brier"].value)


def test_planted_overconfidence_is_the_calibration_error():
    """A says 0.85 and is right in 85 of 100; B says 0.95 on the same rows: errors 0 and 0.1, difference 0.1."""
    rows = [
        calibration.class_sums({"x": 0.85, "y": 0.15}, {"x": 0.95, "y": 0.05}, "x" if i < 85 else "y")
        for i in range(100)
    ]
    clusters = np.stack([np.sum(rows[k::5], axis=0) for k in range(5)])  # 17 of 20 right in each
    found = calibration.of_classes(clusters, 3)
    assert found.a["ece"].value == pytest.approx(0, abs=1e-9)
    assert found.b["ece"].value == pytest.approx(0.1)
    assert found.difference["ece"].low == pytest.approx(0.1)
    assert (found.rows, found.unknown) == (100, 3)
    assert found.reliability is not None
    a, b = found.reliability
    assert (a[8].rows, a[8].confidence, a[8].accuracy) == (100, pytest.approx(0.85), 0.85)
    assert b[9].rows == 100
    assert math.isnan(a[0].accuracy)


def test_a_value_and_its_sd_are_held_against_numbers():
    rows = [calibration.error_sums((0.5, 0.1), (0.0, None), 0.6), calibration.error_sums((0.5, 0.1), (0.0, 1.0), 1.0)]
    found = calibration.of_values(np.sum(rows, axis=0)[None])
    assert found.a["mae"].value == pytest.approx(0.3)
    assert found.difference["mae"].value == pytest.approx(0.5)
    assert (found.a["cover"].value, found.b["cover"].value) == (0.5, 1.0)


# ---------------------------------------------------------------- matching


def seen(start, end, track=None, box=None):
    return Seen(Span(start, end), track, box, None)


def test_rows_match_by_time_and_place_and_each_but_once():
    left, right = (0.0, 0.0, 0.4, 1.0), (0.5, 0.0, 0.9, 1.0)
    a = [seen(0, 10, "a1", left), seen(0, 10, "a2", right), seen(10, 20, "a1", left), seen(0, 20)]
    b = [seen(0, 10, "b1", (0.52, 0.0, 0.92, 1.0)), seen(1, 11, "b2", left), seen(0, 20), seen(0, 10, "b3", left)]
    pairs = matched(a, b)
    assert pairs == [(0, 3), (1, 0), (3, 2)]  # the closest in time, the same place; no track meets none
    assert matched(b, a) == sorted((j, i) for i, j in pairs)


def test_half_is_the_least_overlap_and_the_same_track_needs_no_box():
    assert matched([seen(0, 10)], [seen(0, 5)]) == [(0, 0)]
    assert matched([seen(0, 10)], [seen(0, 4)]) == []
    assert matched([seen(0, 10, "t")], [seen(0, 10, "t")]) == [(0, 0)]
    assert matched([seen(0, 10, "t")], [seen(0, 10, "u")]) == []
    assert matched([seen(0, 0)], [seen(0, 0)]) == [(0, 0)]  # a picture
    assert matched([], [seen(0, 1)]) == []


def test_long_results_match_as_they_would_by_trying_all():
    spans = np.sort(RNG.integers(0, 2000, (2, 60, 2)), axis=2)
    a, b = ([seen(int(s), int(e)) for s, e in side] for side in spans)
    whole = matched(a, b)
    found = sorted(
        (-fit, i + j, i, j)
        for i, x in enumerate(a)
        for j, y in enumerate(b)
        if (both := x.span.overlap_us(y.span))
        and (fit := both / (x.span.duration_us + y.span.duration_us - both)) >= 0.5
    )
    left, right, pairs = set(), set(), []
    for *_, i, j in found:
        if i not in left and j not in right:
            left.add(i), right.add(j), pairs.append((i, j))
    assert whole == sorted(pairs)
    assert len(whole) > 5
