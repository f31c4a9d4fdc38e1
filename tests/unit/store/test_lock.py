"""Who holds a project is said by the lock itself, to other processes, and no longer than it is true."""

import json
import os
import signal
import subprocess
import sys

import pytest

from mien.core import MienError
from mien.store import Store, holder
from mien.store.lock import FILE

HOLD = "import sys; from pathlib import Path; from mien.store import Store\n" + (
    "store = Store(Path(sys.argv[1]), write=True); print('held', flush=True); sys.stdin.readline(); store.close()"
)
TRY = "import sys; from pathlib import Path; from mien.core import MienError; from mien.store import Store\n" + (
    "try:\n    Store(Path(sys.argv[1]), write=True)\nexcept MienError as error:\n    print(error.code, error.message)"
)


def start(code: str, root) -> subprocess.Popen:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code, str(root), "--some-option"], text=True, **pipes)


def test_a_second_process_is_told_who_holds_it_however_often_it_tries(tmp_path):
    with start(HOLD, tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        for _ in range(2):
            with start(TRY, tmp_path) as second:
                said = second.communicate()[0]
            assert said.startswith("store.busy another mien is writing to ")
            assert f"process {first.pid}, since 20" in said
            assert "--some-option" in said
        held = holder(tmp_path)
        assert held is not None
        assert held.pid == first.pid, "the tries have not wiped it out"
        first.communicate("\n")
    assert holder(tmp_path) is None
    assert (tmp_path / FILE).read_text() == ""
    with Store(tmp_path, write=True):
        assert holder(tmp_path).pid == os.getpid()


def test_the_words_of_a_dead_holder_count_for_nothing(tmp_path):
    with start(HOLD, tmp_path) as first:
        assert first.stdout.readline() == "held\n"
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert json.loads((tmp_path / FILE).read_text())["pid"] == first.pid
    assert holder(tmp_path) is None
    with Store(tmp_path, write=True):
        assert holder(tmp_path).pid == os.getpid()


def test_a_number_that_went_to_another_process_is_noticed(tmp_path):
    with Store(tmp_path, write=True):
        said = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps(said))
    assert holder(tmp_path) is not None
    (tmp_path / FILE).write_text(json.dumps({**said, "began": (said["began"] or 0) - 1}))
    assert holder(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({**said, "host": "elsewhere", "began": 1}))
    assert "on elsewhere" in str(holder(tmp_path)), "a writer on another machine cannot be asked"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_words_that_say_nothing_are_nobody(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    assert holder(tmp_path) is None
    with Store(tmp_path, write=True), pytest.raises(MienError, match="store.busy"):
        Store(tmp_path, write=True)
