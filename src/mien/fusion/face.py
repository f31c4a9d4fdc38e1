"""Face and body as sources: through valence and arousal with their noise; the face is gated by arousal."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mien.fusion.config import FusionConfig, Gate
from mien.fusion.evidence import SourceEvidence

F64 = npt.NDArray[np.float64]


def state_likelihood(config: FusionConfig, mean: F64, cov: F64) -> F64:
    """p(c) ∝ N([v, a]; μ_c, Σ_c + P) per row: a measurement with much noise becomes flat by itself.

    Args:
        mean: float `[m 2]` valence and arousal. cov: float `[m 2 2]` their covariance P (Kalman).

    Returns:
        float64 `[m k]`, rows sum to 1; a row with a NaN in it is NaN.

    Raises:
        ValueError: shapes do not fit.
    """
    mean, cov = np.asarray(mean, np.float64), np.asarray(cov, np.float64)
    if mean.ndim != 2 or mean.shape[1] != 2 or cov.shape != (len(mean), 2, 2):
        raise ValueError(f"mean must be [m 2] and cov [m 2 2], but got {list(mean.shape)} and {list(cov.shape)}")
    logs = np.empty((len(mean), len(config.states)))
    for c, s in enumerate(config.states):
        off = s.correlation * s.sd_valence * s.sd_arousal
        spread = cov + np.array([[s.sd_valence**2, off], [off, s.sd_arousal**2]])
        d = mean - np.array([s.valence, s.arousal])
        det = spread[:, 0, 0] * spread[:, 1, 1] - spread[:, 0, 1] * spread[:, 1, 0]
        square = (
            spread[:, 1, 1] * d[:, 0] ** 2
            - (spread[:, 0, 1] + spread[:, 1, 0]) * d[:, 0] * d[:, 1]
            + spread[:, 0, 0] * d[:, 1] ** 2
        ) / det
        logs[:, c] = -0.5 * (square + np.log(det))
    logs -= logs.max(axis=1, keepdims=True)
    shares = np.exp(logs)
    return shares / shares.sum(axis=1, keepdims=True)


def arousal_gate(gate: Gate, arousal: float) -> float:
    """`arousal_gates` for one value."""
    return float(arousal_gates(gate, np.array([arousal], np.float64))[0])


def arousal_gates(gate: Gate, arousal: F64) -> F64:
    """g(a) `[n]` in [least, 1], never rising: 1 for a ≤ low, half a cosine between, `least` for a ≥ high. NaN gives 1:
    an unknown arousal is not a high one."""
    x = np.clip((np.nan_to_num(arousal, nan=gate.low) - gate.low) / (gate.high - gate.low), 0.0, 1.0)
    return gate.least + (1 - gate.least) * 0.5 * (1 + np.cos(np.pi * x))


def face_evidence(
    config: FusionConfig,
    mean: F64,
    cov: F64,
    *,
    quality: float,
    arousal: float,
    reliability: float = 1.0,
    evidence_ids: tuple[str, ...] = (),
) -> SourceEvidence:
    """The face's evidence over a span: mean over its cells of p(c), weight λ_f = λ_face · quality · reliability · g(a).

    Args:
        mean, cov: `[m 2]`, `[m 2 2]`: cells of the span; gap cells may stay in (they are near flat). m may be 0.
        quality: 0..1 of the face images (size, pose, coverage of the span).
        arousal: best estimate over the span from *any* source (a scream with a still face is high arousal too).
        reliability: 0..1 of faces for this person (shrunk toward the population by the caller).

    Raises:
        ValueError: shapes do not fit, or quality or reliability lies outside 0..1.
    """
    gate = arousal_gate(config.gate, arousal)
    note = f"gated by arousal {arousal:+.2f}: weight × {gate:.2f}" if gate < 1 else ""
    weight = config.weights.face * _product(quality, reliability) * gate
    return _in_plane(config, "face", mean, cov, weight, evidence_ids, note)


def body_evidence(
    config: FusionConfig,
    motion: F64,
    *,
    quality: float,
    reliability: float = 1.0,
    evidence_ids: tuple[str, ...] = (),
) -> SourceEvidence:
    """The body's evidence over a span, from how fast it moves (`BodyEvidence`); the arousal gate does not touch it.

    Args:
        motion: `[m]` speeds in trunk lengths/s; NaN where not measured. quality, reliability: as `face_evidence`.

    Raises:
        ValueError: quality or reliability lies outside 0..1.
    """
    mean, cov = config.body.plane(motion)
    weight = config.weights.body * _product(quality, reliability)
    return _in_plane(config, "body", mean, cov, weight, evidence_ids, "movement tells arousal only")


def _product(quality: float, reliability: float) -> float:
    for what, value in (("quality", quality), ("reliability", reliability)):
        if not 0 <= value <= 1:
            raise ValueError(f"{what} must lie in 0..1, but got {value}")
    return quality * reliability


def _in_plane(
    config: FusionConfig, name: str, mean: F64, cov: F64, weight: float, evidence_ids: tuple[str, ...], note: str
) -> SourceEvidence:
    """The likelihoods are normalised under a uniform prior, which is therefore their training prior. Cells are
    averaged, not multiplied: neighbouring frames of one person are no independent witnesses."""
    k = len(config.states)
    flat = (1 / k,) * k
    rows = state_likelihood(config, mean, cov)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return SourceEvidence(name, flat, flat, 0.0, evidence_ids, f"no {name} measured")
    shares = rows.mean(axis=0)
    return SourceEvidence(name, tuple(float(p) for p in shares / shares.sum()), flat, weight, evidence_ids, note)
