"""Entries into the record: items, attributes, subjects, labels; failures as rows; what is gone, reported."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from mien.core import UNASSIGNED, Attribute, Failure, Item, MienError, Span, Verdict, digest, label_key
from mien.pipeline.inputs.credentials import mining_attributes
from mien.pipeline.inputs.entry import Entry, Refused
from mien.pipeline.inputs.facts import reconcile
from mien.pipeline.inputs.identity import Pseudonyms
from mien.policy.mining import strictest
from mien.store import StageResult, Store
from mien.store.forgotten import CODE as FORGOTTEN

log = logging.getLogger("mien")
STAGE = "input"
GONE = "gone"
IMPORT = "import"
_AT_ONCE = 200  # items of one transaction

Fail = Callable[[str, str, str, MienError, tuple[object, ...]], None]


class Keeper:
    """Keeps what discovery finds. An item whose content is what it was is not written again.

    Args:
        register: hashes and probes one file, gives its sha256; raises MienError where it cannot even be read.
        fail: writes a failure: (unit, stage, key, error, records to keep).
        only: keep none but these items (a retry); None for all.
    """

    def __init__(
        self,
        store: Store,
        people: Pseudonyms,
        register: Callable[[Path], str],
        fail: Fail,
        *,
        run_id: str,
        at_utc: str,
        only: frozenset[str] | None = None,
    ) -> None:
        self._store, self._people, self._register, self._fail = store, people, register, fail
        self._run_id, self._at_utc, self._only = run_id, at_utc, only
        self._pending: list[StageResult] = []
        self._seen: set[str] = set()
        self._told: set[str] = set()  # units that were refused this time
        self._shas: set[str] = set()
        self._subjects: set[str] = set()
        self._forgotten: list[str] = []  # names of files that were given, and stay out

    def keep(self, entries: Iterable[Entry | Refused], given: Iterable[str]) -> tuple[str, ...]:
        """Keep them all; the names of items these inputs had before and have no longer (they stay in the record)."""
        given = list(given)
        before = [f.unit for f in self._store.all(Failure, "stage = ?", (STAGE,))]
        for entry in entries:
            if isinstance(entry, Refused):
                self._told.add(entry.unit)
                self._fail(entry.unit, STAGE, "", entry.error, ())
            else:
                self._seen.add(entry.item.id)
                if self._only is None or entry.item.id in self._only:
                    self._entry(entry)
            if len(self._pending) >= _AT_ONCE:
                self._flush()
        for unit in set(before) - self._told:
            if any(unit == g or unit.startswith((f"{g}#", f"{g}/")) for g in given):
                self._store.drop_unit(unit)  # what was refused before and is not any more
        gone = [name for g in given for name in self._gone(g)]
        self._flush()
        self._stays_out()
        reconcile(self._store, self._shas, self._subjects, lambda u, e: self._fail(u, "facts", "", e, ()))
        return tuple(sorted(gone))

    # ------------------------------------------------------------ one item

    def _entry(self, entry: Entry) -> None:
        shas: list[str] = []
        problems, stay = list(entry.problems), list[str]()
        for path in entry.media:
            try:
                shas.append(self._register(path))
            except MienError as error:
                if error.code.startswith("store."):
                    raise  # the project cannot be written: it is not this file's fault
                if error.code == FORGOTTEN:
                    stay.append(path.name)
                elif str(path) != entry.item.origin:
                    problems.append(MienError(error.code, f"{_name(entry.item)}: {error.message}", error.hint))
                else:  # a file that was given as it is fails under its own path
                    self._fail(str(path), "register", "", error, ())
            else:
                if self._store.stage(str(path), "register"):
                    self._store.drop_unit(str(path))  # what was said of the path while it could not be read
        self._forgotten += stay
        if stay and not shas:
            return  # what a table says beside it was forgotten with it
        subject = self._people.code(entry.subject) if entry.subject else UNASSIGNED
        item = replace(entry.item, source_shas=tuple(dict.fromkeys(shas)), subject_id=subject)
        attributes = _with_mining(entry)
        key = digest(STAGE, 1, item.source_shas, subject, [[a.key, a.type, a.value] for a in attributes], entry.labels)
        held = self._store.stage(item.id, STAGE)
        if held is not None and held.key == key and held.state == "ok" and not problems:
            return
        records = (item, *attributes, *self._labels(item, entry.labels))
        self._touch(item)
        if problems:
            first = problems[0]
            words = "; ".join(p.message for p in problems)
            self._fail(item.id, STAGE, key, MienError(first.code, words, first.hint), records)
        else:
            self._pending.append(StageResult(item.id, STAGE, key, records))

    def _stays_out(self) -> None:
        """Say that something was given that was forgotten; the record is told how much, and never which."""
        for name in self._forgotten:
            log.warning("%s was forgotten here and stays out; on purpose: mien forget FILE --lift --by NAME", name)
        if self._forgotten:
            words = f"{len(self._forgotten)} file(s) that were given were forgotten here and stay out"
            self._fail(FORGOTTEN, STAGE, "", MienError(FORGOTTEN, words, "mien forget FILE --lift --by NAME"), ())
        elif self._store.all(Failure, "unit = ?", (FORGOTTEN,)):
            self._store.drop_unit(FORGOTTEN)

    def _labels(self, item: Item, labels: tuple[tuple[str, str], ...]) -> list[Verdict]:
        """Labels stand on the whole of a source, written as the span [0, 0); on the item itself where it has none."""
        keys = [label_key(sha, Span(0, 0), None) for sha in item.source_shas or (item.id,)]
        return [Verdict(k, target, value, IMPORT, self._at_utc) for k in keys for target, value in labels]

    def _touch(self, item: Item) -> None:
        for before in self._store.all(Item, "id = ?", (item.id,)):
            self._shas.update(before.source_shas)
            self._subjects.add(before.subject_id)
        self._shas.update(item.source_shas)
        self._subjects.add(item.subject_id)

    # ------------------------------------------------------------ what is no longer there

    def _gone(self, given: str) -> list[str]:
        """Mark items of an input that it has no longer; nothing is said of what could not be read this time."""
        if not Path(given).exists():
            return []
        unread = {unit.partition("#")[0] for unit in self._told if "#" not in unit}
        gone: list[str] = []
        for item in self._store.all(Item, "given = ?", (given,)):
            held = self._store.stage(item.id, STAGE)
            below = any(item.origin == u or item.origin.startswith(f"{u}/") for u in unread)
            if item.id in self._seen or below or (held is not None and held.state == GONE):
                continue
            mine = ("_unit = ? AND _stage = ?", (item.id, STAGE))
            records = [r for kind in (Item, Attribute, Verdict) for r in self._store.all(kind, *mine)]
            note = f"no longer in {Path(given).name}"
            self._pending.append(StageResult(item.id, STAGE, "", records, state=GONE, code="input.gone", note=note))
            self._touch(item)
            gone.append(_name(item))
        return gone

    def _flush(self) -> None:
        if self._pending:
            self._store.commit_all(self._pending, run_id=self._run_id, at_utc=self._at_utc)
            self._pending = []


def _name(item: Item) -> str:
    """What people call an item: its file, or its table and row."""
    name = Path(item.origin).name
    return f"{name}, {item.row}" if item.row else name


def affected(store: Store) -> tuple[list[str], frozenset[str]]:
    """(inputs to read again, items to do again) after failures of inputs, for a retry."""
    units = {f.unit for f in store.all(Failure) if f.stage in ("register", STAGE)}
    items = [i for i in store.all(Item) if units & {i.id, i.origin, *i.source_shas}]
    known = {i.given for i in store.all(Item) if i.given}
    inputs: dict[str, None] = {i.given or i.origin: None for i in items}
    for unit in sorted(units):
        path = unit.partition("#")[0]
        if path.startswith("/"):
            inputs.setdefault(next((g for g in sorted(known) if path == g or path.startswith(f"{g}/")), path))
    by_input: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_input[item.given].append(item)
    return list(inputs), frozenset(i.id for i in items)


def _with_mining(entry: Entry) -> tuple[Attribute, ...]:
    """An item's attributes and what its files say of training and mining; of two words on one entry, the stricter."""
    held = {a.key: a for a in entry.attributes}
    for path in entry.media:
        for said in mining_attributes(entry.item.id, path):
            other = held.get(said.key)
            held[said.key] = replace(said, value=strictest(other.value, said.value)) if other else said
    return tuple(held.values())
