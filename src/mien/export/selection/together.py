"""What ties sources of a project together: people, recording sessions, copies; and the splits drawn from it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np

from mien.core import UNASSIGNED, Item, MienError, Observation, Signal, digest
from mien.export.selection.scope import Scope
from mien.export.selection.splits import Splits, Unit, assign, leaks
from mien.pipeline import Project
from mien.store.drawn import FILE, Draw, read, write


def splits_of(project: Project, scope: Scope, *, keep: bool = True) -> Splits:
    """Where every source of the scope belongs, by `[splits]` and by what was drawn before.

    Args:
        keep: write what was drawn to `splits.json` of the project; off for a preview.

    Raises:
        MienError: `splits.damaged`, `splits.other-salt`, `splits.not-writable`; `split.leak` where the result does not
            pass its own check.
    """
    terms = project.config.splits
    draw = Draw(terms.validation, terms.test, terms.salt)
    path = project.root / FILE if project.root else None
    units = units_of(scope)
    before = read(path, draw) if path else {}
    found = assign(units, before, draw)
    if said := leaks(units, found.of):
        raise MienError("split.leak", f"the splits leak: {said[0]}", "nothing was written; this is a fault of mien")
    if path and keep and found.kept != before:
        write(path, found.kept, draw)
    return found


def units_of(scope: Scope) -> list[Unit]:
    """Every source of the scope with the marks it shares with others."""
    shas = sorted({p.source.sha256 for p in scope.parts})
    marks: dict[str, set[str]] = {sha: set() for sha in shas}

    def mark(sha: str, name: str) -> None:
        if sha in marks:
            marks[sha].add(name)

    store = scope.project.store
    for sha in shas:
        for subject in scope.asked.present(sha):
            mark(sha, f"subject:{subject}")
    _, rows = store.query("SELECT DISTINCT c.source_sha, t.subject_id FROM tracks t JOIN clips c ON c.id = t.clip_id")
    for sha, subject in rows:
        if subject not in ("", UNASSIGNED):
            mark(sha, f"subject:{subject}")
    for verdict, where in scope.labels.history():
        newest = scope.labels.newest(verdict.key, verdict.target)
        if verdict.target == "subject" and where is not None and newest == verdict and verdict.value:
            mark(where.source_sha, f"subject:{verdict.value}")
    for item in store.all(Item):
        if len(item.source_shas) > 1:  # one session, recorded by several devices
            for sha in item.source_shas:
                mark(sha, session_mark(item.source_shas))
    for a, b in (*_alike_pictures(scope), *_same_sound(scope)):
        mark(a, f"copy:{a}:{b}")
        mark(b, f"copy:{a}:{b}")
    return [Unit(sha, frozenset(held)) for sha, held in marks.items()]


def session_mark(shas: Collection[str]) -> str:
    """What recordings of one item share: made of what they hold, as an item's id is made of where its files lie."""
    return f"item:{digest(sorted(shas))}"


def _alike_pictures(scope: Scope) -> set[tuple[str, str]]:
    """Pairs of sources that show the same pictures, as the stage `compare` found by perceptual hashes."""
    store = scope.project.store
    of = dict(store.query("SELECT id, source_sha FROM clips")[1])
    found = [(o.clip_id, o.dist[0][0]) for o in store.all(Observation, "target = 'copy.of'") if o.dist]
    pairs = [(of[clip], of[first]) for clip, first in found if clip in of and first in of]
    return {(min(p), max(p)) for p in pairs if p[0] != p[1]}


def _same_sound(scope: Scope) -> set[tuple[str, str]]:
    """Pairs of sources with a clip of the very same loudness curve: one sound in two containers, without loss."""
    by: dict[str, set[str]] = defaultdict(set)
    store = scope.project.store
    for part in scope.parts:
        for signal in store.all(Signal, "clip_id = ? AND name = 'loudness' AND track_id IS NULL", (part.clip.id,)):
            held: Any = store.table(signal.array)
            value = None if held is None else held["value"].to_numpy()
            if value is not None and len(np.unique(value[np.isfinite(value)])) > 2:  # silence is like silence
                by[hashlib.sha256(value.tobytes()).hexdigest()].add(part.source.sha256)
    return {(a, b) for group in by.values() for a in group for b in group if a < b}
