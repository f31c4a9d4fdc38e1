"""One clip as something to learn from: soft labels, people's labels beside them, reasoning in three lengths, and masks.

Labels are distributions, never a winner alone. What may not be learnt is masked with a reason, never left to guess:
a state that was not decided, a reasoning that fails its audit, a person who did not agree to training.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from mien.core import UNASSIGNED, Assessment, Dist, MienError, Source, Span, digest
from mien.export.selection.gate import Withheld
from mien.export.selection.labelled import Place
from mien.export.selection.redaction import redactions_of
from mien.export.selection.scope import ClipRows, Scope, source_names
from mien.export.selection.splits import Splits
from mien.policy import forbidden_words
from mien.policy.redaction import Region
from mien.reason import Ledger, audit
from mien.reason.training_text import Length, Target, training_text
from mien.store.drawn import Split

What = Literal["state", "reasoning", "person", "picture", "sound"]
UNDECIDED = 0.5  # a state is not learnt where more than this share of a person's time was abstained from


@dataclass(frozen=True, slots=True)
class Mask:
    """What may not be learnt, of whom ("" for the clip), and why. `code` is stable."""

    what: What
    who: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Soft:
    """What the sources say of one person over a clip, and beside it what people say.

    Attributes:
        who: "face 1"; "" for the recording as a whole.
        states, spread: mean posterior over windows by duration (smoothed where there), and its sd between them.
        ambiguity, conflict: nats; vacuity, abstained: 0..1; all means by duration, NaN where none has a value.
        credible: states that are in the conformal set of some window; level: their coverage, None where uncalibrated.
        people: shares of the labelled time by label; labelled: the share of the time that people labelled.
    """

    who: str
    track_id: str | None
    windows: int
    seconds: float
    states: Dist
    spread: Dist
    ambiguity: float
    conflict: float
    vacuity: float
    abstained: float
    credible: tuple[str, ...]
    level: float | None
    people: Dist = ()
    labelled: float = 0.0


@dataclass(frozen=True, slots=True)
class Example:
    """One clip to learn from.

    Attributes:
        stem: name for files, made of content: the same clip has the same stem on every machine.
        soft: one row per person with assessments. targets: length → reasoning text; empty where it may not be learnt.
        covered: what must be made unrecognisable in the picture and the sound before they leave.
        span: of the clip, on its source's clock. times in every record are on that clock, too.
    """

    rows: ClipRows
    split: Split
    group: str
    stem: str
    soft: tuple[Soft, ...]
    targets: Mapping[Length, Target]
    masks: tuple[Mask, ...]
    covered: tuple[Region, ...] = ()
    subjects: frozenset[str] = field(default_factory=frozenset)

    @property
    def span(self) -> Span:
        return self.rows.part.clip.span

    def barred(self, what: What, who: str = "") -> Mask | None:
        """Why something may not be learnt; None where it may."""
        return next((m for m in self.masks if m.what == what and m.who == who), None)


def examples(scope: Scope, splits: Splits) -> Iterator[Example]:
    """The clips of a scope that are in a split, one after another; never more than one is held."""
    for rows in scope.clips():
        sha = rows.part.source.sha256
        if sha in splits.of:
            yield example(scope, rows, splits.of[sha], splits.group[sha])


def example(scope: Scope, rows: ClipRows, split: Split, group: str) -> Example:
    """One clip as an example."""
    part = rows.part
    kept, masks = _agreed(scope, rows)
    threshold = scope.project.config.fusion.thresholds.conflict
    soft = soft_labels(scope, kept)
    masks += [m for s in soft if (m := _undecided(s, threshold))]
    subjects = frozenset(s for t in rows.tracks for s in scope.asked.who(part.source.sha256, t))
    targets, why = _reasoning(kept, subjects)
    covered = redactions_of(scope, rows)
    masks += [why] if why else []
    masks += _unseen(rows, kept, covered)
    stem = digest("example", part.source.sha256, part.clip.span)[:20]
    return Example(kept, split, group, stem, soft, targets, tuple(masks), covered, subjects)


def _agreed(scope: Scope, rows: ClipRows) -> tuple[ClipRows, list[Mask]]:
    """The rows without those of people who did not agree to training, and a mask for each of them."""
    people, sha = scope.asked, rows.part.source.sha256
    gone = {t.id for t in rows.tracks if any(people.says(s, "train") == "no" for s in people.who(sha, t))}
    if not gone:
        return rows, []
    masks = [
        Mask("person", rows.who[i], "consent.no-train", "their consent does not cover training") for i in sorted(gone)
    ]
    kept = {o.id for o in rows.observations if o.track_id not in gone}
    return replace(
        rows,
        tracks=tuple(t for t in rows.tracks if t.id not in gone),
        observations=tuple(o for o in rows.observations if o.track_id not in gone),
        signals=tuple(s for s in rows.signals if s.track_id not in gone),
        assessments=tuple(a for a in rows.assessments if a.track_id not in gone),
        claims=tuple(c for c in rows.claims if c.track_id not in gone and kept.issuperset(c.evidence_ids)),
        hidden=True,
    ), sorted(masks, key=lambda m: m.who)


def _undecided(soft: Soft, threshold: float) -> Mask | None:
    if soft.people:
        return None  # a person has decided
    if not soft.states:
        return Mask("state", soft.who, "state.nothing-measured", "no source said anything of it")
    if soft.abstained > UNDECIDED:
        return Mask("state", soft.who, "state.abstained", f"{soft.abstained:.0%} of its time was abstained from")
    if soft.conflict > threshold:
        return Mask("state", soft.who, "state.conflict", f"the sources disagree ({soft.conflict:.2f} nats)")
    return None


def _unseen(rows: ClipRows, kept: ClipRows, covered: Sequence[Region]) -> list[Mask]:
    """Whether picture and sound stay behind as a whole: where somebody in them cannot be covered."""
    if kept.hidden and not rows.hidden:  # agreed to be shared but not to be learnt from: nobody covers them
        why = "somebody in it did not agree to training"
        return [Mask("picture", "", "consent.no-train", why), Mask("sound", "", "consent.no-train", why)]
    made: list[Mask] = []
    if any(r.kind == "picture" for r in covered):
        made.append(Mask("picture", "", "redaction.whole", "somebody in it cannot be covered"))
    if any(r.kind == "sound" for r in covered):
        made.append(Mask("sound", "", "redaction.sound", "somebody who said no may be heard"))
    return made


# ---------------------------------------------------------------- soft labels


def soft_labels(scope: Scope, rows: ClipRows) -> tuple[Soft, ...]:
    """One row per person (and one for what belongs to nobody), by name."""
    by: dict[str | None, list[Assessment]] = defaultdict(list)
    for a in rows.assessments:
        by[a.track_id].append(a)
    made = [_soft(scope, rows, track, held) for track, held in by.items()]
    return tuple(sorted(made, key=lambda s: (s.who, s.track_id or "")))


def _soft(scope: Scope, rows: ClipRows, track_id: str | None, held: Sequence[Assessment]) -> Soft:
    weights = [max(1, a.span.duration_us) for a in held]
    dists = [dict(a.smoothed or a.posterior) for a in held]
    names = list(dict.fromkeys(n for d in dists for n in d))
    total = sum(w for w, d in zip(weights, dists, strict=True) if d)
    mean = {n: sum(w * d.get(n, 0.0) for w, d in zip(weights, dists, strict=True) if d) / total for n in names}
    moment = {
        n: sum(w * (d.get(n, 0.0) - mean[n]) ** 2 for w, d in zip(weights, dists, strict=True) if d) / total
        for n in names
    }
    people, labelled = _people(scope, rows, track_id, held)
    levels = {a.level for a in held if a.credible}
    return Soft(
        rows.who.get(track_id or "", ""),
        track_id,
        len(held),
        sum(a.span.duration_s for a in held),
        tuple(mean.items()),
        tuple((n, math.sqrt(v)) for n, v in moment.items()),
        _mean(weights, [a.ambiguity for a in held]),
        _mean(weights, [a.conflict for a in held]),
        _mean(weights, [a.vacuity for a in held]),
        _mean(weights, [float(a.abstained) for a in held]),
        tuple(sorted({c for a in held for c in a.credible}, key=lambda c: -mean.get(c, 0.0))),
        levels.pop() if len(levels) == 1 else None,
        people,
        labelled,
    )


def _mean(weights: Sequence[int], values: Sequence[float]) -> float:
    held = [(w, v) for w, v in zip(weights, values, strict=True) if math.isfinite(v)]
    return sum(w * v for w, v in held) / sum(w for w, _ in held) if held else math.nan


def _people(scope: Scope, rows: ClipRows, track_id: str | None, held: Sequence[Assessment]) -> tuple[Dist, float]:
    """Shares of labels by people over the labelled time, and the share of the time that is labelled."""
    box = next((t.geometry for t in rows.tracks if t.id == track_id), None)
    time: dict[str, int] = defaultdict(int)
    for a in held if len(scope.labels) else ():
        said = scope.labels.of(Place(rows.part.source.sha256, a.span, box), "state")
        if said is not None:
            time[said.value] += max(1, a.span.duration_us)
    total = sum(time.values())
    whole = sum(max(1, a.span.duration_us) for a in held)
    return tuple((n, t / total) for n, t in sorted(time.items())), (total / whole if whole else 0.0)


# ---------------------------------------------------------------- reasoning


def _reasoning(rows: ClipRows, subjects: frozenset[str]) -> tuple[dict[Length, Target], Mask | None]:
    """The texts of what may leave, where they pass the audit against what may leave."""
    trace = rows.trace
    if trace is None or not rows.claims:
        return {}, Mask("reasoning", "", "reasoning.none", "there are no claims that may leave")
    ledger = Ledger(rows.part.clip, rows.tracks, rows.observations, rows.assessments, trace.missing)
    found = audit(ledger, trace, rows.claims, forbidden=forbidden_words, deletions=False)
    try:
        targets = training_text(trace, rows.claims, found)
    except MienError as error:
        why = f"it fails {', '.join(found.failed)}" if found.failed else error.message
        return {}, Mask("reasoning", "", error.code, why)
    if any(s in c.text for s in subjects for c in rows.claims):
        return {}, Mask("reasoning", "", "reasoning.names-somebody", "a sentence holds a person's pseudonym")
    return targets, None


# ---------------------------------------------------------------- names


def unnamed(scope: Scope) -> Scope:
    """The same scope with recordings called by the beginning of their sha256 and people by nothing: names may tell."""
    held = source_names(scope.project.store.all(Source))
    names = {name: f"recording-{sha[:12]}" for sha, name in held.items()}
    said = {*names, *scope.subjects} - {"", UNASSIGNED}
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(n)}(?!\w)" for n in sorted(said, key=len, reverse=True)) or "(?!)"
    )

    def told(text: str) -> str:
        return pattern.sub(lambda m: names.get(m[0], "somebody"), text)

    return replace(
        scope,
        parts=tuple(replace(p, name=names[p.name]) for p in scope.parts),
        withheld=tuple(Withheld(told(w.what), w.code, told(w.reason)) for w in scope.withheld),
    )
