"""Bursts of held-out people in generated music: events find them where they are, the detector of speech does not."""

import pytest

from mien.core import Device, MienError
from mien.models.weights import open_adapter

pytestmark = pytest.mark.peer


def test_bursts_in_music_are_found_at_their_edges(shared_data, monkeypatch):
    from bench import events, sounds

    monkeypatch.setattr(sounds, "DATA", shared_data)
    try:
        models = {n: open_adapter(n, None, Device(threads=1)) for n in ("vad.silero", "pitch.swiftf0")}
    except MienError as error:
        if error.code == "weights.missing":
            pytest.skip(f"{error.message}: run 'mien models pull'")
        raise
    bursts = [b for b in (events.trimmed(x) for x in sounds._bursts(True)) if b is not None][:8]
    sound, truth = events.planted(bursts, events.music, 10.0)
    found = events.answers(sound, models)

    def hit(spans):
        return [
            (s, t)
            for t, _ in truth
            for s in spans
            if s.overlap_us(t) >= t.duration_us / 2 and s.duration_us <= 2 * t.duration_us
        ]

    mine, detector = hit([e.span for e in found.events]), hit(found.detected)
    assert len(mine) >= 6
    assert len(detector) < len(mine)
    assert len(found.events) <= len(truth) + 2
    assert sorted(abs(s.start_us - t.start_us) for s, t in mine)[len(mine) // 2] < 60_000
