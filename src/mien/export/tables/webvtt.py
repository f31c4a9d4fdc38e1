"""WebVTT: one file per recording, its claims and sounds as cues on the recording's own clock (W3C WebVTT, 2019).

Cue text is escaped, so that neither markup nor an arrow of the text can end a cue. A cue's identifier is the id of the
claim or observation: `mien show ID --why`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mien.core import MienError, Span
from mien.export.selection.folder import plain_names, write_text
from mien.export.selection.scope import ClipRows, Part, Scope
from mien.export.tables.rows import label_for, state_of, top_of
from mien.policy import forbidden_words

Cue = tuple[Span, str, str]
_SOUNDS = {"speech": "speech-like sound", "voice": "vocal sound, not clearly speech"}
HEAD = "Answers of models, with their errors: signals are consistent with states; nobody is said to be in one."


def write(scope: Scope, folder: Path) -> dict[str, int]:
    """Write `NAME.vtt` for each recording with a clock; gives file name → cues."""
    timed = {n: s for n, s in scope.sources.items() if s.kind != "image"}
    if not timed:
        raise MienError("export.nothing", "there is no video or sound to caption", "mien export csv takes pictures too")
    stems = plain_names(timed)
    rows: dict[str, int] = {}
    parts: dict[str, list[Part]] = {}
    for part in scope.parts:
        parts.setdefault(part.name, []).append(part)
    done = 0
    for name in timed:
        cues: list[Cue] = []
        notes: list[str] = []
        for part in parts[name]:
            scope.progress(done, len(scope.parts), name)
            clip = scope.rows(part)
            cues += cues_of(scope, clip)
            notes += [c.text for c in clip.claims if c.predicate.startswith("missing")]
            done += 1
        rows[f"{stems[name]}.vtt"] = len(cues)
        write_text(folder / f"{stems[name]}.vtt", _file(name, cues, list(dict.fromkeys(notes))))
    scope.progress(done, len(scope.parts), "")
    return rows


def cues_of(scope: Scope, rows: ClipRows) -> Iterator[Cue]:
    """(span, id, text) of claims, of sounds that no claim speaks of one by one, and of what people said instead.

    Raises:
        MienError: `export.wording` where a text says more than signals can carry.
    """
    alone: set[str] = set()
    for claim in rows.claims:
        if claim.predicate.startswith("missing"):
            continue  # true of the whole recording: a note, not a cue
        words = forbidden_words(claim.text)
        if words:
            raise MienError("export.wording", f"claim {claim.id} says {words[0]!r}", "this is a defect: report it")
        if claim.kind == "observation" and claim.predicate.startswith("vocal.kind"):
            alone.update(claim.evidence_ids)
        yield claim.span, claim.id, f"[{claim.kind}] {claim.text}"
    for o in rows.observations:
        if o.target == "vocal.kind" and o.id not in alone:
            kind = top_of(o.dist)[0] or "sound"
            yield o.span, o.id, f"[observation] {_SOUNDS.get(kind, kind)}"
    for a in rows.assessments:
        said = label_for(scope, rows, a.span, a.track_id, "state")
        if said:
            who = rows.who.get(a.track_id or "", "the recording")
            yield a.span, a.id, f"[label] {said.by} reads {who} as: {said.value} (the models: {state_of(a)})"


def _file(name: str, cues: list[Cue], notes: list[str]) -> Iterator[str]:
    yield "WEBVTT\n\n"
    yield f"NOTE {_escaped(name)}\n{HEAD}\n" + "".join(f"{_escaped(n)}\n" for n in notes) + "\n"
    for span, cue_id, text in sorted(cues):
        end = max(span.end_us, span.start_us + 1000)
        yield f"{cue_id}\n{_clock(span.start_us)} --> {_clock(end)}\n{_escaped(text)}\n\n"


def _escaped(text: str) -> str:
    """One line, with `&`, `<` and `>` as references: no markup, no arrow, no blank line."""
    line = " ".join(text.split())
    return line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(t_us: int) -> str:
    ms = (t_us + 500) // 1000
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"
