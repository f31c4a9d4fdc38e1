"""Onset, peak and offset against planted truth, through the real descriptors; kinds; hours."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from mien.core import Curve, Sound, Span
from mien.signals.acoustics import describe
from mien.signals.vocal import vocal_segments
from mien.signals.vocal_events import KINDS, EventRules, pieces, vocal_events

RATE = 16_000


def burst(start_s, end_s, peak_s, length_s, f0=300.0):
    """A harmonic sound with hard edges that is twice as strong within 50 ms of its peak."""
    t = np.arange(round(length_s * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 8))
    edge = np.clip(np.minimum(t - start_s, end_s - t) / 0.01, 0, 1)
    return tone * edge * (1 + (np.abs(t - peak_s) < 0.05))


def heard(samples, spans, late_s=0.1, held_s=0.4, speech=False):
    """The curves of a sound, with a detector that answers late and holds on."""
    sound = Sound(samples.astype(np.float32), 5_000_000)
    rows = np.arange(len(samples) // 160) / 100
    on = np.zeros(len(rows), bool)
    for a, b in spans:
        on |= (rows >= a + late_s) & (rows < b + held_s)
    likely = np.where(on, 0.9, 0.02).astype(np.float32)[:, None]
    voicing = np.repeat(likely, 2, axis=1)
    return (
        describe(sound),
        Curve(likely if speech else np.zeros_like(likely), ("speech",), 5_000_000, 10_000),
        Curve(voicing, ("f0_hz", "voicing"), 5_000_000, 10_000),
    )


def found(samples, spans, rules=EventRules(), **given):  # noqa: B008
    acoustics, vad, pitch = heard(samples, spans, **given)
    return vocal_events(acoustics, vocal_segments(acoustics, vad, pitch), vad, pitch, rules)


TRUTH = [(2.0, 3.2, 2.9), (5.0, 5.6, 5.1), (8.3, 10.0, 9.0)]


def planted(snr_db, seed=0):
    clean = sum(burst(*span, 12) for span in TRUTH)
    noise = np.random.default_rng(seed).standard_normal(len(clean))
    level = np.sqrt(np.mean(clean[round(2.1 * RATE) : round(2.7 * RATE)] ** 2)) * 10 ** (-snr_db / 20)
    return 0.1 * (clean + level * noise) / np.abs(clean).max()


@pytest.mark.parametrize("snr_db", [40, 20, 9])
@pytest.mark.parametrize("speech", [False, True])
def test_onset_peak_and_offset_are_within_50_ms_at_every_snr(snr_db, speech):
    events = found(planted(snr_db), [t[:2] for t in TRUTH], speech=speech)
    assert len(events) == 3
    for event, (start, end, peak) in zip(events, TRUTH, strict=True):
        assert event.span.start_us / 1e6 - 5 == pytest.approx(start, abs=0.05)
        assert event.span.end_us / 1e6 - 5 == pytest.approx(end, abs=0.05)
        assert (event.peak.start_us + event.peak.end_us) / 2e6 - 5 == pytest.approx(peak, abs=0.05)
        assert sum(p for _, p in event.kinds) == pytest.approx(1)


def test_the_segments_alone_miss_the_edges_that_events_find():
    """The partner: else nothing was gained."""
    acoustics, vad, pitch = heard(planted(30), [t[:2] for t in TRUTH], speech=True)
    ends = [s.span.end_us / 1e6 - 5 for s in vocal_segments(acoustics, vad, pitch)]
    assert all(abs(a - b) > 0.2 for a, (_, b, _) in zip(ends, TRUTH, strict=True))


def test_a_bed_of_music_is_no_part_of_the_event():
    t = np.arange(12 * RATE) / RATE
    bed = sum(np.sin(2 * np.pi * f * t) for f in (262, 330, 392)) * (0.6 + 0.4 * np.sin(2 * np.pi * 2 * t))
    clean = burst(5, 6.2, 5.9, 12, 500)
    (event,) = found(0.02 * (clean + 0.2 * bed), [(5, 6.2)], speech=True)
    assert event.span.start_us / 1e6 - 5 == pytest.approx(5, abs=0.05)
    assert event.span.end_us / 1e6 - 5 == pytest.approx(6.2, abs=0.05)


def test_a_detector_that_joins_two_bursts_is_taken_apart():
    clean = burst(3, 3.8, 3.3, 12) + burst(4.3, 5, 4.6, 12)
    noise = 0.005 * np.random.default_rng(0).standard_normal(len(clean))
    events = found(0.1 * clean + noise, [(3, 5)], speech=True)
    assert [round(e.span.start_us / 1e6 - 5, 1) for e in events] == [3.0, 4.3]


def test_events_never_overlap_and_reach_to_the_ends_of_the_sound():
    t = np.arange(3 * RATE) / RATE
    one_sound = 0.1 * sum(np.sin(2 * np.pi * 300 * k * t) for k in range(1, 8)) * (1 + 0.5 * np.sin(2 * np.pi * t))
    quiet = 1e-3 * np.random.default_rng(0).standard_normal(5 * RATE)
    spans = [(5.3, 6.0), (6.413, 7.75)]
    events = found(np.concatenate([quiet, one_sound]), spans, late_s=0, held_s=0, speech=True)
    assert len(events) == 2
    assert all(a.span.end_us <= b.span.start_us for a, b in pairwise(events))
    assert events[0].span.start_us / 1e6 - 5 == pytest.approx(5, abs=0.05)
    assert events[-1].span.end_us / 1e6 - 5 == pytest.approx(8, abs=0.05)


def test_what_the_level_does_not_show_keeps_the_detectors_edges():
    noise = 0.1 * np.random.default_rng(0).standard_normal(12 * RATE)
    (event,) = found(noise, [(4, 5)], late_s=0, held_s=0, speech=True)
    assert (event.span.start_us / 1e6 - 5, event.span.end_us / 1e6 - 5) == pytest.approx((4, 5), abs=0.02)
    assert event.quality < 0.1


def test_a_long_cry_is_one_event_in_pieces():
    clean = burst(2, 14, 9, 20)
    acoustics, vad, pitch = heard(0.05 * clean + 1e-4 * np.random.default_rng(0).standard_normal(len(clean)), [(2, 14)],
                                  speech=True)  # fmt: skip
    segments = vocal_segments(acoustics, vad, pitch)
    (cry,) = vocal_events(acoustics, segments, vad, pitch)
    assert len(segments) > 2
    assert cry.span.duration_s == pytest.approx(12, abs=0.1)
    parts = pieces(cry.span, [s.span for s in segments])
    assert len(parts) == len(segments)
    assert (parts[0].start_us, parts[-1].end_us) == (cry.span.start_us, cry.span.end_us)
    assert all(a.end_us == b.start_us for a, b in pairwise(parts))


def test_pieces_cut_nothing_but_where_segments_meet():
    apart = [Span(0, 100), Span(150, 300)]
    assert pieces(Span(10, 290), apart) == [Span(10, 290)]
    assert pieces(Span(10, 290), [Span(0, 150), Span(150, 300)]) == [Span(10, 150), Span(150, 290)]


def test_steady_tones_are_music_and_gliding_ones_are_not():
    acoustics, vad, pitch = heard(planted(30), [t[:2] for t in TRUTH])
    segments = vocal_segments(acoustics, vad, pitch)

    def kinds(share):
        steady = Curve(np.full((400, 1), share, np.float32), ("steady",), 5_000_000, 30_000)
        return [dict(e.kinds) for e in vocal_events(acoustics, segments, vad, pitch, steady=steady)]

    assert all(max(k, key=k.__getitem__) == "music" for k in kinds(0.9))
    assert all(max(k, key=k.__getitem__) == "voice" for k in kinds(0.1))
    assert all(set(k) == set(KINDS) for k in kinds(0.5))


def test_what_neither_pitch_nor_detector_knows_is_noise():
    acoustics, vad, _ = heard(planted(30), [t[:2] for t in TRUTH], speech=True)
    segments = vocal_segments(acoustics, vad, vad_as_pitch(vad))
    deaf = Curve(np.zeros_like(vad.values), ("speech",), vad.t0_us, vad.hop_us)
    for event in vocal_events(acoustics, segments, deaf, vad_as_pitch(deaf)):
        assert dict(event.kinds)["noise"] > 0.9


def vad_as_pitch(vad):
    return Curve(np.repeat(vad.values, 2, axis=1), ("f0_hz", "voicing"), vad.t0_us, vad.hop_us)


def test_two_hours_take_a_few_times_the_rows_and_find_every_event():
    n = 2 * 3600 * 100
    energy = np.random.default_rng(0).normal(-60, 1, n)
    on = np.zeros(n, bool)
    for at in range(2000, n - 500, 1400):
        on[at : at + 150] = True
    energy[on] = -25
    likely = np.where(on, 0.9, 0).astype(np.float32)[:, None]
    acoustics = Curve(energy.astype(np.float32)[:, None], ("energy_dbfs",), 0, 10_000)
    vad = Curve(likely, ("speech",), 0, 10_000)
    segments = vocal_segments(acoustics, vad, vad_as_pitch(vad))
    tracemalloc.start()
    events = vocal_events(acoustics, segments, vad, vad_as_pitch(vad))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(events) == len(range(2000, n - 500, 1400))
    assert all(
        abs(e.span.start_us - at * 10_000) <= 30_000 for e, at in zip(events, range(2000, n, 1400), strict=False)
    )
    assert peak < 30 * 8 * n, "a few columns of float64, whatever the number of events"


def test_no_segments_no_events():
    acoustics, vad, pitch = heard(np.zeros(RATE), [])
    assert vocal_events(acoustics, [], vad, pitch) == []
