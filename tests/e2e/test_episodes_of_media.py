"""Generated media through the real pipeline: a planted movement and a planted swell of sound are found in time."""

from fractions import Fraction

import numpy as np
import pytest

from mien.export.captions import CaptionTerms, describe, write_controls
from mien.export.selection.scope import scope_of
from mien.pipeline import Project

SECONDS, FPS, RATE = 12.0, 25, 16_000
MOVES = (3.0, 5.0, 8.0)  # onset, peak, offset in s
SOUNDS = (4.5, 6.0, 9.5)
OFF = ("objects", "pose", "faces", "landmarks", "expression", "age", "scene", "vad", "pitch", "voice_embedding",
       "voice_affect", "voice_arousal", "voice_cues")  # fmt: skip


def ramp(t: np.ndarray, times: tuple[float, float, float]) -> np.ndarray:
    return np.interp(t, times, (0.0, 1.0, 0.0))


def film(path, moves, sounds) -> None:
    """A soft disc that speeds up and slows down again, and noise whose level in dB does."""
    import av

    t = np.arange(round(SECONDS * FPS)) / FPS
    along = np.cumsum(ramp(t, moves)) / FPS * 0.2  # shares of the width: less than its own width between frames
    y, x = np.mgrid[0 : 1 : 144 * 1j, 0 : 1 : 192 * 1j]
    with av.open(str(path), "w") as out:
        picture = out.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "veryfast"})
        picture.width, picture.height, picture.pix_fmt = 192, 144, "yuv420p"
        heard = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        for k, at in enumerate(along):
            disc = 1 / (1 + np.exp((np.hypot(x - 0.25 - at, y - 0.5) - 0.2) * 60))
            image = (30 + 30 * x + 190 * disc)[..., None].repeat(3, axis=2).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, FPS)
            out.mux(picture.encode(frame))
        out.mux(picture.encode(None))
        n = np.arange(round(SECONDS * RATE)) / RATE
        level = -60 + 45 * ramp(n, sounds)
        noise = np.random.default_rng(0).normal(0, 1, len(n)) * 10 ** (level / 20)
        samples = (np.clip(noise, -1, 1) * 32767).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = RATE, 0, Fraction(1, RATE)
        out.mux(heard.encode(sound))
        out.mux(heard.encode(None))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    film(folder / "one.mkv", MOVES, SOUNDS)
    film(folder / "still.mkv", (20.0, 21.0, 22.0), (20.0, 21.0, 22.0))
    Project.init(folder / "p", "research").close()
    project = Project.open(folder / "p", {"stack": dict.fromkeys(OFF, "off"), "run": {"runner": "inline"}})
    project.run([folder / "one.mkv", folder / "still.mkv"])
    yield {r.part.name: (r, project) for r in scope_of(project).clips()}
    project.close()


@pytest.mark.parametrize(("axis", "times"), [("motion_energy", MOVES), ("loudness", SOUNDS)])
def test_onset_peak_and_offset_are_within_200_ms(planted, axis, times):
    found = describe(*planted["one.mkv"], CaptionTerms())
    (episode,) = [d.episode for d in found.descriptors if d.axis == axis]
    errors = np.array([episode.onset_us, episode.peak_us, episode.offset_us]) / 1e6 - times
    assert np.abs(errors).max() <= 0.2, errors
    assert max(episode.onset_sd_s, episode.peak_sd_s, episode.offset_sd_s) < 0.5
    assert episode.phase(round(1e6 * (times[0] + times[1]) / 2)) == "escalation"


def test_the_caption_tells_both_and_the_still_film_tells_none(planted):
    told = describe(*planted["one.mkv"], CaptionTerms()).captions
    assert told == ("movement builds then settles, sound swells then fades",)
    still = describe(*planted["still.mkv"], CaptionTerms())
    assert still.descriptors == ()
    assert "builds" not in still.captions[0]
    assert "little movement" in still.captions[0]


def test_the_control_vectors_of_a_real_clip_are_written(planted, tmp_path):
    found = describe(*planted["one.mkv"], CaptionTerms())
    loud = found.controls.names.index("loudness")
    assert found.controls.known[:, loud].mean() > 0.9
    peak = found.controls.t_us[np.argmax(np.where(found.controls.known[:, loud], found.controls.values[:, loud], -999))]
    assert peak / 1e6 == pytest.approx(SOUNDS[1], abs=0.3)
    assert write_controls(tmp_path / "one.safetensors", found.controls).stat().st_size > 1000
