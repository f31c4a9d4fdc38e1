import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core import Curve, Span, Words
from mien.signals.vocal import (
    SPECTRAL,
    VocalRules,
    VocalSegment,
    articulation,
    noise_floor_dbfs,
    passages,
    spoken,
    vocal_segments,
)

ROWS = 1000  # 10 s


def curves(level, voiced=(), speech=(), noise_db=1.0, t0_us=0):
    """Curves with planted truth: `level` dBFS per row, voicing and speech over spans in seconds."""
    jitter = np.random.default_rng(0).normal(0, noise_db, len(level))
    energy = (level + jitter).astype(np.float32)
    voicing = np.zeros((len(level) * 10 // 16 + 1, 2), np.float32)
    talk = np.zeros((len(level) * 10 // 32 + 1, 1), np.float32)
    for a, b in voiced:
        voicing[round(a / 0.016) : round(b / 0.016), 1] = 0.9
    for a, b in speech:
        talk[round(a / 0.032) : round(b / 0.032)] = 0.9
    return (
        Curve(energy[:, None], ("energy_dbfs",), t0_us, 10_000),
        Curve(talk, ("speech",), t0_us, 32_000),
        Curve(voicing, ("f0_hz", "voicing"), t0_us, 16_000),
    )


def level(*loud, quiet=-60.0, loud_db=-20.0, rows=ROWS):
    out = np.full(rows, quiet)
    for a, b in loud:
        out[round(a * 100) : round(b * 100)] = loud_db
    return out


def seconds(segment):
    return segment.span.start_us / 1e6, segment.span.end_us / 1e6


def test_a_planted_cry_is_found_where_it_is_without_any_speech():
    (cry,) = vocal_segments(*curves(level((3, 4.5)), voiced=[(3, 4.5)]))
    assert seconds(cry) == pytest.approx((3, 4.5), abs=0.05)
    assert cry.kind == "voice"
    assert cry.snr_db == pytest.approx(40, abs=3)
    assert cry.quality == 1


def test_speech_is_called_speech_and_keeps_the_clock():
    (talk,) = vocal_segments(*curves(level((2, 4)), voiced=[(2, 3)], speech=[(2, 4)], t0_us=7_000_000))
    assert seconds(talk) == pytest.approx((9, 11), abs=0.05)
    assert talk.kind == "speech"
    assert talk.voiced == pytest.approx(0.5, abs=0.05)


def test_nothing_in_silence_steady_noise_or_hum():
    assert vocal_segments(*curves(level(quiet=-120), noise_db=0)) == []
    assert vocal_segments(*curves(level(quiet=-25))) == []
    assert vocal_segments(*curves(level(quiet=-25), voiced=[(0, 10)])) == [], "a hum is voiced, but never stands out"


def test_loud_but_unvoiced_is_no_voice():
    assert vocal_segments(*curves(level((3, 5)))) == [], "a slammed door has energy and no pitch"


def test_faint_pitch_below_the_margin_is_left_out():
    assert vocal_segments(*curves(level((3, 5), loud_db=-57), voiced=[(3, 5)])) == []


def test_short_gaps_close_and_clicks_go():
    near = curves(level((2, 3), (3.2, 4)), voiced=[(2, 3), (3.2, 4)])
    far = curves(level((2, 3), (3.6, 4.4)), voiced=[(2, 3), (3.6, 4.4)])
    click = curves(level((2, 2.1)), voiced=[(2, 2.1)])
    assert [len(vocal_segments(*c)) for c in (near, far, click)] == [1, 2, 0]


def test_long_stretches_are_cut_at_their_quietest_moment():
    shape = level((1, 9))
    shape[455:465] = -30
    pieces = vocal_segments(*curves(shape, voiced=[(1, 9)], noise_db=0.1), VocalRules(floor_window_s=10))
    assert len(pieces) == 2
    assert pieces[0].span.end_us == pieces[1].span.start_us
    assert pieces[0].span.end_us / 1e6 == pytest.approx(4.6, abs=0.06)


def test_quality_falls_with_noise():
    got = [vocal_segments(*curves(level((3, 5), quiet=q), voiced=[(3, 5)]))[0].quality for q in (-60, -40, -32)]
    assert got[0] > got[1] > got[2] > 0


def test_floor_follows_noise_that_grows():
    floor = noise_floor_dbfs(np.concatenate([np.full(3000, -60.0), np.full(3000, -30.0)]), 1000)
    assert floor[1000] == pytest.approx(-60)
    assert floor[5000] == pytest.approx(-30)
    assert len(floor) == 6000


def test_no_rows_no_segments():
    assert vocal_segments(*curves(np.zeros(0))) == []


@given(st.lists(st.tuples(st.floats(0, 19), st.floats(0.05, 9)), max_size=5), st.integers(100, 2000))
def test_segments_are_ordered_apart_and_within_bounds(planted, rows):
    spans = [(a, min(a + d, rows / 100)) for a, d in planted if a < rows / 100]
    found = vocal_segments(*curves(level(*spans, rows=rows), voiced=spans))
    edges = [t for s in found for t in (s.span.start_us, s.span.end_us)]
    assert edges == sorted(edges)
    assert all(0 <= t <= rows * 10_000 for t in edges)
    assert all(s.span.duration_s <= 5 + 1e-9 and 0 <= s.quality <= 1 for s in found)


# ---------------------------------------------------------------- speech and wordless voice


def timbre_of(changes_per_s, rows=ROWS, step=8.0):
    """A timbre that jumps by `step` so many times a second, and wavers a little in between."""
    values = np.random.default_rng(1).normal(0, 0.5, (rows, len(SPECTRAL))).astype(np.float32)
    if changes_per_s:
        values[:, 0] += step * ((np.arange(rows) * changes_per_s // 100) % 2)
    return Curve(values, SPECTRAL, 0, 10_000)


def test_articulation_is_the_planted_change():
    wordless, articulated = (articulation(timbre_of(c), Span(0, 10_000_000)) for c in (0, 10))
    assert wordless == pytest.approx(0.5 * np.sqrt(2) * np.sqrt(6), rel=0.1)
    assert articulated > wordless + 2
    assert np.isnan(articulation(timbre_of(10), Span(0, 100_000))), "ten rows hold five distances"


def test_what_the_detector_calls_speech_is_a_voice_where_nothing_is_articulated():
    given = curves(level((2, 4)), voiced=[(2, 4)], speech=[(2, 4)])
    (old,) = vocal_segments(*given)
    (moan,) = vocal_segments(*given, timbre=timbre_of(0))
    (talk,) = vocal_segments(*given, timbre=timbre_of(20))
    assert (old.kind, moan.kind, talk.kind) == ("speech", "voice", "speech")
    assert moan.talk < 0.1
    assert talk.talk > 0.8
    assert np.isnan(old.talk)


def test_an_articulated_sound_that_the_detector_refuses_is_no_speech():
    (burst,) = vocal_segments(*curves(level((2, 4)), voiced=[(2, 4)]), timbre=timbre_of(20))
    assert burst.kind == "voice"


def test_noise_lowers_what_counts_as_articulated():
    blurred = timbre_of(20, step=4.8)
    kinds = [
        vocal_segments(*curves(level((2, 4), quiet=q), voiced=[(2, 4)], speech=[(2, 4)]), timbre=blurred)[0].kind
        for q in (-60, -30)
    ]
    assert kinds == ["voice", "speech"]


def speech_segment(start_s, end_s, kind="speech"):
    return VocalSegment(Span(round(start_s * 1e6), round(end_s * 1e6)), kind, 1, 30, 1, 1)


def test_passages_join_near_speech_and_stay_short():
    found = passages([speech_segment(0, 2), speech_segment(2.5, 4), speech_segment(4.2, 5, "voice"),
                      speech_segment(6, 7), speech_segment(7.1, 30), speech_segment(30.2, 50)])  # fmt: skip
    assert [(s.start_us / 1e6, s.end_us / 1e6) for s in found] == [(0, 4), (6, 30), (30.2, 50)]


def words(*spans):
    return Words(
        np.zeros(len(spans), np.int64),
        np.array([(a * 1e6, b * 1e6) for a, b in spans], np.int64).reshape(-1, 2),
        np.ones(len(spans), np.float32),
        tuple(f"w{i}" for i in range(len(spans))),
    )


def detector(*speech, t0_us=0):
    values = np.zeros((313, 1), np.float32)
    for a, b in speech:
        values[round(a / 0.032) : round(b / 0.032)] = 0.9
    return Curve(values, ("speech",), t0_us, 32_000)


def test_words_are_trimmed_to_the_speech_they_lie_in():
    got = spoken(words((0, 1.5), (1.5, 2.9), (4.1, 4.2), (4.2, 6)), detector((0.96, 1.92), (3.84, 4.8)))
    assert got.text == ("w0", "w1", "w2", "w3")
    np.testing.assert_allclose(got.span_us / 1e6, [(0.96, 1.5), (1.5, 1.92), (3.84, 4.2), (4.2, 4.8)], atol=1e-3)


def test_words_without_speech_go():
    given = words((0, 1), (5, 6))
    assert spoken(given, detector((5, 6))).text == ("w1",)
    assert len(spoken(given, detector())) == 0
    assert len(spoken(words(), detector((1, 2)))) == 0


def test_the_stretch_of_another_sound_does_not_trim():
    given = words((1, 2), (1, 2))
    two = Words(np.array([0, 1], np.int64), given.span_us, given.score, given.text)
    np.testing.assert_array_equal(*spoken(two, detector((0.96, 2.08))).span_us)
