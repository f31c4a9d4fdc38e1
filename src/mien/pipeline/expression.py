"""The `expression` stage: one opinion or several on each face, pooled; valence and arousal derived from the pool."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import Clip, Distribution, Frames
from mien.fusion.opinions import EXPRESSION_WEIGHTS, pool_opinions
from mien.pipeline.boxes import Tracked, nobody
from mien.pipeline.config import Analysis
from mien.pipeline.perface import PerFace
from mien.pipeline.rows import mean_dist, observe, table
from mien.pipeline.stack import GEOMETRY, Stack
from mien.signals import descriptors, prototypes
from mien.signals.affect import affect_of

Array = npt.NDArray[Any]


class ExpressionPass(PerFace):
    """Calibrated 7-class expression per frame; where several opinions were asked for, also how far they disagree."""

    def __init__(self, clip: Clip, stack: Stack, analysis: Analysis) -> None:
        super().__init__(clip, stack, "expression", analysis)
        self._models = {name: stack.get(key) for name, key in stack.opinions("expression").items()}
        self._labels: tuple[str, ...] = ()

    def feed(self, frames: Frames, found: Tracked | None) -> None:
        seen = (found or nobody(frames)).only_tracked()
        if not len(seen.track):
            return
        answers = {name: self._opinion(name, model, seen) for name, model in self._models.items()}
        self._labels = next(iter(answers.values())).labels
        rows = [answers[name].probs for name in answers]
        if len(rows) == 1:
            self._add(seen, rows[0])
            return
        weights = {name: EXPRESSION_WEIGHTS.get(name, 1 / len(rows)) for name in {*EXPRESSION_WEIGHTS, *answers}}
        pooled = pool_opinions(answers, weights)
        values = [pooled.probs, pooled.disagreement[:, None], pooled.dissent[:, None], *rows]
        self._add(seen, np.concatenate(values, axis=1).astype(np.float32))

    @staticmethod
    def _opinion(name: str, model: Any, seen: Tracked) -> Distribution:
        if name != GEOMETRY:
            return model.run(seen.faces)
        return prototypes.expression(descriptors.describe(model.run(seen.faces)))

    def finish(self) -> tuple[list[Any], dict[str, Any]]:
        c, several = len(self._labels), len(self._models) > 1
        t, track, values, quality = self._gathered(c + (2 + c * len(self._models)) * several)
        probs = values[:, :c]
        records: list[Any] = []
        data: dict[str, Any] = {"t_us": t, "track": track.astype(np.int32), "quality": quality}
        data |= {label: probs[:, i] for i, label in enumerate(self._labels)}
        tables: dict[str, Any] = {}
        if len(probs):
            derived = affect_of(probs, self._labels)
            data |= {
                "valence": derived.mean[:, 0],
                "arousal": derived.mean[:, 1],
                "var_valence": derived.cov[:, 0, 0],
                "var_arousal": derived.cov[:, 1, 1],
                "cov": derived.cov[:, 0, 1],
            }
            for who, span, rows in self._windows(t, track):
                shared: dict[str, Any] = {"track_id": who, "quality": float(quality[rows].mean()), "n": len(rows)}
                dist = mean_dist(probs[rows], self._labels)
                records.append(observe(self._clip, "expression", span, self._label, dist=dist, **shared))
                for k, name in enumerate(("valence", "arousal")):
                    mean = derived.mean[rows, k].astype(np.float64)
                    sd = float(np.sqrt(derived.cov[rows, k, k].mean() + mean.var()))
                    value = float(mean.mean())
                    records.append(
                        observe(
                            self._clip, f"{name}.derived", span, self._label, value=value, sd=sd, unit="-1..1", **shared
                        )
                    )
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
