"""Decoded once: what a scan keeps is, to the bit, what decoding again gives; else it is not kept."""

import errno
import hashlib
import os
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.core import US, Span
from mien.media import Cut, Decoder, Scanning, Spool, Spooled, SpoolLostError
from mien.testing.corpus import flipped
from mien.testing.media import Recipe, make, turn

VFR = tuple(np.cumsum(np.r_[0, np.random.default_rng(3).integers(200, 2000, 39)] * 100).tolist())
GOOD = {
    "cuts.mp4": Recipe(cuts_s=(1.2, 2.4)),
    "long take.mkv": Recipe(seconds=5.0, sound_codec="flac"),
    "vfr.mp4": Recipe(times_us=VFR, seconds=4.5, cuts_s=(2.0,)),
    "vfr.mkv": Recipe(times_us=VFR, seconds=4.5),
    "late.ts": Recipe(seconds=1.6, start_s=3600.0),
    "late sound.mp4": Recipe(seconds=1.6, sound_delay_s=0.3),
    "no sound.mp4": Recipe(seconds=1.6, sound=False),
    "wide.mp4": Recipe(seconds=1.2, width=320),
    "voice.wav": Recipe(seconds=1.9, picture=False, sound_codec="pcm_s16le", rate_hz=48_000),
    "voice.ogg": Recipe(seconds=3.0, picture=False, sound_codec="libopus", rate_hz=48_000),
    "turned.mp4": Recipe(seconds=1.2),
    "moving.gif": Recipe(seconds=1.0, codec="gif", pixels="rgb8", fps=10, sound=False),
}


def scanned(path: Path, spool: Spool) -> list[tuple[Cut, Spooled | None]]:
    with Scanning(path, 2 * US, shelf=spool.shelf(5.0, 200, 2 * US)) as scanning:
        return [(cut, scanning.spooled(cut.span)) for cut in scanning]


def pictures(batches) -> list[tuple[tuple[int, ...], bytes, list[int]]]:
    return [(b.pixels.shape, b.pixels.tobytes(), b.t_us.tolist()) for b in batches]


def compared(path: Path, spool: Spool) -> tuple[int, int, int]:
    """Clips, and of how many the frames and the sound were kept: each compared with a decoder's, bit by bit."""
    found = scanned(path, spool)
    with Decoder(path) as decoder:
        for cut, kept in found:
            sound = decoder.sound(cut.span)
            if kept is not None and kept.pictures is not None:
                assert pictures(kept.frames()) == pictures(decoder.frames(cut.span, 5.0, 200))
            if kept is not None and kept.sound is not None:
                heard = kept.samples()
                assert (heard.t0_us, heard.samples.tobytes()) == (sound.t0_us, sound.samples.tobytes())
    seen = sum(kept is not None and kept.pictures is not None for _, kept in found)
    heard = sum(kept is not None and kept.sound is not None for _, kept in found)
    for _, kept in found:
        spool.release(kept)
    assert spool.held_bytes == 0
    return len(found), seen, heard


@pytest.fixture
def spool(tmp_path: Path):
    folder = tmp_path / "spool"
    folder.mkdir()
    made = Spool(folder, 256 << 20)
    yield made
    made.close()
    assert os.listdir(folder) == []


@pytest.mark.parametrize("name", GOOD)
def test_what_is_kept_is_what_decoding_again_gives(tmp_path: Path, spool: Spool, name: str) -> None:
    made = make(tmp_path / name, GOOD[name])
    if name.startswith("turned"):
        turn(made.path, 90)
    clips, seen, heard = compared(made.path, spool)
    assert seen == clips, "of a good source every frame is kept"
    assert heard == (clips == 1 and GOOD[name].sound), "and the sound of a clip that is the whole source"


def test_a_still_image_and_a_change_of_size_are_kept(tmp_path: Path, spool: Spool) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "still.png"), np.full((30, 400, 3), (10, 200, 30), np.uint8))
    assert compared(tmp_path / "still.png", spool) == (1, 1, 0)
    terms = {"seconds": 1.0, "codec": "mpeg2video", "sound": False}
    parts = [make(tmp_path / f"{w}.ts", Recipe(width=w, start_s=i, **terms)) for i, w in enumerate((160, 320))]
    (tmp_path / "sizes.ts").write_bytes(b"".join(part.path.read_bytes() for part in parts))
    found = scanned(tmp_path / "sizes.ts", spool)
    assert {place.shape for _, kept in found if kept for _, place in kept.pictures or ()} == {
        (120, 160, 3),
        (75, 200, 3),
    }
    for _, kept in found:
        spool.release(kept)
    assert compared(tmp_path / "sizes.ts", spool) == (2, 2, 0)


def test_of_a_damaged_source_only_what_repeats_is_kept(tmp_path: Path, spool: Spool) -> None:
    data = make(tmp_path / "whole.ts", Recipe(seconds=4.0, fps=15, gop=15)).path.read_bytes()
    clips = seen = 0
    for seed in range(4):
        path = tmp_path / f"{seed}.ts"
        path.write_bytes(flipped(data, (seed + 1) / 4000, seed))
        some, of_them, _ = compared(path, spool)
        clips, seen = clips + some, seen + of_them
    assert 0 < seen < clips


def test_a_damaged_file_decodes_alike_every_time(tmp_path: Path) -> None:
    """With several threads libav conceals damage in whatever order they come."""
    for suffix, seed in (("mp4", 2), ("ts", 4), ("mov", 11)):
        data = make(tmp_path / f"whole.{suffix}", Recipe(seconds=3.0, fps=15, gop=15)).path.read_bytes()
        path = tmp_path / f"flips.{suffix}"
        path.write_bytes(flipped(data, (seed + 1) / 4000, seed))
        seen = set()
        for _ in range(5):
            with Decoder(path) as decoder:
                seen.add(b"".join(b.pixels.tobytes() for b in decoder.frames(Span(0, 3 * US), 5)))
        assert len(seen) == 1


# ---------------------------------------------------------------- where it lies


def test_it_lies_in_files_without_a_name_that_nobody_else_may_read(tmp_path: Path, spool: Spool) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=1.2))
    ((_, kept),) = scanned(made.path, spool)
    assert kept is not None
    assert spool.held_bytes > 6 * 160 * 120 * 3
    assert os.listdir(tmp_path / "spool") == []
    assert {os.fstat(f).st_mode & 0o777 for f in spool._files} == {0o600}
    assert {os.fstat(f).st_nlink for f in spool._files} == {0}
    spool.release(kept)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="other processes read through /proc")
def test_another_process_reads_it_as_long_as_it_is_held(tmp_path: Path, spool: Spool) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=1.2))
    ((_, kept),) = scanned(made.path, spool)
    assert kept is not None
    (tmp_path / "kept").write_bytes(pickle.dumps(kept))
    code = (
        "import pickle, sys, hashlib; k = pickle.load(open(sys.argv[1], 'rb'));"
        "seen = b''.join(b.pixels.tobytes() for b in k.frames()) + k.samples().samples.tobytes();"
        "print(hashlib.sha256(seen).hexdigest())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "kept")]
    here = b"".join(b.pixels.tobytes() for b in kept.frames()) + kept.samples().samples.tobytes()
    assert subprocess.check_output(command, text=True).strip() == hashlib.sha256(here).hexdigest()
    spool.release(kept)
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "SpoolLostError" in said.stderr


def test_what_does_not_carry_the_seal_is_not_taken_for_frames(tmp_path: Path, spool: Spool) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=1.2))
    ((_, kept),) = scanned(made.path, spool)
    assert kept is not None
    with pytest.raises(SpoolLostError):
        list(replace(kept, seal=bytes(16)).frames())
    with pytest.raises(SpoolLostError):  # as on another machine: a process there, and whatever it has open
        list(replace(kept, owner=os.getppid()).frames())
    spool.release(kept)


# ---------------------------------------------------------------- how much


def test_above_its_size_clips_are_decoded_again_and_nothing_stands_still(tmp_path: Path) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=8.0, cuts_s=(2.0, 4.0, 6.0)))
    frame = 160 * 120 * 3
    small = Spool(tmp_path, 15 * frame)
    found, most = [], 0
    with Scanning(made.path, 2 * US, shelf=small.shelf(5.0, 200, 2 * US)) as scanning:
        for cut in scanning:  # nothing is ever released
            found.append(scanning.spooled(cut.span))
            most = max(most, small.held_bytes)
    assert 0 < most <= 15 * frame
    assert any(k is not None and k.pictures is not None for k in found)
    assert any(k is None or k.pictures is None for k in found)
    small.close()
    assert Spool(tmp_path, 0).shelf(5.0, 200, US) is None


def test_a_scan_does_not_run_away_from_the_analysis(tmp_path: Path) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=24.0, fps=10, cuts_s=tuple(range(2, 24, 2)), sound=False))
    clip = 10 * 160 * 120 * 3
    spool = Spool(tmp_path, 16 * clip)  # in files of two clips each
    most = 0
    with Scanning(made.path, 2 * US, shelf=spool.shelf(5.0, 200, 2 * US)) as scanning:
        for cut in scanning:
            kept = scanning.spooled(cut.span)
            threading.Event().wait(0.1)  # the analysis
            most = max(most, spool.held_bytes)
            assert kept is not None
            spool.release(kept)
    assert clip <= most <= 8 * clip  # of twelve: the one in hand, two that are ready, one that is being found


def test_a_full_disk_is_no_error(tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(tmp_path / "a.mp4", Recipe(cuts_s=(1.2, 2.4)))
    write, left = os.pwrite, [8]

    def pwrite(fd, data, offset):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(fd, data, offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    clips, seen, _ = compared(made.path, spool)
    assert (clips, seen) == (3, 1)


def test_leaving_a_scan_half_way_frees_everything(tmp_path: Path, spool: Spool) -> None:
    made = make(tmp_path / "a.mp4", Recipe(seconds=8.0, cuts_s=(2.0, 4.0, 6.0)))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with Scanning(made.path, 2 * US, shelf=spool.shelf(5.0, 200, 2 * US)) as scanning:
        next(iter(scanning))
    assert spool.held_bytes == 0
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before + 1  # the zygote's line, if this was the first
