"""`mien labels`: what the models say as a CSV that people correct, and their corrections back into the record.

A line is keyed on media (source, span, place), so a file that was written before the recordings were cut anew fits.
"""

from __future__ import annotations

import csv
import datetime
import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from mien.core import US, MienError
from mien.export.selection.labelled import Label, Labels, put_labels
from mien.export.selection.scope import Progress, scope_of, unwatched
from mien.export.tables.delimited import guarded, unguarded
from mien.export.tables.lookup import Known, Line, lines_of, number, read
from mien.pipeline import Project, utc_now
from mien.pipeline.registering import left

COLUMNS = ("source", "start s", "end s", "track", "target", "value now", "your value", "place", "sha256")
UNCLEAR, NONE = "unclear", "(none)"
_PSEUDONYM = re.compile(r"[^\W_][\w.-]{0,63}")
_LONGEST_BY = 80


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that was not taken. `line`: its first line in the file, the header being 1."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: labels added, lines that say what is in force already, lines left empty, lines refused."""

    new: int
    unchanged: int
    empty: int
    bad: tuple[BadLine, ...]


def export_labels(project: Project, path: Path, *, force: bool = False, progress: Progress = unwatched) -> int:
    """Write the CSV, whole or not at all; gives its number of lines. `your value` holds the label in force.

    Raises:
        MienError: `export.exists`, `export.not-writable`, and what `scope_of` raises.
    """
    if path.exists() and not force:
        raise MienError("export.exists", f"{path} exists", "name another file, or replace it: --force")
    scope = scope_of(project, progress)
    draft, count = path.with_name(f".{path.name}.tmp"), 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w", encoding="utf-8-sig", newline="") as file:  # spreadsheets know UTF-8 by this mark
            out = csv.writer(file, lineterminator="\r\n")
            out.writerow(COLUMNS)
            for rows in scope.clips():
                for line in lines_of(rows):
                    out.writerow([guarded(cell) for cell in _cells(line, scope.labels)])
                    count += 1
        draft.replace(path)
        left(project, "export", path, [s.sha256 for s in scope.sources.values()])
    except OSError as error:
        raise MienError("export.not-writable", f"cannot write {path}: {error.strerror}", "name another file") from error
    finally:
        draft.unlink(missing_ok=True)
    return count


def _cells(line: Line, labels: Labels) -> tuple[str, ...]:
    said, span, box = labels.of(line.where, line.target), line.where.span, line.where.box
    place = "" if box is None else " ".join(f"{v:g}" for v in box)
    times = (f"{span.start_us / US:.6f}", f"{span.end_us / US:.6f}")
    return (
        *(line.source, *times, line.track, line.target, line.value, said.value if said else ""),
        *(place, line.where.source_sha),
    )


def import_labels(project: Project, path: Path, by: str, at_utc: str | None = None) -> Imported:
    """Take the corrections of a CSV into the record: only adds, the newest of a place counts, `(none)` withdraws.

    Each line is checked on its own; those that do not fit are named and the others taken. A line without `place` and
    `sha256` (written by hand) is looked up by source, time, track and target.

    Raises:
        MienError: `input.no-name` without `by`; `labels.not-csv`, `labels.no-column`; `store.busy`.
    """
    by = " ".join(by.split())
    if not by or len(by) > _LONGEST_BY:
        raise MienError("input.no-name", f"--by must be a name of 1 to {_LONGEST_BY} characters", "--by NAME")
    scope = scope_of(project)
    known = Known(scope)
    taken: list[Label] = []
    seen: dict[tuple[str, str], int] = {}
    bad: list[BadLine] = []
    unchanged = empty = 0
    now = at_utc or utc_now()
    for at, cells in read(path):
        try:
            value = unguarded(cells["your value"].strip())
            if not value:
                empty += 1
                continue
            line = known.line(cells)
            value = "" if value == NONE else _checked(line, value)
            key = (line.where.key, line.target)
            if key in seen:
                raise ValueError(f"it repeats line {seen[key]}")
            seen[key] = at
            held = scope.labels.of(line.where, line.target)
            if (held.value if held else "") == value:
                unchanged += 1
                continue
            newest = scope.labels.newest(*key)
            taken.append(Label(line.where, line.target, value, by, _after(now, newest.at_utc if newest else "")))
        except ValueError as error:
            bad.append(BadLine(at, str(error)))
    if taken:
        put_labels(project, scope.labels, taken)
    return Imported(len(taken), unchanged, empty, tuple(bad))


def _after(now: str, last: str) -> str:
    """`now`, or just after `last` where the clock stands or went back: an older label is never overwritten."""
    if now > last:
        return now
    later = datetime.datetime.fromisoformat(last) + datetime.timedelta(milliseconds=1)
    return later.isoformat(timespec="milliseconds")


def _checked(line: Line, value: str) -> str:
    if value.lower() == UNCLEAR:
        return UNCLEAR
    if line.choices:
        folded = {c.lower(): c for c in line.choices}
        if value.lower() not in folded:
            close = difflib.get_close_matches(value.lower(), folded, 1)
            hint = f"did you mean {folded[close[0]]!r}?" if close else f"one of {', '.join(line.choices)}, {UNCLEAR}"
            raise ValueError(f"{value!r} is no value of {line.target}: {hint}")
        return folded[value.lower()]
    if line.target in ("subject", "object"):
        if not _PSEUDONYM.fullmatch(value):
            raise ValueError(f"{value!r} must be one word of letters, digits, '.', '_' and '-', 64 at most")
        return value
    parsed = number(value, "your value")
    if not -1 <= parsed <= 1:
        raise ValueError(f"{value!r} must lie in -1..1")
    return f"{parsed:g}"
