"""Cuts as files: exact frames at a constant rate, sound in sync, nothing of what is covered, the same bytes again."""

import hashlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import av
import numpy as np
import pytest

from mien.core import MienError, Span
from mien.media import Decoder
from mien.media.cutting import corner, cover
from mien.media.encoding import Cutting, conceal, encode, pictures, rgb, within
from mien.testing.media import Recipe, frame_number, make, turn

S = 1_000_000


def cutting(start_s, end_s, frames, fps=16, size=(160, 128), **more):
    return Cutting(Span(round(start_s * S), round(end_s * S)), frames, Fraction(fps), *size, **more)


def read(path):
    """(frames RGB, their times in s, mono sound, its first time in s)."""
    shown, when, heard, began = [], [], [], None
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            shown.append(frame.to_ndarray(format="rgb24"))
            when.append(frame.time)
    with av.open(str(path)) as file:
        if file.streams.audio:
            for frame in file.decode(audio=0):
                began = frame.time if began is None else began
                heard.append(frame.to_ndarray().mean(axis=0))
    return shown, when, np.concatenate(heard) if heard else np.zeros(0), began


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    return make(tmp_path_factory.mktemp("film") / "a.mp4", Recipe(seconds=4, fps=30, width=320, height=240))


@pytest.mark.parametrize(("start", "fps"), [(0.0, 16), (0.5, 16), (0.333, 24), (0.1, 25)])
def test_each_frame_is_the_nearest_one_and_their_number_is_exact(tmp_path, film, start, fps):
    want = cutting(start, 3.9, 50, fps, (320, 224))
    with Decoder(film.path) as decoder:
        made = encode(decoder, want, tmp_path / "o.mp4")
    shown, when, _, _ = read(tmp_path / "o.mp4")
    assert len(shown) == 50 == len(made.t_us)
    assert np.allclose(np.diff(when), 1 / fps, atol=1e-4)
    assert when[0] == 0
    instants = want.span.start_us + np.arange(50) * S / fps
    inside = film.t_us[film.t_us >= want.span.start_us]
    nearest = np.array([inside[np.argmin(np.abs(inside - t))] for t in instants])
    assert (np.abs(made.t_us - instants) <= np.abs(nearest - instants) + 1).all()
    assert np.abs(made.t_us - instants)[1:].max() <= S / 60 + 1


def test_pixels_are_those_of_the_frame_that_is_told(tmp_path, film):
    with Decoder(film.path) as decoder:
        made = encode(decoder, cutting(0.5, 3.9, 33, 16, (320, 240)), tmp_path / "o.mp4")
    shown, *_ = read(tmp_path / "o.mp4")
    told = [int(np.argmin(np.abs(film.t_us - t))) for t in made.t_us]
    assert [frame_number(p) for p in shown] == told
    assert len(set(told)) == 33


def test_sound_starts_with_the_picture_and_no_frame_is_off_by_more_than_20_ms(tmp_path, film):
    with Decoder(film.path) as decoder:
        made = encode(decoder, cutting(0.4, 3.9, 49, 24, (320, 240), sound=True), tmp_path / "o.mp4")
    shown, when, heard, began = read(tmp_path / "o.mp4")
    assert made.sound
    assert began == pytest.approx(0, abs=1e-6)
    onset = np.argmax(np.abs(heard) > 0.05) / 48_000  # the tone sounds from 1.0 s on, which is frame 30
    numbers = [frame_number(p) for p in shown]
    flash = when[next(i for i, n in enumerate(numbers) if n >= 30)]
    assert onset == pytest.approx(0.6, abs=0.005)
    assert abs(np.interp(30, numbers, when) - onset) <= 0.02
    assert abs(flash - onset) <= 1 / 24
    assert len(heard) / 48_000 == pytest.approx(49 / 24, abs=0.03)


def test_the_same_bytes_however_many_are_made_at_a_time(tmp_path, film):
    def one(k):
        with Decoder(film.path) as decoder:
            encode(decoder, cutting(0.2, 3.9, 33, 16, (320, 224), sound=True), tmp_path / f"{k}.mp4")
        return hashlib.sha256((tmp_path / f"{k}.mp4").read_bytes()).hexdigest()

    first = one("alone")
    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(one, "abc")) == {first}
    with av.open(str(tmp_path / "a.mp4")) as file:
        told = {
            k: v for k, v in file.metadata.items() if k not in ("major_brand", "minor_version", "compatible_brands")
        }
        assert told == {}
        assert all("creation_time" not in s.metadata and "encoder" not in s.metadata for s in file.streams)
    assert b"film" not in (tmp_path / "a.mp4").read_bytes()


def test_the_same_bytes_whatever_lies_in_the_memory_that_an_encoder_gets(tmp_path, film):
    """glibc fills what it hands out; 0xFE is what x264's AVX-512 code takes for costs of macroblocks."""
    code = (
        "import sys; from fractions import Fraction; from mien.core import Span; from mien.media import Decoder\n"
        "from mien.media.encoding import Cutting, encode\n"
        "with Decoder(sys.argv[1]) as d:\n"
        "    encode(d, Cutting(Span(200_000, 3_900_000), 33, Fraction(16), 320, 224, sound=True), sys.argv[2])"
    )
    made = set()
    for byte in ("0", "1"):
        out = tmp_path / f"{byte}.mp4"
        env = os.environ | {"MALLOC_PERTURB_": byte}
        subprocess.run([sys.executable, "-c", code, str(film.path), str(out)], env=env, check=True)
        made.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(made) == 1


def test_frames_beyond_the_end_of_the_span_are_never_taken(tmp_path, film):
    with Decoder(film.path) as decoder, pytest.raises(MienError, match=r"media\.gap"):
        encode(decoder, cutting(0.5, 1.5, 33), tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_a_hole_in_the_source_ends_the_clip_not_the_exporter(tmp_path):
    times = tuple(t * 40_000 for t in range(100) if not 30 <= t < 40)
    film = make(tmp_path / "hole.mkv", Recipe(times_us=times, sound=False))
    with Decoder(film.path) as decoder:
        with pytest.raises(MienError, match=r"media\.gap"):
            encode(decoder, cutting(0, 3.9, 49), tmp_path / "o.mp4")
        assert len(encode(decoder, cutting(1.6, 3.9, 33), tmp_path / "p.mp4").t_us) == 33


def test_damaged_media_are_an_error_with_a_code(tmp_path, film):
    data = bytearray(film.path.read_bytes())
    data[len(data) // 3 :] = bytes(len(data) - len(data) // 3)
    (tmp_path / "bad.mp4").write_bytes(data)
    with pytest.raises(MienError, match=r"media\."), Decoder(tmp_path / "bad.mp4") as decoder:
        encode(decoder, cutting(0, 3.9, 49, sound=True), tmp_path / "o.mp4")
    assert not (tmp_path / "o.mp4").exists()


def test_turned_and_cropped(tmp_path):
    film = make(tmp_path / "t.mp4", Recipe(seconds=1, width=320, height=240, sound=False))
    with Decoder(film.path) as decoder:
        upright = rgb(next(pictures(decoder, cutting(0, 1, 1, size=(320, 240))))[1])
        square = rgb(next(pictures(decoder, cutting(0, 1, 1, size=(224, 224))))[1])
    turn(film.path, 90)
    with Decoder(film.path) as decoder:
        turned = rgb(next(pictures(decoder, cutting(0, 1, 1, size=(240, 320))))[1])
        assert decoder.probe().rotation_deg == 90
    assert square.shape == (224, 224, 3)
    assert np.abs(np.rot90(upright, -1).astype(int) - turned).mean() < 2
    assert cover(320, 240, 224, 224) == (298, 224)
    assert corner(298, 224, 224, 224) == (36, 0)


def test_what_is_covered_is_gone_and_the_rest_is_untouched():
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (8, 96, 64), dtype=np.uint8)
    faces[:, 16:40, 16:48] = rng.integers(60, 190, (8, 24, 32), dtype=np.uint8)
    outs = []
    for face in faces:
        packed = face.copy()
        conceal(packed, 64, 64, (0.25, 0.25, 0.75, 0.625))
        same = np.ones((96, 64), bool)
        same[16:40, 16:48] = False
        assert (packed[:64][same[:64]] == face[:64][same[:64]]).all()
        region = packed[16:40, 16:48]
        assert len(np.unique(region)) <= 16
        flat = sum(np.abs(np.diff(region.astype(int), axis=a)).astype(bool).any(axis=1 - a).sum() for a in (0, 1))
        assert flat <= 10  # borders of cells only: nothing finer survives
        outs.append(region.astype(float))
    hidden = faces[:, 16:40, 16:48].astype(float)
    guess = [int(np.argmin([np.abs(out - face).mean() for face in hidden])) for out in outs]
    sharp = [np.corrcoef(o.ravel(), h.ravel())[0, 1] for o, h in zip(outs, hidden, strict=True)]
    assert max(sharp) < 0.35, guess


def test_covered_regions_move_with_time_and_survive_no_coding(tmp_path, film):
    def covered(t_us):
        return [(0.0, 0.75, 1.0, 1.0)] if t_us >= 2 * S else []

    with Decoder(film.path) as decoder:
        made = encode(decoder, cutting(0.5, 3.9, 49, 16, (320, 240), covered=covered), tmp_path / "o.mp4")
        plain = encode(decoder, cutting(0.5, 3.9, 49, 16, (320, 240)), tmp_path / "p.mp4")
    hidden, shown = (read(tmp_path / n)[0] for n in ("o.mp4", "p.mp4"))
    late = made.t_us >= 2 * S
    right = np.array([frame_number(a) == frame_number(b) for a, b in zip(hidden, shown, strict=True)])
    assert (made.t_us == plain.t_us).all()
    assert right[~late].all()
    assert right[late].mean() < 0.2  # the number is a bar along the lower edge, and that is covered
    top = slice(0, 170)
    assert max(np.abs(a[top].astype(int) - b[top]).mean() for a, b in zip(hidden, shown, strict=True)) < 1.5


def test_a_box_is_followed_into_the_crop():
    assert within((0.25, 0.5, 0.75, 1.0), (0.25, 0.0, 0.75, 1.0)) == (0.0, 0.5, 1.0, 1.0)
    picture = np.full((96, 64), 7, np.uint8)
    conceal(picture, 64, 64, within((0.0, 0.0, 0.2, 0.2), (0.25, 0.0, 0.75, 1.0)))
    assert (picture == 7).all()
