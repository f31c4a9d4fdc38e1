"""Damaged, odd and hostile files: each ends ok, degraded or rejected with a code; the caller never dies or hangs."""

import os
import random
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.core import US, MienError, Span
from mien.media import Decoder, Limits, Scan, Status, hash_file, judge
from mien.testing.media import Recipe, make

OURS = {"media.decoder-failed", "media.stalled", "media.decoder-died"}
"""Codes that would mean that damage got through to our own code."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    recipe = Recipe(seconds=3.0, fps=15, gop=15)
    return {suffix: make(folder / f"good.{suffix}", recipe).path.read_bytes() for suffix in ("mp4", "mkv", "ts")}


def outcome(path: Path) -> tuple[Status, Scan | None]:
    """Everything the pipeline asks of a source, and how it ended."""
    scan: Scan | None = None
    try:
        hash_file(path)
        with Decoder(path, Limits(stall_s=10)) as decoder:
            decoder.probe()
            scan = decoder.scan()
            for batch in decoder.frames(Span(0, 5 * US), 5, 64):
                assert len(batch)
            assert len(decoder.sound(Span(0, US))) == 16_000
    except MienError as error:
        return judge(error), scan
    return judge(scan), scan


def flipped(data: bytes, share: float, seed: int) -> bytes:
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(max(1, int(len(out) * share))):
        out[rng.randrange(len(out))] = rng.randrange(256)
    return bytes(out)


def overwritten(data: bytes, tag: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(tag) + offset
    return data[:at] + value + data[at + len(value) :]


Damage = Callable[[bytes], bytes]
DAMAGE: dict[str, Damage] = {
    **{f"cut at {p} %": (lambda d, p=p: d[: len(d) * p // 100]) for p in (1, 25, 50, 75, 99)},
    **{f"flips {s:.2%}": (lambda d, s=s: flipped(d, s, 7)) for s in (0.0005, 0.003, 0.03)},
    "zero run": lambda d: d[: len(d) // 3] + bytes(4096) + d[len(d) // 3 + 4096 :],
    "hole": lambda d: d[: len(d) // 2] + d[len(d) // 2 + len(d) // 5 :],
    "junk head": lambda d: random.Random(1).randbytes(512) + d,
}


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_ends_with_a_code(tmp_path: Path, good: dict[str, bytes], damage: str, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    path.write_bytes(DAMAGE[damage](good[suffix]))
    status, scan = outcome(path)
    assert status.code not in OURS
    assert (status.state == "ok") == (status.code is None)
    if status.state != "rejected":
        assert scan is not None
        assert scan.tally.frames or scan.sound_us
    if suffix == "mkv" and damage in ("cut at 25 %", "cut at 50 %", "cut at 75 %"):
        assert (status.state, status.code) == ("degraded", "media.truncated")
        assert scan is not None
        assert scan.coverage is not None
        assert scan.sound_us is not None
        truth = min(scan.tally.frames / 45, scan.sound_us / (3 * US))  # of 45 planted frames and 3 s of sound
        assert abs(scan.coverage - truth) < 0.03  # damage is a figure, never silent


NOT_MEDIA: dict[str, tuple[bytes, str]] = {
    "empty.mp4": (b"", "media.empty"),
    "text.mp4": (b"Dear diary, this is no film.\n" * 200, "media.unknown-format"),
    "random.mkv": (random.Random(3).randbytes(20_000), "media.unknown-format"),
    "hls.mp4": (b"#EXTM3U\n#EXTINF:1.0,\nhttp://127.0.0.1:9/x\nfile:///etc/hostname\n", "media.playlist"),
    "bom.mp4": (b"\xef\xbb\xbf\n#EXTM3U\n#EXTINF:1.0,\nfile:///etc/hostname\n", "media.playlist"),
    "concat.mp4": (b"ffconcat version 1.0\nfile '/etc/hostname'\n", "media.playlist"),
    "dash.mp4": (b"<?xml version='1.0'?><MPD><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>", "media.playlist"),
    "session.mp4": (b"v=0\no=- 0 0 IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n", "media.playlist"),
    "titles.srt": (b"1\n00:00:00,000 --> 00:00:01,000\nHello\n\n" * 30, "media.unknown-format"),
}


@pytest.mark.parametrize("name", NOT_MEDIA)
def test_what_is_no_media_is_rejected(tmp_path: Path, name: str) -> None:
    data, code = NOT_MEDIA[name]
    (tmp_path / name).write_bytes(data)
    assert outcome(tmp_path / name)[0].code == code


@pytest.mark.parametrize("kind", ["fifo", "folder", "device", "loop", "missing"])
def test_what_is_no_file_is_rejected_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.mp4"
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
    status, _ = outcome(path)
    assert (status.state, status.code) == ("rejected", "media.not-found" if kind == "missing" else "media.not-a-file")


@pytest.mark.parametrize(("box", "offset"), [(b"mvhd", 16), (b"tkhd", 24), (b"mdhd", 16)])
def test_headers_that_lie_about_time(tmp_path: Path, good: dict[str, bytes], box: bytes, offset: int) -> None:
    path = tmp_path / "lie.mp4"
    path.write_bytes(overwritten(good["mp4"], box, 4 + offset, struct.pack(">I", 0x7FFFFFFF)))
    status, scan = outcome(path)
    assert status.code not in OURS
    assert scan is not None
    assert 2.5 * US < scan.end_us < 3.5 * US or status.state == "degraded"


def test_a_header_that_lies_about_its_size(tmp_path: Path, good: dict[str, bytes]) -> None:
    path = tmp_path / "huge.mp4"
    path.write_bytes(overwritten(good["mp4"], b"avc1", 28, struct.pack(">HH", 65535, 65535)))
    status, _ = outcome(path)
    assert status.code not in OURS


@pytest.mark.parametrize(("side", "code"), [(12_000, "media.too-large"), (32_000, "media.no-streams")])
def test_pictures_beyond_the_limit_are_refused(tmp_path: Path, side: int, code: str) -> None:
    """144 million pixels are above our limit, a billion are above libav's own."""
    import zlib

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packed = zlib.compress(bytes(1 << 20), 9)
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(bomb)
    assert outcome(tmp_path / "bomb.png")[0].code == code


def test_a_failure_of_our_own_does_not_pass_for_damage(tmp_path: Path, good: dict[str, bytes]) -> None:
    path = tmp_path / "good.mp4"
    path.write_bytes(good["mp4"])
    with Decoder(path) as decoder, pytest.raises(MienError) as caught:
        list(decoder._request("frames", start_us="no number", end_us=1, fps=[1, 1], max_side_px=None))
    assert caught.value.code == "media.decoder-failed"


def test_good_files_are_ok_and_the_batch_goes_on(tmp_path: Path, good: dict[str, bytes]) -> None:
    """The damaged ones in between change nothing: without this, rejecting everything would pass the tests above."""
    states, began = [], time.monotonic()
    for i, (suffix, data) in enumerate(good.items()):
        for name, content in ((f"a{i}.{suffix}", data), (f"b{i}.{suffix}", data[: len(data) // 50])):
            (tmp_path / name).write_bytes(content)
            states.append(outcome(tmp_path / name)[0].state)
    assert states[::2] == ["ok"] * 3
    assert "rejected" in states[1::2]
    assert time.monotonic() - began < 60  # six files: none may hang into its deadlines
