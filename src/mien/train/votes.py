"""Rows to learn fusion from: whose they are, what people said of them, and what each source said."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import MienError
from mien.fusion import kind_of
from mien.signals.affect import ALIASES, COORDINATES

F64 = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Strings = npt.NDArray[np.str_]
PLAIN = ("person", "label", "type", "valence", "arousal")
LEAVE_ONE_OUT = 20  # people at most; above it five groups of people
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """Labelled rows. truth `[n k]`: distribution over the states; sources: name → votes or probabilities `[n k]`, NaN
    rows are missing; kind `[n]`: type of the row, "" for none; plane `[n 2]`: rated valence and arousal, NaN if not."""

    states: tuple[str, ...]
    person: Strings
    truth: F64
    sources: dict[str, F64]
    kind: Strings
    plane: F64
    sha256: str = ""

    def __len__(self) -> int:
        return len(self.person)

    @property
    def people(self) -> Strings:
        return np.unique(self.person)

    def take(self, rows: npt.NDArray[Any]) -> Rows:
        return Rows(
            self.states, self.person[rows], self.truth[rows], {n: x[rows] for n, x in self.sources.items()},
            self.kind[rows], self.plane[rows], self.sha256,
        )  # fmt: skip


def folds(person: Strings) -> list[tuple[Ints, Ints]]:
    """(train rows, test rows): one person left out at a time, or five groups of people where there are more than 20."""
    people = np.unique(person)
    groups = [[p] for p in people] if len(people) <= LEAVE_ONE_OUT else [people[i::FOLDS] for i in range(FOLDS)]
    tests = [np.isin(person, group) for group in groups]
    return [(np.flatnonzero(~t), np.flatnonzero(t)) for t in tests]


def read(path: Path) -> Rows:
    """Rows from a CSV or Parquet file.

    Columns: `person`; `label` (a state) or `label.STATE` for each state (votes or shares); `SOURCE.STATE` for each
    source and state: probabilities, or votes. A source whose cells are empty in a row was not there. Optional: `type`
    (conformal thresholds of its own; not given: the sources that the row has, as a run goes by), `valence` and
    `arousal` (each -1..1: the places of the states are learnt, too).

    Raises:
        MienError: `train.no-data`, `train.not-a-table`, `train.bad-columns`, `train.bad-row` (names the row).
    """
    columns = _columns(path)
    grouped: dict[str, dict[str, F64]] = defaultdict(dict)
    for name, values in columns.items():
        source, dot, state = name.partition(".")
        if dot:
            grouped[source][state] = _numbers(path, name, values)
        elif name not in PLAIN:
            raise _bad(path, f"{name!r} is no column of labelled rows", f"{', '.join(PLAIN)}, or SOURCE.STATE")
    if "person" not in columns:
        raise _bad(path, "there is no column 'person'", "say whose each row is, by pseudonym: people are kept apart")
    named = np.array([str(v or "").strip() for v in columns.get("label", [])])
    soft = grouped.pop("label", {})
    if (len(named) > 0) == bool(soft):
        raise _bad(path, "labels must be in one form", "a column 'label', or one 'label.STATE' for each state")
    states = tuple(soft) or tuple(dict.fromkeys(s for g in grouped.values() for s in g))
    if len(states) < 2 or not grouped:
        raise _bad(path, "there must be a source and two states at least", "columns like voice.calm, face.calm")
    for source, held in grouped.items():
        if set(held) != set(states):
            raise _bad(path, f"{source!r} answers for {', '.join(held)}", f"one column each for {', '.join(states)}")
    person = np.array([str(v if v is not None else "").strip() for v in columns["person"]])
    sources = {n: np.stack([held[s] for s in states], axis=1) for n, held in grouped.items()}
    truth = np.stack([soft[s] for s in states], axis=1) if soft else np.stack([named == s for s in states], axis=1)
    truth = truth.astype(np.float64)
    _check(path, person, truth, sources)
    empty = [np.nan] * len(person)
    plane = np.stack([_numbers(path, n, columns.get(n, empty)) for n in ("valence", "arousal")], axis=1)
    kind = np.array([str(v or "") for v in columns["type"]]) if "type" in columns else _present(sources)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    return Rows(states, person, truth / truth.sum(axis=1, keepdims=True), sources, kind, plane, sha)


def _present(sources: dict[str, F64]) -> Strings:
    """The type of each row where none is given; "" for all where every row has the same sources."""
    there = np.stack([np.isfinite(x).all(axis=1) for x in sources.values()], axis=1)
    kinds = [kind_of([n for n, held in zip(sources, row, strict=True) if held]) for row in there.tolist()]
    return np.array(kinds if len(set(kinds)) > 1 else [""] * len(kinds))


def _columns(path: Path) -> dict[str, list[Any]]:
    import pyarrow as pa
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    if not path.is_file():
        raise MienError("train.no-data", f"there is no file {path}", "give a CSV or Parquet file of labelled rows")
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else pacsv.read_csv(path)
    except (pa.ArrowInvalid, OSError) as error:
        first = str(error).splitlines()[0]
        raise MienError("train.not-a-table", f"{path.name} cannot be read: {first}", "CSV (UTF-8) or Parquet") from None
    if not table.num_rows:
        raise MienError("train.no-data", f"{path.name} holds no rows", "label some first: mien labels export")
    return {name.strip(): table[name].to_pylist() for name in table.column_names}


def _numbers(path: Path, name: str, values: list[Any]) -> F64:
    try:
        return np.array([np.nan if v in (None, "") else float(v) for v in values])
    except (TypeError, ValueError):
        raise _bad(
            path, f"column {name!r} must hold numbers", "leave a cell empty where nothing was measured"
        ) from None


def _check(path: Path, person: Strings, truth: F64, sources: dict[str, F64]) -> None:
    bad = {"person is empty": person == "", "the label is no state, or empty": ~(truth.sum(axis=1) > 0)}
    bad["a share of the label is below 0"] = (truth < 0).any(axis=1)
    for name, x in sources.items():
        partly = np.isfinite(x).any(axis=1) & ~np.isfinite(x).all(axis=1)
        bad[f"{name} is there for some states only"] = partly
        bad[f"{name} is below 0, or 0 for every state"] = (x < 0).any(axis=1) | (x.sum(axis=1) == 0)
    for what, rows in bad.items():
        if rows.any():
            at = int(np.flatnonzero(rows)[0]) + 1
            raise MienError("train.bad-row", f"{path.name}, row {at}: {what}", "mend the row or leave it out")


def _bad(path: Path, message: str, hint: str) -> MienError:
    return MienError("train.bad-columns", f"{path.name}: {message}", hint)


def place(state: str) -> tuple[float, float] | None:
    """Valence and arousal of an emotion word, where Russell & Mehrabian (1977) give them."""
    name = state.lower()
    return COORDINATES.get(ALIASES.get(name, name))
