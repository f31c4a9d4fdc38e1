"""Sets of states: the promise is kept for people who are new, and none is made that the people cannot certify."""

import numpy as np
import pytest

from bench.fusion import coverage_of_people, drifting, people
from mien.core import MienError
from mien.fusion import FusionConfig, assess_rows
from mien.fusion.conformal import (
    ConformalSets,
    adapted,
    ladder,
    limit,
    most_certain,
    replayed,
    scores,
    sets,
    threshold,
)


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


def calibrated_on(people_count=60, seed=5) -> ConformalSets:
    p, y = people(np.random.default_rng(seed), people_count, each=20)
    held = scores(p.reshape(-1, 4))[np.arange(y.size), y.ravel()]
    who = np.repeat(np.arange(people_count), 20).tolist()
    rule = ConformalSets(level=0.9, people=people_count, threshold=threshold(held, who, 0.9), ladder=ladder(held, who))
    assert limit(rule) == limit(rule.model_copy(update={"miss_rate": 0.1}))  # the ladder's rung of the level itself
    return rule


def test_confirmations_that_find_the_state_left_out_make_sets_larger_and_the_other_way_round():
    rule, rng = calibrated_on(), np.random.default_rng(6)
    p, y = people(rng, 40, each=10)
    probs, truth = p.reshape(-1, 4), y.ravel()
    wrong = (truth + 2) % 4
    sizes = {
        name: sets(replayed(rule, probs, said.tolist()), probs).sum(axis=1).mean()
        for name, said in {"as calibrated": truth, "misled": wrong}.items()
    }
    plain = sets(rule, probs).sum(axis=1).mean()
    assert sizes["misled"] > plain + 0.5
    assert abs(sizes["as calibrated"] - plain) < 0.5
    # The replay keeps the promise on the drifted stream itself, which the fixed rule does not.
    fixed = 1 - sets(rule, probs)[np.arange(len(wrong)), wrong].mean()
    now, misses = rule, 0
    for i, state in enumerate(wrong):
        now = replayed(rule, probs[:i], wrong[:i].tolist())
        misses += not sets(now, probs[i : i + 1])[0, state]
    assert fixed > 0.3
    assert abs(misses / len(wrong) - 0.1) <= (0.9 + rule.rate) / (rule.rate * len(wrong))


def test_replaying_is_from_the_beginning_and_its_order_counts():
    rule = calibrated_on()
    p, _ = people(np.random.default_rng(7), 20, each=5)
    probs = p.reshape(-1, 4)
    truth = [*probs[:50].argmax(axis=1).tolist(), *probs[50:].argmin(axis=1).tolist()]  # right first, then wrong
    once = replayed(rule, probs, truth)
    assert once.confirmed == 100
    assert once.miss_rate != pytest.approx(0.1)
    assert replayed(once, probs, truth) == once
    assert replayed(rule, probs[::-1], truth[::-1]).miss_rate != once.miss_rate
    assert replayed(once, probs[:0], []) == rule
    bare = rule.model_copy(update={"ladder": ()})
    assert replayed(bare, probs, truth) == bare  # a file from before there was a ladder


def test_beyond_the_ladder_every_state_is_in_and_at_the_other_end_the_likeliest_alone():
    rule, p = calibrated_on(), np.array([[0.4, 0.3, 0.2, 0.1]])
    assert sets(rule.model_copy(update={"miss_rate": -0.01}), p).all()
    assert sets(rule.model_copy(update={"miss_rate": 1.2}), p).sum() == 1
    assert [level for level, _ in rule.ladder] == sorted(level for level, _ in rule.ladder)
    assert rule.ladder[-1][0] <= most_certain(60)


def test_a_window_goes_by_the_threshold_of_the_sources_it_has():
    rule = ConformalSets(level=0.8, people=20, threshold=0.99, by_type={"face": 0.1})
    config = FusionConfig(conformal=rule)
    dists = np.tile([0.5, 0.3, 0.2], (2, 2, 1))
    flat = np.full((2, 3), 1 / 3)
    rows = assess_rows(config, ["voice", "face"], dists, flat, np.array([[0.0, 0.9], [0.5, 0.9]]))
    assert rows.credible.sum(axis=1).tolist() == [1, 2]
