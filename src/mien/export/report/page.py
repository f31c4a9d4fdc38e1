"""One clip as the page shows it: panels and lanes on one clock, claims, moments and evidence, each with its links."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence

from mien.core import Assessment, Span, clock
from mien.export.report import words
from mien.export.report.curves import gap_spans, limits, pack, summary
from mien.export.report.data import ClipView, SignalView
from mien.export.report.lanes import lanes, ticks
from mien.export.report.steps import steps
from mien.export.report.views import Cell, ClaimRow, ClipPage, EvidenceRow, Moment, Panel, Ref, Shot, SourceColumn


def dom(kind: str, identity: str) -> str:
    """A DOM id made of a record's id; `claim-…` ids stay as they are, so that `#claim-…` links work."""
    safe = re.sub(r"\s+", "_", identity)
    return safe if safe.startswith(f"{kind}-") else f"{kind}-{safe}"


def short_path(path: str) -> str:
    return re.split(r"[\\/]", path.rstrip("\\/"))[-1] or path


def clip_page(view: ClipView, number: int, limit: int) -> ClipPage:
    """Everything the templates and the script need for one clip; curves have about `limit` points at most."""
    names = words.people(view.tracks)
    shown = {s.signal.track_id for s in view.signals} | {a.track_id for a in view.assessments}
    cited = {e for c in view.claims for e in c.evidence_ids}
    refs = _refs(view)
    signals = sorted(view.signals, key=lambda s: (words.order(s.signal.name), s.signal.track_id or ""))
    key = f"c{number}"
    main = {s.signal.id for s in signals if words.order(s.signal.name)[0] < len(words.ORDER)}
    folded = {s.signal.id for s in signals} - main if len(signals) - len(main) > 2 else set[str]()
    return ClipPage(
        view=view,
        dom=dom("clip", view.clip.id),
        number=number,
        title=short_path(view.source.path),
        people=tuple((t.id, names[t.id]) for t in view.tracks if t.id in shown),
        ticks=ticks(view.clip.span),
        lanes=lanes(view, names, cited),
        panels=tuple(_panel(s, f"{key}p{i}", names, folded) for i, s in enumerate(signals)),
        moments=_moments(view, names, refs),
        claims=tuple(
            ClaimRow(
                c,
                dom("claim", c.id),
                words.KINDS[c.kind],
                _who(c.track_id, names),
                _links(c.evidence_ids, refs),
                view.checks.get(c.id),
                _links(view.checks[c.id].against if c.id in view.checks else (), refs),
            )
            for c in view.claims
        ),
        evidence=_evidence(view, names),
        shots=tuple(Shot(p, "data:image/jpeg;base64," + base64.b64encode(p.jpeg).decode()) for p in view.pictures),
        payload=_payload(view, key, signals, limit),
    )


def key_moments(assessments: Sequence[Assessment]) -> list[Assessment]:
    """What to look at first, at most two: the sharpest conflict, then where the posterior left its prior furthest."""
    conflicts = [a for a in assessments if a.reason == "conflict" or words.unsure(a)[1] >= words.LARGE]
    stated = [a for a in assessments if not a.abstained]
    found = [max(conflicts, key=lambda a: words.unsure(a)[1])] if conflicts else []
    if stated:
        found.append(max(stated, key=shift))
    elif assessments and not found:
        found.append(assessments[0])
    return list(dict.fromkeys(found))


def shift(a: Assessment) -> float:
    """How far the posterior lies from the prior: total variation distance, 0..1."""
    prior = dict(a.prior)
    return sum(abs(p - prior.get(s, 0.0)) for s, p in a.posterior) / 2


def _panel(view: SignalView, key: str, names: dict[str, str], folded: set[str]) -> Panel:
    s = view.signal
    found = summary(view)
    figures = (
        f"median {words.number(found[0])}, 5–95 %: {words.number(found[1])} to {words.number(found[2])}"
        if found
        else "not measured in this clip"
    )
    colour = {"valence": 1, "arousal": 2, "conflict": 3}.get(s.name, 4 if s.track_id else 5)
    return Panel(
        key, words.title(s.name), s.unit, _who(s.track_id, names), s.track_id or "", s.id, colour, s.weak,
        s.accuracy, figures, found[3] if found else 0.0, s.id in folded,
    )  # fmt: skip


# ---------------------------------------------------------------- evidence and moments


def _who(track_id: str | None, names: dict[str, str]) -> str:
    return names.get(track_id, "unknown person") if track_id else ""


def _refs(view: ClipView) -> dict[str, Ref]:
    refs: dict[str, Ref] = {}
    for o in view.observations:
        refs[o.id] = Ref(o.id, dom("ev", o.id), f"{words.title(o.target)} {short_clock(o.span.start_us)}", True)
    for e in view.events:
        refs[e.id] = Ref(e.id, dom("ev", e.id), f"{words.title(e.kind)} {short_clock(e.span.start_us)}: {e.text}", True)
    for a in view.assessments:
        refs[a.id] = Ref(a.id, dom("moment", a.id), f"assessment {short_clock(a.span.start_us)}", True)
    for s in view.signals:
        refs[s.signal.id] = Ref(s.signal.id, dom("signal", s.signal.id), f"curve: {words.title(s.signal.name)}", True)
    return refs


def short_clock(t_us: int) -> str:
    return clock(t_us)[:-1].removesuffix(".0")


def _links(ids: Iterable[str], refs: dict[str, Ref]) -> tuple[Ref, ...]:
    return tuple(refs.get(i, Ref(i, "", i, False)) for i in ids)


def _evidence(view: ClipView, names: dict[str, str]) -> tuple[EvidenceRow, ...]:
    citing: dict[str, list[tuple[str, str]]] = {}
    for n, claim in enumerate(view.claims, 1):
        for e in claim.evidence_ids:
            citing.setdefault(e, []).append((dom("claim", claim.id), str(n)))
    observed = {o.id for o in view.observations}  # an event may be an observation under its own id
    rows = [
        EvidenceRow(
            o.id, dom("ev", o.id), words.title(o.target), _who(o.track_id, names), o.track_id or "", o.span,
            words.answer(o), o.value is not None or bool(o.dist), words.number(o.quality), str(o.n), o.adapter,
            tuple(citing.get(o.id, ())),
        )
        for o in view.observations
    ] + [
        EvidenceRow(
            e.id, dom("ev", e.id), words.title(e.kind), _who(e.track_id, names), e.track_id or "", e.span, e.text, True,
            "", "", "event", tuple(citing.get(e.id, ())),
        )
        for e in view.events
        if e.id not in observed
    ]  # fmt: skip
    return tuple(sorted(rows, key=lambda r: (r.span, r.what, r.id)))


def _moments(view: ClipView, names: dict[str, str], refs: dict[str, Ref]) -> tuple[Moment, ...]:
    first = key_moments(view.assessments)
    moments: list[Moment] = []
    for a in sorted(view.assessments, key=lambda a: (a.span, a.track_id or "")):
        prior = dict(a.prior)
        states = sorted(a.posterior, key=lambda pair: -pair[1])
        heaviest = max((c.weight for c in a.contributions), default=0.0) or 1.0
        columns = []
        for c in a.contributions:
            said, odds = dict(c.dist), dict(c.log_odds)
            cells = tuple(Cell(said.get(s), odds.get(s)) for s, _ in states)
            columns.append(SourceColumn(c, c.weight / heaviest, cells, _links(c.evidence_ids, refs)))
        moments.append(
            Moment(
                a,
                _who(a.track_id, names),
                words.outcome(a),
                tuple(words.reading(a)),
                words.unsure(a),
                tuple((s, prior.get(s, float("nan")), p) for s, p in states),
                tuple(columns),
                steps(a),
                states[0][0] if states else "",
                first.index(a) if a in first else None,
            )
        )
    return tuple(moments)


def _payload(view: ClipView, key: str, signals: Sequence[SignalView], limit: int) -> dict[str, object]:
    """What the script needs: curves, and where each piece of evidence and each claim lies (ms of the source)."""

    def place(span: Span, track_id: str | None) -> list[object]:
        return [span.start_us // 1000, span.end_us // 1000, track_id or ""]

    start = view.clip.span.start_us // 1000
    spans = {o.id: place(o.span, o.track_id) for o in view.observations}
    spans |= {e.id: place(e.span, e.track_id) for e in view.events}
    spans |= {a.id: place(a.span, a.track_id) for a in view.assessments}
    spans |= {s.signal.id: place(view.clip.span, s.signal.track_id) for s in view.signals}
    panels = [
        pack(s, limit) | {"key": f"{key}p{i}", "range": limits(s), "gaps": gap_spans(s, view.clip.span)}
        for i, s in enumerate(signals)
    ]
    return {
        "dom": dom("clip", view.clip.id),
        "range": [start, max(start + 1, view.clip.span.end_us // 1000)],
        "panels": panels,
        "spans": spans,
        "claims": {dom("claim", c.id): {"ev": c.evidence_ids, "at": place(c.span, c.track_id)} for c in view.claims},
    }
