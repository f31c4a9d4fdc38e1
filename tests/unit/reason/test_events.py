"""Events of a signal: planted ones are found with their size and time, noise and shuffled samples make none."""

import numpy as np
import pytest

from mien.core import Clip, Signal, Span
from mien.reason import event_rows, events

CELL = 200_000
T = np.arange(100, dtype=np.int64) * CELL
NAN = np.full(100, np.nan)


def steps(*parts: tuple[float, float, int]) -> np.ndarray:
    return np.concatenate([np.linspace(a, b, n, endpoint=False) for a, b, n in parts])


PLANTED = steps((0, 0, 20), (0, 1, 10), (1, 1, 20), (1, -0.5, 15), (-0.5, -0.5, 35))


def test_a_rise_and_a_fall_are_found_where_they_are():
    noisy = PLANTED + np.random.default_rng(0).normal(0, 0.02, 100)
    found = {e.kind: e for e in events("valence", T, noisy, NAN)}
    assert found["rise"].value == pytest.approx(1.0, abs=0.1)
    assert found["fall"].value == pytest.approx(-1.5, abs=0.12)
    assert found["rise"].span.start_us == pytest.approx(20 * CELL, abs=3 * CELL)
    assert found["rise"].span.end_us == pytest.approx(30 * CELL, abs=3 * CELL)
    assert found["fall"].span.end_us == pytest.approx(65 * CELL, abs=3 * CELL)


def test_a_ripple_on_the_way_up_does_not_cut_a_rise_in_two():
    ripple = PLANTED + 0.04 * np.sin(np.arange(100))
    assert [e.kind for e in events("valence", T, ripple, NAN) if e.kind in ("rise", "fall")] == ["rise", "fall"]


def test_movements_below_the_threshold_make_no_event():
    small = 0.09 * np.sin(np.arange(100) / 5)  # 0.18 from end to end, least is 0.2
    assert events("valence", T, small, NAN) == []
    assert events("valence", T, PLANTED, np.full(100, 0.8)) == []  # two standard deviations of one cell are more


def test_shuffled_samples_lose_the_planted_rise():
    noisy = PLANTED + np.random.default_rng(0).normal(0, 0.02, 100)
    order = np.random.default_rng(1).permutation(100)
    mixed = [e for e in events("valence", T, noisy[order], NAN) if e.kind == "rise"]
    assert not any(e.span.duration_us > 5 * CELL for e in mixed)


def test_peaks_onsets_and_gaps():
    tip = steps((0, 1, 20), (1, 0, 20), (0, 0, 60))
    (peak,) = [e for e in events("valence", T, tip, NAN) if e.kind == "peak"]
    assert peak.value == pytest.approx(1.0, abs=0.06)
    assert peak.span.start_us == pytest.approx(20 * CELL, abs=CELL)
    loud = np.full(100, -60.0)
    loud[40:50] = -20
    (onset,) = [e for e in events("loudness", T, loud, NAN) if e.kind == "onset"]
    assert (onset.span, onset.value) == (Span(40 * CELL, 50 * CELL), pytest.approx(40))
    holed = PLANTED.copy()
    holed[70:80] = np.nan
    (gap,) = [e for e in events("valence", T, holed, NAN) if e.kind == "gap"]
    assert (gap.span, gap.value) == (Span(70 * CELL, 80 * CELL), pytest.approx(2.0))


def test_digital_silence_is_no_deeper_quiet_than_that_of_a_room():
    silent = np.full(100, -120.0)
    silent[40:50] = -20
    (rise,) = [e for e in events("loudness", T, silent, NAN) if e.kind == "rise"]
    assert rise.value == pytest.approx(50)


def test_events_become_rows_with_ids_of_content():
    signal = Signal("s", "clip-1", "t1", "valence", "-1..1", 0, CELL, 100, 1.0, "a", "m@1")
    clip = Clip("clip-1", "sha", Span(0, 100 * CELL), "a", "b", "c")
    rows = event_rows(clip, signal, T, PLANTED, NAN)
    assert [r.target for r in rows] == ["rise.valence", "peak.valence", "fall.valence"]
    assert rows == event_rows(clip, signal, T, PLANTED, NAN)
    assert {r.adapter for r in rows} == {"rule.events@1+m@1"}
    assert {r.track_id for r in rows} == {"t1"}


def test_empty_unknown_and_unmeasured_signals_have_no_events():
    assert events("valence", T[:0], NAN[:0], NAN[:0]) == []
    assert events("nobody's curve", T, PLANTED, NAN) == []
    assert events("valence", T, NAN, NAN) == []
    with pytest.raises(ValueError, match="one length"):
        events("valence", T, PLANTED[:3], NAN)
