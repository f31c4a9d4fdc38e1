"""The `expression` stage: one opinion or several on each face, pooled; valence and arousal, derived or measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Affect, Clip, Distribution, Frames, MienError
from mien.fusion.opinions import EXPRESSION_WEIGHTS, onto, pool_opinions
from mien.pipeline.config import Analysis
from mien.pipeline.rows import mean_dist, observe, table
from mien.pipeline.stack import GEOMETRY, Stack
from mien.pipeline.stages.boxes import Tracked, nobody
from mien.pipeline.stages.perface import PerFace
from mien.signals import descriptors, prototypes
from mien.signals.affect import COORDINATES, affect_of, measured

Array = npt.NDArray[Any]


class ExpressionPass(PerFace):
    """Calibrated expression per frame; where several opinions were asked for, also how far they disagree.

    The classes are those of the stack's own model that have a place in the plane of valence and arousal. Where a model
    measures valence and arousal itself they are taken from it, else derived from the classes.
    """

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "expression", analysis)
        self._models = {name: stack.get(key) for name, key in stack.opinions("expression").items()}
        self._labels: tuple[str, ...] = ()
        self._measured: list[Array] = []

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        seen = (found or nobody(frames)).only_tracked()
        if not len(seen.track):
            return
        said = {name: self._opinion(name, model, seen) for name, model in self._models.items()}
        own = next(iter(said.values())).labels
        self._labels = tuple(label for label in own if label in COORDINATES)
        answers = {name: self._over(name, one) for name, one in said.items()}
        gave = [one for one in said.values() if isinstance(one, Affect)]
        if gave:
            held = measured(
                np.stack([g.valence for g in gave]), np.stack([g.arousal for g in gave]), np.stack([g.sd for g in gave])
            )
            var = np.diagonal(held.cov, axis1=1, axis2=2)
            self._measured.append(np.concatenate([held.mean, var], axis=1))
        rows = [answers[name].probs for name in answers]
        if len(rows) == 1:
            self._add(seen, rows[0])
            return
        weights = {name: EXPRESSION_WEIGHTS.get(name, 1 / len(rows)) for name in {*EXPRESSION_WEIGHTS, *answers}}
        pooled = pool_opinions(answers, weights)
        values = [pooled.probs, pooled.disagreement[:, None], pooled.dissent[:, None], *rows]
        self._add(seen, np.concatenate(values, axis=1).astype(np.float32))

    @staticmethod
    def _opinion(name: str, model: Any, seen: Tracked) -> Distribution | Affect:
        if name != GEOMETRY:
            return model.run(seen.faces)
        return prototypes.expression(descriptors.describe(model.run(seen.faces)))

    def _over(self, name: str, said: Distribution | Affect) -> Distribution:
        try:
            return onto(Distribution(said.probs, said.labels), self._labels)
        except ValueError as error:
            own = next(iter(self._models))
            raise MienError(
                "config.labels-differ",
                f"{name} cannot be pooled with {own}: {error}",
                f"make {name} the stack's expression, or leave it out of opinions.expression",
            ) from error

    def finish(self) -> tuple[list[Any], dict[str, Any]]:
        c, several = len(self._labels), len(self._models) > 1
        t, track, values, quality = self._gathered(c + (2 + c * len(self._models)) * several)
        probs = values[:, :c]
        records: list[Any] = []
        data: dict[str, Any] = {"t_us": t, "track": track.astype(np.int32), "quality": quality}
        data |= {label: probs[:, i] for i, label in enumerate(self._labels)}
        tables: dict[str, Any] = {}
        if len(probs):
            mean, var, cov, own = self._affect(probs)
            data |= {"valence": mean[:, 0], "arousal": mean[:, 1], "cov": cov}
            data |= {"var_valence": var[:, 0], "var_arousal": var[:, 1]}
            for who, span, rows in self._windows(t, track):
                shared: dict[str, Any] = {"track_id": who, "quality": float(quality[rows].mean()), "n": len(rows)}
                dist = mean_dist(probs[rows], self._labels)
                records.append(observe(self._clip, "expression", span, self._label, dist=dist, **shared))
                for k, name in enumerate(("valence", "arousal")):
                    known = rows[np.isfinite(mean[rows, k])]
                    target = name if own[known].any() else f"{name}.derived"
                    if not len(known):
                        lost: dict[str, Any] = {**shared, "n": 0, "reason": "face-not-measurable"}
                        records.append(observe(self._clip, target, span, self._label, unit="-1..1", **lost))
                        continue
                    records.append(
                        observe(
                            self._clip, target, span, self._label, value=float(mean[known, k].mean()),
                            sd=float(np.sqrt(var[known, k].mean() + mean[known, k].var())), unit="-1..1", **shared,
                        )
                    )  # fmt: skip
                if several:
                    apart = values[rows, c].astype(np.float64)
                    records.append(
                        observe(
                            self._clip, "expression.disagreement", span, self._label, value=float(np.nanmean(apart)),
                            sd=float(np.nanstd(apart)) if len(rows) > 1 else None, unit="nat", **shared,
                        )
                    )  # fmt: skip
            if several:
                data |= {"disagreement": values[:, c], "dissent": values[:, c + 1]}
                said: dict[str, Any] = {"t_us": t, "track": data["track"]}
                for k, name in enumerate(self._models):
                    first = c + 2 + k * c
                    said |= {f"{name}:{label}": values[:, first + i] for i, label in enumerate(self._labels)}
                tables[f"opinions/{self._clip.id}"] = table(said)
        return records, {f"expression/{self._clip.id}": table(data), **tables}

    def _affect(self, probs: Array) -> tuple[Array, Array, Array, Array]:
        """Valence and arousal `[n 2]`, variances `[n 2]`, covariance `[n]`, and whether a network measured them `[n]`.

        What no network measured is derived from the classes.
        """
        derived = affect_of(probs, self._labels)
        mean, cov = derived.mean, derived.cov[:, 0, 1]
        var = np.diagonal(derived.cov, axis1=1, axis2=2)
        if not self._measured:
            return mean, var, cov, np.zeros(len(mean), bool)
        held = np.concatenate(self._measured)
        own = np.isfinite(held[:, 0])
        return (
            np.where(own[:, None], held[:, :2], mean), np.where(own[:, None], held[:, 2:], var),
            np.where(own, 0.0, cov), own,
        )  # fmt: skip
