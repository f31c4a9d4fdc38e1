"""What rows say of a file or a person, brought together: licence, consent, setting.

Each row's own words stay attributes of its item. A source or subject takes a fact where its rows agree; where they do
not, it takes none (unknown is safe, one row's word is not), and the disagreement is a failure with a code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace

from mien.core import UNASSIGNED, Attribute, Item, MienError, Setting, Source, Subject
from mien.pipeline.inputs.mapping import SETTINGS
from mien.store import Store

FACTS = ("licence", "consent", *(f"setting.{s}" for s in SETTINGS))
STAGE = "facts"


def reconcile(
    store: Store, shas: Iterable[str], subjects: Iterable[str], fail: Callable[[str, MienError], None]
) -> None:
    """Bring sources and subjects up to date with the attributes of all items that name them.

    Args:
        shas, subjects: whose items changed.
        fail: told (unit, error `input.fact-conflict`) where rows disagree.
    """
    wanted, people = set(shas), set(subjects) - {UNASSIGNED}
    if not wanted and not people:
        return
    said: dict[str, dict[str, str]] = defaultdict(dict)
    for a in store.all(Attribute, f"key IN ({','.join('?' * len(FACTS))})", FACTS):
        said[a.item_id][a.key] = a.value
    gone = {row.unit for row in store.stages_in("input", "gone")}
    files: dict[str, list[dict[str, str]]] = defaultdict(list)
    persons: dict[str, list[dict[str, str]]] = defaultdict(list)
    for item in store.all(Item):
        if item.id in gone:
            continue
        for sha in wanted.intersection(item.source_shas):
            files[sha].append(said[item.id])
        if item.subject_id in people:
            persons[item.subject_id].append(said[item.id])
    for source in store.all(Source):
        if source.sha256 in files:
            _source(store, source, files[source.sha256], fail)
    held = {s.id: s for s in store.all(Subject)}
    for code, rows in sorted(persons.items()):
        consent, _ = _agreed(rows, "consent")
        if held.get(code) != Subject(code, consent):
            store.put([Subject(code, consent)], unit=code, stage=STAGE)


def _source(store: Store, source: Source, rows: list[dict[str, str]], fail: Callable[[str, MienError], None]) -> None:
    agreed = {name: _agreed(rows, name) for name in FACTS}
    value = {name: found for name, (found, _) in agreed.items()}
    setting = Setting(**{s: value[f"setting.{s}"] for s in SETTINGS})
    now = replace(source, licence=value["licence"], consent=value["consent"], setting=setting)
    if now != source:  # the stage that last wrote the source owns it
        owner = "clips" if store.stage(source.sha256, "clips") else "register"
        store.put([now], unit=source.sha256, stage=owner)
    torn = {name: others for name, (_, others) in agreed.items() if others}
    if torn:
        words = "; ".join(f"{name}: {', '.join(map(repr, sorted(others)))}" for name, others in torn.items())
        message = f"rows disagree about one file, so that it stays unknown there: {words}"
        fail(source.sha256, MienError("input.fact-conflict", message, "make the rows agree, then run again"))
    elif store.stage(source.sha256, STAGE):
        store.drop_stage(source.sha256, STAGE)


def _agreed(rows: list[dict[str, str]], name: str) -> tuple[str | None, set[str]]:
    """(the one value that rows give, nothing) or (None, the values they disagree on). A row that is silent agrees."""
    values = {row[name] for row in rows if name in row}
    return (next(iter(values), None), set()) if len(values) < 2 else (None, values)
