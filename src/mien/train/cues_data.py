"""Labelled sounds for `mien train cues`: read, embedded one by one, and people kept apart.

DATA is either a folder of Parquet files (one column each for the label, the person and the encoded sound) or a folder
of sound files with a CSV that names them. Every clip is encoded by itself: packed into one encoder window in the order
of their labels, clips were told apart by their position, which faked a recall of 0.64 over 12 classes (docs/log.md).
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, MienError, Sound, missing_extra

F32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Strings = npt.NDArray[np.str_]
Progress = Callable[[int, int], None]

HELD_OUT, LEAST_APART = 0.15, 100  # share of people for the final figures, where there are at least so many
BLOCK = 256


@dataclass(frozen=True, slots=True)
class Columns:
    """Where things are in DATA: label, person, and `groups` that the card breaks its figures down by.

    `sound`: the column of encoded bytes (Parquet) or of file names (CSV).
    """

    label: str
    person: str
    sound: str
    groups: tuple[str, ...] = ()


PARQUET = Columns("category_name", "contributor", "audio")
CSV = Columns("label", "person", "file")


@dataclass(frozen=True, slots=True)
class Row:
    """One clip as it lies in DATA; `sound` is its file's bytes."""

    label: str
    person: str
    groups: tuple[str, ...]
    sound: bytes


class Embedder(Protocol):
    """Sounds → one array each: a vector `[d]` or reduced states `[l t d]`; NaN where nothing can be measured."""

    name: str

    def __call__(self, sounds: Sequence[Sound]) -> Sequence[F32]: ...


@dataclass(frozen=True, slots=True)
class Cues:
    """Embedded clips: `x` holds one float32 array each, all `[d]` (vectors) or `[l t d]` (states); label, person `[n]`;
    groups: column → `[n]`. Lives in RAM; only a public training set may be kept by `save`."""

    x: list[F32]
    label: Strings
    person: Strings
    groups: Mapping[str, Strings] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.label)

    @property
    def vectors(self) -> F32:
        """All rows as one array `[n d]`."""
        return np.stack(self.x).astype(np.float32) if self.x else np.zeros((0, 0), np.float32)

    def take(self, rows: npt.NDArray[Any]) -> Cues:
        rows = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        groups = {name: values[rows] for name, values in self.groups.items()}
        return Cues([self.x[int(i)] for i in rows], self.label[rows], self.person[rows], groups)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        sizes = np.array([x.shape[-2] if x.ndim > 1 else 0 for x in self.x])
        flat = np.concatenate(self.x, axis=-2) if self.x[0].ndim > 1 else np.stack(self.x)
        named: dict[str, Any] = {f"group.{name}": values for name, values in self.groups.items()}
        np.savez(path, x=flat.astype(np.float16), sizes=sizes, label=self.label, person=self.person, **named)

    @classmethod
    def load(cls, path: Path) -> Cues:
        with np.load(path, allow_pickle=False) as held:
            flat, sizes = held["x"].astype(np.float32), held["sizes"]
            x = np.split(flat, np.cumsum(sizes)[:-1], axis=-2) if flat.ndim > 2 else list(flat)
            groups = {name.removeprefix("group."): held[name] for name in held.files if name.startswith("group.")}
            return cls(x, held["label"], held["person"], groups)


# ---------------------------------------------------------------- reading


def rows(data: Path, columns: Columns, table: Path | None = None) -> tuple[int, Iterator[Row]]:
    """How many clips there are, and the clips. `table`: the CSV; without it DATA's Parquet files are read.

    Raises:
        MienError: `train.no-data`, `train.no-column`; while reading `train.no-file`.
    """
    return _csv(data, table, columns) if table else _parquet(data, columns)


def _csv(data: Path, table: Path, columns: Columns) -> tuple[int, Iterator[Row]]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            held = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise MienError(
            "train.no-data", f"{table.name} cannot be read: {error}", "give a CSV of file, label, person"
        ) from error
    _require(columns, list(held[0]) if held else [], table.name)

    def each() -> Iterator[Row]:
        for row in held:
            path = data / row[columns.sound]
            if not path.is_file():
                raise MienError("train.no-file", f"{table.name} names {row[columns.sound]}, which is not in {data}")
            groups = tuple(row[name] for name in columns.groups)
            yield Row(row[columns.label], row[columns.person], groups, path.read_bytes())

    return len(held), each()


def _parquet(data: Path, columns: Columns) -> tuple[int, Iterator[Row]]:
    import pyarrow.parquet as pq

    files = [pq.ParquetFile(path) for path in sorted(data.glob("*.parquet"))]
    if not files:
        raise MienError(
            "train.no-data", f"{data} holds no Parquet files", "for a folder of sound files give --labels LABELS.csv"
        )
    for file in files:
        _require(columns, file.schema_arrow.names, data.name)
    names = [columns.label, columns.person, columns.sound, *columns.groups]

    def each() -> Iterator[Row]:
        for file in files:
            for batch in file.iter_batches(64, columns=names):
                for row in batch.to_pylist():
                    groups = tuple(str(row[name]) for name in columns.groups)
                    yield Row(str(row[columns.label]), str(row[columns.person]), groups, row[columns.sound])

    return sum(file.metadata.num_rows for file in files), each()


def _require(columns: Columns, given: Sequence[str], where: str) -> None:
    for name in (columns.label, columns.person, columns.sound, *columns.groups):
        if name not in given:
            raise MienError(
                "train.no-column",
                f"{where} has no column {name!r}: it has {', '.join(given) or 'none'}",
                "name the columns with --label, --person, --sound and --group",
            )


def sound_of(data: bytes) -> Sound:
    """A file's sound as mono at 16 kHz. Raises MienError `train.bad-audio`, `install.missing-extra`."""
    try:
        import soundfile
    except ImportError as error:
        raise missing_extra("soundfile", "train") from error
    from math import gcd

    from scipy.signal import resample_poly

    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise MienError("train.bad-audio", f"a clip cannot be read: {error}", "leave it out of the labels") from error
    mono = samples.mean(axis=1)
    if rate != SAMPLE_RATE_HZ:
        common = gcd(rate, SAMPLE_RATE_HZ)
        mono = resample_poly(mono, SAMPLE_RATE_HZ // common, rate // common)
    return Sound(mono.astype(np.float32), 0)


def embed(
    data: Path,
    columns: Columns,
    embedder: Embedder,
    *,
    table: Path | None = None,
    cache: Path | None = None,
    progress: Progress = lambda done, total: None,
) -> Cues:
    """Every clip embedded by itself; clips in which nothing can be measured are left out.

    Args:
        cache: where the embeddings of a *public* training set may lie between runs; None keeps them in RAM.

    Raises:
        MienError: as `rows` and `sound_of`.
    """
    if cache is not None and cache.is_file():
        return Cues.load(cache)
    total, source = rows(data, columns, table)
    found: list[F32] = []
    told: list[Row] = []
    with ThreadPoolExecutor(1) as ahead:  # one block is decoded while the one before is encoded
        following: Future[list[tuple[Row, Sound]]] = ahead.submit(_decoded, source)
        while block := following.result():
            following = ahead.submit(_decoded, source)
            for (row, _), x in zip(block, embedder([sound for _, sound in block]), strict=True):
                if np.isfinite(x).all():
                    found.append(x.astype(np.float16).astype(np.float32))  # as in the cache, to the byte
                    told.append(row)
            progress(min(total, len(told)), total)
    progress(total, total)
    groups = {name: np.array([row.groups[i] for row in told], np.str_) for i, name in enumerate(columns.groups)}
    label, person = (np.array([getattr(row, name) for row in told], np.str_) for name in ("label", "person"))
    cues = Cues(found, label, person, groups)
    if cache is not None:
        cues.save(cache)
    return cues


def _decoded(source: Iterator[Row]) -> list[tuple[Row, Sound]]:
    return [(row, sound_of(row.sound)) for row in islice(source, BLOCK)]


# ---------------------------------------------------------------- people


def held_out(person: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which rows belong to people kept for the final figures: by SHA-256 of the person's name, the same for ever."""

    def share(name: object) -> float:
        return int.from_bytes(hashlib.sha256(f"voice:{name}".encode()).digest()[:4], "big") / 2**32

    kept = {name: share(name) < HELD_OUT for name in np.unique(person).tolist()}
    return np.array([kept[name] for name in person.tolist()], np.bool_)


def folds(person: npt.NDArray[Any], label: npt.NDArray[Any] | None = None) -> list[tuple[Rows, Rows]]:
    """Folds over people, (train rows, test rows): five, or ten where people are few; no more than the rarest label has
    clips. With labels, each fold gets its share of every label as far as that goes."""
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    people = len(np.unique(person))
    rarest = people if label is None else int(np.unique(label, return_counts=True)[1].min())
    count = max(2, min(people, rarest, 5 if people >= LEAST_APART else 10))
    if label is None:
        return [(a, b) for a, b in GroupKFold(count).split(person, groups=person)]
    split = StratifiedGroupKFold(count, shuffle=True, random_state=0)
    return [(a, b) for a, b in split.split(person, label, person)]
