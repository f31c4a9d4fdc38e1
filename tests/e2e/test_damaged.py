"""Damaged, odd and hostile files: each ends ok, degraded or rejected with a code; the caller never dies or hangs."""

import contextlib
import os
import random
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mien.core import US, Context, MienError, Span
from mien.media import Decoder, Limits, Scan, Status, hash_file, judge
from mien.pipeline.inputs import Entry, Inputs, Refused, Vault, discover
from mien.testing.corpus import Specimen, apart, archives, damaged, misnamed, not_media, odd
from mien.testing.media import Recipe, make

OURS = {"media.decoder-failed", "media.stalled", "media.decoder-died"}
"""Codes that would mean that damage got through to our own code."""


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("good")
    recipe = Recipe(seconds=3.0, fps=15, gop=15)
    return {suffix: make(folder / f"good.{suffix}", recipe).path.read_bytes() for suffix in ("mp4", "mkv", "ts")}


Met = tuple[Specimen, Status, Scan | None, float]
peaks: list[int] = []
"""The most memory that decoding children held, in KiB."""


def outcome(path: Path) -> tuple[Status, Scan | None]:
    """Everything the pipeline asks of a source, and how it ended."""
    scan: Scan | None = None
    try:
        hash_file(path)
        with Decoder(path, Limits(stall_s=10)) as decoder:
            try:
                decoder.probe()
                scan = decoder.scan()
                for batch in decoder.frames(Span(0, 5 * US), 5, 64):
                    assert len(batch)
                assert len(decoder.sound(Span(0, US))) == 16_000
            finally:
                peaks.append(held_kib(decoder._child.pid))
    except MienError as error:
        return judge(error), scan
    return judge(scan), scan


def held_kib(pid: int) -> int:
    """The most memory a process ever held; 0 where it is gone or the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


def sampled(specimens: list[Specimen]) -> list[Specimen]:
    """Four of each kind, drawn by a seed, and those whose truth a test below knows."""
    kinds: dict[str, list[Specimen]] = {}
    for specimen in specimens:
        kinds.setdefault(specimen.damage, []).append(specimen)
    drawn = {s.path for kind in kinds.values() for s in random.Random(20261122).sample(kind, min(4, len(kind)))}
    known = {f"cut off {p} %.mkv" for p in (25, 50, 75)}
    return [s for s in specimens if s.path in drawn or s.path.name in known]


@pytest.fixture(scope="module", params=["sample", pytest.param("all", marks=pytest.mark.slow)])
def corpus(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Met]]:
    """Specimens through everything the pipeline asks of a source, two at a time, by kind."""

    def met(specimen: Specimen) -> Met:
        began = time.monotonic()
        return (specimen, *outcome(specimen.path), time.monotonic() - began)

    folder = tmp_path_factory.mktemp("corpus")
    specimens = [*damaged(folder), *odd(folder), *apart(folder), *misnamed(folder), *not_media(folder)]
    assert len(specimens) >= 300
    peaks.clear()
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(met, sampled(specimens) if request.param == "sample" else specimens))
    kinds: dict[str, list[Met]] = {}
    for row in rows:
        kinds.setdefault(row[0].damage, []).append(row)
    return kinds


def test_300_files_in_15_classes_end_with_a_code(corpus: dict[str, list[Met]]) -> None:
    """All of them with `-m slow`, else about 60."""
    rows = [row for kind in corpus.values() for row in kind]
    assert (len(rows) >= 55, len(corpus) >= 15) == (True, True)
    wrong = [
        (specimen.path.name, status.state, status.code, round(took, 1))
        for specimen, status, scan, took in rows
        if status.code in OURS
        or (status.state == "ok") != (status.code is None)
        or (status.state != "rejected" and not (scan and (scan.tally.frames or scan.sound_us)))
        or took > 30  # two at a time on a busy machine; a hang would take its 10 s deadline several times over
    ]
    for kind, members in corpus.items():
        states = [status.state for _, status, *_ in members]
        print(kind, {state: states.count(state) for state in ("ok", "degraded", "rejected")})
    longest = max(took for *_, took in rows)
    print(f"{len(rows)} files, the slowest {longest:.1f} s, a decoding child held {max(peaks) >> 10} MiB at most")
    assert wrong == []
    assert max(peaks) < 1 << 20


@pytest.mark.parametrize("context", ["research", "care"])
def test_hostile_archives_end_with_a_code(tmp_path: Path, context: Context) -> None:
    """Nothing lands outside the project's own folder, and nothing a decoder then meets goes unnamed."""
    folder, root = tmp_path / "given", tmp_path / "project"
    folder.mkdir()
    root.mkdir()
    for specimen in archives(folder):
        began = time.monotonic()
        found = list(discover([specimen.path], Inputs(), Vault(root, context)))
        assert time.monotonic() - began < 30, specimen.path.name
        for one in found:
            if isinstance(one, Refused):
                assert one.error.code.startswith("input."), (specimen.path.name, one.error)
                continue
            for path in one.media:
                assert path.is_relative_to(root / "media"), specimen.path.name
                state = outcome(path)[0]
                assert (state.state == "ok") == (state.code is None)
                assert state.code not in OURS
        codes = {one.error.code for one in found if isinstance(one, Refused)}
        whole = [one for one in found if isinstance(one, Entry) and one.media]
        if context == "care":
            assert codes == {"input.care-no-copies"} or not found or specimen.path.stat().st_size == 0, specimen.path
            assert not whole
        elif specimen.path.name == "plain.tar":
            assert len(whole) == 1  # without this, refusing everything would pass
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and p.parent != folder and not p.is_relative_to(root)]
    assert outside == []
    assert sum(p.stat().st_size for p in root.rglob("*") if p.is_file()) < 200 << 20
    assert not list(root.rglob(".part-*"))


def test_odd_but_whole_files_are_decoded_right(corpus) -> None:
    """Without this, rejecting everything would pass the test above."""
    for specimen, status, scan, _ in corpus["odd"] + corpus["turned"] + corpus["misnamed"]:
        assert (specimen.path.name, status.state, status.code) == (specimen.path.name, "ok", None)
        assert scan is not None
        assert (specimen.path.name, scan.tally.frames) == (specimen.path.name, specimen.frames)
        assert specimen.end_us is not None
        assert abs(scan.end_us - specimen.end_us) < 250_000, specimen.path.name
        assert scan.coverage is None or scan.coverage > 0.98


def test_coverage_tells_how_much_is_missing(corpus) -> None:
    found = 0
    for specimen, status, scan, _ in corpus["cut off"]:
        if specimen.path.suffix == ".mkv" and any(f"{p} %" in specimen.path.name for p in (25, 50, 75)):
            assert (status.state, status.code) == ("degraded", "media.truncated")
            truth = min(scan.tally.frames / 45, scan.sound_us / (3 * US))  # of 45 planted frames and 3 s of sound
            assert abs(scan.coverage - truth) < 0.03  # damage is a figure, never silent
            found += 1
    assert found == 3


def test_what_is_no_media_says_so(corpus) -> None:
    codes = {specimen.path.name: status.code for specimen, status, *_ in corpus["not media"]}
    playlists = {"hls.mp4", "bom.mp4", "concat.mp4", "dash.mp4", "session.mp4"}
    said = dict.fromkeys(playlists, "media.playlist") | {"empty.mp4": "media.empty"}
    assert codes == {name: said.get(name, "media.unknown-format") for name in codes}


def test_lies_about_time_do_not_reach_the_clock(corpus) -> None:
    for specimen, status, scan, _ in corpus["lie about time"]:
        assert scan is not None, specimen.path.name
        assert 2.5 * US < scan.end_us < 3.5 * US or status.state == "degraded", specimen.path.name


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
