"""Vocal events with the real detectors: real speech and laughter, laid into noise and chords at known times."""

import numpy as np
import pytest

from mien.core import Device, MienError, Sound
from mien.models.weights import open_adapter
from mien.signals.acoustics import describe
from mien.signals.steadiness import steadiness
from mien.signals.timbre import timbre
from mien.signals.vocal import vocal_segments
from mien.signals.vocal_events import vocal_events

RATE = 16_000


@pytest.fixture(scope="module")
def models():
    try:
        return [open_adapter(n, None, Device(threads=1)) for n in ("vad.silero", "pitch.swiftf0")]
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise


def read(path, start_s, end_s):
    import av

    with av.open(str(path)) as file:
        resampler = av.AudioResampler("flt", "mono", RATE)
        parts = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate(parts)[round(start_s * RATE) : round(end_s * RATE)]


def edges(x, range_db=15):
    power = np.convolve(x.astype(float) ** 2, np.ones(160) / 160, "same")
    above = np.flatnonzero(
        power > np.convolve(x.astype(float) ** 2, np.ones(800) / 800, "same").max() / 10 ** (range_db / 10)
    )
    return x[above[0] : above[-1] + 1]


def scene(laugh, speech, bed):
    """12 s: laughter at 2 s, speech at 6 s, each 20 dB over the bed."""
    out = 0.003 * bed / bed.std()
    spans = []
    for at, x in ((2, edges(read(laugh, 0, 3))), (6, edges(read(speech, 0, 3)))):
        out[at * RATE : at * RATE + len(x)] += 0.03 * x / x.std()
        spans.append((at, at + len(x) / RATE))
    return Sound(out.astype(np.float32), 0), spans


def heard(sound, models):
    acoustics, vad, pitch = describe(sound), models[0].run(sound), models[1].run(sound)
    segments = vocal_segments(acoustics, vad, pitch, timbre=timbre(sound))
    return vocal_events(acoustics, segments, vad, pitch, steady=steadiness(sound))


def white():
    return np.random.default_rng(0).standard_normal(12 * RATE)


def chords():
    t = np.arange(12 * RATE) / RATE
    roots = np.array([220, 293.7, 329.6, 220])[(t // 3).astype(int)]
    return sum(np.sin(2 * np.pi * roots * ratio * t) for ratio in (1, 1.26, 1.5)) * np.exp(-(t % 0.6)) + 0.02 * white()


@pytest.mark.parametrize("bed", [white, chords])
def test_laughter_and_speech_are_found_where_they_were_laid(models, demo_laugh, demo_speech, bed):
    sound, ((laugh_from, _), (speech_from, speech_to)) = scene(demo_laugh, demo_speech, bed())
    events = heard(sound, models)
    first = events[0]
    assert first.span.start_us / 1e6 == pytest.approx(laugh_from, abs=0.06)
    assert max(first.kinds, key=lambda k: k[1])[0] == "voice"
    spoken = [e for e in events if e.span.start_us / 1e6 > speech_from - 0.3]
    assert spoken[0].span.start_us / 1e6 == pytest.approx(speech_from, abs=0.06)
    assert spoken[-1].span.end_us / 1e6 == pytest.approx(speech_to, abs=0.15)
    kinds = [dict(e.kinds) for e in spoken]
    assert np.average([k["speech"] for k in kinds], weights=[e.span.duration_s for e in spoken]) > 0.5
    assert all(e.span.contains(e.peak.start_us) and e.peak.duration_us <= 50_000 for e in events)


def test_the_bed_alone_has_no_voice(models):
    for bed in (white(), chords()):
        events = heard(Sound((0.03 * bed / bed.std()).astype(np.float32), 0), models)
        assert sum(e.span.duration_s for e in events if dict(e.kinds)["speech"] + dict(e.kinds)["voice"] > 0.5) < 0.5
