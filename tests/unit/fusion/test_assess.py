"""Assessments on planted streams: conflicts are seen, agreement is not one, too little evidence abstains."""

import math

import numpy as np
import pytest

from mien.fusion import Assessed, FusionConfig, Prototype, SourceEvidence, Thresholds, assess

FLAT = (1 / 3,) * 3
CONFIG = FusionConfig()


def _source(name: str, dist: np.ndarray, weight: float) -> SourceEvidence:
    return SourceEvidence(name, tuple((dist / dist.sum()).tolist()), FLAT, weight)


def _stream(seed: int, n: int, agree: bool) -> list[Assessed]:
    """Two sources that read the same planted state, or two different ones, with noise (Dirichlet, mean 0.8 on it)."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(n):
        state = rng.integers(3)
        other = state if agree else (state + rng.integers(1, 3)) % 3
        face = rng.dirichlet(np.full(3, 2.0) + 16 * np.eye(3)[state])
        voice = rng.dirichlet(np.full(3, 2.0) + 16 * np.eye(3)[other])
        out.append(assess(CONFIG, [_source("face", face, 0.95), _source("voice", voice, 0.57)]))
    return out


def test_planted_conflicts_are_flagged_and_agreement_is_not() -> None:
    conflicts, agreements = _stream(1, 1000, agree=False), _stream(2, 1000, agree=True)
    assert np.mean([a.reason == "conflict" for a in conflicts]) >= 0.99
    assert np.mean([a.reason == "conflict" for a in agreements]) <= 0.01
    assert all(a.abstained for a in conflicts if a.reason)


def test_both_readings_are_kept() -> None:
    a = assess(
        CONFIG,
        [_source("face", np.array([0.05, 0.9, 0.05]), 0.95), _source("voice", np.array([0.9, 0.05, 0.05]), 0.57)],
    )
    assert (a.reason, a.abstained) == ("conflict", True)
    assert [(r.source, r.state) for r in a.readings] == [("face", "pleasure"), ("voice", "distress")]
    assert a.total == pytest.approx(a.ambiguity + a.conflict, abs=1e-9)
    assert a.pairs[0].degree > 0.3


def test_a_vague_source_is_no_conflict() -> None:
    a = assess(
        CONFIG,
        [_source("face", np.array([0.34, 0.33, 0.33]), 0.9), _source("voice", np.array([0.02, 0.96, 0.02]), 0.6)],
    )
    assert a.reason == ""
    assert a.posterior[1][1] > 0.5


def test_different_training_priors_alone_are_no_conflict() -> None:
    """A voice trained on 90 % distress that says "90 % distress" has said nothing."""
    voice = SourceEvidence("voice", (0.9, 0.05, 0.05), (0.9, 0.05, 0.05), 0.57)
    face = SourceEvidence("face", (0.05, 0.9, 0.05), FLAT, 0.95)
    a = assess(CONFIG, [voice, face])
    assert a.reason == ""
    alone = assess(CONFIG, [face])
    for (_, p), (_, q) in zip(a.posterior, alone.posterior, strict=True):
        assert p == pytest.approx(q, abs=1e-12)


def test_nothing_measured_gives_the_prior_and_abstains() -> None:
    config = FusionConfig(prior=(0.2, 0.3, 0.5))
    for sources in ([], [_source("face", np.ones(3), 0.0)]):
        a = assess(config, sources)
        assert (a.reason, a.vacuity, a.contributions) == ("little evidence", 1.0, ())
        assert [p for _, p in a.posterior] == pytest.approx([0.2, 0.3, 0.5])
        assert math.isnan(a.conflict)


def test_a_face_alone_at_peak_arousal_may_not_decide() -> None:
    a = assess(CONFIG, [_source("face", np.array([0.02, 0.96, 0.02]), 0.95 * 0.2)])
    assert (a.reason, a.abstained) == ("little evidence", True)


def test_two_vague_sources_are_ambiguous() -> None:
    vague = np.array([0.36, 0.34, 0.30])
    a = assess(CONFIG, [_source("face", vague, 0.95), _source("voice", vague, 0.57)])
    assert a.reason == "ambiguous"


def test_thresholds_are_the_projects() -> None:
    sources = [_source("face", np.array([0.1, 0.8, 0.1]), 0.95), _source("voice", np.array([0.8, 0.1, 0.1]), 0.57)]
    assert assess(FusionConfig(thresholds=Thresholds(conflict=0.6)), sources).reason != "conflict"


def test_config_is_strict() -> None:
    with pytest.raises(ValueError, match="prior"):
        FusionConfig(prior=(0.5, 0.5))
    with pytest.raises(ValueError, match="differ"):
        FusionConfig(states=(Prototype(name="a", valence=0, arousal=0), Prototype(name="a", valence=1, arousal=0)))
    with pytest.raises(ValueError, match="Extra inputs"):
        FusionConfig.model_validate({"pior": [1]})
