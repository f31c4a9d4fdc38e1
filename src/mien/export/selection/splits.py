"""Splits for training, validation and test that no person, recording or copy crosses.

Sources are joined where they share a person, a recording session or material (copies); a joined group is in one split.
Which one is drawn by a salted hash, so that it depends on no order. What was drawn once is kept in `splits.json` (as
salted digests, no names): a new source joins the split of its people, and one that would tie two splits together is
left out, never moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mien.export.selection.gate import Withheld
from mien.store.drawn import SPLITS, Draw, Split


@dataclass(frozen=True, slots=True)
class Unit:
    """A source (its sha256) and the marks it shares with others: `subject:P-07`, `item:…`, `copy:…`."""

    source: str
    marks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Splits:
    """Where every source belongs.

    Attributes:
        of: sha256 → split; group: sha256 → group, which is in one split as a whole.
        left_out: sha256 → why it is in none; kept: digest of a mark → split, what has been drawn so far.
    """

    of: Mapping[str, Split]
    group: Mapping[str, str]
    left_out: Mapping[str, Withheld]
    kept: Mapping[str, Split]

    @property
    def empty(self) -> tuple[Split, ...]:
        """Splits that hold nothing: there are too few groups."""
        return tuple(s for s in SPLITS if s not in self.of.values())


def assign(units: Iterable[Unit], kept: Mapping[str, Split], draw: Draw) -> Splits:
    """Draw splits for sources. Pure; the order of units changes nothing, and a second call changes nothing.

    Where a tie between two splits only shows in a chain of sources, those that touch what training has seen keep their
    place and the others are left out: what was learnt cannot be unlearnt.

    Args:
        kept: what was drawn before (`Splits.kept`); never changed, only added to.
    """
    marks = {u.source: frozenset(draw.digest(m) for m in (f"source:{u.source}", *u.marks)) for u in units}
    known: dict[str, Split] = dict(kept)
    out: set[str] = set()
    while True:
        out = {s for s, m in marks.items() if len({known[x] for x in m if x in known}) > 1}
        groups = _groups({s: m for s, m in marks.items() if s not in out})
        torn = [g for g in groups if len(_drawn(g, marks, known)) > 1]
        if not torn:
            break
        for group in torn:
            first = min(_drawn(group, marks, known), key=SPLITS.index)
            for source in group:
                if any(known.get(m) == first for m in marks[source]):
                    new: dict[str, Split] = {m: first for m in marks[source] if m not in known}
                    known |= new
    of: dict[str, Split] = {}
    named: dict[str, str] = {}
    for group in groups:
        name = min(m for s in group for m in marks[s])
        drawn = _drawn(group, marks, known)
        split = drawn.pop() if drawn else draw.split(name)
        for source in group:
            of[source], named[source] = split, name[:16]
            for mark in marks[source]:
                known[mark] = split
    why = "its people or its material are in two splits already"
    left = {s: Withheld(s, "split.would-leak", why) for s in sorted(out)}
    return Splits(dict(sorted(of.items())), dict(sorted(named.items())), left, dict(sorted(known.items())))


def _drawn(group: Sequence[str], marks: Mapping[str, frozenset[str]], known: Mapping[str, Split]) -> set[Split]:
    """The splits that marks of a group have already."""
    found: set[Split] = set()
    for source in group:
        found.update([known[m] for m in marks[source] if m in known])
    return found


def _groups(marks: Mapping[str, frozenset[str]]) -> list[list[str]]:
    """Sources joined by common marks (connected components), each sorted."""
    root: dict[str, str] = {}

    def find(x: str) -> str:
        root.setdefault(x, x)
        while root[x] != x:
            root[x] = root[root[x]]
            x = root[x]
        return x

    for source, held in marks.items():
        for mark in held:
            a, b = find(f"s{source}"), find(f"m{mark}")
            root[max(a, b)] = min(a, b)
    groups: dict[str, list[str]] = defaultdict(list)
    for source in sorted(marks):
        groups[find(f"s{source}")].append(source)
    return list(groups.values())


def leaks(units: Sequence[Unit], of: Mapping[str, Split]) -> tuple[str, ...]:
    """Marks that are in more than one split, as sentences; empty where nothing leaks. Does not trust `assign`."""
    seen: dict[str, set[Split]] = defaultdict(set)
    for unit in units:
        for mark in (f"source:{unit.source}", *unit.marks) if unit.source in of else ():
            seen[mark].add(of[unit.source])
    kinds = [mark.partition(":")[0] for mark, splits in sorted(seen.items()) if len(splits) > 1]
    return tuple(f"a {kind} is in more than one split" for kind in kinds)
