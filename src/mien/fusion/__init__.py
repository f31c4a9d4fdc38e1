"""From calibrated sources to an assessment: calibrate, weigh, pool, measure ambiguity and conflict, abstain.

What may enter: pure functions of numbers and records. No I/O, no model runtime, no wording for people.
"""

from mien.fusion.assess import Assessed, AssessedRows, Reading, assess, assess_rows, kind_of
from mien.fusion.calibrate import Calibration, calibrated, smoothed
from mien.fusion.config import FusionConfig, Gate, Made, Prototype, SourceWeights, Thresholds
from mien.fusion.conformal import ConformalSets
from mien.fusion.dynamics import Dynamics, forward, smooth
from mien.fusion.evidence import SourceEvidence
from mien.fusion.face import arousal_gate, arousal_gates, body_evidence, face_evidence, state_likelihood
from mien.fusion.pool import Pooled, pool, pool_rows, weigh, without
from mien.fusion.reliability import Confirmed, Reliability, reliability
from mien.fusion.uncertainty import (
    Mixture,
    MixtureRows,
    PairConflict,
    entropy,
    mixture,
    mixture_rows,
    pair_conflicts,
    vacuity,
)

__all__ = [
    "Assessed", "AssessedRows", "Calibration", "Confirmed", "ConformalSets", "Dynamics", "FusionConfig", "Gate", "Made",
    "Mixture", "MixtureRows", "PairConflict", "Pooled", "Prototype", "Reading", "Reliability", "SourceEvidence",
    "SourceWeights", "Thresholds", "arousal_gate", "arousal_gates", "assess", "assess_rows", "body_evidence",
    "calibrated", "entropy", "face_evidence", "forward", "kind_of", "mixture", "mixture_rows", "pair_conflicts", "pool",
    "pool_rows", "reliability", "smooth", "smoothed", "state_likelihood", "vacuity", "weigh", "without",
]  # fmt: skip
