"""Rows and files of a release beside its examples: tables, conversations, shards, folders of pictures and clips.

A row is handed out only where every clip and recording it names belongs to examples that may be handed out, so that
what was withdrawn is skipped in every format. A row that names none is kept back, too: nobody can tell whose it is.
"""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from mien.core import MienError, Span, digest, missing_extra

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Row = dict[str, Any]
UNPLACED = "release.unplaced"
FREE = frozenset({"tables/models.parquet"})  # about models, and nobody's
ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".tar")
_STEM = re.compile(r"(?:^|/)([0-9a-f]{20})(?:[-.][^/]*)?$")
_FILES = ("stem", "__key__", "id", "file_name", "file", "path", "video", "video_path", "image", "images", "videos",
          "audio", "audios")  # fmt: skip
_CLIPS, _SOURCES = ("clip_id", "clip"), ("sha256", "source_sha256")
_AT_ONCE = 64


def stem_of(source: str, span: Span) -> str:
    """The name that the files of a clip begin with: the same as `mien export` gives them."""
    return digest("example", source, span)[:20]


@dataclass(frozen=True, slots=True)
class Marks:
    """What names an example in rows and files, and why it is closed ("": open; None: it is of another split)."""

    clips: dict[str, str | None] = field(default_factory=dict)
    sources: dict[str, str | None] = field(default_factory=dict)

    def add(self, row: Row, code: str | None) -> None:
        """Note an example. What is closed once stays closed; a recording is open where one of its examples is."""
        sha, span = str(row.get("source", "")), (row.get("start_us"), row.get("end_us"))
        names = [str(row.get("id", ""))]
        if isinstance(span[0], int) and isinstance(span[1], int) and span[0] <= span[1]:
            names.append(stem_of(sha, Span(span[0], span[1])))
        for name in names:
            if not self.clips.get(name):
                self.clips[name] = code if code or name not in self.clips else self.clips[name] or code
        held = self.sources.get(sha, UNPLACED)
        self.sources[sha] = "" if code == "" or held == "" else code if held == UNPLACED else held or code

    def why_not(self, row: Row) -> str | None:
        """Why a row is kept back, "" where it is not, None where it is of another split."""
        said = [self.clips.get(name, UNPLACED) for name in _stems(row)]
        said += [self.clips.get(str(row[k]), UNPLACED) for k in _CLIPS if k in row]
        said += [self.sources.get(str(row[k]), UNPLACED) for k in _SOURCES if k in row]
        if not said:
            return UNPLACED
        return next((s for s in said if s), None if None in said else "")


def _stems(row: Row) -> Iterator[str]:
    """The clips that a row names by itself or by its files."""
    for key in _FILES:
        value = row.get(key)
        for text in value if isinstance(value, list) else [value]:
            found = _STEM.search(text) if isinstance(text, str) else None
            if found:
                yield found[1]


@dataclass(frozen=True, slots=True)
class PayloadStream:
    """The rows of one file, one after another. `skipped`: code → rows kept back so far.

    Attributes:
        path: of the file, whose bytes were compared with the manifest; names of files in rows are relative to it, or to
            the trainer's folder, as the trainer has it.
    """

    path: Path
    marks: Marks
    free: bool = False
    skipped: Counter[str] = field(default_factory=Counter)

    def __iter__(self) -> Iterator[Row]:
        self.skipped.clear()
        for _, row in self.open_rows():
            yield row

    def open_rows(self) -> Iterator[tuple[int, Row]]:
        """(position, row) of what may be handed out."""
        for position, row in _reader(self.path).each():
            code = "" if self.free else self.marks.why_not(row)
            if code:
                self.skipped[code] += 1
            elif code is not None:
                yield position, row

    def to_datasets(self) -> Any:
        """As `datasets.IterableDataset`, which keeps nothing on disk. Raises MienError `install.missing-extra`."""
        return datasets_stream(self)


class Payload(Sequence[Row]):
    """The rows of one file by number; only where each begins is kept. `skipped`: code → rows kept back."""

    def __init__(self, stream: PayloadStream) -> None:
        self.path = stream.path
        self._reader = _reader(stream.path)
        self._at = [position for position, _ in stream.open_rows()]
        self.skipped = dict(stream.skipped)

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return self._reader.at(self._at[index])

    def to_torch(self) -> Payload:
        """What `torch.utils.data.DataLoader` takes as a map-style dataset; torch itself is not imported."""
        return self

    def to_datasets(self) -> Any:
        """As `datasets.Dataset` in memory; of Parquet with the features it was written with.

        Raises:
            MienError: `install.missing-extra`.
        """
        package = _datasets()
        if self.path.suffix == ".parquet":
            import pyarrow.parquet as pq

            return package.Dataset(pq.read_table(self.path).take(self._at))
        return package.Dataset.from_list(list(self))


def datasets_stream(held: Iterable[Row]) -> Any:
    """Rows as `datasets.IterableDataset`. Raises MienError `install.missing-extra`."""
    return _datasets().IterableDataset.from_generator(_each, gen_kwargs={"held": held})


def _each(held: Iterable[Row]) -> Iterator[Row]:
    yield from held


def _datasets() -> Any:
    try:
        import datasets
    except ImportError:
        raise missing_extra("datasets", "datasets") from None
    return datasets


# ---------------------------------------------------------------- formats


class _Lines:
    """JSON lines; a position is the offset of a line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def each(self) -> Iterator[tuple[int, Row]]:
        offset = 0
        with self._path.open("rb") as lines:
            for line in lines:
                yield offset, _row(json.loads(line))
                offset += len(line)

    def at(self, position: int) -> Row:
        with self._path.open("rb") as lines:
            lines.seek(position)
            return _row(json.loads(lines.readline()))


class _Whole:
    """A list of rows in JSON or CSV, which can only be read as a whole."""

    def __init__(self, path: Path) -> None:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8-sig", newline="") as lines:
                self._rows: list[Any] = list(csv.DictReader(lines))
        else:
            self._rows = json.loads(path.read_bytes())
        if not isinstance(self._rows, list):
            raise _no_rows(path.name)

    def each(self) -> Iterator[tuple[int, Row]]:
        yield from enumerate(map(_row, self._rows))

    def at(self, position: int) -> Row:
        return _row(self._rows[position])


class _Parquet:
    """A position is the number of a row; the row group of the last one is kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held: tuple[int, list[Row]] = (-1, [])

    def each(self) -> Iterator[tuple[int, Row]]:
        i = 0
        with self._open() as file:
            for batch in file.iter_batches(_AT_ONCE):
                for row in batch.to_pylist():
                    yield i, row
                    i += 1

    def at(self, position: int) -> Row:
        with self._open() as file:
            start = 0
            for group in range(file.num_row_groups):
                n = file.metadata.row_group(group).num_rows
                if position < start + n:
                    if self._held[0] != group:
                        self._held = group, file.read_row_group(group).to_pylist()
                    return self._held[1][position - start]
                start += n
        raise IndexError(position)

    def _open(self) -> pq.ParquetFile:
        import pyarrow.parquet as pq

        return pq.ParquetFile(self._path)


class _Shard:
    """WebDataset: members of one name up to the first dot are a sample; a position is where its first member begins."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def each(self) -> Iterator[tuple[int, Row]]:
        yield from self._samples(0)

    def at(self, position: int) -> Row:
        return next(self._samples(position))[1]

    def _samples(self, start: int) -> Iterator[tuple[int, Row]]:
        with self._path.open("rb") as file:
            file.seek(start)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                held: Row = {}
                begins = start
                for member in tar:
                    key, _, ending = member.name.partition(".")
                    if held and held["__key__"] != key:
                        yield begins, held
                        held = {}
                    if not held:
                        held, begins = {"__key__": key}, start + member.offset
                    data = tar.extractfile(member)
                    held[ending] = data.read() if data else b""
                if held:
                    yield begins, held


def _reader(path: Path) -> _Lines | _Whole | _Parquet | _Shard:
    kinds = {".jsonl": _Lines, ".json": _Whole, ".csv": _Whole, ".parquet": _Parquet, ".tar": _Shard}
    if path.suffix not in kinds:
        raise _no_rows(path.name)
    return kinds[path.suffix](path)


def _row(value: Any) -> Row:
    return value if isinstance(value, dict) else {}


def _no_rows(name: str) -> MienError:
    return MienError("release.no-rows", f"{name} holds no rows", f"rows are in files that end in {', '.join(ENDINGS)}")
