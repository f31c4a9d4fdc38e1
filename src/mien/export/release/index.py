"""The examples of a release, one JSON line each, and the figures of its card, in one pass over the clips.

What the loader needs to keep an example closed stands in its own line: the gate's score, context, consent, source and
people (as keys, never as names).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mien.core import UNASSIGNED, MienError
from mien.export.selection.scope import ClipRows, Scope
from mien.export.tables.rows import label_for, subject_of
from mien.store.released import closed
from mien.store.revocation import Revocations, subject_key

LENGTHS_S = (0, 1, 2, 4, 8, 16, 32)
CONFLICT = 0.1  # nats, from which the card calls a window conflicting
SPLITS = ("train", "validation", "test")


@dataclass(slots=True)
class Figures:
    """What a card tells, counted per split. Windows are those of fusion's answers."""

    clips: Counter[str] = field(default_factory=Counter)
    duration_us: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    consents: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    windows: Counter[str] = field(default_factory=Counter)
    abstained: Counter[str] = field(default_factory=Counter)
    conflicting: Counter[str] = field(default_factory=Counter)
    labelled: Counter[str] = field(default_factory=Counter)
    states: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    lengths: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    groups: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sources: dict[str, float | None] = field(default_factory=dict)
    subjects: set[str] = field(default_factory=set)
    people: set[str] = field(default_factory=set)  # their pseudonyms: for the project's own registry alone

    def count(self, row: dict[str, Any], rows: ClipRows, people: set[str]) -> None:
        split, source = row["split"], rows.part.source
        self.people |= people
        self.clips[split] += 1
        self.duration_us[split] += row["end_us"] - row["start_us"]
        self.kinds[row["kind"]] += 1
        self.groups[split].add(row["group"])
        self.lengths[split][_length((row["end_us"] - row["start_us"]) / 1e6)] += 1
        if source.sha256 not in self.sources:
            self.consents[row["consent"]] += 1
            self.licences[source.licence or "not stated"] += 1
        self.sources[source.sha256] = source.coverage
        self.subjects |= set(row["subjects"])
        self.labelled[split] += len(row["labels"])
        for window in row["states"]:
            self.windows[split] += 1
            self.abstained[split] += window["abstained"]
            self.conflicting[split] += window["conflict_nats"] >= CONFLICT
            if not window["abstained"]:
                self.states[split][max(window["posterior"], key=window["posterior"].__getitem__)] += 1

    @property
    def told(self) -> dict[str, Any]:
        """As plain values for the manifest."""
        known = [c for c in self.sources.values() if c is not None]
        return {
            "splits": {
                s: {
                    "clips": self.clips[s],
                    "seconds": round(self.duration_us[s] / 1e6, 3),
                    "groups": len(self.groups[s]),
                    "windows": self.windows[s],
                    "abstained": self.abstained[s],
                    "conflicting": self.conflicting[s],
                    "labels_of_people": self.labelled[s],
                    "states": dict(sorted(self.states[s].items())),
                }
                for s in sorted(self.clips, key=_place)
            },
            "kinds": dict(sorted(self.kinds.items())),
            "sources": len(self.sources),
            "subjects": len(self.subjects),
            "consent": dict(sorted(self.consents.items())),
            "licences_of_sources": dict(sorted(self.licences.items())),
            "least_coverage": round(min(known), 4) if known else None,
        }


@dataclass(frozen=True, slots=True)
class Placed:
    """One clip, its split and group, and the files of the payload that show or tell of it."""

    rows: ClipRows
    split: str
    group: str
    media: tuple[str, ...] = ()


def write(placed: Iterable[Placed], scope: Scope, path: Path) -> Figures:
    """Write the examples; every line passes the loader's own rule before it is written.

    Raises:
        MienError: `release.not-clean` where one does not.
    """
    figures = Figures()
    context = scope.project.config.context
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for one in placed:
            people = people_in(one.rows, scope)
            row = example(one, scope, people)
            code = closed(row, context, scope.use, Revocations())
            if code:
                raise MienError("release.not-clean", f"a clip came through that is closed ({code})", "report this")
            out.write(json.dumps(row, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")
            figures.count(row, one.rows, people)
    return figures


def people_in(rows: ClipRows, scope: Scope) -> set[str]:
    """Pseudonyms of everybody whose clip it is, or whose track is in it."""
    sha = rows.part.source.sha256
    people = scope.people
    named = {subject_of(scope, rows, t) for t in rows.tracks} - {UNASSIGNED, ""}
    if people is not None:
        named |= {s for t in rows.tracks for s in people.who(sha, t)} | set(people.present(sha, rows.part.clip.span))
    return named


def example(one: Placed, scope: Scope, people: set[str]) -> dict[str, Any]:
    """One example as plain values; spans in µs on the clock of the source."""
    rows, part = one.rows, one.rows.part
    scores = [o.value for o in rows.observations if o.target == "explicit.max"]
    score = max((s for s in scores if s is not None), default=None)
    who: Callable[[str | None], str] = lambda track: rows.who.get(track or "", "")  # noqa: E731
    return {
        "id": part.clip.id,
        "source": part.source.sha256,
        "kind": part.source.kind,
        "start_us": part.clip.span.start_us,
        "end_us": part.clip.span.end_us,
        "split": one.split,
        "group": one.group,
        "context": part.source.context,
        "consent": "stated" if part.source.consent or scope.use == "publish" else "not-stated",
        "gate": {"decision": "passed", "explicit": score},
        "subjects": sorted(subject_key(s) for s in people),
        "states": [
            {
                "who": who(a.track_id),
                "start_us": a.span.start_us,
                "end_us": a.span.end_us,
                "posterior": {k: round(p, 6) for k, p in a.posterior},
                "abstained": a.abstained,
                "conflict_nats": round(a.conflict, 6),
                "ambiguity_nats": round(a.ambiguity, 6),
                "vacuity": round(a.vacuity, 6),
            }
            for a in rows.assessments
        ],
        "labels": list(_labels(rows, scope, who)),
        "texts": [{"kind": c.kind, "text": c.text} for c in rows.claims],
        "media": sorted(one.media),
    }


def _labels(rows: ClipRows, scope: Scope, who: Callable[[str | None], str]) -> Iterator[dict[str, Any]]:
    """What people said of windows and answers. Who said it stays in the project."""
    asked = [(a.span, a.track_id, "state") for a in rows.assessments]
    asked += [(o.span, o.track_id, o.target) for o in rows.observations]
    for span, track, target in dict.fromkeys(asked):
        found = label_for(scope, rows, span, track, target)
        if found is not None:
            said = {"who": who(track), "target": target, "value": found.value}
            yield said | {"start_us": span.start_us, "end_us": span.end_us}


def _length(seconds: float) -> str:
    i = max(i for i, edge in enumerate(LENGTHS_S) if seconds >= edge)
    return f"{LENGTHS_S[i]}–{LENGTHS_S[i + 1]} s" if i + 1 < len(LENGTHS_S) else f"{LENGTHS_S[i]} s and more"


def _place(split: str) -> tuple[int, str]:
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)
