"""Captions that others wrote: sidecars and columns of the input, and fields that an instruct model filled.

They are data from outside: cleaned, and one that says more than signals can carry is not taken.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from math import ceil
from typing import Literal
from weakref import WeakKeyDictionary

from mien.core import Attribute, Item
from mien.pipeline import Project
from mien.policy.wording import emotion_words, forbidden_words

IMPORTED = ("caption", "captions", "text")  # keys of attributes, the first that exists
PREFIX = "annotate."
_SPECIAL = re.compile(r"[()\[\]{}|<>\\*^~`$#@]|__+")  # weights, wildcards, separators and networks of trainers' parsers
_PROMPT = re.compile(
    r"\b(?:ignore|disregard|forget)\b.{0,40}\b(?:instruction|prompt|above|previous|rule)s?\b|\bsystem\s*(?:prompt|:)"
    r"|\byou are (?:now )?(?:an?|the)\b|\b(?:assistant|user)\s*:|\bim_(?:start|end)\b",
    re.IGNORECASE,
)
_READ: WeakKeyDictionary[Project, tuple[object, dict[str, Given]]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Given:
    """Texts of one source, uncleaned: of the input, and of a model that annotated it (with the annotation's name)."""

    imported: tuple[str, ...] = ()
    vlm: tuple[str, ...] = ()
    by: str = ""


def given(project: Project, sha: str) -> Given:
    """What was written of a source. The project is read once, and again after another run or annotation."""
    _, rows = project.store.query("SELECT count(*), max(finished_utc) FROM runs")
    state = tuple(rows[0])
    held = _READ.get(project)
    if held is None or held[0] != state:
        held = (state, _read(project))
        _READ[project] = held
    return held[1].get(sha, Given())


def _read(project: Project) -> dict[str, Given]:
    values: dict[str, dict[str, str]] = {}
    where = "type = 'text' AND (key IN (?, ?, ?) OR key LIKE 'annotate.%.caption')"
    for a in sorted(project.store.all(Attribute, where, IMPORTED), key=lambda a: (a.item_id, a.key)):
        values.setdefault(a.item_id, {})[a.key] = a.value
    found: dict[str, Given] = {}
    for item in sorted(project.store.all(Item), key=lambda i: i.id):
        mine = values.get(item.id, {})
        key = next((k for k in IMPORTED if mine.get(k, "").strip()), None)
        model = next((k for k in mine if k.startswith(PREFIX) and mine[k].strip()), None)
        if key or model:
            row = Given(_texts(mine[key]) if key else (), (mine[model],) if model else (), model or "")
            for sha in item.source_shas:
                found.setdefault(sha, row)
    return found


def _texts(value: str) -> tuple[str, ...]:
    """The captions in one value: a JSON list of them, or one to a line."""
    if value.lstrip().startswith("["):
        try:
            held = json.loads(value)
        except ValueError:
            held = None
        if isinstance(held, list):
            return tuple(str(v) for v in held if isinstance(v, str) and v.strip())
    return tuple(line for line in value.splitlines() if line.strip())


def clean(text: str, most_tokens: int) -> str:
    """Lower-case printable ASCII on one line, without what trainers' caption parsers take for more than words.

    Text that reads like an instruction to a model stands in double quotes, as something that was written there. Cut
    at a word once it has `most_tokens`, estimated as a quarter of the letters of each word and a comma as one.
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower().replace('"', "'")
    plain = _SPECIAL.sub(" ", "".join(c if c.isprintable() else " " for c in plain))
    tags = [" ".join(tag.split()) for tag in re.split(r"[,;\n]", plain)]
    plain = ", ".join(tag for tag in tags if tag)
    kept: list[str] = []
    cost = 0
    for word in plain.split():
        cost += ceil(len(word.rstrip(",")) / 4) + word.endswith(",")
        if cost > most_tokens:
            break
        kept.append(word)
    said = " ".join(kept).rstrip(", ")
    return f'"{said}"' if _PROMPT.search(said) else said


def refused(text: str, *, observables_only: bool) -> Literal["", "captions.claims-too-much", "captions.emotion-words"]:
    """Why a given caption may not be used; "" where it may."""
    if forbidden_words(text):
        return "captions.claims-too-much"
    return "captions.emotion-words" if observables_only and emotion_words(text) else ""
