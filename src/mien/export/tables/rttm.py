"""RTTM (NIST RT-09 evaluation plan, appendix A): vocal segments, ten fields a line, seconds of the recording.

`speech.rttm` holds SPEAKER lines, `non-speech.rttm` the vocal sounds without clear words as NON-SPEECH lines with the
subtype `other`. They are two files because common readers take every line of a file for a speaker turn. Speakers are
not told apart here: the name is `<NA>` unless a person assigned the segment's track. `conf` is the probability of the
kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.core import UNASSIGNED, US, MienError, Observation
from mien.export.selection.folder import plain_names, write_text
from mien.export.selection.scope import ClipRows, Scope
from mien.export.tables.rows import label_for, subject_of

NA = "<NA>"
FILES = ("speech.rttm", "non-speech.rttm")


def write(scope: Scope, folder: Path) -> dict[str, int]:
    """Write both files; gives file name → lines. Raises MienError `export.nothing` where no recording has sound."""
    if not any(s.audio_rate_hz for s in scope.sources.values()):
        raise MienError("export.nothing", "no recording of this project has sound", "mien export csv")
    names = plain_names(scope.sources)
    lines: dict[str, list[str]] = {file: [] for file in FILES}  # a few bytes per vocal sound
    for rows in scope.clips():
        for file, line in lines_of(scope, rows, names[rows.part.name]):
            lines[file].append(line)
    for file, held in lines.items():
        write_text(folder / file, held)
    return {file: len(held) for file, held in lines.items()}


def lines_of(scope: Scope, rows: ClipRows, name: str) -> Iterator[tuple[str, str]]:
    """(file, line) per vocal segment, in order of time. A person's label decides over the detector."""
    for o in rows.observations:
        if o.target != "vocal.kind" or not o.dist:
            continue
        said = label_for(scope, rows, o.span, o.track_id, o.target)
        kind = said.value if said else max(o.dist, key=lambda pair: pair[1])[0]
        sure = NA if said else f"{dict(o.dist).get(kind, 0.0):.3f}"
        start, length = o.span.start_us / US, o.span.duration_us / US
        if kind == "speech":
            fields = ("SPEAKER", name, "1", f"{start:.3f}", f"{length:.3f}", NA, NA, _speaker(scope, rows, o), sure, NA)
            yield FILES[0], " ".join(fields) + "\n"
        elif kind == "voice":
            fields = ("NON-SPEECH", name, "1", f"{start:.3f}", f"{length:.3f}", NA, "other", "vocal-burst", sure, NA)
            yield FILES[1], " ".join(fields) + "\n"


def _speaker(scope: Scope, rows: ClipRows, o: Observation) -> str:
    track = next((t for t in rows.tracks if t.id == o.track_id), None)
    subject = subject_of(scope, rows, track) if track else UNASSIGNED
    return NA if subject == UNASSIGNED else "_".join(subject.split())
