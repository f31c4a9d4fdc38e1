"""Sanity checks on planted truth, as `python -m bench fusion` measures them; body, reliability, sets in force."""

import numpy as np
import pytest

from bench.fusion import conflicts, posterior_error
from mien.fusion import (
    Confirmed,
    ConformalSets,
    FusionConfig,
    Reliability,
    SourceEvidence,
    arousal_gate,
    arousal_gates,
    assess,
    assess_rows,
    body_evidence,
    reliability,
)

CONFIG, FLAT = FusionConfig(), (1 / 3,) * 3


def test_the_known_posterior_and_the_identity():
    error, identity = posterior_error(5, n=2000)
    assert error <= 1e-6
    assert identity <= 1e-9


def test_conflicts_are_seen_and_agreement_is_none():
    flagged, false = conflicts(7, n=4000)
    assert flagged >= 0.99
    assert false <= 0.01


def test_rows_say_what_one_assessment_says():
    rng = np.random.default_rng(0)
    dists, weights = rng.dirichlet(np.ones(3), (40, 3)), rng.choice([0.0, 0.4, 1.0], (40, 3))
    names = ("face", "voice", "body")
    rows = assess_rows(CONFIG, names, dists, np.full((3, 3), 1 / 3), weights)
    for i in range(40):
        sources = [
            SourceEvidence(n, tuple(d), FLAT, float(w)) for n, d, w in zip(names, dists[i], weights[i], strict=True)
        ]
        one = assess(CONFIG, sources)
        assert one.reason == rows.reason[i]
        np.testing.assert_allclose([p for _, p in one.posterior], rows.posterior[i], atol=1e-12)
        np.testing.assert_allclose(
            [one.total, one.conflict, one.vacuity], [rows.total[i], rows.conflict[i], rows.vacuity[i]]
        )
    with pytest.raises(ValueError, match="must be"):
        assess_rows(CONFIG, ("face",), dists, np.full((3, 3), 1 / 3), weights)


def test_a_set_of_both_valences_abstains_and_is_kept():
    sources = [
        SourceEvidence("face", (0.55, 0.4, 0.05), FLAT, 0.95),
        SourceEvidence("voice", (0.55, 0.4, 0.05), FLAT, 0.57),
    ]
    assert assess(CONFIG, sources).reason == ""
    assert assess(CONFIG, sources).credible == ()
    wide = FusionConfig(conformal=ConformalSets(level=0.9, people=9, threshold=0.99))
    found = assess(wide, sources)
    assert (found.reason, found.credible) == ("ambiguous", ("distress", "pleasure"))
    narrow = FusionConfig(conformal=ConformalSets(level=0.9, people=9, threshold=0.3))
    assert (assess(narrow, sources).reason, assess(narrow, sources).credible) == ("", ("distress",))


def test_the_body_tells_moving_from_still_and_nothing_of_valence():
    still, fast = (body_evidence(CONFIG, np.array([v]), quality=0.5) for v in (0.02, 3.0))
    assert still.weight == pytest.approx(0.35 * 0.5)
    assert (
        dict(zip(CONFIG.names, still.dist, strict=True))["calm"]
        > 1 / 3
        > dict(zip(CONFIG.names, fast.dist, strict=True))["calm"]
    )
    assert max(*still.dist, *fast.dist) < 0.6  # a weak word: it can never lead alone
    assert assess(CONFIG, [fast]).reason == "little evidence"
    assert body_evidence(CONFIG, np.array([np.nan]), quality=1).weight == 0
    assert body_evidence(CONFIG, np.zeros(0), quality=1).weight == 0
    assert "body" not in CONFIG.weights.expected


def test_reliability_is_shrunk_and_may_only_take_away():
    rule = Reliability(population={"face": 0.6}, strength=20)
    assert reliability(rule, "face", None) == 1
    assert reliability(rule, "voice", Confirmed(windows=50, right=0)) == 1  # its population is not known
    few, many = (reliability(rule, "face", Confirmed(windows=n, right=0)) for n in (2, 200))
    assert few == pytest.approx(20 / 22)
    assert many == pytest.approx(20 / 220)
    assert reliability(rule, "face", Confirmed(windows=100, right=100)) == 1
    with pytest.raises(ValueError, match="at most"):
        Confirmed(windows=1, right=2)


def test_gates_are_the_gate_row_by_row():
    a = np.array([-1, 0.5, 0.7, 0.9, np.nan])
    assert arousal_gates(CONFIG.gate, a).tolist() == [arousal_gate(CONFIG.gate, float(v)) for v in a]
