"""From calibrated sources to an assessment: weigh, pool, measure ambiguity and conflict, abstain.

What may enter: pure functions of numbers and records. No I/O, no model runtime, no wording for people.
"""

from mien.fusion.assess import Assessed, Reading, assess
from mien.fusion.config import FusionConfig, Gate, Prototype, SourceWeights, Thresholds
from mien.fusion.evidence import SourceEvidence
from mien.fusion.face import arousal_gate, face_evidence, state_likelihood
from mien.fusion.pool import Pooled, pool, weigh, without
from mien.fusion.uncertainty import Mixture, PairConflict, entropy, mixture, pair_conflicts, vacuity

__all__ = [
    "Assessed", "FusionConfig", "Gate", "Mixture", "PairConflict", "Pooled", "Prototype", "Reading", "SourceEvidence",
    "SourceWeights", "Thresholds", "arousal_gate", "assess", "entropy", "face_evidence", "mixture", "pair_conflicts",
    "pool", "state_likelihood", "vacuity", "weigh", "without",
]  # fmt: skip
