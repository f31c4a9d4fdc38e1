"""The face through valence and arousal: the right state, flat when noisy, gated by arousal."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.fusion import FusionConfig, Gate, arousal_gate, entropy, face_evidence, state_likelihood

CONFIG = FusionConfig()
UNITS = st.floats(-1, 1)


def test_each_prototype_is_its_own_state() -> None:
    mean = np.array([[s.valence, s.arousal] for s in CONFIG.states])
    p = state_likelihood(CONFIG, mean, np.zeros((3, 2, 2)))
    assert p.argmax(axis=1).tolist() == [0, 1, 2]


def test_against_the_density_written_out() -> None:
    from scipy.stats import multivariate_normal

    mean, cov = np.array([[0.1, 0.4]]), np.array([[[0.05, 0.02], [0.02, 0.08]]])
    want = np.array(
        [
            multivariate_normal.pdf(
                mean[0], [s.valence, s.arousal], np.diag([s.sd_valence**2, s.sd_arousal**2]) + cov[0]
            )
            for s in CONFIG.states
        ]
    )
    np.testing.assert_allclose(state_likelihood(CONFIG, mean, cov)[0], want / want.sum(), atol=1e-12)


@given(UNITS, UNITS)
def test_a_poor_face_becomes_flat(v: float, a: float) -> None:
    mean = np.array([[v, a]] * 2)
    cov = np.array([np.eye(2) * s for s in (0.01, 400.0)])
    sharp, poor = state_likelihood(CONFIG, mean, cov)
    np.testing.assert_allclose(poor, 1 / 3, atol=0.01)
    assert entropy(poor.tolist()) >= entropy(sharp.tolist()) - 1e-3


@given(UNITS, UNITS)
def test_the_gate_never_rises(a: float, b: float) -> None:
    gate = Gate()
    low, high = min(a, b), max(a, b)
    assert arousal_gate(gate, low) >= arousal_gate(gate, high)
    assert gate.least <= arousal_gate(gate, a) <= 1


def test_the_gate_reaches_its_ends() -> None:
    gate = Gate()
    assert arousal_gate(gate, gate.low) == 1
    assert arousal_gate(gate, gate.high) == pytest.approx(0.2)
    assert arousal_gate(gate, float("nan")) == 1


def test_weight_of_the_face() -> None:
    mean, cov = np.array([[0.8, 0.5]]), np.eye(2)[None] * 0.02
    calm = face_evidence(CONFIG, mean, cov, quality=0.8, arousal=0.1, reliability=0.5, evidence_ids=("o1",))
    assert calm.weight == pytest.approx(0.95 * 0.8 * 0.5)
    assert (calm.note, calm.evidence_ids) == ("", ("o1",))
    peak = face_evidence(CONFIG, mean, cov, quality=0.8, arousal=0.95, reliability=0.5)
    assert peak.weight == pytest.approx(0.2 * calm.weight)
    assert "gated" in peak.note
    assert peak.dist == calm.dist


def test_without_cells_the_face_is_missing() -> None:
    for mean in (np.zeros((0, 2)), np.full((3, 2), np.nan)):
        s = face_evidence(CONFIG, mean, np.zeros((len(mean), 2, 2)), quality=1, arousal=0)
        assert (s.weight, s.note) == (0, "no face measured")


def test_bad_shapes_and_ranges_are_refused() -> None:
    with pytest.raises(ValueError, match="must be"):
        state_likelihood(CONFIG, np.zeros((2, 3)), np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="quality"):
        face_evidence(CONFIG, np.zeros((1, 2)), np.zeros((1, 2, 2)), quality=1.2, arousal=0)
    with pytest.raises(ValueError, match="below"):
        Gate(low=0.9, high=0.5)
