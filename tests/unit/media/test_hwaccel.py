"""Decoding on a device: what is not there is said, what is there changes nothing, and `auto` goes on without."""

import numpy as np
import pytest

from mien.core import MienError, Span
from mien.media import Decoder, Limits
from mien.media.device import DEVICES
from mien.testing.media import Recipe, make


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make(tmp_path_factory.mktemp("hw") / "v.mp4").path


def decoded(path, hwaccel=""):
    with Decoder(path, Limits(hwaccel=hwaccel)) as decoder:
        frames = [f for batch in decoder.frames(Span(0, 2_000_000), 5) for f in batch.pixels]
        return np.stack(frames), decoder.tally


def test_auto_decodes_alike_with_and_without_a_device(video):
    plain, tally = decoded(video)
    assert tally.hardware == 0
    there, told = decoded(video, "auto")
    np.testing.assert_array_equal(there, plain)
    assert told.frames == tally.frames
    assert told.hardware in (0, told.frames)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_that_is_not_there_is_an_error_and_not_a_silent_fallback(video, device):
    found = {}
    try:
        found["frames"], tally = decoded(video, device)
    except MienError as error:
        found["error"] = error
    if "error" in found:
        assert found["error"].code == "media.no-hwaccel"
        assert "analysis.hwaccel" in found["error"].hint
        return
    assert tally.hardware == tally.frames  # it is there: then it did the work
    np.testing.assert_array_equal(found["frames"], decoded(video)[0])


def test_sound_needs_no_device(tmp_path):
    path = make(tmp_path / "s.wav", Recipe(picture=False, sound_codec="pcm_s16le", tone_s=(0.0, 1.0))).path
    for device in ("auto", *DEVICES):
        with Decoder(path, Limits(hwaccel=device)) as decoder:
            assert np.abs(decoder.sound(Span(0, 500_000)).samples).max() > 0
