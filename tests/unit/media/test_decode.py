"""Frames and sound against planted truth: exact times, exact numbers, whatever the container, span or rotation."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mien.core import US, Span
from mien.media import Decoder, judge
from mien.testing.media import Made, Recipe, frame_number, make, turn

ALL = Span(0, 60 * US)
VFR = tuple(np.cumsum(np.r_[0, np.random.default_rng(3).integers(200, 2000, 59)] * 100).tolist())


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


def taken(decoder: Decoder, span: Span, fps: float | Fraction, side: int | None = None) -> list[tuple[int, int]]:
    """(time, planted number) of every frame."""
    batches = list(decoder.frames(span, fps, side))
    return [(int(t), frame_number(p)) for b in batches for t, p in zip(b.t_us, b.pixels, strict=True)]


GOOD = {
    "cfr.mp4": Recipe(),
    "cfr.mkv": Recipe(),
    "vfr.mp4": Recipe(times_us=VFR, seconds=7.0),
    "fast.mp4": Recipe(fps=120, seconds=1.0, sound=False),
    "deep.mkv": Recipe(codec="ffv1", pixels="yuv422p10le", sound_codec="flac", rate_hz=48_000),
    "late.mkv": Recipe(start_s=3600.0),
    "desync.mp4": Recipe(sound_delay_s=1.5),
    "phone.mp4": Recipe(rate_hz=8_000),
    "moving.gif": Recipe(codec="gif", pixels="rgb8", fps=10, sound=False),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_frame_has_its_exact_time_and_number(media: Path, name: str) -> None:
    made = make(media / name, GOOD[name])
    with Decoder(made.path) as decoder:
        scan = decoder.scan()
        found = taken(decoder, ALL, 1000)
        tally = decoder.tally
    assert judge(scan).state == "ok"
    assert scan.coverage == 1.0
    assert [n for _, n in found] == list(range(len(made.t_us)))
    assert np.abs(np.array([t for t, _ in found]) - made.t_us).max() <= 1  # 120 Hz has no whole µs
    assert tally.frames == scan.tally.frames == len(made.t_us)
    assert (scan.first_us, scan.last_us) == (found[0][0], found[-1][0])


@pytest.mark.parametrize("name", [n for n in GOOD if GOOD[n].sound])
def test_the_tone_sounds_at_its_time(media: Path, name: str) -> None:
    made = make(media / name, GOOD[name])
    assert made.tone is not None
    with Decoder(made.path) as decoder:
        sound = decoder.sound(Span(0, 5 * US))
    loud = np.flatnonzero(np.abs(sound.samples) > 0.1)
    assert abs(loud[0] / 16_000 - made.tone.start_us / US) < 0.004
    assert abs(loud[-1] / 16_000 - made.tone.end_us / US) < 0.004
    inside = sound.samples[loud[0] + 1600 : loud[0] + 1600 + 4096]
    assert abs(int(np.abs(np.fft.rfft(inside)).argmax()) * 16_000 / 4096 - 440) < 4


def test_sound_of_a_part_is_the_part_of_the_sound(media: Path) -> None:
    made = make(media / "part.wav", Recipe(picture=False, sound_codec="pcm_s16le", tone_s=(0.0, 4.0)))
    with Decoder(made.path) as decoder:
        whole = decoder.sound(Span(0, 4 * US)).samples
        part = decoder.sound(Span(1_700_000, 2_900_000))
    assert part.t0_us == 1_700_000
    assert np.abs(part.samples - whole[27_200:46_400]).max() < 2e-3
    assert np.abs(whole[:16_000]).max() > 0.4


def test_missing_sound_is_zero_and_counted(media: Path) -> None:
    made = make(media / "gap.mkv", Recipe(sound_delay_s=1.5, tone_s=(0.0, 4.0), sound_codec="flac"))
    with Decoder(made.path) as decoder:
        sound = decoder.sound(Span(0, 4 * US))
        gap = decoder.tally.gap_us
    assert not sound.samples[: 16_000 * 3 // 2 - 16].any()
    assert abs(gap - 1_500_000) < 2_000


@pytest.mark.parametrize("delay_s", [0.0, 1.5])
def test_sound_that_begins_later_is_no_damage_and_a_torn_file_is(media: Path, delay_s: float) -> None:
    """Matroska claims one length for the whole file, and none for its streams."""
    whole = make(media / "apart.mkv", Recipe(seconds=2.0, sound_delay_s=delay_s, gop=5)).path
    torn = media / "torn.mkv"
    torn.write_bytes(whole.read_bytes()[: round(0.5 * whole.stat().st_size)])
    for path, code in ((whole, None), (torn, "media.truncated")):
        with Decoder(path) as decoder:
            assert judge(decoder.scan()).code == code


@pytest.mark.parametrize("name", ["cfr.mp4", "vfr.mp4", "late.mkv"])
def test_frames_do_not_depend_on_the_span(media: Path, name: str) -> None:
    made = make(media / name, GOOD[name])
    spans = [Span(a, b) for a, b in pairwise([0, 400_000, 433_333, 1_700_001, 3_120_000, 8 * US])]
    with Decoder(made.path) as decoder:
        for fps in (5, 29.97, Fraction(24_000, 1001)):
            assert taken(decoder, Span(0, 8 * US), fps) == expected(made, fps)
            parts = {span: taken(decoder, span, fps) for span in spans[::-1]}
            assert [frame for span in spans for frame in parts[span]] == expected(made, fps)
            assert all(span.contains(t) for span in spans for t, _ in parts[span])


def expected(made: Made, fps: float | Fraction) -> list[tuple[int, int]]:
    """The rule, written a second time: the first frame at or after each instant, each once."""
    rate, out = Fraction(fps).limit_denominator(100_000), []
    for k in range(int(8 * rate) + 1):
        later = np.flatnonzero(made.t_us + (500 if made.path.suffix == ".mkv" else 5) >= k * US / rate)
        if len(later) and (not out or out[-1][1] != later[0]):
            out.append((int(made.t_us[later[0]]), int(later[0])))
    return out


@pytest.mark.parametrize("recipe", [Recipe(cuts_s=(1.6, 2.8)), Recipe(times_us=VFR, cuts_s=(2.0, 4.5), sound=False)])
def test_planted_cuts_are_found_at_their_frame(media: Path, recipe: Recipe) -> None:
    made = make(media / "cuts.mp4", recipe)
    with Decoder(made.path) as decoder:
        assert decoder.scan().cuts_us == made.cuts_us


def test_a_take_without_cuts_has_none(media: Path) -> None:
    made = make(media / "take.mp4", Recipe())
    with Decoder(made.path) as decoder:
        assert decoder.scan().cuts_us == ()


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (0, -1)), (180, (-1, -1)), (270, (-1, 0))])
def test_frames_come_upright(media: Path, degrees: int, corner: tuple[int, int]) -> None:
    made = make(media / f"turn{degrees}.mp4", Recipe(seconds=0.4, sound=False))
    turn(made.path, degrees)
    with Decoder(made.path) as decoder:
        probe = decoder.probe()
        (batch,) = decoder.frames(ALL, 1)
    size = (120, 160) if degrees in (90, 270) else (160, 120)
    assert (probe.width_px, probe.height_px, probe.rotation_deg) == (*size, degrees)
    assert batch.pixels.shape == (1, size[1], size[0], 3)
    patch = batch.pixels[0, corner[0] * 5 + (corner[0] == 0) * 5, corner[1] * 5 + (corner[1] == 0) * 5].astype(int)
    assert patch[0] > 150
    assert max(patch[1:]) < 90


def test_colours_survive_and_large_frames_shrink(media: Path) -> None:
    from mien.testing.media import picture

    recipe = Recipe(width=320, height=240, seconds=0.4, sound=False, gop=1)
    made = make(media / "colour.mp4", recipe)
    with Decoder(made.path) as decoder:
        (full,) = decoder.frames(ALL, 1)
        (small,) = decoder.frames(ALL, 1, 80)
        (same,) = decoder.frames(ALL, 1, 1000)
    truth = picture(0, 0.0, 0, recipe).astype(int)
    assert np.abs(full.pixels[0] - truth)[40:200].mean() < 6
    assert small.pixels.shape == (1, 60, 80, 3)
    assert np.array_equal(same.pixels, full.pixels)
    blocks = full.pixels[0].astype(float).reshape(60, 4, 80, 4, 3).mean((1, 3))
    assert np.abs(small.pixels[0] - blocks).mean() < 2


def test_stills_are_the_frames_shown(media: Path) -> None:
    made = make(media / "vfr.mp4", GOOD["vfr.mp4"])
    asked = [int(made.t_us[40]), 0, int(made.t_us[7]), int(made.t_us[8]) - 1, int(made.t_us[40])]
    with Decoder(made.path) as decoder:
        stills = decoder.stills(asked, 100)
    assert [frame_number(p) for p in stills.pixels] == [40, 0, 7, 7, 40]
    assert stills.t_us.tolist() == [int(made.t_us[i]) for i in (40, 0, 7, 7, 40)]
    assert max(stills.pixels.shape[1:3]) == 100


def test_a_still_image_is_one_frame(media: Path) -> None:
    import cv2

    path = media / "still.png"
    cv2.imwrite(str(path), np.full((30, 40, 3), (10, 200, 30), np.uint8))
    with Decoder(path) as decoder:
        probe, scan = decoder.probe(), decoder.scan()
        (batch,) = decoder.frames(Span(0, 1), 5)
    assert (probe.kind, probe.duration_us, scan.end_us, scan.cuts_us) == ("image", 0, 0, ())
    assert batch.t_us.tolist() == [0]
    assert (batch.pixels == (30, 200, 10)).all()


def test_batches_are_uniform_and_bounded(media: Path) -> None:
    made = make(media / "cfr.mp4", GOOD["cfr.mp4"])
    with Decoder(made.path) as decoder:
        assert [len(b) for b in decoder.frames(ALL, 25, batch=32)] == [32, 32, 32, 4]
        with pytest.raises(ValueError, match="fps"):
            next(decoder.frames(ALL, 0))
