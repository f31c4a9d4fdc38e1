"""Counting up matched rows of two results for one target, and what the counts say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mien.core import Assessment, Observation
from mien.evaluate import agreement, calibration
from mien.evaluate.agreement import F64, Estimate, Statistic, estimate
from mien.evaluate.calibration import Calibration

MOST_CLASSES = 40  # leading classes that a table of confusions may have


class Key(NamedTuple):
    """Whose a pair is: a source, and a subject where one is known."""

    source: str
    subject: str


@dataclass(frozen=True, slots=True)
class Row:
    """What two results say of one target of one slot.

    matched, only_a, only_b: rows with and without a partner; changed: matched rows whose answers differ at all; f1:
    2·matched ÷ all rows; unmeasured: matched rows whose own side gave no answer. measures: by name, see `Tally.row`.
    confusion: (leading class of a, of b, pairs). clusters: what intervals were drawn over, or why there are none.
    """

    slot: str
    target: str
    unit: str
    matched: int
    only_a: int
    only_b: int
    changed: int
    f1: float
    unmeasured_a: int
    unmeasured_b: int
    clusters: str
    measures: dict[str, Estimate]
    confusion: tuple[tuple[str, str, int], ...] = ()
    calibration: Calibration | None = None


def _zeros(n: int) -> defaultdict[Key, F64]:
    return defaultdict(lambda: np.zeros(n))


@dataclass(slots=True)
class Tally:
    """Sums over pairs, by source and subject."""

    slot: str
    target: str
    unit: str = ""
    pairs: Counter[Key] = field(default_factory=Counter)
    only: list[int] = field(default_factory=lambda: [0, 0])
    unmeasured: list[int] = field(default_factory=lambda: [0, 0])
    overlap: list[float] = field(default_factory=list)
    changed: int = 0
    unknown: int = 0
    _confusion: defaultdict[Key, Counter[tuple[str, str]]] = field(default_factory=lambda: defaultdict(Counter))
    _classes: defaultdict[Key, F64] = field(default_factory=lambda: _zeros(3))  # n, same leading class, Σ divergence
    _values: defaultdict[Key, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _states: defaultdict[Key, F64] = field(default_factory=lambda: _zeros(4))  # n, abstention changed, conflict a, b
    _said: dict[Key, F64] = field(default_factory=dict)
    _measured: dict[Key, F64] = field(default_factory=dict)

    def add(self, key: Key, a: Observation | Assessment, b: Observation | Assessment, truth: str | None) -> None:
        """Count a matched pair. `truth`: what people said there."""
        self.pairs[key] += 1
        self.changed += _answer(a) != _answer(b)
        if isinstance(a, Assessment) and isinstance(b, Assessment):
            conflicts = (float(x.reason == "conflict") for x in (a, b))
            self._states[key] += np.array([1.0, float(a.abstained != b.abstained), *conflicts])
            self._distributions(key, dict(a.posterior), dict(b.posterior), truth)
        elif isinstance(a, Observation) and isinstance(b, Observation):
            self.unit = self.unit or a.unit or b.unit
            self.unmeasured[0] += a.value is None and not a.dist
            self.unmeasured[1] += b.value is None and not b.dist
            if a.dist and b.dist:
                self._distributions(key, dict(a.dist), dict(b.dist), truth)
            if a.value is not None and b.value is not None:
                self._values[key].append((a.value, b.value))
                if truth and (number := _number(truth)) is not None:
                    sums = calibration.error_sums((a.value, a.sd), (b.value, b.sd), number)
                    self._measured[key] = self._measured.get(key, 0) + sums

    def _distributions(self, key: Key, a: Mapping[str, float], b: Mapping[str, float], truth: str | None) -> None:
        if not sum(a.values()) or not sum(b.values()):
            return
        leads = max(a, key=lambda n: a[n]), max(b, key=lambda n: b[n])
        self._confusion[key][leads] += 1
        self._classes[key] += np.array([1.0, float(leads[0] == leads[1]), agreement.divergence(a, b)])
        if truth and truth in a and truth in b:
            self._said[key] = self._said.get(key, 0) + calibration.class_sums(a, b, truth)
        elif truth and (truth in a or truth in b):
            self.unknown += 1

    def row(self) -> Row:
        """The figures.

        agreement (share of the same leading class), kappa, divergence (nats); bias (b - a), sd, lower and upper limit
        of agreement, ccc, pearson; lead_changed, abstention_changed, conflict_a, conflict_b (shares); iou (median).
        """
        found: dict[str, Estimate] = {}
        clusters = _Clusters(self.pairs)
        if self._classes:
            sums = clusters.sums(self._classes)
            found["agreement"] = estimate(sums, agreement.mean)
            names = sorted({name for c in self._confusion.values() for pair in c for name in pair})
            if len(names) <= MOST_CLASSES:
                tables = {k: _table(c, names) for k, c in self._confusion.items()}
                found["kappa"] = estimate(clusters.sums(tables), agreement.kappa)
            found["divergence"] = estimate(sums[:, [0, 2]], agreement.mean)
        if self._values:
            shift = float(np.mean([v for pairs in self._values.values() for pair in pairs for v in pair]))
            by = {k: agreement.value_sums(np.array(pairs), shift) for k, pairs in self._values.items()}
            sums = clusters.sums(by)
            found |= {name: estimate(sums, statistic) for name, statistic in _OF_VALUES.items()}
        if self._states:
            sums = clusters.sums(self._states)
            lost = clusters.sums(self._classes)
            found["lead_changed"] = estimate(lost, lambda s: 1 - s[:, 1] / s[:, 0])
            for column, name in enumerate(("abstention_changed", "conflict_a", "conflict_b"), 1):
                found[name] = estimate(sums[:, [0, column]], agreement.mean)
        if self.overlap:
            found["iou"] = Estimate(float(np.median(self.overlap)))
        n, whole = self.pairs.total(), Counter[tuple[str, str]]()
        for counts in self._confusion.values():
            whole.update(counts)
        return Row(
            slot=self.slot,
            target=self.target,
            unit=self.unit,
            matched=n,
            only_a=self.only[0],
            only_b=self.only[1],
            changed=self.changed,
            f1=2 * n / max(1, 2 * n + sum(self.only)),
            unmeasured_a=self.unmeasured[0],
            unmeasured_b=self.unmeasured[1],
            clusters=clusters.words,
            measures=found,
            confusion=tuple((*pair, count) for pair, count in sorted(whole.items(), key=lambda c: (-c[1], c[0]))),
            calibration=self._calibration(clusters),
        )

    def _calibration(self, clusters: _Clusters) -> Calibration | None:
        if self._said:
            return calibration.of_classes(clusters.sums(self._said), self.unknown)
        return calibration.of_values(clusters.sums(self._measured)) if self._measured else None


_OF_VALUES: dict[str, Statistic] = {
    "bias": agreement.bias, "sd": agreement.spread, "lower": agreement.lower, "upper": agreement.upper,
    "ccc": agreement.concordance, "pearson": agreement.correlation,
}  # fmt: skip


class _Clusters:
    """Subjects where every pair has one, else sources."""

    def __init__(self, keys: Iterable[Key]) -> None:
        held = set(keys)
        self._subjects = bool(held) and all(k.subject for k in held)
        count, what = len({self._of(k) for k in held}), "subject" if self._subjects else "source"
        self.words = f"{count} {what}s" if count > 1 else f"no interval: one {what}" if count else ""

    def _of(self, key: Key) -> str:
        return key.subject if self._subjects else key.source

    def sums(self, by: Mapping[Key, F64]) -> F64:
        """Sums `[c k]`, clusters in a fixed order."""
        joined: dict[str, F64] = {}
        for key, sums in sorted(by.items()):
            joined[self._of(key)] = joined.get(self._of(key), 0) + sums
        return np.stack([joined[name] for name in sorted(joined)])


def _answer(row: Observation | Assessment) -> tuple[object, ...]:
    """What a row says, apart from who says it and where."""
    if isinstance(row, Assessment):
        return row.posterior, row.ambiguity, row.conflict, row.vacuity, row.reason
    return row.dist, row.value, row.sd, row.unit, row.reason


def _table(counts: Counter[tuple[str, str]], names: list[str]) -> F64:
    at = {name: i for i, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for (a, b), n in counts.items():
        table[at[a], at[b]] = n
    return table.reshape(-1)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
