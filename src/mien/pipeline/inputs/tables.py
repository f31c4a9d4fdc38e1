"""Rows of tables, one after another: CSV, TSV, JSON Lines, JSON (a list of objects), Parquet.

A row that cannot be read carries its error, and the next one follows. Nothing is read whole into memory.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core import MienError
from mien.pipeline.inputs.entry import suffix

MAX_LINE = 1 << 20  # characters of one line of a CSV table
MAX_OBJECT = 16 << 20  # characters of one JSON object
MAX_KEYS = 1000
_BATCH = 256
_BATCH_MEDIA = 8  # rows with media inside are megabytes each


@dataclass(frozen=True, slots=True)
class Row:
    """One row, numbered from 1 without the header. `cells`: column → str (CSV) or a value with its own type."""

    number: int
    cells: dict[str, Any] = field(default_factory=dict)
    error: MienError | None = None


def rows(path: Path) -> Iterator[Row]:
    """The rows of a table in order.

    Raises:
        MienError: `input.unreadable`, `input.damaged`, `input.bad-json`: the table itself cannot be read (on).
    """
    read = {".parquet": _parquet, ".json": _json, ".jsonl": _json_lines, ".ndjson": _json_lines}
    try:
        yield from read.get(suffix(path.name), _csv)(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise MienError("input.unreadable", f"{path.name} cannot be read: {why}", "check the file") from error
    except UnicodeError as error:
        raise MienError("input.damaged", f"{path.name} is not text: {error}", "save it as UTF-8") from error


def native(path: Path) -> bool:
    """Whether the file's values have types of their own."""
    return suffix(path.name) not in (".csv", ".tsv")


# ------------------------------------------------------------ CSV, TSV


class _Lines:
    """Lines of bounded length: `cut` says that one was longer, and that its rest was skipped."""

    def __init__(self, file: io.TextIOBase, limit: int) -> None:
        self._file, self._limit, self.cut = file, limit, False

    def __iter__(self) -> Iterator[str]:
        while line := self._file.readline(self._limit):
            rest = line
            while len(rest) == self._limit and not rest.endswith("\n"):
                rest, self.cut = self._file.readline(self._limit), True
            yield line


def _csv(path: Path) -> Iterator[Row]:
    with path.open(encoding=_encoding(path), errors="surrogateescape", newline="") as file:
        lines = _Lines(file, MAX_LINE)
        first = file.readline(MAX_LINE)
        if match := re.fullmatch(r"sep=(.)\s*", first, re.I):  # how Excel names the delimiter
            delimiter = match[1]
        else:
            file.seek(0)
            delimiter = _delimiter(first, path)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] | None = None
        number = 0
        while True:
            error: MienError | None = None
            cells: list[str] = []
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as broken:
                code = "input.field-too-long" if "larger" in str(broken) else "input.bad-row"
                error = MienError(code, f"{path.name}, line {reader.line_num}: {broken}", "mend its quotes or length")
            if lines.cut:
                lines.cut = False
                message = f"{path.name}, line {reader.line_num}: longer than {MAX_LINE:,} characters"
                error = MienError("input.line-too-long", message, "is it a text table?")
            if error is None and not any(c.strip() for c in cells):
                continue
            if header is None:
                if error is not None:
                    raise error
                header = _header(cells, path)
                continue
            number += 1
            if error is None and any(c.strip() for c in cells[len(header) :]):
                message = f"{path.name}, line {reader.line_num}: {len(cells)} cells, but {len(header)} columns"
                error = MienError("input.ragged-row", message, "put cells that hold the delimiter in quotes")
            if error is None and any(_undecodable(c) for c in cells):
                error = MienError(
                    "input.not-utf8", f"{path.name}, line {reader.line_num}: not UTF-8", "save the table as UTF-8"
                )
            padded = cells + [""] * (len(header) - len(cells))
            yield Row(number, {} if error else dict(zip(header, padded, strict=False)), error)


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(2)
    return "utf-16" if head in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _delimiter(header: str, path: Path) -> str:
    if suffix(path.name) == ".tsv":
        return "\t"
    bare = re.sub(r'"[^"]*"', "", header)
    return max(",;\t|", key=lambda d: (bare.count(d), d == ","))


def _header(cells: list[str], path: Path) -> list[str]:
    """Names of columns: unnamed ones get their number, names that come again a number too."""
    if len(cells) > MAX_KEYS:
        raise MienError("input.too-many-keys", f"{path.name} has {len(cells)} columns; at most {MAX_KEYS} are read")
    if any(_undecodable(c) for c in cells):
        raise MienError("input.not-utf8", f"the header of {path.name} is not UTF-8", "save the table as UTF-8")
    names: list[str] = []
    for place, cell in enumerate(cells, 1):
        name = cell.strip().replace("\0", "") or f"column {place}"
        names.append(name if name not in names else f"{name} {place}")
    return names


def _undecodable(text: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in text) if not text.isascii() else False


# ------------------------------------------------------------ JSON


def parse_object(text: str, where: str) -> dict[str, Any]:
    """One JSON object. Raises MienError `input.bad-json`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MienError("input.bad-json", f"{where}: {_why(error)}", "mend it, then run again") from error
    return checked(value, where)


def checked(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise MienError("input.bad-json", f"{where}: must be an object, but got {type(value).__name__}", "use {...}")
    if len(value) > MAX_KEYS:
        raise MienError("input.too-many-keys", f"{where}: {len(value)} keys; at most {MAX_KEYS} are read")
    return value


def _why(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        lines, number = _Lines(file, MAX_OBJECT), 0
        for place, line in enumerate(lines, 1):
            if not line.strip():
                continue
            number += 1
            try:
                if lines.cut:
                    lines.cut = False
                    raise MienError("input.line-too-long", f"{path.name}, line {place}: over {MAX_OBJECT:,} characters")
                if _undecodable(line):
                    raise MienError("input.not-utf8", f"{path.name}, line {place}: not UTF-8", "save it as UTF-8")
                yield Row(number, parse_object(line, f"{path.name}, line {place}"))
            except MienError as error:
                yield Row(number, error=error)


def _json(path: Path) -> Iterator[Row]:
    """Objects of a list, decoded one by one from a sliding window."""
    decoder, held, at, number, step = json.JSONDecoder(), "", 0, 0, 1 << 16
    with path.open(encoding="utf-8-sig", errors="strict") as file:

        def more() -> bool:
            nonlocal held, at, step
            if len(held) - at > MAX_OBJECT:
                raise MienError("input.bad-json", f"{path.name}, object {number + 1}: over {MAX_OBJECT:,} characters")
            new = file.read(step)
            held, at, step = held[at:] + new, 0, min(2 * step, 1 << 22)
            return bool(new)

        def following() -> str:
            nonlocal at
            while True:
                while at < len(held) and held[at].isspace():
                    at += 1
                if at < len(held):
                    return held[at]
                if not more():
                    return ""

        if following() not in ("[", ""):
            raise MienError("input.bad-json", f"{path.name}: must be a list of objects", "write [{...}, {...}]")
        at += 1
        while (sign := following()) not in ("", "]"):
            if sign == ",":
                at += 1
                following()
            step = 1 << 16
            while True:
                try:
                    value, at = decoder.raw_decode(held, at)
                    break
                except RecursionError as error:
                    raise MienError("input.bad-json", f"{path.name}: nested too deeply") from error
                except ValueError as error:
                    if not isinstance(error, json.JSONDecodeError) or not more():
                        message = f"{path.name}, object {number + 1}: {error}"
                        raise MienError("input.bad-json", message, "mend it, then run again") from error
            number += 1
            try:
                yield Row(number, checked(value, f"{path.name}, object {number}"))
            except MienError as error:
                yield Row(number, error=error)
        if sign == "" and number:
            raise MienError("input.bad-json", f"{path.name} ends before its list does", "was its copy finished?")


# ------------------------------------------------------------ Parquet


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file, pq.ParquetFile(file) as held:
            schema = held.schema_arrow
            if len(schema) > MAX_KEYS:
                message = f"{path.name} has {len(schema)} columns; at most {MAX_KEYS} are read"
                raise MienError("input.too-many-keys", message)
            wanted = [f.name for f in schema if not _binary(f.type)]
            size = _BATCH_MEDIA if any(embeds(schema.field(n).type) for n in wanted) else _BATCH
            number = 0
            for batch in held.iter_batches(size, columns=wanted):
                for cells in _microseconds(batch).to_pylist():
                    number += 1
                    yield Row(number, cells)
    except (pa.ArrowException, ValueError, OverflowError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MienError("input.damaged", f"{path.name} cannot be read: {first}", "was its copy finished?") from error


def binary_columns(path: Path) -> list[str]:
    """Parquet columns of bare bytes, which are not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if suffix(path.name) != ".parquet":
        return []
    try:
        return [f.name for f in pq.read_schema(path) if _binary(f.type)]
    except (pa.ArrowException, OSError, ValueError):
        return []  # `rows` says what is wrong


def embeds(kind: Any) -> bool:
    """Whether a Parquet type is media bytes with their name: a struct `{bytes, path}`."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) and any(f.name == "bytes" and _binary(f.type) for f in kind)


def _binary(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)


def _microseconds(batch: Any) -> Any:
    """Times in ns cut to µs: Python's own have no more."""
    import pyarrow as pa

    for place, column in enumerate(batch.schema):
        if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
            cut = batch.column(place).cast(pa.timestamp("us", column.type.tz), safe=False)
            batch = batch.set_column(place, column.name, cut)
    return batch
