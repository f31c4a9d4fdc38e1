"""Fitting a head of vocal cues: logistic regression, a small network, or attentive pooling and a small network.

Logistic regression runs on scikit-learn; the other two on torch (`pip install 'mien[torch]'`), for training alone: what
comes out is a `CueHead` of plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError, missing_extra
from mien.models.sound.cues import CueHead, Kind

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Inputs = F32 | Sequence[F32]

BATCH = 256


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a head is fitted; the defaults were chosen on folds over development people (docs/log.md).

    Attributes:
        kind: `logistic`, `mlp` or `attentive`. strength: inverse L2 penalty of `logistic`.
        hidden: width of the one hidden layer. members: networks from different seeds, averaged.
        drop_in, drop: shares of inputs and hidden units left out while training. mixup: α of Beta(α, α) (Zhang et al.,
            2018), 0 for none. smooth: label smoothing (Szegedy et al., 2016). decay: AdamW's weight decay.
        coarse: weight of the loss of each coarser taxonomy beside that of the labels.
        queries: heads of attention.
    """

    kind: Kind = "mlp"
    strength: float = 1e-3
    hidden: int = 128
    members: int = 2
    epochs: int = 15
    rate: float = 1e-3
    decay: float = 1e-2
    drop_in: float = 0.2
    drop: float = 0.5
    mixup: float = 0.0
    smooth: float = 0.1
    coarse: float = 0.5
    queries: int = 2


def fit(
    x: Inputs, truth: Ints, labels: tuple[str, ...], groups: Mapping[str, Mapping[str, str]], recipe: Recipe,
    embedding: str, seed: int = 0,
) -> CueHead:  # fmt: skip
    """A head without calibration. x float32 `[n d]`, or a list of states `[l t d]` for `attentive`; truth `[n]` indexes
    `labels`; groups: coarser taxonomies, name → label → group, trained beside the labels.

    Raises:
        MienError: `train.one-label`, `train.wrong-kind`, `install.missing-extra`.
    """
    if len(np.unique(truth)) < 2:
        raise MienError("train.one-label", "a head needs clips of at least two labels", "check the column of labels")
    states = not isinstance(x, np.ndarray)
    if states != (recipe.kind == "attentive"):
        raise MienError("train.wrong-kind", f"{recipe.kind} does not take {'states' if states else 'vectors'}")
    held = np.concatenate([s.reshape(-1, s.shape[-1]) for s in x]) if states else x
    mean, scale = held.mean(axis=0), np.maximum(held.std(axis=0), 1e-6)
    inputs: Inputs = [(s - mean) / scale for s in x] if states else (x - mean) / scale
    if recipe.kind == "logistic":
        members: tuple[Mapping[str, F32], ...] = (_logistic(np.asarray(inputs), truth, len(labels), recipe.strength),)
    else:
        members = tuple(_network(inputs, truth, labels, groups, recipe, seed + 1000 * i) for i in range(recipe.members))
    return CueHead(labels, recipe.kind, embedding, mean.astype(np.float32), scale.astype(np.float32), members)


def linear(x: npt.NDArray[Any], truth: Ints, strength: float) -> tuple[F64, F64]:
    """Multinomial logistic regression under equal class shares: weight `[d c]` and bias `[c]`."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=500, tol=1e-4, class_weight="balanced").fit(x, truth)
    if len(model.classes_) == 2:
        return np.hstack([np.zeros_like(model.coef_.T), model.coef_.T]), np.append(0.0, model.intercept_)
    return model.coef_.T, model.intercept_


def _logistic(x: F32, truth: Ints, classes: int, strength: float) -> dict[str, F32]:
    weight, bias = linear(x, truth, strength)
    present = np.unique(truth)  # a fold over people may lack a rare label
    full_weight, full_bias = np.zeros((x.shape[1], classes)), np.full(classes, -20.0)
    full_weight[:, present], full_bias[present] = weight, bias
    return {"weight_2": full_weight.astype(np.float32), "bias_2": full_bias.astype(np.float32)}


def _network(
    x: Inputs, truth: Ints, labels: tuple[str, ...], groups: Mapping[str, Mapping[str, str]], recipe: Recipe, seed: int
) -> dict[str, F32]:
    try:
        import torch
    except ImportError as error:
        raise missing_extra("torch", "torch") from error

    torch.manual_seed(seed)
    draw, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    y = torch.from_numpy(truth)
    if isinstance(x, np.ndarray):
        pool, data, lengths = None, torch.from_numpy(np.ascontiguousarray(x, np.float32)), None
        width = x.shape[1]
    else:
        data, lengths = _padded(x)
        pool = _Attention(data.shape[1], data.shape[3], recipe.queries, generator)
        width = 2 * recipe.queries * data.shape[3]
    first, second = (_layer(a, b, generator) for a, b in ((width, recipe.hidden), (recipe.hidden, len(labels))))
    weights = [*first, *second, *(pool.weights if pool else ())]
    optimiser = torch.optim.AdamW(weights, lr=recipe.rate, weight_decay=recipe.decay)
    batch = min(BATCH, max(8, len(truth) // 16))
    steps = max(2, recipe.epochs * (len(truth) // batch))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=steps, pct_start=0.1)
    loss_of = _Loss(labels, groups, truth, recipe)

    def dropped(values: Any, share: float) -> Any:
        # whole columns for a batch: masks of single cells would cost more than the network
        keep = torch.rand(values.shape[1], generator=generator) >= share
        return values * (keep / (1 - share))

    done = 0
    while done < steps:
        order = torch.from_numpy(draw.permutation(len(truth)))
        for start in range(0, len(truth) - batch + 1, batch):
            if done == steps:
                break
            rows = order[start : start + batch]
            z = pool(data[rows], lengths[rows]) if pool and lengths is not None else data[rows]
            share, other = 1.0, None
            if recipe.mixup:
                share, other = float(draw.beta(recipe.mixup, recipe.mixup)), torch.from_numpy(draw.permutation(batch))
                z = share * z + (1 - share) * z[other]
            hidden = torch.nn.functional.gelu(dropped(z, recipe.drop_in) @ first[0] + first[1])
            logits = torch.dropout(hidden, recipe.drop, True) @ second[0] + second[1]
            loss = loss_of(logits, y[rows])
            if other is not None:
                loss = share * loss + (1 - share) * loss_of(logits, y[rows][other])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            done += 1
    named = {"weight_1": first[0], "bias_1": first[1], "weight_2": second[0], "bias_2": second[1]}
    named |= dict(zip(("mix", "query"), pool.weights, strict=True)) if pool else {}
    return {name: value.detach().numpy().astype(np.float16).astype(np.float32) for name, value in named.items()}


class _Loss:
    """Cross-entropy of the labels, and of each coarser taxonomy over the clips that it knows; rare labels weigh as much
    as frequent ones."""

    def __init__(
        self, labels: tuple[str, ...], groups: Mapping[str, Mapping[str, str]], truth: Ints, recipe: Recipe
    ) -> None:
        import torch

        self._recipe = recipe
        count = np.bincount(truth, minlength=len(labels))
        self._weight = torch.from_numpy((len(truth) / len(labels) / np.maximum(count, 1)).astype(np.float32))
        self._coarse: list[tuple[Any, list[Any]]] = []
        for group in groups.values():
            names = list(dict.fromkeys(group.values()))
            index = [names.index(group[label]) if label in group else -1 for label in labels]
            columns = [torch.tensor([i for i, g in enumerate(index) if g == k]) for k in range(len(names))]
            self._coarse.append((torch.tensor(index), columns))

    def __call__(self, logits: Any, y: Any) -> Any:
        import torch

        entropy = torch.nn.functional.cross_entropy
        loss = entropy(logits, y, weight=self._weight, label_smoothing=self._recipe.smooth)
        for index, columns in self._coarse:
            target = index[y]
            known = target >= 0
            if known.any():
                each = [torch.logsumexp(logits[known][:, c], 1) - float(np.log(len(c))) for c in columns]
                loss = loss + self._recipe.coarse * entropy(torch.stack(each, 1), target[known])
        return loss


class _Attention:
    """`models.sound.cues.attended` for a padded batch, in torch."""

    def __init__(self, layers: int, width: int, queries: int, generator: Any) -> None:
        import torch

        self.weights = (
            torch.zeros(layers).requires_grad_(),
            (torch.randn(width, queries, generator=generator) / width**0.5).requires_grad_(),
        )

    def __call__(self, states: Any, lengths: Any) -> Any:
        import torch

        mix, query = self.weights
        mixed = torch.einsum("l,bltd->btd", torch.softmax(mix, 0), states)
        scores = mixed @ query / mixed.shape[2] ** 0.5
        outside = torch.arange(mixed.shape[1])[None, :, None] >= lengths[:, None, None]
        weight = torch.softmax(scores.masked_fill(outside, -torch.inf), 1).transpose(1, 2)
        mean = weight @ mixed
        variance = (weight @ mixed**2 - mean**2).clamp(min=1e-6)
        return torch.cat([mean.flatten(1), variance.sqrt().flatten(1)], 1)


def _layer(inputs: int, outputs: int, generator: Any) -> tuple[Any, Any]:
    """Weight `[i o]` and bias `[o]` as torch's own linear layers begin: uniform within ±1/√i."""
    import torch

    bound = inputs**-0.5
    weight, bias = (
        torch.rand(*size, generator=generator) * 2 * bound - bound for size in ((inputs, outputs), (outputs,))
    )
    return weight.requires_grad_(), bias.requires_grad_()


def _padded(states: Sequence[F32]) -> tuple[Any, Any]:
    """States of unequal length as one tensor `[n l t d]`, and their lengths `[n]`."""
    import torch

    lengths = [s.shape[1] for s in states]
    layers, width = states[0].shape[0], states[0].shape[2]
    out = torch.zeros(len(states), layers, max(lengths), width)
    for i, s in enumerate(states):
        out[i, :, : s.shape[1]] = torch.from_numpy(np.ascontiguousarray(s))
    return out, torch.tensor(lengths)
