"""Sets of states: the promise is kept for people who are new, and none is made that the people cannot certify."""

import numpy as np
import pytest

from bench.fusion import coverage_of_people, drifting, people
from mien.core import MienError
from mien.fusion.conformal import ConformalSets, adapted, most_certain, scores, sets, threshold


def test_coverage_of_new_people_lies_within_the_stated_bound():
    """Sanity check on simulated people, each with a bias of their own."""
    cover, (low, high) = coverage_of_people(1, level=0.8, n=20, worlds=150)
    assert low - 0.01 <= cover <= high + 0.01


def test_counting_rows_as_if_they_were_people_would_break_the_promise():
    """A few people: rows pooled as if independent cover less than people-wise calibration with the +∞ of a new one."""
    rng, by_person, by_row = np.random.default_rng(2), [], []
    for _ in range(150):
        p, y = people(rng, 5 + 10, each=20)
        s = scores(p.reshape(-1, 4))[np.arange(y.size), y.ravel()].reshape(y.shape)
        limit = threshold(s[:5].ravel(), np.repeat(np.arange(5), 20).tolist(), 0.8)
        by_person.append((s[5:] <= limit).mean())
        by_row.append((s[5:] <= np.quantile(s[:5], 0.8)).mean())
    assert np.mean(by_person) >= 0.79
    assert np.mean(by_row) < np.mean(by_person) - 0.02


@pytest.mark.parametrize(("n", "level", "fine"), [(8, 0.9, False), (9, 0.9, True), (8, 8 / 9, True), (1, 0.6, False)])
def test_people_certify_at_most_n_of_n_plus_1(n, level, fine):
    assert most_certain(n) == n / (n + 1)
    given = np.arange(float(10 * n)), [str(i % n) for i in range(10 * n)]
    if fine:
        assert np.isfinite(threshold(*given, level))
        return
    with pytest.raises(MienError, match="certify at most") as caught:
        threshold(*given, level)
    assert caught.value.code == "fusion.too-few-people"
    assert "label" in caught.value.hint


def test_one_person_with_many_rows_counts_once():
    s = np.concatenate([np.full(1000, 0.9), [0.1, 0.2, 0.3, 0.4]])
    who = ["much"] * 1000 + list("abcd")
    assert threshold(s, who, 0.6) == 0.4
    assert threshold(s, who, 0.8) == 0.9


def test_scores_and_sets_written_out():
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
    np.testing.assert_allclose(scores(p), [[0.5, 0.8, 1.0], [0.8, 1.0, 0.6]])
    np.testing.assert_allclose(scores(p, u=np.array([1.0, 0.5]))[0], [0.0, 0.5, 0.8])
    np.testing.assert_allclose(scores(p, penalty=0.1, free=1)[0], [0.5, 0.9, 1.2])
    rule = ConformalSets(level=0.8, people=9, threshold=0.8, by_type={"cry": 0.1})
    assert sets(rule, p).tolist() == [[True, True, False], [True, False, True]]
    assert sets(rule, p, kind="cry").sum(axis=1).tolist() == [1, 1]  # never empty: the likeliest is in
    assert sets(rule, p, kind="unknown").tolist() == sets(rule, p).tolist()
    with pytest.raises(ValueError, match="distribution"):
        scores(np.array([[0.5, 0.6]]))


def test_adapting_keeps_the_share_of_misses_whatever_drifts():
    (with_it, without), bound = drifting(3, steps=3000, gamma=0.02)
    assert abs(with_it - 0.1) <= bound
    assert without > 0.2
    assert adapted(0.1, True, 0.1, 0.05) == pytest.approx(0.055)
    assert adapted(0.1, False, 0.1, 0.05) == pytest.approx(0.105)


def test_the_proven_floor_is_weaker_for_scores_out_of_fold():
    assert ConformalSets(level=0.9, people=20, threshold=0.9).floor == 0.9
    assert ConformalSets(level=0.9, people=20, threshold=0.9, out_of_fold=True).floor == pytest.approx(0.8)
