"""The blind opinion: its question tells nothing of what the numbers say; its answer becomes shares over the states."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from mien.core import Ask, Assessment, Reply, Span
from mien.models.language.reading import read
from mien.reason import Ledger, is_affect
from mien.reason.ledger import line
from mien.reason.vlm import Shown, blind, is_blind, narrator_ask, opinion, opinion_ask, opinion_engine, window_dist
from mien.testing.ledgers import STATES, invented, shuffled

ENGINE = opinion_engine("scripted@1")
S = 1_000_000


def ledger_of(seed: int, change=lambda made: made) -> Ledger:
    made = change(invented(seed))
    return Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)


def numbers(rows: tuple[Assessment, ...]) -> set[str]:
    """Every number of assessments as text, with two to four digits."""
    held = [p for a in rows for _, p in (*a.posterior, *a.prior)]
    held += [v for a in rows for c in a.contributions for _, v in (*c.dist, *c.log_odds)]
    return {f"{abs(v):.{digits}f}" for v in held for digits in (2, 3, 4)}


def text_of(ask: Ask) -> str:
    return "\n".join(m.text for m in ask.messages)


@pytest.mark.parametrize("seed", range(3))
def test_the_question_does_not_depend_on_any_assessment(seed):
    ledger = ledger_of(seed)
    ask = opinion_ask(ledger, STATES, Shown(), budget=100_000)
    for other in (
        dataclasses.replace(ledger, assessments=()),
        dataclasses.replace(ledger, assessments=ledger_of(seed + 50).assessments),
    ):
        assert opinion_ask(other, STATES, Shown(), budget=100_000) == ask
    text = text_of(ask)
    found = re.search(r"EVIDENCE \(.*\n((?:obs-.*\n)+)", text)
    assert found is not None
    lines = {line(o, ledger.names) for o in ledger.observations if not is_affect(o.target)}
    assert set(found[1].splitlines()) == lines  # what was observed, and of that all numbers are
    assert not [n for n in numbers(ledger.assessments) if n in text.replace(found[1], "")]
    listed = next(row for row in text.splitlines() if row.startswith("STATES"))
    assert listed.endswith(", ".join(sorted(STATES)))
    rest = text.replace(listed, "")
    assert not [s for s in STATES if re.search(rf"\b{s}\b", rest)]
    assert not re.search(r"posterior|log-odds|λ|valence|arousal|expression", text)
    # The same search finds them in the narrator's question, so it can find what it looks for.
    seen = text_of(narrator_ask(ledger, Shown(), budget=100_000))
    assert any(f"{p:.2f}" in seen for a in ledger.assessments for _, p in a.posterior)
    assert re.search(r"posterior|log-odds|λ", seen)


def test_the_question_does_depend_on_what_was_observed():
    ledger = ledger_of(1)
    other = ledger_of(1, lambda made: shuffled(made, invented(2), 0))
    assert opinion_ask(ledger, STATES, Shown()) != opinion_ask(other, STATES, Shown())
    assert not [o for o in blind(ledger).observations if o.target in ("expression", "voice.state", "valence.derived")]


def test_names_of_files_and_columns_are_not_shown_as_they_can_hold_labels():
    shown = Shown({"file": ("1001_CRY_distress.mp4",), "column label": ("distress",)})
    assert "1001_CRY" not in text_of(opinion_ask(ledger_of(0), STATES, shown))
    assert "1001_CRY" in text_of(narrator_ask(ledger_of(0), shown))


def answered(ledger: Ledger, readings: list[dict]) -> Reply:
    ask = opinion_ask(ledger, STATES, Shown())
    return read(ask, json.dumps({"readings": readings, "claims": [], "review": True}))


def reading(who: str, start: str, end: str, *shares: float) -> dict:
    return {"who": who, "from": start, "to": end, "shares": dict(zip(STATES, shares, strict=True))}


def test_shares_become_rows_that_are_never_certain():
    ledger = ledger_of(0)
    reply = answered(ledger, [reading("face 1", "0:00.00", "0:04.00", 1, 0, 0), reading("face 2", "0:02.00", "9:00.00", 0.2, 0.2, 0)])  # fmt: skip  # noqa: E501
    found = opinion(ledger, STATES, reply, ENGINE)
    assert found.status == "ok"
    first, second = found.rows
    assert ledger.names[first.track_id or ""] == "face 1"
    assert first.target == "blind_opinion"
    assert sum(p for _, p in first.dist) == pytest.approx(1)
    assert min(p for _, p in first.dist) > 0
    assert second.span == Span(2 * S, ledger.clip.span.end_us)
    assert dict(second.dist)["distress"] == pytest.approx(dict(second.dist)["pleasure"])
    assert found.review
    assert is_blind(found.trace.engine)  # type: ignore[union-attr]


def test_an_opinion_without_any_reading_is_no_opinion():
    ledger = ledger_of(0)
    found = opinion(ledger, STATES, answered(ledger, [reading("face 1", "0:04.00", "0:02.00", 1, 0, 0)]), ENGINE)
    assert (found.status, found.reason, found.trace) == ("unparsed", "vlm.no-reading", None)
    nothing = answered(ledger, [reading("face 1", "0:00.00", "0:02.00", 0, 0, 0)])
    assert opinion(ledger, STATES, nothing, ENGINE).status == "unparsed"


def test_a_window_takes_what_overlaps_it_of_its_own_track_first():
    ledger = ledger_of(0)
    reply = answered(
        ledger,
        [
            reading("face 1", "0:00.00", "0:03.00", 1, 0, 0),
            reading("face 1", "0:03.00", "0:06.00", 0, 1, 0),
            reading("the recording", "0:00.00", "0:20.00", 0, 0, 1),
        ],
    )
    rows = opinion(ledger, STATES, reply, ENGINE).rows
    track = {name: i for i, name in ledger.names.items()}
    dist, ids = window_dist(rows, track["face 1"], Span(2 * S, 4 * S))
    assert dict(dist)["distress"] == pytest.approx(dict(dist)["pleasure"])
    assert ids == (rows[0].id, rows[1].id)
    other, _ = window_dist(rows, track["face 2"], Span(2 * S, 4 * S))
    assert max(other, key=lambda p: p[1])[0] == "calm"
    assert window_dist(rows, track["face 1"], Span(21 * S, 22 * S)) == ((), ())
