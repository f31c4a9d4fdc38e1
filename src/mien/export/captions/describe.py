"""One clip described: captions with their weights, what they stand on, control vectors and continuity."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from dataclasses import asdict, dataclass
from typing import Any

from mien.core import Assessment, Source, Span
from mien.export.captions.continuity import Continuity, continuity
from mien.export.captions.controls import Controls, controls_of
from mien.export.captions.given import clean, given, refused
from mien.export.captions.grammar import compose
from mien.export.captions.measures import Measures, measures
from mien.export.captions.quantise import Descriptor, Tag, course, descriptors, tag_of, trend_of
from mien.export.captions.vocabulary import vocabulary
from mien.export.selection.scope import ClipRows
from mien.pipeline import Project
from mien.reason.captions import CaptionTerms, Origin

FAR = 0.25  # of -1..1: from here on a reading lies high or low on an axis of affect


@dataclass(frozen=True, slots=True)
class Description:
    """What a trainer is told of one clip.

    captions: the first says what holds in every reading; where the evidence is ambiguous one more follows per reading.
    weights: of the captions, sum 1: the posterior of each reading, and what is left for the first. readings: "" or the
    state. origin: who wrote them; `derived` keeps the derived caption beside a given one. dropped: whether this clip is
    one of the share that trains with an empty caption. bundles: phrases and the figures under them; descriptors:
    episodes with times; left_out: phrases that did not fit; notes: why a given caption was not taken, with its code.
    """

    captions: tuple[str, ...]
    weights: tuple[float, ...]
    readings: tuple[str, ...]
    origin: Origin
    derived: str
    dropped: bool
    bundles: tuple[Tag, ...]
    descriptors: tuple[Descriptor, ...]
    controls: Controls
    continuity: Continuity
    vocabulary_version: int
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def training_caption(self) -> str:
        """The main caption, or "" for a clip of the dropout."""
        return "" if self.dropped else self.captions[0]

    def sidecar(self) -> dict[str, Any]:
        """Everything but the control vectors, as plain values for JSON."""
        return {
            "captions": [
                {"text": t, "weight": round(w, 6), "reading": r or None}
                for t, w, r in zip(self.captions, self.weights, self.readings, strict=True)
            ],
            "origin": self.origin, "derived": self.derived, "dropped": self.dropped,
            "bundles": [asdict(t) | {"value": float(f"{t.value:.5g}")} for t in self.bundles],
            "descriptors": [_told(d) for d in self.descriptors],
            "continuity": asdict(self.continuity), "vocabulary_version": self.vocabulary_version,
            "left_out": list(self.left_out), "notes": list(self.notes),
        }  # fmt: skip


def describe(
    rows: ClipRows, project: Project, terms: CaptionTerms, *, leaving: Container[str] | None = None
) -> Description:
    """Describe one clip that may leave. The same rows in any order give the same description.

    Args:
        leaving: ids of the clips that leave with it, so that the one before and after may be named; None: neither is.
    """
    said = project.config.project
    observables_only = terms.observables_only or said.observables_only or said.context == "care"
    found = measures(rows, project, affect=not observables_only)
    runs, span = descriptors(found), rows.part.clip.span
    tags = [t for rule in vocabulary().rules if (t := tag_of(rule, found)) and (terms.unvalidated or not rule.weak)]
    phrases = [t.phrase for t in tags]
    soft = _trends(found) if terms.soft and not observables_only else []
    phrases += _courses(runs, span) if terms.temporal else []
    derived, left = compose([*phrases, *(s.phrase for s in soft)], terms)
    captions, weights, readings = [derived], [1.0], [""]
    origin: Origin = "derived"
    texts, from_, notes = _given(rows.part.source, project, terms, observables_only)
    if texts:
        captions, origin = list(texts), from_
        weights, readings = [1 / len(texts)] * len(texts), [""] * len(texts)
    elif terms.readings and terms.soft and not observables_only:
        for state, p, words in _readings(rows, project, found, terms):
            captions.append(compose([*phrases, *words], terms)[0])
            weights.append(p)
            readings.append(state)
        weights[0] = 1 - sum(weights[1:])
    leading = next(((a, e) for a in ("motion_energy", "loudness") if (e := course(runs, a, span)[0])), None)
    return Description(
        tuple(captions), tuple(weights), tuple(readings), origin, derived,
        dropped(rows.part.clip.id, terms.dropout), tuple(tags + soft), runs, controls_of(found),
        continuity(rows.part.clip, project, leading, leaving), vocabulary().version, left, notes,
    )  # fmt: skip


def dropped(clip_id: str, share: float) -> bool:
    """Whether a clip trains with an empty caption: decided by its id, so that it stays so when the selection grows."""
    return int.from_bytes(hashlib.sha256(f"dropout {clip_id}".encode()).digest()[:8]) < share * 2**64


def _courses(runs: tuple[Descriptor, ...], span: Span) -> list[str]:
    words: list[str] = []
    for c in vocabulary().courses:
        _, seen = course(runs, c.axis, span)
        if seen:
            words.append({"whole": c.whole, "onset": c.onset, "offset": c.offset}[seen])
    return words


def _trends(found: Measures) -> list[Tag]:
    made: list[Tag] = []
    for s in vocabulary().soft:
        way, change, _ = trend_of(found, s.axis)
        curve = found.curves[s.axis]
        if way and curve.signal is not None:
            phrase = s.rising if way > 0 else s.falling
            made.append(Tag(phrase, s.axis, s.axis, change, curve.axis.unit, curve.signal.weak))
    return made


def _readings(
    rows: ClipRows, project: Project, found: Measures, terms: CaptionTerms
) -> list[tuple[str, float, list[str]]]:
    """(state, posterior, words) of each reading of the leading person where the evidence leaves several; else none.

    Ambiguous: a conflict over the threshold or a conformal set of several states; the window of most evidence counts.
    """
    who = found.face.id if found.face else None
    mine = [a for a in rows.assessments if a.track_id in (who, None)]
    open_ = [a for a in mine if len(a.credible) >= 2 or a.conflict >= terms.conflict]
    if not open_:
        return []
    one: Assessment = min(open_, key=lambda a: (-sum(c.weight for c in a.contributions), a.span, a.id))
    credible = set(one.credible) if len(one.credible) >= 2 else {s for s, _ in one.posterior}
    likely = [(s, p) for s, p in one.posterior if s in credible and p >= terms.least_reading]
    if len(likely) < 2:
        return []
    places = {s.name: (s.valence, s.arousal) for s in project.config.fusion.states}
    made: list[tuple[str, float, list[str]]] = []
    for state, p in sorted(likely, key=lambda pair: (-pair[1], pair[0])):
        words = [
            s.high if at > 0 else s.low
            for s, at in zip(vocabulary().soft, places.get(state, (0.0, 0.0)), strict=True)
            if abs(at) >= FAR
        ]
        made.append((state, float(p), words))
    return made


def _given(
    source: Source, project: Project, terms: CaptionTerms, observables_only: bool
) -> tuple[tuple[str, ...], Origin, tuple[str, ...]]:
    """Given captions that may be used, who gave them, and the codes of those that may not."""
    if terms.source == "derived":
        return (), "derived", ()
    held = given(project, source.sha256)
    notes: list[str] = []
    ways: tuple[tuple[Origin, tuple[str, ...]], ...] = (("imported", held.imported), ("vlm", held.vlm))
    for origin, texts in ways:
        if terms.source not in ("first", origin):
            continue
        kept: list[str] = []
        for text in texts:
            said = clean(text, terms.most_given_tokens)
            why = refused(said, observables_only=observables_only)
            if why:
                notes.append(why)
            elif said and said not in kept:
                kept.append(said)
        if kept:
            lead = f"{terms.trigger}, " if terms.trigger else ""
            return tuple(lead + said for said in kept), origin, tuple(notes)
    return (), "derived", tuple(notes)


def _told(d: Descriptor) -> dict[str, Any]:
    held = {k: (None if isinstance(v, float) and v != v else v) for k, v in asdict(d.episode).items()}  # noqa: PLR0124
    return {"axis": d.axis, "track_id": d.track_id, **held}
