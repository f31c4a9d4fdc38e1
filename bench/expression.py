"""Facial expression: which crop, which temperature, and how good it is on people it was not fitted on.

Truth: `../shared/data/face_expression_muxspace`, one noisy rater, so the ceiling is well below 1. People are split by
the parity of the SHA-256 of their name: crop and temperature are chosen on one half (log-loss), figures are of the
other.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.faces import DATA, one, read
from mien.core import Device, Distribution, Faces, Frames, Strict
from mien.models.vision.faces.expression import LABELS, MiniXception, tempered
from mien.models.weights import open_adapter, resolve
from mien.models.weights.extras import DEMO_VIDEO

FOLDER = DATA / "face_expression_muxspace"
POLARITY = np.array([-1, -1, -1, 1, -1, 0, 0])  # of LABELS; surprise and neutral stand at the middle
TEMPERATURES = np.exp(np.linspace(np.log(0.5), np.log(8), 60))


@dataclass(frozen=True, slots=True)
class Rated:
    """One face, its label (index into LABELS), its person and whether that person is of the half that is fitted on."""

    face: Faces
    label: int
    fit: bool
    person: str = ""


def main(args: list[str]) -> list[str]:
    """`--crops` also compares crops on the fitting half (slow)."""
    rated, missed = load()
    y = np.array([r.label for r in rated])
    fit = np.array([r.fit for r in rated])
    lines = [
        f"{len(rated)} of {len(rated) + missed} faces found; people split by parity of SHA-256 of the name: "
        f"{fit.sum()} faces to fit on, {(~fit).sum()} held out."
    ]
    if "--crops" in args:
        lines += ["", *crops(rated, y, fit)]
    raw = answers(rated, MiniXception.Config(temperature=1.0))
    best, _ = temperature(raw[fit], y[fit])
    shipped = MiniXception.Config().temperature
    lines += [
        "",
        f"Temperature fitted: {best:.2f}; shipped: {shipped}.",
        "",
        "| held-out people | accuracy | UAR, 7 classes | log-loss | ECE, 10 bins |",
        "|---|---|---|---|---|",
        f"| softmax of the network | {figures(raw[~fit], y[~fit])} |",
        f"| after the temperature | {figures(tempered(raw, shipped)[~fit], y[~fit])} |",
        f"| guessing the base rates | {figures(base_rates(y[fit], int((~fit).sum())), y[~fit])} |",
        f"| both halves, so partly fitted on | {figures(tempered(raw, shipped), y)} |",
        "",
        "Recall by class, both halves: "
        + ", ".join(f"{n} {(raw[y == k].argmax(1) == k).mean():.2f}" for k, n in enumerate(LABELS))
        + ".",
    ]
    return [*lines, "", *facts(), "", *demo()]


def load() -> tuple[list[Rated], int]:
    """Largest face of every picture with one of the seven labels, and how many had none."""
    finder: Any = open_adapter("face.centerface")
    rated, missed = [], 0
    with (FOLDER / "labels.csv").open() as file:
        for row in csv.DictReader(file):
            if row["emotion"] not in LABELS:
                continue
            face = largest(finder, one(read(FOLDER / row["file"])))
            if face is None:
                missed += 1
                continue
            fit = hashlib.sha256(row["identity_key"].encode()).digest()[-1] % 2 == 0
            rated.append(Rated(face, LABELS.index(row["emotion"]), fit, row["identity_key"]))
    return rated, missed


def largest(finder: Any, frame: Frames) -> Faces | None:
    boxes = finder.run(frame)
    if not len(boxes):
        return None
    area = (boxes.xyxy[:, 2:] - boxes.xyxy[:, :2]).prod(1)
    return Faces(frame, boxes.take(np.array([int(area.argmax())])))


def answers(rated: list[Rated], config: Strict, name: str = "expression.minixception") -> np.ndarray:
    model: Any = open_adapter(name, config, Device(threads=1))
    rows = np.concatenate([model.run(r.face).probs for r in rated])
    model.close()
    return rows


def crops(rated: list[Rated], y: np.ndarray, fit: np.ndarray) -> list[str]:
    """Every crop on the fitting half, best log-loss first."""
    chosen = [r for r in rated if r.fit]
    rows = []
    for enlarge, upright, contrast in itertools.product(
        (0.8, 0.9, 1.0, 1.1, 1.2, 1.3), (False, True), ("none", "stretch", "equalise")
    ):
        config = MiniXception.Config(temperature=1.0, enlarge=enlarge, upright=upright, contrast=contrast)
        probs = answers(chosen, config)
        t, loss = temperature(probs, y[fit])
        rows.append((loss, f"| {enlarge} | {upright} | {contrast} | {t:.2f} | {loss:.3f} | {uar(probs, y[fit]):.3f} |"))
    return [
        "| box × | upright | contrast | T | log-loss (fit) | UAR (fit) |",
        "|---" * 6 + "|",
        *(r for _, r in sorted(rows)),
    ]


# ---------------------------------------------------------------- scores


def temperature(probs: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    losses = [log_loss(tempered(probs, float(t)), y) for t in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))]), min(losses)


def log_loss(probs: np.ndarray, y: np.ndarray) -> float:
    return float(-np.log(np.clip(probs[np.arange(len(y)), y], 1e-12, 1)).mean())


def uar(probs: np.ndarray, y: np.ndarray) -> float:
    """Mean recall over the classes present."""
    return float(np.mean([(probs[y == k].argmax(1) == k).mean() for k in np.unique(y)]))


def ece(probs: np.ndarray, y: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of the top class (Guo et al., 2017)."""
    sure, right = probs.max(1), probs.argmax(1) == y
    part = np.minimum((sure * bins).astype(int), bins - 1)
    return float(
        sum(abs(sure[part == b].mean() - right[part == b].mean()) * (part == b).mean() for b in np.unique(part))
    )


def figures(probs: np.ndarray, y: np.ndarray) -> str:
    accuracy = (probs.argmax(1) == y).mean()
    return f"{accuracy:.3f} | {uar(probs, y):.3f} | {log_loss(probs, y):.3f} | {ece(probs, y):.3f}"


def base_rates(y: np.ndarray, n: int) -> np.ndarray:
    return np.tile(np.bincount(y, minlength=len(LABELS)) / len(y), (n, 1))


# ---------------------------------------------------------------- facts and the demo


def facts() -> list[str]:
    """Happiness on the two pictures whose answer peers assert, before and after the temperature."""
    finder: Any = open_adapter("face.centerface")
    happy = LABELS.index("happiness")
    lines = []
    for name, bound in (("single_face.jpg", 0.8), ("justin.jpg", 0.9)):
        face = largest(finder, one(read(DATA / "face_pictures" / name)))
        assert face is not None
        rated = [Rated(face, happy, False)]
        raw = answers(rated, MiniXception.Config(temperature=1.0))[0, happy]
        after = answers(rated, MiniXception.Config())[0, happy]
        lines.append(f"{name}: happiness {raw:.3f} raw, {after:.3f} after the temperature (peers assert > {bound}).")
    return lines


def demo() -> list[str]:
    """The demonstration video second by second: crying, calm, laughing."""
    import av

    finder: Any = open_adapter("face.centerface")
    model: Any = open_adapter("expression.minixception")
    seconds: dict[int, list[np.ndarray]] = {}
    with av.open(str(resolve(DEMO_VIDEO).only)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % 5 or frame.time is None:
                continue
            face = largest(finder, one(frame.to_ndarray(format="rgb24")))
            if face is not None:
                answer: Distribution = model.run(face)
                seconds.setdefault(int(frame.time), []).append(answer.probs[0])
    lines = ["| second | faces | " + " | ".join(LABELS) + " | polarity |", "|---" * 10 + "|"]
    for second, rows in sorted(seconds.items()):
        p = np.mean(rows, axis=0)
        lines.append(f"| {second} | {len(rows)} | " + " | ".join(f"{v:.2f}" for v in p) + f" | {p @ POLARITY:+.2f} |")
    return lines
