"""Second opinions on facial expression: each alone and pooled, on people whom nothing was fitted on.

Truth and halves are those of `bench.expression`. In each direction one half chooses crop, temperature and weights by
log-loss and the other is judged, so that every face is judged once by what other people chose. One thing both halves
share: the population medians of the prototypes, which use no labels.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.expression import Rated, answers, ece, load, log_loss, temperature, uar
from mien.core import Device, Distribution
from mien.fusion.opinions import EXPRESSION_WEIGHTS, Opinions, fit_weights, pool_opinions
from mien.models.vision.faces.expression import LABELS, ExpressionConfig, MiniXception, tempered
from mien.models.vision.faces.faceapi import FaceApi
from mien.models.vision.faces.facex import FaceX
from mien.models.weights import open_adapter
from mien.signals.descriptors import describe
from mien.signals.prototypes import PrototypeConfig, expression

FLOOR_UAR, FLOOR_ACCURACY = 0.425, 0.500  # this mini-XCEPTION, crop × 1.2, no temperature, all faces
NETS: dict[str, tuple[type[ExpressionConfig], tuple[float, ...]]] = {
    "expression.minixception": (MiniXception.Config, (0.9, 1.0, 1.1, 1.2)),
    "expression.faceapi": (FaceApi.Config, (1.0, 1.1, 1.2, 1.3)),
    "expression.facex": (FaceX.Config, (1.0, 1.15)),
}
STACKS = {
    "mini-XCEPTION + geometry": ("expression.minixception", "geometry"),
    "mini-XCEPTION + facex + geometry": ("expression.minixception", "expression.facex", "geometry"),
    "mini-XCEPTION + geometry + face-api": ("expression.minixception", "geometry", "expression.faceapi"),
    "all four": (*NETS, "geometry"),
}
FLAT = np.full(len(LABELS), 1 / len(LABELS))


@dataclass(frozen=True, slots=True)
class Member:
    """One opinion: its raw answers `[n 7]` under every crop it may choose from."""

    crops: dict[str, np.ndarray]

    @property
    def shipped(self) -> np.ndarray:
        """The raw answers `[n 7]` at the crop that ships: the first."""
        return next(iter(self.crops.values()))

    def chosen(self, y: np.ndarray, fit: np.ndarray) -> tuple[str, float, np.ndarray]:
        """The crop and temperature with the least log-loss on `fit`, and the calibrated answers to all faces."""
        best = {crop: temperature(raw[fit], y[fit]) for crop, raw in self.crops.items()}
        crop = min(best, key=lambda c: best[c][1])
        return crop, best[crop][0], tempered(self.crops[crop], best[crop][0])


def main(args: list[str]) -> list[str]:
    """`--shipped` looks only at the crops that ship (no choice of crops; quicker)."""
    rated, missed = load()
    y, fit = np.array([r.label for r in rated]), np.array([r.fit for r in rated])
    people = np.array([r.person for r in rated])
    members, lines = {}, []
    for name, (config, sizes) in NETS.items():
        members[name], ms = listen(name, config, sizes if "--shipped" not in args else (), rated)
        lines.append(f"- {name}: {ms:.0f} ms of processor time a face{' and its mirror' if config().mirror else ''}")
    geometry = prototypes(rated)
    absent = np.asarray(np.isnan(geometry).any(axis=1))
    members["geometry"] = Member({"mesh": np.where(absent[:, None], FLAT, geometry)})
    lines = [
        f"{len(rated)} of {len(rated) + missed} faces found, {len(set(people))} people; {fit.sum()} faces to fit on. "
        f"Geometry does not measure {absent.sum()} of them (turned too far); alone it is judged there as flat.",
        "",
        "Mind: the training pictures of face-api and of facex are not published. This set was public before both and "
        "was suggested to the maker of face-api; pools with and without them are given apart for that reason.",
        "",
        *lines,
        "",
        *chosen(members, y, fit),
        "",
        "| opinion | half judged | accuracy | UAR, 7 classes | log-loss | ECE |",
        "|---" * 6 + "|",
    ]
    crossed: dict[str, Opinions] = {}
    for title, stack in {**{name: (name,) for name in members}, **STACKS}.items():
        crossed[title], rows = cross({n: members[n] for n in stack}, absent, y, fit)
        lines += [f"| {title} | {half} | {scores(p, t)} |" for half, p, t in rows]
    lines += ["", *intervals(crossed, y, people), "", *errors(crossed, y), "", *balanced(crossed, y, fit)]
    lines += ["", *mirrors(members, rated, y, fit), "", *shipped(members, geometry, y, fit)]
    lines += ["", *control(crossed["all four"].probs, y)]
    return lines


# ---------------------------------------------------------------- answers


def listen(
    name: str, config: type[ExpressionConfig], sizes: Sequence[float], rated: list[Rated]
) -> tuple[Member, float]:
    """Raw answers at every crop (the shipped one first), and ms a face."""
    mine = config()
    grid = {f"× {mine.enlarge}, {'upright' if mine.upright else 'level'}": mine.model_copy(update={"temperature": 1.0})}
    for enlarge, upright in itertools.product(sizes, (True, False)):
        crop = f"× {enlarge}, {'upright' if upright else 'level'}"
        grid.setdefault(crop, mine.model_copy(update={"temperature": 1.0, "enlarge": enlarge, "upright": upright}))
    began = time.process_time()
    held = {crop: answers(rated, settings, name) for crop, settings in grid.items()}
    return Member(held), (time.process_time() - began) / len(rated) / len(grid) * 1000


def prototypes(rated: list[Rated]) -> np.ndarray:
    mesh: Any = open_adapter("landmarks.facemesh", None, Device(threads=1))
    plain = PrototypeConfig(temperature=1.0)
    return np.concatenate([expression(describe(mesh.run(r.face)), plain).probs for r in rated]).astype(np.float64)


# ---------------------------------------------------------------- fitting on one half, judging the other


def chosen(members: dict[str, Member], y: np.ndarray, fit: np.ndarray) -> list[str]:
    lines = ["| fitted on | opinion | crop | T | λ in the pool of four |", "|---" * 5 + "|"]
    for half, rows in (("fitting half (ships)", fit), ("other half", ~fit)):
        picks = {name: m.chosen(y, rows) for name, m in members.items()}
        lam = fit_weights([p[rows] for _, _, p in picks.values()], y[rows])
        lines += [
            f"| {half} | {n} | {crop} | {t:.2f} | {w:.2f} |"
            for (n, (crop, t, _)), w in zip(picks.items(), lam, strict=True)
        ]
    return lines


def cross(
    members: dict[str, Member], absent: np.ndarray, y: np.ndarray, fit: np.ndarray
) -> tuple[Opinions, list[tuple[str, np.ndarray, np.ndarray]]]:
    """Every face judged by what the other half chose; rows of figures for each half and for all."""
    parts, rows = [], []
    for half, rest in (("held out", fit), ("swapped", ~fit)):
        picked = {name: m.chosen(y, rest)[2] for name, m in members.items()}
        lam = fit_weights([p[rest] for p in picked.values()], y[rest]) if len(picked) > 1 else (1.0,)
        heard = {
            n: Distribution(blank(p, absent if n == "geometry" and len(picked) > 1 else None)[~rest], LABELS)
            for n, p in picked.items()
        }
        pooled = pool_opinions(heard, dict(zip(picked, lam, strict=True)))
        parts.append((~rest, pooled))
        rows.append((half, pooled.probs, y[~rest]))
    whole = merged(parts, len(y))
    return whole, [*rows, ("both, each face once", whole.probs, y)]


def blank(probs: np.ndarray, absent: np.ndarray | None) -> np.ndarray:
    rows = probs.astype(np.float32)
    if absent is not None:
        rows[absent] = np.nan
    return rows


def merged(parts: list[tuple[np.ndarray, Opinions]], n: int) -> Opinions:
    def join(of: Callable[[Opinions], np.ndarray]) -> np.ndarray:
        first = of(parts[0][1])
        whole = np.zeros((n, *first.shape[1:]), first.dtype)
        for rows, part in parts:
            whole[rows] = of(part)
        return whole

    return Opinions(
        join(lambda o: o.probs), join(lambda o: o.ambiguity), join(lambda o: o.disagreement),
        join(lambda o: o.dissent), join(lambda o: o.count),
    )  # fmt: skip


# ---------------------------------------------------------------- figures


def scores(p: np.ndarray, y: np.ndarray) -> str:
    return f"{(p.argmax(1) == y).mean():.3f} | {uar(p, y):.3f} | {log_loss(p, y):.3f} | {ece(p, y):.3f}"


def intervals(crossed: dict[str, Opinions], y: np.ndarray, people: np.ndarray) -> list[str]:
    """Bootstrap over people (2000 draws): UAR and accuracy, and their difference to mini-XCEPTION on the same draws."""
    names, rng = np.unique(people), np.random.default_rng(0)
    of = [np.flatnonzero(people == name) for name in names]
    draws = [np.concatenate([of[i] for i in rng.integers(0, len(of), len(of))]) for _ in range(2000)]

    def ends(values: list[float]) -> str:
        low, high = np.quantile(values, (0.025, 0.975))
        return f"{low:+.3f} … {high:+.3f}"

    base, best = crossed["expression.minixception"].probs, crossed["expression.faceapi"].probs
    lines = [
        f"Each face once, against the floor (UAR {FLOOR_UAR}, accuracy {FLOOR_ACCURACY}); 95 % intervals over people:",
        "",
        "| opinion | UAR | UAR - floor | accuracy - floor | UAR - mini-XCEPTION's | log-loss - face-api's |",
        "|---" * 6 + "|",
    ]
    for title, held in crossed.items():
        p = held.probs
        u = [uar(p[d], y[d]) for d in draws]
        a = [float((p[d].argmax(1) == y[d]).mean()) for d in draws]
        paired = ends([v - uar(base[d], y[d]) for v, d in zip(u, draws, strict=True)])
        losses = ends([log_loss(p[d], y[d]) - log_loss(best[d], y[d]) for d in draws])
        more = uar(p, y) - FLOOR_UAR, float((p.argmax(1) == y).mean()) - FLOOR_ACCURACY
        lines.append(
            f"| {title} | {uar(p, y):.3f} | {more[0]:+.3f} ({ends([v - FLOOR_UAR for v in u])}) | "
            f"{more[1]:+.3f} ({ends([v - FLOOR_ACCURACY for v in a])}) | {paired} | {losses} |"
        )
    recalls = (
        f"- {title}: " + ", ".join(f"{n} {(h.probs[y == k].argmax(1) == k).mean():.2f}" for k, n in enumerate(LABELS))
        for title, h in crossed.items()
    )
    return [*lines, "", "Recall by class, each face once:", *recalls]


def auc(score: np.ndarray, yes: np.ndarray) -> float:
    """Area under the curve (Mann & Whitney 1947); 0.5 tells nothing."""
    above = (score[yes][:, None] > score[~yes]).mean() + 0.5 * (score[yes][:, None] == score[~yes]).mean()
    return float(above)


def errors(crossed: dict[str, Opinions], y: np.ndarray) -> list[str]:
    """Does disagreement know when the pool is wrong?"""
    lines = [
        "Which signal knows that the pool is wrong (area under the curve, each face once):",
        "",
        "| pool | wrong | disagreement (JSD) | dissent | ambiguity | 1 - top |",
        "|---" * 6 + "|",
    ]
    for title in STACKS:
        o = crossed[title]
        wrong = o.probs.argmax(1) != y
        signals = (o.disagreement, o.dissent, o.ambiguity, 1 - o.probs.max(1))
        lines.append(f"| {title} | {wrong.mean():.2f} | " + " | ".join(f"{auc(s, wrong):.3f}" for s in signals) + " |")
    return lines


def balanced(crossed: dict[str, Opinions], y: np.ndarray, fit: np.ndarray) -> list[str]:
    """The decision argmax p / share of the class in the other half: for UAR alone (Saerens, Latinne & Decaestecker
    2002); accuracy pays for it."""
    lines = [
        "Decision corrected for class shares, which buys UAR with accuracy and is no better knowledge:",
        "",
        "| pool | accuracy | UAR | UAR without |",
        "|---" * 4 + "|",
    ]
    for title in STACKS:
        p = crossed[title].probs.copy()
        for rest in (fit, ~fit):
            p[~rest] /= np.bincount(y[rest], minlength=len(LABELS)) / rest.sum()
        plain = uar(crossed[title].probs, y)
        lines.append(f"| {title} | {(p.argmax(1) == y).mean():.3f} | {uar(p, y):.3f} | {plain:.3f} |")
    return lines


def mirrors(members: dict[str, Member], rated: list[Rated], y: np.ndarray, fit: np.ndarray) -> list[str]:
    """The mean with the mirrored face, at each network's shipped crop; T fitted on the fitting half."""
    lines = ["Mean with the mirrored face, shipped crop, UAR / log-loss on held-out people:", ""]
    for name, (config, _) in NETS.items():
        said = []
        for mirror in (False, True):
            settings = config().model_copy(update={"temperature": 1.0, "mirror": mirror})
            raw = members[name].shipped if mirror == config().mirror else answers(rated, settings, name)
            p = tempered(raw, temperature(raw[fit], y[fit])[0])
            held_out = f"{uar(p[~fit], y[~fit]):.3f} / {log_loss(p[~fit], y[~fit]):.3f}"
            said.append(f"{held_out} (fitting half {uar(p[fit], y[fit]):.3f} / {log_loss(p[fit], y[fit]):.3f})")
        lines.append(f"- {name}: without {said[0]}, with {said[1]}")
    return lines


def shipped(members: dict[str, Member], geometry: np.ndarray, y: np.ndarray, fit: np.ndarray) -> list[str]:
    """What `pool_opinions` gives with everything as it ships, on held-out people."""
    calm = {n: tempered(members[n].shipped, config().temperature) for n, (config, _) in NETS.items()}
    calm["geometry"] = tempered(geometry, PrototypeConfig().temperature)
    heard = {n: Distribution(p.astype(np.float32), LABELS) for n, p in calm.items()}
    lines = ["As shipped (`EXPRESSION_WEIGHTS`), held-out people; missing members hand their weight on:", ""]
    for title, stack in STACKS.items():
        p = pool_opinions({n: heard[n] for n in stack}, EXPRESSION_WEIGHTS).probs[~fit]
        lines.append(f"- {title}: accuracy | UAR | log-loss | ECE = {scores(p, y[~fit])}")
    return lines


def control(p: np.ndarray, y: np.ndarray) -> list[str]:
    rng = np.random.default_rng(0)
    by_chance = float(np.mean([uar(p, rng.permutation(y)) for _ in range(200)]))
    return [f"Control: against shuffled labels the pool of four reaches UAR {by_chance:.3f} (1/7 = {1 / 7:.3f})."]
