"""Children are forked, and yet each has its own limits, its own end, and nothing of its siblings."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from mien.core import US, MienError, Span
from mien.media import Decoder, spawn
from mien.testing.media import Recipe, make


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("zygote") / "clip.mp4", Recipe(seconds=2.0)).path


def frames_of(path: Path) -> bytes:
    with Decoder(path) as decoder:
        return b"".join(b.pixels.tobytes() + b.t_us.tobytes() for b in decoder.frames(Span(0, 2 * US), 5))


def gone(pid: int) -> bool:
    for _ in range(100):
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_one_zygote_with_one_thread_forks_all_children(clip: Path) -> None:
    with Decoder(clip) as one, Decoder(clip) as two:
        assert one.probe() == two.probe()
        parents = {psutil.Process(d._child.pid).ppid() for d in (one, two)}
        (zygote,) = parents
        assert zygote != os.getpid()
        assert psutil.Process(zygote).ppid() == os.getpid()
        assert psutil.Process(zygote).num_threads() == 1
        assert one._child.pid != two._child.pid


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's descriptors")
def test_a_child_holds_nothing_of_its_siblings(clip: Path) -> None:
    with Decoder(clip) as one, Decoder(clip) as two:
        one.probe()
        two.probe()
        end = time.monotonic() + 30
        while any(psutil.Process(d._child.pid).num_fds() > 4 for d in (one, two)):  # 0, 1, 2 and the way out
            assert time.monotonic() < end, "a child answers before it closes the file, and closes that soon after"
            time.sleep(0.01)
        pipes = [{os.readlink(p) for p in Path(f"/proc/{d._child.pid}/fd").iterdir()} for d in (one, two)]
        assert pipes[0] & pipes[1] == {"/dev/null"}
        one.close()
        assert len(list(two.frames(Span(0, 2 * US), 5))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads another process's limits")
def test_processor_time_counts_per_child(clip: Path) -> None:
    """The zygote and earlier children have spent theirs; a new child starts at nothing, and has its own limit."""
    with Decoder(clip) as decoder:
        decoder.probe()
        child = psutil.Process(decoder._child.pid)
        zygote = psutil.Process(child.ppid())
        assert child.rlimit(psutil.RLIMIT_CPU) == (4 * 3600, 4 * 3600)
        assert zygote.rlimit(psutil.RLIMIT_CPU)[0] == psutil.Process().rlimit(psutil.RLIMIT_CPU)[0]
        assert child.cpu_times().user < zygote.cpu_times().user


def test_killing_the_zygote_ends_its_children_and_the_next_source_gets_a_new_one(clip: Path) -> None:
    with Decoder(clip) as decoder:
        decoder.probe()
        pid = decoder._child.pid
        zygote = psutil.Process(pid).ppid()
        os.kill(zygote, signal.SIGKILL)
        assert gone(pid)
        with pytest.raises(MienError, match="died") as caught:
            decoder.scan()
        assert caught.value.code == "media.decoder-died"
    with Decoder(clip) as decoder:
        decoder.probe()
        assert psutil.Process(decoder._child.pid).ppid() not in (zygote, os.getpid())


def test_the_zygote_ends_with_its_parent_also_where_the_parent_is_killed(clip: Path) -> None:
    code = (
        "import sys, time, psutil; from mien.media import Decoder; d = Decoder(sys.argv[1]); d.probe();"
        "print(psutil.Process(d._child.pid).ppid(), d._child.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(clip)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        zygote, pid = map(int, parent.stdout.readline().split())
        parent.kill()
    assert gone(zygote)
    assert gone(pid)


def test_nothing_is_left_of_an_orderly_end(clip: Path) -> None:
    code = (
        "import sys, psutil; from mien.media import Decoder; d = Decoder(sys.argv[1]); d.probe();"
        "print(psutil.Process(d._child.pid).ppid()); d.close()"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(clip)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
    assert not psutil.pid_exists(int(said.stdout))


def test_without_fork_a_child_is_started_and_gives_the_same(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forked = frames_of(clip)
    monkeypatch.setattr(spawn, "_forked", lambda *_: None)
    with Decoder(clip) as decoder:
        decoder.probe()
        assert psutil.Process(decoder._child.pid).ppid() == os.getpid()
    assert frames_of(clip) == forked


def test_threads_may_ask_at_once(clip: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(frames_of, [clip] * 8))) == 1


def test_a_stopped_child_can_be_ended_from_another_thread(clip: Path) -> None:
    with Decoder(clip) as decoder, ThreadPoolExecutor(1) as pool:
        decoder.probe()
        os.kill(decoder._child.pid, signal.SIGSTOP)
        waiting = pool.submit(decoder.scan)
        time.sleep(0.2)
        decoder.stop()
        with pytest.raises(MienError, match="SIGKILL"):
            waiting.result(10)
