"""Real footage: recorded, edited and encoded by others."""

from pathlib import Path

import numpy as np
import pytest

from mien.core import US, Span
from mien.media import Decoder, judge

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "video_faces"
pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared real data (../shared/data/video_faces) is not here"),
]
FRAMES = {
    "single_face.mp4": 72,
    "face_noface.mov": 169,
    "no_face.mp4": 95,
    "short_hamilton_clip.mp4": 275,
    "classroom.gif": 45,
    "hungry.mkv": 49,
}
"""As counted once by a plain decode of each file; the headers count more where an edit list hides frames."""


@pytest.mark.parametrize("name", FRAMES)
def test_every_real_file_is_read_to_its_end(name: str) -> None:
    with Decoder(FOLDER / name) as decoder:
        probe, scan = decoder.probe(), decoder.scan()
        times = np.concatenate([b.t_us for b in decoder.frames(Span(0, scan.end_us), 5, 320)])
    assert judge(scan).state == "ok"
    assert scan.tally.frames == FRAMES[name]
    assert (scan.sound_us is None) == (probe.audio_index is None)
    assert (np.diff(times) > 150_000).all()
    assert abs(len(times) - (scan.end_us - (scan.first_us or 0)) / 200_000) <= 1


@pytest.mark.parametrize(  # at 9.886 s of the first the dark picture's chroma jumps at a keyframe: that is no cut
    ("name", "cuts_s"),
    [
        ("short_hamilton_clip.mp4", (1.511, 3.580, 7.884)),
        ("face_noface.mov", (2.430,)),
        ("single_face.mp4", ()),
        ("hungry.mkv", ()),
    ],
)
def test_the_cuts_that_eyes_see_are_found(name: str, cuts_s: tuple[float, ...]) -> None:
    with Decoder(FOLDER / name) as decoder:
        cuts = decoder.scan().cuts_us
        assert [round(c / US, 3) for c in cuts] == pytest.approx(cuts_s, abs=0.001)
        for at in cuts:
            before, after = decoder.stills([at - 1, at], 64).pixels.astype(int)
            assert np.abs(before - after).mean() > 15  # two different pictures
