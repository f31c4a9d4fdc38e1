"""The child: it is limited, it can be lost, and its parent lives on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from mien.core import US, MienError, Span
from mien.media import Decoder, Limits, hash_file
from mien.testing.media import Recipe, make

ALL = Span(0, 60 * US)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("child") / "clip.mp4", Recipe(width=640, height=360, seconds=6.0)).path


def code_of(call: object) -> str:
    with pytest.raises(MienError) as caught:
        call()  # type: ignore[operator]
    return caught.value.code


def test_a_frozen_child_is_killed(clip: Path) -> None:
    with Decoder(clip, Limits(stall_s=0.7)) as decoder:
        decoder.probe()
        pid = decoder._child.pid
        os.kill(pid, signal.SIGSTOP)
        assert code_of(decoder.scan) == "media.stalled"
        assert not psutil.pid_exists(pid)
        assert code_of(decoder.scan) == "media.decoder-died"


def test_a_killed_child_is_an_error_with_a_code(clip: Path) -> None:
    with Decoder(clip) as decoder:
        frames = decoder.frames(ALL, 25, batch=1)
        next(frames)
        os.kill(decoder._child.pid, signal.SIGKILL)
        assert code_of(lambda: list(frames)) == "media.decoder-died"


def test_a_new_request_ends_the_running_one(clip: Path) -> None:
    with Decoder(clip) as decoder:
        old = decoder.frames(ALL, 25, batch=1)
        first = next(old)
        new = [int(t) for b in decoder.frames(Span(US, 2 * US), 5) for t in b.t_us]
        assert new == [US + 200_000 * i for i in range(5)]
        assert code_of(lambda: next(old)) == "media.superseded"
        assert first.t_us.tolist() == [0]


def test_the_child_runs_ahead_but_not_away(clip: Path) -> None:
    limits = Limits(ahead_bytes=4 << 20)
    with Decoder(clip, limits) as decoder:
        frames = decoder.frames(ALL, 25, batch=1)
        next(frames)
        held = psutil.Process(decoder._child.pid)
        time.sleep(1.0)
        before = held.cpu_times().user
        time.sleep(0.5)
        assert held.cpu_times().user - before < 0.1  # it waits: 150 frames of 0.7 MB do not fit into 4 MiB
        assert sum(len(b) for b in frames) == 149


def test_memory_beyond_the_limit_is_refused_not_swapped(clip: Path) -> None:
    with Decoder(clip, Limits(max_pixels=1000)) as decoder:
        assert code_of(decoder.probe) == "media.too-large"


def test_the_child_has_limits(clip: Path) -> None:
    with Decoder(clip) as decoder:
        decoder.probe()
        child = psutil.Process(decoder._child.pid)
        assert child.rlimit(psutil.RLIMIT_AS) == (2 << 30, 2 << 30)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        assert not child.net_connections()


def test_the_child_dies_with_its_parent(clip: Path) -> None:
    code = (
        "import sys, time; from mien.media import Decoder; d = Decoder(sys.argv[1]); d.probe();"
        "print(d._child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(clip)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert psutil.pid_exists(pid)
        parent.kill()
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return
        time.sleep(0.1)
    pytest.fail("the child outlived its parent")


def test_no_descriptors_are_lost(clip: Path) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    with Decoder(clip) as decoder:
        decoder.probe()
    before = descriptors()
    for _ in range(5):
        decoder = Decoder(clip)
        decoder.close()
        decoder.close()
    assert descriptors() == before


def test_hash_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "link").symlink_to("a")
    assert hash_file(tmp_path / "link") == hash_file(tmp_path / "a")


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = "import sys, mien.media, mien.media.source, mien.media.shots; print(*{'av', 'cv2'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == ""


def test_memory_stays_flat_over_twenty_minutes(tmp_path: Path) -> None:
    made = make(tmp_path / "long.mp4", Recipe(seconds=1200.0, fps=5, sound=False))
    with Decoder(made.path, Limits(ahead_bytes=1 << 20)) as decoder:  # else how full the queue is would decide
        decoder.scan()
        child, parent = psutil.Process(decoder._child.pid), psutil.Process()
        seen: list[tuple[int, int]] = [
            (child.memory_info().rss, parent.memory_info().rss) for _ in decoder.frames(Span(0, 1200 * US), 5, batch=64)
        ]
    half = len(seen) // 2
    for side in zip(*seen, strict=True):
        assert max(side[half:]) < 1.1 * max(side[:half])
