"""`splits.json`: which split each person, recording and copy was drawn into, kept as salted digests without names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mien.core import MienError
from mien.store import durable

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
FILE = "splits.json"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Draw:
    """How splits are drawn. validation, test: fractions of the groups; salt: another one draws anew."""

    validation: float = 0.1
    test: float = 0.1
    salt: str = ""

    def digest(self, mark: str) -> str:
        return hashlib.blake2b(mark.encode(), key=self.salt.encode()[:64], digest_size=16).hexdigest()

    def split(self, group: str) -> Split:
        u = int(self.digest(f"draw:{group}")[:13], 16) / 16**13
        return "test" if u < self.test else "validation" if u < self.test + self.validation else "train"


def read(path: Path, draw: Draw) -> dict[str, Split]:
    """What was drawn before; empty where nothing was.

    Raises:
        MienError: `splits.damaged`; `splits.other-salt` where the salt has changed since: nothing would be known again.
    """
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        kept: dict[str, Split] = held["marks"]
        salt = held["salt"]
        if held["version"] != VERSION or not all(s in SPLITS for s in kept.values()):
            raise ValueError("unknown version or split")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        hint = f"restore {FILE}, or delete it to draw anew: models trained before may then have seen test data"
        raise MienError("splits.damaged", f"{FILE} cannot be read: {error}", hint) from error
    if salt != draw.digest("salt"):
        hint = f"put [splits] salt back, or delete {FILE} to draw anew"
        raise MienError("splits.other-salt", f"{FILE} was drawn with another salt", hint)
    return kept


def write(path: Path, kept: Mapping[str, Split], draw: Draw) -> None:
    """Keep what was drawn: whole or not at all."""
    told = {"version": VERSION, "salt": draw.digest("salt"), "marks": dict(kept)}
    durable.write(path, lambda out: out.write(json.dumps(told, indent=0, sort_keys=True).encode()))


def forget(path: Path, marks: Iterable[str], draw: Draw) -> int:
    """Take marks (`source:SHA`, `subject:ID`) out of what was drawn; how many there were."""
    kept = read(path, draw)
    gone = {draw.digest(m) for m in marks} & set(kept)
    if gone:
        write(path, {m: s for m, s in kept.items() if m not in gone}, draw)
    return len(gone)
