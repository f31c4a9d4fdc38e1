"""A mapping proposed from a table: what each column seems to be, and why; a person looks it over in mien.toml."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.core import MienError
from mien.pipeline.inputs import tables
from mien.pipeline.inputs.entry import TABLES, suffix
from mien.pipeline.inputs.roles import MOSTLY, is_person, share_of_media
from mien.pipeline.inputs.values import infer

LOOKED_AT = 200
MAX_CLASSES = 30

_NAMED = {
    "licence": r"licen[cs]e|rights|copyright",
    "consent": r"consent|permission|assent|release[_ ]form",
    "setting.place": r"place|room|location|site|scene|setting",
    "setting.activity": r"activity|task|situation",
    "setting.light": r"light(ing)?|illumination",
    "setting.noise": r"noise|noise[_ ]level|acoustics",
    "setting.sensory_load": r"sensory[_ ]load|stimulation|crowding",
}
_LABEL = re.compile(
    r"(.*[_ ])?(label|emotion|mood|state|affect|class|category|rating|verdict|annotation)s?([_ ].*)?", re.I
)
_PRIVATE = re.compile(
    r"((first|last|full|sur|family|given)[_ ]?)?name|e-?mail|phone|telephone|mobile|address|street|birth.*|dob|"
    r"ssn|insurance.*",
    re.I,
)
_ID = re.compile(r"(item|row|sample|clip|record|utterance)?[_ ]?(id|key|uuid)", re.I)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One column and the role it seems to have. `sure`: its name says so; else its values only suggest it."""

    role: str
    column: str
    why: str
    sure: bool = True


def propose(path: Path) -> list[Proposal]:
    """What the columns of a table seem to be, from its header and first 200 rows; columns without a role are left out.

    Raises:
        MienError: `input.not-a-table`, `input.empty-table`, and those of reading it.
    """
    if suffix(path.name) not in TABLES:
        known = ", ".join(sorted(TABLES))
        raise MienError("input.not-a-table", f"{path.name} is not a table that can be read", f"known: {known}")
    if not path.is_file():
        raise MienError("input.not-found", f"there is no file {path}", "check the path")
    head = [row.cells for row in itertools.islice(tables.rows(path), LOOKED_AT) if row.error is None]
    if not head:
        raise MienError("input.empty-table", f"{path.name} has no rows", "is it the right file?")
    found: list[Proposal] = []
    taken: set[str] = set()
    for name in dict.fromkeys(n for cells in head for n in cells):
        values = [cells.get(name) for cells in head]
        filled = [v for v in values if v is not None and v != ""]
        one = _one(name, values, filled, taken)
        if one is not None:
            found.append(one)
            if one.sure and one.role not in ("media", "labels", "ignore"):
                taken.add(one.role)
    return found


def _one(name: str, values: Sequence[object], filled: Sequence[object], taken: set[str]) -> Proposal | None:
    """The role of one column; the first that fits, those that guard privacy before those that are useful."""
    if (share := share_of_media(name, values)) >= MOSTLY:
        count = f"{round(share * len(filled))} of {len(filled)} values end like media files"
        return Proposal("media", name, count if filled else "named like a file")
    if is_person(name) and "subject" not in taken:
        return Proposal("subject", name, "named like a person; only a salted code of each value is kept")
    if is_person(name) or _PRIVATE.fullmatch(name):
        return Proposal("ignore", name, "named like personal data, which the record does not need")
    for role, pattern in _NAMED.items():
        if role not in taken and re.fullmatch(pattern, name, re.I):
            return Proposal(role, name, f"named like {'the ' + role.partition('.')[2] if '.' in role else role}")
    return _valued(name, [str(v) for v in filled if isinstance(v, (str, int, float))], len(values), taken)


def _valued(name: str, texts: list[str], rows: int, taken: set[str]) -> Proposal | None:
    """An id or a label, where the values fit."""
    different = len(set(texts))
    if "id" not in taken and _ID.fullmatch(name) and different == rows:
        return Proposal("id", name, f"{different} different values in {rows} rows")
    if _LABEL.fullmatch(name):
        return Proposal("labels", name, f"named like a label, {different} different values")
    few = 2 <= different <= min(MAX_CLASSES, len(texts) // 2)
    if few and infer(texts, native=False) == "text" and max(map(len, texts)) <= 40:
        return Proposal("labels", name, f"{different} different words in {len(texts)} rows: is it a label?", sure=False)
    return None


def as_toml(proposals: list[Proposal], table: str) -> str:
    """The `[inputs.columns]` of mien.toml; what the values alone suggest is commented out."""
    lines = [
        "",
        f"[inputs.columns]  # proposed from {_quoted(table)}: look it over; columns without a role become attributes",
    ]
    for role in dict.fromkeys(p.role for p in proposals):
        for sure in (True, False):
            mine = [p for p in proposals if p.role == role and p.sure is sure]
            if not mine:
                continue
            several = role in ("media", "labels", "ignore")
            columns = [_quoted(p.column) for p in mine]
            value = f"[{', '.join(columns)}]" if several else columns[0]
            why = "; ".join(f"{p.column}: {p.why}" if len(mine) > 1 else p.why for p in mine)
            key = f'"{role}"' if "." in role else role
            lines.append(f"{'' if sure else '# '}{key} = {value}  # {_plain(why)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _plain(text: str) -> str:
    """A comment may hold no control characters."""
    return "".join(c if c.isprintable() else " " for c in text)
