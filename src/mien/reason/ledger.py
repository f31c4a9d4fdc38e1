"""The `ledger` engine: claims derived from the real computation, so each cites exactly what moved the posterior.

Inference claims cite the fewest observations that carry at least 80 % of the absolute log-odds the sources added
(AFFECT: coverage), and always the contrary ones. Numbers decide; the sentences only report them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import get_args

from mien.core import Assessment, Claim, Clip, Observation, Span, Trace, Track, clock, content_id
from mien.core.records import ClaimKind, Dist

ENGINE = "ledger@2"
COVERAGE = 0.8
ALTERNATIVE_FROM = 0.15
MAX_SOUND_CLAIMS = 8


@dataclass(frozen=True, slots=True)
class Ledger:
    """The immutable rows reasoning may cite for one clip, and what the stack could not say."""

    clip: Clip
    tracks: tuple[Track, ...]
    observations: tuple[Observation, ...]
    assessments: tuple[Assessment, ...]
    missing: tuple[str, ...]


def reason(ledger: Ledger) -> tuple[Trace, list[Claim]]:
    """Claims about one clip in the order a reader wants them: readings, doubts, advice, then what was observed."""
    trace_id = content_id("trace", ledger.clip.id, ENGINE, sorted(a.id for a in ledger.assessments), ledger.missing)
    writer = _Writer(trace_id, {o.id: o for o in ledger.observations}, _names(ledger.tracks))
    for episode in _episodes(ledger.assessments):
        _read(writer, episode)
    _observed_sound(writer, ledger.observations)
    _observed_people(writer, ledger)
    _observed_bodies(writer, ledger)
    for text in ledger.missing:
        writer.add("uncertainty", f"missing({text.split(':')[0]})", f"Not known: {text}.", ledger.clip.span, None, ())
    conclusion = _conclusion(ledger, writer.claims)
    return Trace(trace_id, ledger.clip.id, ENGINE, conclusion, ledger.missing), writer.claims


def in_order(claims: Iterable[Claim]) -> list[Claim]:
    """Claims as a reader wants them: readings and doubts by time, then what was merely observed."""
    kinds = get_args(ClaimKind)
    return sorted(claims, key=lambda c: (c.kind == "observation", c.span, kinds.index(c.kind), c.id))


# ---------------------------------------------------------------- readings


@dataclass(frozen=True, slots=True)
class _Episode:
    """Consecutive assessments of one track with the same outcome: a state, or the reason to abstain."""

    outcome: str
    abstained: bool
    rows: tuple[Assessment, ...]

    @property
    def span(self) -> Span:
        return Span(self.rows[0].span.start_us, self.rows[-1].span.end_us)

    def mean(self, dists: Iterable[Dist]) -> dict[str, float]:
        held = [dict(d) for d in dists]
        return {state: sum(d[state] for d in held) / len(held) for state in held[0]}


def _episodes(rows: Sequence[Assessment]) -> Iterator[_Episode]:
    ordered = sorted(rows, key=lambda a: (a.track_id or "", a.span.start_us))
    group: list[Assessment] = []
    key: tuple[str | None, bool, str] | None = None
    for row in ordered:
        outcome = row.reason if row.abstained else _top(row.posterior)
        here = (row.track_id, row.abstained, outcome)
        if group and (here != key or row.span.start_us != group[-1].span.end_us):
            yield _Episode(key[2] if key else "", group[0].abstained, tuple(group))
            group = []
        group.append(row)
        key = here
    if group:
        yield _Episode(key[2] if key else "", group[0].abstained, tuple(group))


def _read(writer: _Writer, episode: _Episode) -> None:
    track, span = episode.rows[0].track_id, episode.span
    who = writer.who(track)
    cited = _moving_evidence(episode.rows)
    posterior = episode.mean(a.posterior for a in episode.rows)
    if episode.abstained:
        _doubt(writer, episode, cited)
        return
    state, p = episode.outcome, posterior[episode.outcome]
    writer.add(
        "inference",
        f"posterior.top = {state}",
        f"Between {clock(span.start_us)} and {clock(span.end_us)} the signals of {who} are consistent with {state} "
        f"(p = {p:.2f} on average; {_sources_say(episode)}).",
        span,
        track,
        cited,
    )
    rest = sorted(((q, s) for s, q in posterior.items() if s != state), reverse=True)
    if rest and rest[0][0] >= ALTERNATIVE_FROM:
        q, other = rest[0]
        support = _supporting(episode.rows, other) or cited
        writer.add(
            "alternative",
            f"posterior({other}) = {q:.2f}",
            f"The same signals leave room for {other} (p = {q:.2f}).",
            span,
            track,
            support,
        )
    if state == "distress":
        writer.add(
            "recommendation",
            "posterior.top = distress",
            f"Look at and listen to {span} yourself before acting on this reading.",
            span,
            track,
            cited,
        )


def _doubt(writer: _Writer, episode: _Episode, cited: tuple[str, ...]) -> None:
    track, span = episode.rows[0].track_id, episode.span
    where = f"Between {clock(span.start_us)} and {clock(span.end_us)}"
    if episode.outcome == "conflict":
        conflict = max(a.conflict for a in episode.rows)
        writer.add(
            "uncertainty",
            f"conflict >= {conflict:.2f}",
            f"{where} the sources for {writer.who(track)} disagree: {_sources_say(episode)}. Both readings stand.",
            span,
            track,
            cited,
        )
        writer.add(
            "recommendation",
            "conflict",
            f"Context decides here: look at {span} and say which reading fits.",
            span,
            track,
            cited,
        )
        return
    said = _sources_say(episode)
    writer.add(
        "uncertainty",
        f"abstained({episode.outcome})",
        f"{where} no reading is given for {writer.who(track)}: {episode.outcome}" + (f" ({said})." if said else "."),
        span,
        track,
        cited,
    )


def _sources_say(episode: _Episode) -> str:
    """What each source said on its own, with its mean weight: `face → pleasure 0.81 (λ 0.7)`."""
    parts: list[str] = []
    for name in sorted({c.source for a in episode.rows for c in a.contributions if c.weight > 0}):
        held = [c for a in episode.rows for c in a.contributions if c.source == name and c.weight > 0]
        mean = episode.mean(c.dist for c in held)
        top = max(mean, key=mean.__getitem__)
        weight = sum(c.weight for c in held) / len(held)
        parts.append(f"{name} → {top} {mean[top]:.2f} (λ {weight:.2f})")
    return ", ".join(parts)


def _moving_evidence(rows: Sequence[Assessment]) -> tuple[str, ...]:
    """The fewest contributions that carry `COVERAGE` of the absolute log-odds, plus every contrary one."""
    outcome = _top(rows[0].posterior)
    held = [
        (sum(abs(v) for _, v in c.log_odds), dict(c.log_odds).get(outcome, 0.0), c.evidence_ids)
        for a in rows
        for c in a.contributions
        if c.weight > 0
    ]
    total = sum(mass for mass, _, _ in held)
    chosen: list[str] = []
    covered = 0.0
    for mass, toward, ids in sorted(held, key=lambda h: -h[0]):
        if covered < COVERAGE * total or toward < 0:
            chosen += [i for i in ids if i not in chosen]
            covered += mass
    return tuple(chosen)


def _supporting(rows: Sequence[Assessment], state: str) -> tuple[str, ...]:
    ids = [i for a in rows for c in a.contributions if dict(c.log_odds).get(state, 0.0) > 0 for i in c.evidence_ids]
    return tuple(dict.fromkeys(ids))


# ---------------------------------------------------------------- observations


def _observed_sound(writer: _Writer, observations: Sequence[Observation]) -> None:
    segments = sorted((o for o in observations if o.target.startswith("vocal.kind")), key=lambda o: -o.span.duration_us)
    by_span = {(o.target, o.span): o for o in observations}
    for row in sorted(segments[:MAX_SOUND_CLAIMS], key=lambda o: o.span.start_us):
        f0 = by_span.get(("vocal.f0_hz", row.span))
        level = by_span.get(("vocal.level_dbfs", row.span))
        details = [f"{row.span.duration_s:.1f} s"]
        if level and level.value is not None:
            details.append(f"level {level.value:.0f} dBFS")
        if f0 and f0.value is not None:
            details.append(f"median pitch {f0.value:.0f} Hz")
        kind = "speech-like sound" if _top(row.dist) == "speech" else "vocal sound that is not clearly speech"
        cited = tuple(o.id for o in (row, level, f0) if o is not None)
        writer.add(
            "observation",
            f"vocal.kind = {_top(row.dist)}",
            f"At {clock(row.span.start_us)} a {kind} ({', '.join(details)}).",
            row.span,
            None,
            cited,
        )
    if len(segments) > MAX_SOUND_CLAIMS:
        rest = segments[MAX_SOUND_CLAIMS:]
        writer.add(
            "observation",
            f"count(vocal) = {len(segments)}",
            f"{len(rest)} shorter vocal sounds are in the ledger.",
            Span(min(o.span.start_us for o in rest), max(o.span.end_us for o in rest)),
            None,
            tuple(o.id for o in rest),
        )


def _observed_people(writer: _Writer, ledger: Ledger) -> None:
    for track in ledger.tracks:
        mine = [o for o in ledger.observations if o.track_id == track.id]
        for row in mine:
            if row.target == "presence" and track.kind == "face" and row.value is not None:
                writer.add(
                    "observation",
                    f"presence = {row.value:.2f}",
                    f"{writer.who(track.id).capitalize()} is in view from {clock(track.span.start_us)} to "
                    f"{clock(track.span.end_us)} ({100 * row.value:.0f} % of the analysed frames).",
                    track.span,
                    track.id,
                    (row.id,),
                )
        corners = sorted(
            (o for o in mine if o.target == "face.mouth_corner_raise" and o.value is not None),
            key=lambda o: o.value or 0.0,
        )
        if len(corners) >= 2:
            low, high = corners[0], corners[-1]
            change = (high.value or 0.0) - (low.value or 0.0)
            spread = ((low.sd or 0.0) ** 2 + (high.sd or 0.0) ** 2) ** 0.5
            if change > max(0.05, 2 * spread):
                word = "rise" if high.span.start_us > low.span.start_us else "fall"
                first, last = sorted((low, high), key=lambda o: o.span.start_us)
                writer.add(
                    "observation",
                    f"face.mouth_corner_raise changes {word}",
                    f"The mouth corners of {writer.who(track.id)} {word} by {change:.2f} eye distances between "
                    f"{clock(first.span.start_us)} and {clock(last.span.end_us)}.",
                    Span(first.span.start_us, last.span.end_us),
                    track.id,
                    (first.id, last.id),
                )


# What a pose event is called in a sentence: movement and place, never a reason or a feeling.
_MOVEMENTS = {
    "rocking": "sways to and fro ({value:.1f} times a second, {detail})",
    "pacing": "walks to and fro ({value:.0f} turns)",
    "hand_at_ear": "has a hand at the ear ({detail})",
    "hand_at_head": "has a hand at the head ({detail})",
    "hand_near_face": "has a hand before the face ({detail})",
    "striking": "makes a fast arm movement that stops short ({detail}; {value:.1f} trunk lengths a second)",
    "reaching": "stretches an arm out ({detail})",
    "freezing": "stops moving after movement",
    "still": "does not move",
    "self_contact": "touches the own body ({detail})",
}
_WITH = {
    "near": "is near a {label}",
    "hand_at_object": "has a hand at a {label}",
    "carries": "moves a {label} along with the hand",
    "close": "is close to another person",
}


def movement(row: Observation) -> str:
    """What a pose event or an interaction says, as words after a name: "has a hand at the ear (left)"; else ""."""
    room, _, kind = row.target.partition(".")
    words = {"body": _MOVEMENTS, "interaction": _WITH}.get(room, {}).get(kind)
    if words is None or row.value is None:
        return ""
    detail = _top(row.dist) if row.dist else ""
    return words.format(value=row.value, detail=detail, label=detail)


def _observed_bodies(writer: _Writer, ledger: Ledger) -> None:
    """One claim per track and kind of movement: the longest stretch, and how many more there are."""
    groups: dict[tuple[str, str], list[Observation]] = {}
    for row in ledger.observations:
        if row.track_id and movement(row):
            label = _top(row.dist) if row.target.startswith("interaction.") else ""
            groups.setdefault((row.track_id, f"{row.target} {label}"), []).append(row)
    for (track, _), rows in sorted(groups.items(), key=lambda g: g[1][0].span.start_us):
        longest = max(rows, key=lambda o: (o.span.duration_us, -o.span.start_us))
        more = f"; {len(rows) - 1} more such stretch(es)" if len(rows) > 1 else ""
        writer.add(
            "observation",
            f"{longest.target} count = {len(rows)}",
            f"{writer.who(track).capitalize()} {movement(longest)} from {clock(longest.span.start_us)} to "
            f"{clock(longest.span.end_us)}{more}.",
            Span(min(o.span.start_us for o in rows), max(o.span.end_us for o in rows)),
            track,
            tuple(o.id for o in sorted(rows, key=lambda o: o.span.start_us)),
        )


# ---------------------------------------------------------------- writing


class _Writer:
    """Collects claims; a claim may only cite rows that exist."""

    def __init__(self, trace_id: str, rows: dict[str, Observation], names: dict[str, str]) -> None:
        self._trace_id = trace_id
        self._rows = rows
        self._names = names
        self.claims: list[Claim] = []

    def who(self, track_id: str | None) -> str:
        return "the recording" if track_id is None else self._names.get(track_id, "a person")

    def add(
        self, kind: ClaimKind, predicate: str, text: str, span: Span, track: str | None, ids: tuple[str, ...]
    ) -> None:
        unknown = [i for i in ids if i not in self._rows]
        if unknown:
            raise ValueError(f"a claim cites rows that are not in the ledger: {unknown}")
        claim_id = content_id("claim", self._trace_id, kind, predicate, span, track, ids)
        self.claims.append(Claim(claim_id, self._trace_id, kind, predicate, text, span, track, ids))


def _names(tracks: Sequence[Track]) -> dict[str, str]:
    """`face 1`, `face 2` … in order of appearance; numbers mean nothing beyond their clip."""
    names: dict[str, str] = {}
    for kind in ("face", "person"):
        mine = sorted((t for t in tracks if t.kind == kind), key=lambda t: (t.span.start_us, t.id))
        names |= {t.id: f"{kind} {i}" for i, t in enumerate(mine, 1)}
    return names


def _top(dist: Dist) -> str:
    return max(dist, key=lambda pair: pair[1])[0]


def _conclusion(ledger: Ledger, claims: Sequence[Claim]) -> str:
    readings = [c for c in claims if c.kind == "inference"]
    if not ledger.assessments:
        return "Observables only: no affect reading was made."
    if not readings:
        return "No reading is given: the evidence is too little, too ambiguous or in conflict."
    longest = max(readings, key=lambda c: c.span.duration_us)
    doubts = sum(c.kind == "uncertainty" and c.predicate.startswith("conflict") for c in claims)
    return longest.text + (f" {doubts} span(s) with disagreeing sources." if doubts else "")
