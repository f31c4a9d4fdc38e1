import dataclasses
import random

import pytest

from mien.core import Assessment, Clip, Contribution, Observation, Span, Track
from mien.policy import forbidden_words
from mien.reason import Ledger, reason

S = 1_000_000
CLIP = Clip("clip-1", "sha", Span(0, 20 * S), "start of source", "end of source", "c")
FACE = Track("track-face", "clip-1", "face", "face", Span(0, 20 * S), (0.1, 0.1, 0.3, 0.4), 100)


def obs(name: str, target: str, start: int, end: int, **more) -> Observation:
    base = Observation(name, "clip-1", "track-face", Span(start * S, end * S), target, 0.5, 0.1, "", (), 0.9, 10, "m@1")
    return dataclasses.replace(base, **more)


def dist(distress: float, pleasure: float) -> tuple[tuple[str, float], ...]:
    return (("distress", distress), ("pleasure", pleasure), ("calm", round(1 - distress - pleasure, 6)))


def odds(distress: float, pleasure: float) -> tuple[tuple[str, float], ...]:
    return (("distress", distress), ("pleasure", pleasure), ("calm", -distress - pleasure))


def assessment(start: int, posterior, contributions, *, abstained=False, reason_="", conflict=0.01) -> Assessment:
    return Assessment(
        f"assess-{start}", "clip-1", "track-face", Span(start * S, (start + 2) * S), dist(1 / 3, 1 / 3), posterior,
        tuple(contributions), 0.3, conflict, 0.1, abstained, reason_, "fusion@1",
    )  # fmt: skip


def face(p, log_odds, *ids: str) -> Contribution:
    return Contribution("face", 0.8, p, log_odds, ids)


def voice(p, log_odds, *ids: str) -> Contribution:
    return Contribution("voice", 0.5, p, log_odds, ids)


ROWS = tuple(obs(f"obs-{i}", "expression", i, i + 2, dist=dist(0.1, 0.8)) for i in range(0, 20, 2))


def ledger(*assessments: Assessment, observations=ROWS, missing=("body: not looked at",)) -> Ledger:
    return Ledger(CLIP, (FACE,), tuple(observations), tuple(assessments), missing)


def test_consecutive_windows_become_one_claim_that_cites_what_moved_the_posterior():
    rows = [
        assessment(0, dist(0.1, 0.8), [face(dist(0.1, 0.8), odds(-1.0, 2.0), "obs-0")]),
        assessment(2, dist(0.1, 0.8), [face(dist(0.1, 0.8), odds(-1.0, 2.0), "obs-2")]),
        assessment(4, dist(0.1, 0.8), [face(dist(0.3, 0.4), odds(-0.01, 0.02), "obs-4")]),
    ]
    _, claims = reason(ledger(*rows))
    (inference,) = [c for c in claims if c.kind == "inference"]
    assert inference.span == Span(0, 6 * S)
    assert set(inference.evidence_ids) == {"obs-0", "obs-2"}  # obs-4 moved next to nothing
    assert "consistent with pleasure" in inference.text
    assert inference.predicate == "posterior.top = pleasure, p = 0.80; face → pleasure 0.67 (λ 0.80)"


def test_contrary_evidence_is_always_cited():
    rows = [
        assessment(
            0, dist(0.2, 0.7),
            [face(dist(0.1, 0.85), odds(-3.0, 6.0), "obs-0"), voice(dist(0.5, 0.3), odds(0.2, -0.1), "obs-2")],
        )
    ]  # fmt: skip
    _, claims = reason(ledger(*rows))
    (inference,) = [c for c in claims if c.kind == "inference"]
    assert "obs-2" in inference.evidence_ids
    (alternative,) = [c for c in claims if c.kind == "alternative"]
    assert "distress" in alternative.text
    assert alternative.evidence_ids == ("obs-2",)


def test_a_conflict_keeps_both_readings_and_asks_a_person():
    rows = [
        assessment(
            0, dist(0.5, 0.5),
            [face(dist(0.05, 0.9), odds(-2, 4), "obs-0"), voice(dist(0.9, 0.05), odds(4, -2), "obs-2")],
            abstained=True, reason_="conflict", conflict=0.4,
        )
    ]  # fmt: skip
    trace, claims = reason(ledger(*rows))
    (doubt,) = [c for c in claims if c.predicate.startswith("conflict >=")]
    assert "face → pleasure" in doubt.text
    assert "voice → distress" in doubt.text
    assert set(doubt.evidence_ids) == {"obs-0", "obs-2"}
    assert any(c.kind == "recommendation" for c in claims)
    assert not any(c.kind == "inference" for c in claims)
    assert trace.conclusion.startswith("No reading")


def test_gaps_and_changes_of_track_end_an_episode():
    rows = [
        assessment(0, dist(0.1, 0.8), [face(dist(0.1, 0.8), odds(-1, 2), "obs-0")]),
        assessment(6, dist(0.1, 0.8), [face(dist(0.1, 0.8), odds(-1, 2), "obs-6")]),
        dataclasses.replace(assessment(8, dist(0.1, 0.8), []), track_id=None),
    ]
    _, claims = reason(ledger(*rows))
    assert [c.span for c in claims if c.kind == "inference"] == [
        Span(8 * S, 10 * S), Span(0, 2 * S), Span(6 * S, 8 * S),
    ]  # fmt: skip


def test_what_is_missing_is_said_and_observables_alone_make_no_reading():
    sound = obs("obs-v", "vocal.kind", 1, 3, track_id=None, dist=(("speech", 0.1), ("voice", 0.9)))
    trace, claims = reason(ledger(observations=(*ROWS, sound), missing=("affect: no person is enrolled",)))
    assert trace.conclusion.startswith("Observables only")
    assert any(c.text == "Not known: affect: no person is enrolled." for c in claims)
    (heard,) = [c for c in claims if c.predicate == "vocal.kind = voice, 2.0 s"]
    assert heard.evidence_ids == ("obs-v",)


def test_the_order_of_rows_does_not_matter_and_shuffled_evidence_does():
    rows = [
        assessment(i, dist(0.1, 0.8) if i < 10 else dist(0.8, 0.1),
                   [face(dist(0.1, 0.8), odds(-1, 2) if i < 10 else odds(2, -1), f"obs-{i}")])
        for i in range(0, 20, 2)
    ]  # fmt: skip
    mixed = random.Random(1).sample(rows, len(rows))
    assert reason(ledger(*rows)) == reason(ledger(*mixed))
    moved = [dataclasses.replace(r, span=s.span) for r, s in zip(rows, mixed, strict=True)]
    assert reason(ledger(*moved))[1] != reason(ledger(*rows))[1]


def test_a_claim_cannot_cite_what_is_not_in_the_ledger():
    with pytest.raises(ValueError, match="not in the ledger"):
        reason(ledger(assessment(0, dist(0.1, 0.8), [face(dist(0.1, 0.8), odds(-1, 2), "obs-invented")])))


def test_mouth_corners_are_reported_only_beyond_their_noise():
    def corners(low: float, high: float, sd: float) -> list[str]:
        rows = [
            obs("obs-a", "face.mouth_corner_raise", 0, 2, value=low, sd=sd),
            obs("obs-b", "face.mouth_corner_raise", 4, 6, value=high, sd=sd),
        ]
        return [c.text for c in reason(ledger(observations=rows))[1] if "mouth corners" in c.text]

    assert corners(0.0, 0.3, 0.01) == [
        "The mouth corners of face 1 rise by 0.30 eye distances between 0:00.00 and 0:06.00."
    ]
    assert "fall" in corners(0.3, 0.0, 0.01)[0]
    assert corners(0.0, 0.3, 0.2) == []


def test_wording_stays_careful():
    rows = [
        assessment(0, dist(0.8, 0.1), [face(dist(0.8, 0.1), odds(2, -1), "obs-0")]),
        assessment(2, dist(0.4, 0.4), [], abstained=True, reason_="little evidence"),
    ]
    _, claims = reason(ledger(*rows))
    assert len(claims) >= 4
    assert [w for c in claims for w in forbidden_words(c.text)] == []
