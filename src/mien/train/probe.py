"""The probe behind `expression.facenet`: seven expressions off FaceNet's embedding, from faces that people labelled.

Embeddings are handed over in memory and no file of them is made. The weights of a linear probe are sums of the
embeddings it was fitted on, so with few people they would be a picture of them: fewer than `MIN_PEOPLE` are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.models.vision.faces.expression import LABELS, tempered
from mien.models.vision.faces.facenet import Probe
from mien.train.measures import balanced_weight, ece, log_loss, uar

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MIN_PEOPLE, FOLDS = 20, 5
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # inverse of the L2 penalty; unit vectors want large ones


@dataclass(frozen=True, slots=True)
class Fitted:
    """A probe and its figures on people each fold kept apart (every class weighs the same in log-loss and ECE).

    The penalty and the temperature were chosen on those folds, too: two numbers' worth of flattery.
    """

    probe: Probe
    strength: float
    people: int
    faces: int
    uar: float
    log_loss: float
    ece: float

    def save(self, path: Path) -> None:
        """Write the file that `mien models add facenet-probe FILE` takes (`probe.safetensors`), figures included."""
        figures = {"uar": f"{self.uar:.3f}", "log_loss": f"{self.log_loss:.3f}", "ece": f"{self.ece:.3f}"}
        self.probe.write(path, {"people": str(self.people), "faces": str(self.faces)} | figures)


def fit(vectors: F32, label: Ints, person: Ints, seed: int = 0) -> Fitted:
    """Fit on embeddings float32 `[n 512]` (rows of NaN are left out), label `[n]` (index into `LABELS`), person `[n]`.

    Multinomial logistic regression, classes weighted equally; penalty by grouped folds, then one temperature (Guo et
    al., 2017).

    Raises:
        MienError: `train.too-few-people`, `train.missing-class`.
    """
    from scipy.optimize import minimize_scalar

    rows = np.isfinite(vectors).all(axis=1)
    vectors, label, person = vectors[rows], label[rows], person[rows]
    people = len(np.unique(person))
    if people < MIN_PEOPLE:
        raise MienError(
            "train.too-few-people", f"a probe needs faces of {MIN_PEOPLE} people, but got {people}", "label more people"
        )
    weight = balanced_weight(label, len(LABELS))
    apart = {strength: _apart(vectors, label, person, strength, seed) for strength in STRENGTHS}
    strength = min(apart, key=lambda c: log_loss(apart[c], label, weight))
    raw = apart[strength]
    found: Any = minimize_scalar(
        lambda t: log_loss(tempered(raw, np.exp(t)), label, weight), bounds=(-2, 2), method="bounded"
    )
    temperature = float(np.exp(found.x))
    probs = tempered(raw, temperature)
    model = _logistic(vectors, label, strength)
    probe = Probe(
        model.coef_.astype(np.float32), model.intercept_.astype(np.float32), np.array([temperature], np.float32)
    )
    return Fitted(
        probe,
        strength,
        people,
        len(label),
        uar(probs, label),
        log_loss(probs, label, weight),
        ece(probs, label, weight),
    )


def _apart(vectors: F32, label: Ints, person: Ints, strength: float, seed: int) -> F64:
    """Probabilities `[n 7]`, each row by a probe that never saw its person."""
    from sklearn.model_selection import StratifiedGroupKFold

    probs = np.zeros((len(label), len(LABELS)))
    for rest, kept in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed).split(vectors, label, person):
        probs[kept] = _logistic(vectors[rest], label[rest], strength).predict_proba(vectors[kept])
    return probs


def _logistic(vectors: F32, label: Ints, strength: float) -> Any:
    from sklearn.linear_model import LogisticRegression

    lacking = sorted(set(range(len(LABELS))) - set(label.tolist()))
    if lacking:
        raise MienError(
            "train.missing-class",
            f"no face shows {LABELS[lacking[0]]}, or only one person's do",
            "label every class in several people",
        )
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(vectors, label)
