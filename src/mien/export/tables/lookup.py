"""What a line of a labels file means: parsing its cells, and finding the row of the project it speaks of."""

from __future__ import annotations

import csv
import difflib
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from mien.core import US, MienError, Span
from mien.export.selection.labelled import Box, Place, overlaps
from mien.export.selection.scope import ClipRows, Part, Scope
from mien.export.tables.delimited import unguarded
from mien.export.tables.rows import place_of, state_of, top_of

NEEDED = ("source", "start s", "end s", "target", "your value")


class Line(NamedTuple):
    """One thing a person may correct. `choices`: allowed values; empty for a number in -1..1 or a pseudonym."""

    source: str
    where: Place
    track: str
    target: str
    value: str
    choices: tuple[str, ...]


def lines_of(rows: ClipRows) -> Iterator[Line]:
    """What may be labelled in a clip: whose a track is, what an object is, distributions, affect values, states."""
    name = rows.part.name
    for t in rows.tracks:
        where = place_of(rows, t.span, t.id)
        if t.kind == "object":
            yield Line(name, where, rows.who[t.id], "object", t.label, ())
        else:
            yield Line(name, where, rows.who[t.id], "subject", t.subject_id, ())
    for o in rows.observations:
        if o.dist or (o.unit == "-1..1" and o.value is not None):
            value = top_of(o.dist)[0] or "" if o.dist else f"{o.value:.3f}"
            where = place_of(rows, o.span, o.track_id)
            choices = tuple(label for label, _ in o.dist)
            yield Line(name, where, rows.who.get(o.track_id or "", ""), o.target, value, choices)
    for a in rows.assessments:
        where = place_of(rows, a.span, a.track_id)
        choices = tuple(label for label, _ in a.posterior)
        yield Line(name, where, rows.who.get(a.track_id or "", ""), "state", state_of(a), choices)


class Known:
    """What there is to label, source by source; only what lines ask for is read."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._names = {name: s.sha256 for name, s in scope.sources.items()}
        self._lines: dict[str, list[Line]] = {}
        self._parts: dict[str, list[Part]] = defaultdict(list)
        for part in scope.parts:
            self._parts[part.source.sha256].append(part)

    def line(self, cells: dict[str, str]) -> Line:
        """The line of the project that a line of the file means, with the file's own place where it states one.

        Raises:
            ValueError: with a sentence for the person who wrote it.
        """
        sha = self._sha(cells)
        span, target = _span(cells), cells["target"].strip()
        lines = self._of(sha)
        there = [line for line in lines if line.target == target]
        if not there:
            close = difflib.get_close_matches(target, {line.target for line in lines}, 1)
            raise ValueError(f"nothing there has the target {target!r}" + _meant(close))
        box = _box(cells.get("place", ""))
        track = unguarded(cells.get("track", "").strip())
        if box is not None or (not track and any(line.where.box is None for line in there)):
            where = Place(sha, span, box)
            meant = [line for line in there if overlaps(line.where, where)]
            if meant:
                exact = next((line for line in meant if line.where.key == where.key), meant[0])
                return exact._replace(where=where)
        else:
            meant = [
                line
                for line in there
                if (not track or line.track == track) and overlaps(line.where, Place(sha, span, line.where.box))
            ]
            near = sorted(meant, key=lambda line: _apart(line.where.span, span))
            if near and (len(near) == 1 or _apart(near[0].where.span, span) < _apart(near[1].where.span, span)):
                return near[0]
            if near:
                raise ValueError(f"{len(near)} rows fit ({', '.join(n.track for n in near[:3])}): name the track")
        raise ValueError(f"no {target} was observed in {span}" + (" at that place" if box else ""))

    def _sha(self, cells: dict[str, str]) -> str:
        sha, name = cells.get("sha256", "").strip().lower(), unguarded(cells["source"].strip())
        if sha:
            if sha not in self._names.values():
                raise ValueError(f"no source that may be labelled has the sha256 {sha[:12]}…")
            return sha
        if name not in self._names:
            close = difflib.get_close_matches(name, self._names, 1)
            raise ValueError(f"no source that may be labelled is called {name!r}" + _meant(close))
        return self._names[name]

    def _of(self, sha: str) -> list[Line]:
        if sha not in self._lines:
            self._lines[sha] = [line for p in self._parts[sha] for line in lines_of(self._scope.rows(p))]
        return self._lines[sha]


def _meant(close: list[str]) -> str:
    return f"; did you mean {close[0]!r}?" if close else ""


def _apart(a: Span, b: Span) -> int:
    return abs(a.start_us - b.start_us) + abs(a.end_us - b.end_us)


def number(text: str, column: str) -> float:
    try:
        parsed = float(unguarded(text.strip()).replace(",", "."))
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise ValueError(f"{column} must be a number, but got {text!r}")
    return parsed


def _span(cells: dict[str, str]) -> Span:
    start, end = (round(US * number(cells[c], c)) for c in ("start s", "end s"))
    if not 0 <= start <= end < 1 << 62:
        raise ValueError(f"it must end after it starts, but got {cells['start s']} to {cells['end s']}")
    return Span(start, end)


def _box(text: str) -> Box | None:
    words = text.split()
    if not words:
        return None
    if len(words) != 4:
        raise ValueError(f"place must be four numbers, but got {text!r}")
    x1, y1, x2, y2 = (number(w, "place") for w in words)
    return x1, y1, x2, y2


def read(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """(first line, cells by column) of each row; `;` between cells is understood as well, and a byte-order mark."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            table = csv.reader(file, delimiter=";" if head.count(";") > head.count(",") else ",")
            columns = [c.strip().lower() for c in next(table, [])]
            for need in NEEDED:
                if need not in columns:
                    close = difflib.get_close_matches(need, columns, 1)
                    hint = f"is {close[0]!r} meant?" if close else "start from: mien labels export CSV"
                    raise MienError("labels.no-column", f"{path.name} has no column {need!r}", hint)
            first = table.line_num + 1
            for cells in table:
                if any(c.strip() for c in cells):
                    yield first, dict.fromkeys(columns, "") | dict(zip(columns, cells, strict=False))
                first = table.line_num + 1
    except (UnicodeDecodeError, csv.Error) as error:
        raise MienError("labels.not-csv", f"{path.name} is no CSV in UTF-8: {error}", "save it as CSV UTF-8") from error
    except OSError as error:
        raise MienError("labels.not-csv", f"cannot read {path}: {error.strerror}", "check the path") from error
