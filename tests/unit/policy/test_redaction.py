"""Which parts of a picture are covered: planted tracks, consents and settings."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.core import Span, Track
from mien.policy.consent import State
from mien.policy.redaction import Boxes, coarse, redactions
from mien.policy.uses import PolicyTerms

CLIP = Span(1_000_000, 9_000_000)


def terms(redact: str = "faces-without-consent", **more: str) -> PolicyTerms:
    return PolicyTerms.model_validate({"redact": redact, **more})


def track(name: str, kind: Literal["face", "person", "object"] = "face") -> Track:
    return Track(name, "clip", kind, kind, CLIP, (0.1, 0.1, 0.2, 0.2), 9)


def boxes(*rows: tuple[int, float, float]) -> Boxes:
    """(time, x, y) of the upper left corner of a square of 0.1."""
    t, x, y = (np.array(c) for c in zip(*rows, strict=True))
    return Boxes(t.astype(np.int64), np.stack([x, y, x + 0.1, y + 0.1], axis=1).astype(np.float32))


A, B = track("a"), track("b")
STILL = {"a": boxes((2_000_000, 0.2, 0.2), (3_000_000, 0.2, 0.2)), "b": boxes((2_000_000, 0.6, 0.2))}


@pytest.mark.parametrize(
    ("said", "redact", "covered"),
    [
        ({}, "faces-without-consent", 0),
        ({"a": "yes"}, "faces-without-consent", 1),
        ({"a": "yes", "b": "yes"}, "faces-without-consent", 0),
        ({"a": "no"}, "faces-without-consent", 1),
        ({"a": "no"}, "none", 1),
        ({"a": "yes"}, "none", 0),
        ({}, "all-faces", 2),
        ({"a": "yes", "b": "yes"}, "all-faces", 2),
        ({"a": "yes", "b": "no"}, "faces-without-consent", 1),
    ],
)
def test_whose_face_is_covered(said, redact, covered):
    found = redactions((A, B), said, STILL, terms(redact), clip=CLIP)
    assert len(found) == covered
    turned = redactions((B, A), said, STILL, terms(redact), clip=CLIP)
    assert [(r.span, r.box.tolist()) for r in turned] == [(r.span, r.box.tolist()) for r in found]
    refused = [r for r in found if r.reason == "consent.refused"]
    assert len(refused) == list(said.values()).count("no")
    assert all(r.span == CLIP for r in refused)  # also while they look away


def test_a_box_is_covered_with_a_margin_and_on_its_way():
    moving = {"a": boxes((2_000_000, 0.2, 0.2), (3_000_000, 0.5, 0.4))}
    (region,) = redactions((A,), {}, moving, terms("all-faces"), clip=CLIP)
    assert region.span == Span(1_500_000, CLIP.end_us)  # half a second before, and after to the end of the clip
    assert region.at(1_400_000) is None
    x1, y1, x2, y2 = region.at(2_500_000) or (1, 1, 0, 0)
    assert (x1, y1) < (0.2, 0.2)
    assert (x2, y2) > (0.6, 0.5)
    far = {"a": boxes((2_000_000, 0.2, 0.2), (7_000_000, 0.5, 0.4))}
    (region,) = redactions((A,), {}, far, terms("all-faces"), clip=CLIP)
    assert np.allclose(region.at(5_000_000) or (), (0.12, 0.14, 0.68, 0.56), atol=0.05)


def test_who_is_lost_stays_covered_and_wider_until_they_are_found_again():
    lost = boxes((2_000_000, 0.4, 0.4), (3_000_000, 0.4, 0.4))
    (region,) = redactions((A,), {}, {"a": lost}, terms("all-faces"), clip=CLIP)
    held = [region.at(t) or (0, 0, 0, 0) for t in (3_000_000, 4_000_000, 6_000_000, 8_999_999)]
    widths = [x2 - x1 for x1, _, x2, _ in held]
    assert widths == sorted(widths)
    assert widths[0] < widths[1] < widths[2]
    near, far = boxes((5_000_000, 0.45, 0.4)), boxes((5_000_000, 0.0, 0.9))
    for again, ends in ((near, 5_000_000), (far, CLIP.end_us)):
        found = redactions((A, B), {}, {"a": lost, "b": again}, terms("all-faces"), clip=CLIP)
        first = next(r for r in found if r.span.start_us == 1_500_000)
        assert first.span.end_us == ends
        assert all(any(r.at(t) for r in found) for t in range(1_500_000, CLIP.end_us, 100_000))
    # Somebody who agreed and steps in front is not the one who was lost.
    (region,) = redactions((A, B), {"b": "yes"}, {"a": lost, "b": near}, terms(), clip=CLIP)
    assert region.span.end_us == CLIP.end_us


def test_where_people_said_that_somebody_is_needs_no_detector():
    place = (Span(0, 4_000_000), (0.5, 0.0, 1.0, 1.0), "no")
    (region,) = redactions((), {}, {}, terms("none"), clip=CLIP, places=[place])
    assert (region.kind, region.span, region.reason) == ("person", Span(1_000_000, 4_000_000), "consent.refused")
    x1, y1, x2, y2 = region.at(2_000_000) or (1, 1, 0, 0)
    assert x1 <= 0.5
    assert (y1, x2, y2) == (0, 1, 1)
    assert redactions((), {}, {}, terms(), clip=CLIP, places=[(*place[:2], "yes")]) == ()
    assert redactions((), {}, {}, terms(), clip=Span(5_000_000, 9_000_000), places=[place]) == ()


def test_where_nobody_knows_the_place_the_whole_picture_is_covered():
    empty = Boxes(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))
    for held in ({}, {"a": empty}, {"a": boxes((2_000_000, np.nan, 0.1))}):
        (region,) = redactions((A,), {"a": "no"}, held, terms(), clip=CLIP)
        assert (region.kind, region.span, region.at(5_000_000)) == ("picture", CLIP, (0.0, 0.0, 1.0, 1.0))


def test_bodies_and_voices_of_who_said_no():
    body, thing = track("p", "person"), track("o", "object")
    found = redactions(
        (A, body, thing), {"a": "no", "p": "no", "o": "no"}, STILL | {"p": STILL["a"]}, terms("none"), clip=CLIP,
        heard={"a"},
    )  # fmt: skip
    assert sorted(r.kind for r in found) == ["face", "person", "sound"]
    assert all(r.at(2_000_000) is None for r in found if r.kind == "sound")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1_000_000, 8_999_999), st.floats(0, 0.9), st.floats(0, 0.9)), min_size=1, max_size=12
    )
)
def test_every_detection_lies_in_its_region(rows):
    held = boxes(*rows)
    refused: dict[str, State] = {"a": "no"}
    for said, redact in ((refused, "none"), ({}, "all-faces")):
        (region,) = redactions((A,), said, {"a": held}, terms(redact), clip=CLIP)
        assert (np.diff(region.t_us) > 0).all()
        for t, box in zip(held.t_us.tolist(), held.box.tolist(), strict=True):
            cover = region.at(t)
            assert cover is not None
            same = held.box[held.t_us == t]
            if len(same) == 1:
                assert cover[0] <= box[0] + 1e-6
                assert cover[1] <= box[1] + 1e-6
                assert cover[2] >= min(box[2], 1.0) - 1e-6
                assert cover[3] >= min(box[3], 1.0) - 1e-6


def test_times_are_told_coarsely():
    assert coarse("2026-11-22T23:59:59.5Z", terms()) == "2026-11-22"
    assert coarse("2026-11-22", terms(coarse_time="month")) == "2026-11"
    assert coarse("on Anna's birthday", terms()) == ""
