"""Which column plays which role: what mien.toml says, else what the names and values of a table show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.core import Attribute, Item
from mien.pipeline.inputs.entry import MEDIA, Entry, suffix
from mien.pipeline.inputs.mapping import SETTINGS, Columns
from mien.pipeline.inputs.tables import Row
from mien.pipeline.inputs.values import Kind, flat, infer, kind_of, safe, typed

MOSTLY = 0.8
SAMPLE = 1000
_PERSON = re.compile(
    r"(subject|person|participant|patient|resident|client|child|speaker|actor|proband)([ _-]?(id|name|code|nr|no))?",
    re.I,
)
_FILE = re.compile(r"(.+_)?file_names?", re.I)
_SAME = {"licence": "licence", "license": "licence", "consent": "consent"} | {
    f"setting.{s}": f"setting.{s}" for s in SETTINGS
}


@dataclass(frozen=True, slots=True)
class Roles:
    """Column names by role; `unique`: the id must be so, since the mapping names it.
    `facts`: column → `licence`, `consent` or `setting.*`; `kinds`: types of columns."""

    id: str | None = None
    unique: bool = False
    subject: str | None = None
    media: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    ignore: frozenset[str] = frozenset()
    facts: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, Kind] = field(default_factory=dict)


def is_person(name: str) -> bool:
    return _PERSON.fullmatch(name.strip()) is not None


def is_media(value: object) -> bool:
    """Whether a cell looks like the path of a medium, or holds one."""
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes) or ("bytes" in value and is_media(value.get("path")))
    if isinstance(value, list):
        return bool(value) and all(is_media(v) for v in value)
    return isinstance(value, str) and len(value) < 4096 and "\n" not in value and suffix(value.strip()) in MEDIA


def share_of_media(name: str, values: Sequence[object]) -> float:
    filled = [v for v in values if v is not None and v != ""]
    return sum(is_media(v) for v in filled) / len(filled) if filled else float(_FILE.fullmatch(name) is not None)


def resolve(mapping: Columns, head: Sequence[Row], *, native: bool) -> Roles:
    """The roles of a table from its mapping and its first rows. What is mapped is not guessed at; what is not mapped is
    taken only where it cannot do harm: media by their endings, a person's column by its name (its value is then
    hidden), licence, consent and setting where a column has that very name."""
    columns: dict[str, list[object]] = {}
    for row in head:
        for name, value in row.cells.items():
            columns.setdefault(name, []).append(value)
    nested = {n: v for row in head for n, v in flat(row.cells).items()}
    taken = {column for _, column in mapping.roles()}
    free = [n for n in columns if n not in taken]
    media = mapping.media or tuple(n for n in free if share_of_media(n, columns[n]) >= MOSTLY)
    subject = mapping.subject or next((n for n in (*free, *nested) if n not in media and is_person(n)), None)
    mapped = {role for role, _ in mapping.roles()}
    facts = {column: role for role, column in mapping.roles() if role in _SAME.values()}
    facts |= {n: _SAME[n.lower()] for n in (*free, *nested) if n.lower() in _SAME and _SAME[n.lower()] not in mapped}
    own = mapping.id or next((n for n in free if n.lower() in ("id", "item_id") and _unique(columns[n], head)), None)
    flat_columns: dict[str, list[object]] = {}
    for row in head:
        for name, value in flat({n: v for n, v in row.cells.items() if n not in media}).items():
            flat_columns.setdefault(name, []).append(value)
    kinds: dict[str, Kind] = {n: infer(values, native=native) for n, values in flat_columns.items()}
    return Roles(own, mapping.id is not None, subject, media, mapping.labels, frozenset(mapping.ignore), facts, kinds)


def loose(mapping: Columns, cells: dict[str, Any]) -> Roles:
    """The roles of one object beside a medium (a sidecar): as `resolve`, but nothing mapped has to be there."""
    found = resolve(mapping.model_copy(update={"media": (), "id": None}), [Row(1, cells)], native=True)
    return Roles(None, False, found.subject, (), found.labels, found.ignore, found.facts, found.kinds)


def describe(item: Item, cells: dict[str, Any], roles: Roles) -> Entry:
    """The entry of one row, without its media."""
    plain = flat({n: v for n, v in cells.items() if n not in roles.media and not _held(v)})
    who = cells.get(roles.subject, plain.get(roles.subject)) if roles.subject else None
    hidden = (*roles.ignore, *([roles.subject] if roles.subject else ()))
    attributes: dict[str, Attribute] = {}
    labels: list[tuple[str, str]] = []
    for name, value in plain.items():
        found = typed(value, roles.kinds.get(name) or kind_of(value, native=True) or "text")
        if found is None or any(name == h or name.startswith(f"{h}.") for h in hidden):
            continue
        key = safe(roles.facts.get(name, name))
        attributes[key] = Attribute(item.id, key, *found)
        if name in roles.labels:
            labels.append((key, found[1]))
    subject = typed(who, "text")
    return Entry(item, tuple(attributes.values()), (), subject[1] if subject else None, tuple(labels))


def _held(value: object) -> bool:
    """Whether a value is media bytes, which are no attribute."""
    return isinstance(value, (dict, list)) and is_media(value)


def _unique(values: Sequence[object], head: Sequence[Row]) -> bool:
    texts = [str(v) for v in values if v not in (None, "")]
    return len(texts) == len(head) == len(set(texts))
