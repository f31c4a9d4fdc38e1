"""H_mix = A + C, vacuity, pairwise conflict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.fusion import entropy, mixture, pair_conflicts, vacuity


def _rows(k: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    row = st.lists(st.floats(0, 1), min_size=k, max_size=k).filter(lambda v: sum(v) > 1e-3)
    return st.lists(row.map(lambda v: tuple(x / math.fsum(v) for x in v)), min_size=1, max_size=5)


@given(st.integers(2, 6).flatmap(_rows), st.data())
def test_total_is_ambiguity_plus_conflict(rows: list[tuple[float, ...]], data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 1), min_size=len(rows), max_size=len(rows)))
    m = mixture(rows, weights)
    assert abs(m.total - (m.ambiguity + m.conflict)) < 1e-9
    assert 0 <= m.conflict <= entropy([w / sum(weights) for w in weights]) + 1e-9
    assert -1e-12 <= m.ambiguity <= math.log(len(rows[0])) + 1e-9
    same = mixture([rows[0]] * len(rows), weights)
    assert same.conflict < 1e-9
    assert same.total == pytest.approx(entropy(rows[0]), abs=1e-9)


def test_known_values() -> None:
    apart = mixture([(1, 0), (0, 1)], [1, 1])
    assert (apart.ambiguity, apart.conflict) == pytest.approx((0, math.log(2)))
    vague = mixture([(0.5, 0.5), (0.5, 0.5)], [1, 0.3])
    assert (vague.ambiguity, vague.conflict) == pytest.approx((math.log(2), 0))
    assert math.isnan(mixture([], []).total)
    assert mixture([(1, 0), (0, 1)], [1, 0]) == mixture([(1, 0)], [1])


def test_vacuity() -> None:
    assert vacuity([], 2) == 1
    assert vacuity([1, 0.5], 2) == 0.25
    assert vacuity([1, 1.5], 2) == 0
    with pytest.raises(ValueError, match="above 0"):
        vacuity([1], 0)


def test_a_flat_source_conflicts_with_nothing() -> None:
    names, flat = ["a", "b", "c"], (1 / 3,) * 3
    ab, ac, bc = pair_conflicts(names, [(1, 0, 0), (0, 1, 0), flat])
    assert ab.degree == pytest.approx(1)
    assert ac.degree == pytest.approx(0, abs=1e-12)
    assert (bc.first, bc.second) == ("b", "c")
