"""A disk that is really full: a code with a hint, a consistent project, and the next run with space completes."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.core import MienError
from mien.store import StageResult, Store, canonical_dump

WHEN = {"run_id": "run-1", "at_utc": "2026-01-01T00:00:00"}
CLIPS = 40


def result(n: int) -> StageResult:
    """Noise, which does not compress: 8 kB of it lie packed, 160 kB in a file."""
    values = np.random.default_rng(n).random(20_000 if n % 2 else 1_000)
    return StageResult(f"clip-{n:02d}", "one", "k", [], {f"one/clip-{n:02d}": pa.table({"value": values})})


def filled(root: Path) -> tuple[int, MienError | None]:
    """How many results were acknowledged, and what the store said then."""
    done = 0
    try:
        with Store(root, write=True) as store:
            for n in range(CLIPS):
                if store.stage(f"clip-{n:02d}", "one") is None:
                    store.commit(result(n), **WHEN)
                done += 1
    except MienError as error:
        return done, error
    return done, None


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None]]:
    """3 MiB of tmpfs at a folder; gives what makes it larger. Skips where nothing may be mounted."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], check=False, capture_output=True)
    if made.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True) and None
    finally:
        subprocess.run(["umount", folder], check=True)


@contextlib.contextmanager
def short_files(folder: Path) -> Iterator[Callable[[], None]]:
    """No file may grow beyond 100 KiB of noise or so (RLIMIT_FSIZE): for machines where nothing can be mounted."""
    before, held = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        yield lift
    finally:
        lift()
        signal.signal(signal.SIGXFSZ, held)


@pytest.mark.parametrize("disk", [small_disk, short_files])
def test_a_full_disk(
    tmp_path: Path, disk: Callable[[Path], contextlib.AbstractContextManager[Callable[[], None]]]
) -> None:
    plain, small = tmp_path / "plain", tmp_path / "small"
    plain.mkdir(), small.mkdir()
    assert filled(plain) == (CLIPS, None)
    with disk(small) as enlarge:
        root = small / "project"
        root.mkdir()
        done, error = filled(root)
        assert error is not None
        assert (error.code, bool(error.hint)) == ("store.write-failed", True)
        assert 2 < done < CLIPS
        with Store(root) as store:  # who looks at it meanwhile
            assert store.integrity() == []
            assert len(store.stages()) == done
        again, error = filled(root)  # still full: no less is there, and the same is said
        assert again >= done
        assert error is None or error.code == "store.write-failed"
        enlarge()
        assert filled(root) == (CLIPS, None)
        with Store(root) as store, Store(plain) as other:
            assert store.integrity() == []
            assert canonical_dump(store) == canonical_dump(other)
        named = {f"{n}" for n in (root / "arrays").rglob("*.parquet")}
        assert len(named) == CLIPS // 2
        assert not list((root / "arrays").rglob("*.tmp"))
        shutil.rmtree(root)
