"""Damaged and odd media, made from seeds: what must end with a code, and what a decoder must get right."""

from __future__ import annotations

import gzip
import io
import random
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.testing.media import Recipe, make, turn

CONTAINERS = {"mp4": "aac", "mkv": "aac", "ts": "aac", "avi": "mp3", "mov": "aac", "flv": "aac"}  # and their sound
SOUNDS = {"wav": "pcm_s16le", "mp3": "mp3", "ogg": "libopus", "flac": "flac", "m4a": "aac"}
LIES = ((b"mvhd", 16), (b"tkhd", 24), (b"mdhd", 16))


@dataclass(frozen=True, slots=True)
class Specimen:
    """One file. `frames` and `end_us` are the truth of odd files that are whole; None for damaged ones."""

    path: Path
    damage: str
    frames: int | None = None
    end_us: int | None = None


def damaged(folder: Path) -> Iterator[Specimen]:
    """Damage of ten kinds to six containers of pictures and sound and five of sound alone."""
    for suffix, sound in (CONTAINERS | SOUNDS).items():
        rate = 48_000 if sound == "libopus" else 44_100
        recipe = Recipe(seconds=3.0, fps=15, gop=15, sound_codec=sound, rate_hz=rate, picture=suffix in CONTAINERS)
        whole = make(folder / f"whole.{suffix}", recipe).path
        data = whole.read_bytes()
        whole.unlink()
        for kind, name, bytes_ in _damages(data):
            path = folder / f"{kind} {name}.{suffix}"
            path.write_bytes(bytes_)
            yield Specimen(path, kind)
        if suffix in ("mp4", "mov"):
            for box, offset in LIES:
                path = folder / f"lie {box.decode()}.{suffix}"
                path.write_bytes(overwritten(data, box, 4 + offset, struct.pack(">I", 0x7FFFFFFF)))
                yield Specimen(path, "lie about time")
            path = folder / f"lie size.{suffix}"
            path.write_bytes(overwritten(data, b"avc1", 28, struct.pack(">HH", 65535, 65535)))
            yield Specimen(path, "lie about size")


def _damages(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    rng = random.Random(7)
    for percent in (1, 3, 8, 25, 50, 75, 90, 99):
        yield "cut off", f"{percent} %", data[: len(data) * percent // 100]
    for level in range(12):
        yield "flips", f"{level + 1} in 4000", flipped(data, (level + 1) / 4000, level)
    for number in range(4):
        at = rng.randrange(len(data) // 2)
        yield "hole", str(number), data[:at] + data[at + rng.randrange(1, len(data) // 3) :]
    third = len(data) // 3
    yield "zeros", "4 KiB", data[:third] + bytes(4096) + data[third + 4096 :]
    yield "zeros", "tail", data[: 2 * third] + bytes(len(data) - 2 * third)
    yield "junk before", "512 B", rng.randbytes(512) + data
    yield "junk behind", "20 kB", data + rng.randbytes(20_000)
    yield "twice", "in one file", data + data
    yield "garbage", "20 kB", rng.randbytes(20_000)


def odd(folder: Path) -> Iterator[Specimen]:
    """Whole files that careless readers get wrong, with the truth."""
    rng = np.random.default_rng(1)
    vfr = tuple(int(t) for t in np.cumsum(rng.integers(200, 2_000, 60)) * 100)
    recipes = {
        "plain.mp4": Recipe(seconds=2, fps=15),
        "vfr.mkv": Recipe(times_us=vfr, seconds=vfr[-1] / 1e6),
        "vfr.mp4": Recipe(times_us=vfr, seconds=vfr[-1] / 1e6),
        "no sound.mp4": Recipe(seconds=2, fps=15, sound=False),
        "no picture.m4a": Recipe(seconds=2, picture=False),
        "8 kHz.wav": Recipe(seconds=2, picture=False, sound_codec="pcm_s16le", rate_hz=8_000),
        "8 bit.wav": Recipe(seconds=2, picture=False, sound_codec="pcm_u8", rate_hz=11_025),
        "float.wav": Recipe(seconds=2, picture=False, sound_codec="pcm_f32le", rate_hz=96_000),
        "ogg.ogg": Recipe(seconds=2, picture=False, sound_codec="libopus", rate_hz=48_000),
        "flac.flac": Recipe(seconds=2, picture=False, sound_codec="flac"),
        "late sound.mp4": Recipe(seconds=2, fps=15, sound_delay_s=1.5),
        "an hour in.mkv": Recipe(seconds=2, fps=15, start_s=3600),
        "an hour in.ts": Recipe(seconds=2, fps=15, start_s=3600),
        "10 bit.mkv": Recipe(seconds=1, fps=15, codec="ffv1", pixels="yuv422p10le"),
        "120 fps.mp4": Recipe(seconds=1, fps=120),
        "1 fps.mp4": Recipe(seconds=5, fps=1),
        "tiny.mp4": Recipe(seconds=1, fps=15, width=16, height=16),
        "narrow.mkv": Recipe(seconds=1, fps=15, width=16, height=480, codec="ffv1", pixels="yuv420p"),
        "black.mp4": Recipe(seconds=2, fps=15, black=True),
        "silent.mp4": Recipe(seconds=2, fps=15, tone_s=None, rate_hz=8_000),
        "mjpeg.avi": Recipe(seconds=1, fps=15, codec="mjpeg", pixels="yuvj420p", sound_codec="pcm_s16le"),
        "mpeg4.mp4": Recipe(seconds=1, fps=15, codec="mpeg4"),
        "animated.gif": Recipe(seconds=1, fps=10, codec="gif", pixels="rgb8", sound=False),
    }
    for name, recipe in recipes.items():
        made = make(folder / name, recipe)
        end = recipe.seconds + (recipe.sound_delay_s if recipe.sound else 0)
        yield Specimen(made.path, "odd", len(made.t_us), round(end * 1e6))
    for degrees in (90, 180, 270):
        made = make(folder / f"turned {degrees}.mp4", Recipe(seconds=1, fps=15))
        turn(made.path, degrees)
        yield Specimen(made.path, "turned", len(made.t_us), 1_000_000)


def not_media(folder: Path) -> Iterator[Specimen]:
    """Files that name other files, or are no media at all."""
    texts = {
        "empty.mp4": b"",
        "text.mp4": b"Dear diary, this is no film.\n" * 200,
        "hls.mp4": b"#EXTM3U\n#EXTINF:1.0,\nhttp://127.0.0.1:9/x\nfile:///etc/hostname\n#EXT-X-ENDLIST\n",
        "bom.mp4": b"\xef\xbb\xbf\n#EXTM3U\n#EXTINF:1.0,\nfile:///etc/hostname\n",
        "concat.mp4": b"ffconcat version 1.0\nfile '/etc/hostname'\n",
        "dash.mp4": b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>",
        "session.mp4": b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n",
        "titles.srt": b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n" * 30,
        "archive.mp4": b"PK\x03\x04" + random.Random(1).randbytes(4_000),
        "program.mp4": b"\x7fELF" + random.Random(2).randbytes(4_000),
    }
    for name, data in texts.items():
        (folder / name).write_bytes(data)
        yield Specimen(folder / name, "not media")


def apart(folder: Path) -> Iterator[Specimen]:
    """Picture and sound that do not begin and end together."""
    for suffix in ("mp4", "mkv", "ts"):
        for delay_s in (-1.5, 1.5):
            recipe = Recipe(seconds=2, fps=15, start_s=5, sound_delay_s=delay_s)
            yield Specimen(make(folder / f"sound by {delay_s} s.{suffix}", recipe).path, "apart")


def misnamed(folder: Path) -> Iterator[Specimen]:
    """Good files under other endings: what they are is told by their bytes."""
    made = make(folder / "right.mp4", Recipe(seconds=2, fps=15))
    other = make(folder / "right.mkv", Recipe(seconds=2, fps=15))
    for source, name in ((made, "wrong.mkv"), (made, "wrong.wav"), (made, "wrong.jpg"), (other, "wrong.mp4")):
        (folder / name).write_bytes(source.path.read_bytes())
        yield Specimen(folder / name, "misnamed", len(source.t_us), 2_000_000)
    made.path.unlink()
    other.path.unlink()


def archives(folder: Path) -> Iterator[Specimen]:
    """Tar files that no one should unpack without looking."""
    film = make(folder / "member.mp4", Recipe(seconds=1, fps=5, sound=False)).path.read_bytes()
    (folder / "member.mp4").unlink()
    plain = tarred({"a.mp4": film})
    links = {"link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "device": tarfile.CHRTYPE, "pipe": tarfile.FIFOTYPE}
    made = (
        {
            "plain.tar": plain,
            "nested.tar": tarred({"inner.tar": plain, "inner.tar.gz": gzip.compress(plain), "a.zip": b"PK" + film}),
            "up.tar": tarred({"../up.mp4": film, "a/../../up.mp4": film, "..\\up.mp4": film}),
            "root.tar": tarred({"/tmp/root.mp4": film, "C:\\root.mp4": film}),  # noqa: S108 - must never be written
            "names.tar": tarred({"a\x07.mp4": film, "e\u0301 \u202e.mp4": film, "n" * 2000 + ".mp4": film}),
            "bomb.tar.gz": gzip.compress(tarred({"a.mp4": bytes(80 << 20)}), 9),
            "gzip of gzip.tar.gz": gzip.compress(gzip.compress(plain)),
            "cut off.tar": plain[: len(plain) // 2],
            "cut off.tar.gz": gzip.compress(plain)[:-2000],
            "flipped.tar": flipped(plain, 0.01, 3),
            "flipped.tar.gz": flipped(gzip.compress(plain), 0.01, 4),
            "a zip.tar": b"PK\x03\x04" + random.Random(5).randbytes(4_000),
            "garbage.tgz": random.Random(6).randbytes(20_000),
            "empty.tar": b"",
            "zeros.tar": bytes(10_240),
            "lie about size.tar": overwritten(plain, b"a.mp4", 124, b"77777777777\0"),
            "twice.tar": tarred({"a.mp4": film, "b.txt": b"x"}) + plain,
            "damaged film.tar": tarred({"a.mp4": film[: len(film) // 2], "b.mp4": b"no film"}),
        }
        | {f"{name}.tar": tarred({}, (name, kind)) for name, kind in links.items()}
    )
    for name, data in made.items():
        (folder / name).write_bytes(data)
        yield Specimen(folder / name, "archive")


def tarred(members: dict[str, bytes], odd: tuple[str, bytes] | None = None) -> bytes:
    """A tar file; `odd`: one more member of another type, that points at /etc/hostname."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        if odd is not None:
            info = tarfile.TarInfo(f"{odd[0]}.mp4")
            info.type, info.linkname = odd[1], "/etc/hostname"
            tar.addfile(info)
    return out.getvalue()


def flipped(data: bytes, share: float, seed: int) -> bytes:
    """`data` with a share of its bytes replaced."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(max(1, int(len(out) * share))):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def overwritten(data: bytes, tag: bytes, offset: int, value: bytes) -> bytes:
    """`data` with `value` written `offset` bytes behind the start of `tag`."""
    at = data.index(tag) + offset
    return data[:at] + value + data[at + len(value) :]
