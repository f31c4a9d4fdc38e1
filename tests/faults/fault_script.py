"""Runs of a small real project (no models, scripted media) under faults: `python fault_script.py FOLDER MODE …`.

The shim is loaded into this process, so that hundreds of runs cost no more than themselves. Answers JSON on stdout.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_shim import Shim
from orders import ORDERS
from scripted_media import install

from mien.core import MienError
from mien.pipeline import Project
from mien.pipeline.config import Stack
from mien.store import Store, arrays, canonical_dump

SHIM = Shim()
OFF = "".join(f'{slot} = "off"\n' for slot in Stack.model_fields)
SETTINGS = f"[analysis]\nmax_clip_s = 2.0\n[run]\nrunner = 'inline'\nworkers = 1\n[stack]\n{OFF}"
FAULTS = {"EIO": (errno.EIO, False), "ENOSPC": (errno.ENOSPC, True)}  # a bad sector once; a disk that stays full


def template(folder: Path) -> tuple[Path, Path]:
    """A project that has not run yet, and its input."""
    root, clip = folder / "new", folder / "clip.mp4"
    clip.write_bytes(b"scripted")
    Project.init(root, "research").close()
    text = (root / "mien.toml").read_text().split("[analysis]")[0]
    (root / "mien.toml").write_text(text + SETTINGS)
    return root, clip


def run(root: Path, clip: Path, acknowledge: Any = lambda unit, stage: None) -> tuple[str, set[tuple[str, str]]]:
    """How a run ended (`ok`, the code of its error, or what else was raised), and the results it acknowledged."""
    known: set[tuple[str, str]] = set()

    def listener(event: Any) -> None:
        if event.kind == "stage":
            known.add((event.unit, event.stage))
            acknowledge(event.unit, event.stage)

    try:
        with contextlib.closing(Project.open(root)) as project:
            outcome = project.run([clip], listener=listener)
        return ("ok" if not outcome.failures else "failures: " + outcome.failures[0].code), known
    except MienError as error:
        return (error.code if error.hint else f"{error.code} without a hint"), known
    except Exception as error:  # noqa: BLE001 - what a user would see as a crash
        return f"crash: {type(error).__name__}: {error}", known


def dump(root: Path) -> str:
    with Store(root) as store:
        assert store.integrity() == [], store.integrity()
        return canonical_dump(store)


def nth(folder: Path, fault: str, every: int, first: int) -> dict[str, Any]:
    """Let the k-th change fail, for k = first, first + every, … until a run passes without it."""
    new, clip = template(folder)
    clean, root = folder / "clean", folder / "project"
    shutil.copytree(new, clean)
    assert run(clean, clip)[0] == "ok"
    expected, code, for_good = dump(clean), *FAULTS[fault]
    found: dict[str, Any] = {"changes": 0, "tried": 0, "ends": {}, "wrong": []}
    for k in range(first, 1_000_000, every):
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(new, root)
        SHIM.watch(root)
        SHIM.fail(k, code, for_good=for_good)
        end, known = run(root, clip)
        reached = SHIM.count
        SHIM.watch(None)
        if reached <= k:
            assert end == "ok", end
            found["changes"] = reached
            return found
        found["tried"] += 1
        found["ends"][end] = found["ends"].get(end, 0) + 1
        found["wrong"] += [[k, end, said] for said in wrong(root, clip, end, known, expected)]
    raise AssertionError("it never passed")


def wrong(root: Path, clip: Path, end: str, known: set[tuple[str, str]], expected: str) -> Iterator[str]:
    """What a run that ended so must not have left."""
    if not (end == "ok" or end.removeprefix("failures: ").startswith("store.")):
        yield "no code of the store"
    with Store(root) as store:
        torn = store.integrity()
        lost = known - {(s.unit, s.stage) for s in store.stages() if s.key}
    if torn or lost:
        yield f"torn {torn}, lost {sorted(lost)}"
    again, _ = run(root, clip)
    if again != "ok" or dump(root) != expected:
        yield f"the next run: {again}"


def recorded(folder: Path, names: list[str]) -> dict[str, Any]:
    """One run in each order, with every change written to `FOLDER/ORDER/log`; `before` is what was durable at first.

    Each in a fork of this process, as the wrong ones break it.
    """
    said: dict[str, Any] = {}
    (folder / "first").mkdir()
    assert run(*template(folder / "first"))[0] == "ok"  # imports whatever a run needs, once
    for name in names:
        home = folder / name
        home.mkdir()
        child = os.fork()
        if not child:
            (home / "said").write_text(json.dumps(_recorded(home, name)))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        said[name] = json.loads((home / "said").read_text())
    return said


def _recorded(home: Path, name: str) -> dict[str, Any]:
    new, clip = template(home)
    shutil.copytree(new, home / "before")
    arrays.pack = lambda table: None if table.num_columns % 2 else _packed(table)  # both ways of keeping an array
    ORDERS[name]()
    log = os.open(home / "log", os.O_CREAT | os.O_WRONLY)
    SHIM.watch(new)
    SHIM.log(log)
    end, known = run(new, clip, lambda unit, stage: SHIM.note(json.dumps([unit, stage])))
    SHIM.log(-1)
    SHIM.watch(None)
    return {"root": str(new), "end": end, "known": len(known)}


_packed = arrays.pack


def main(argv: list[str]) -> None:
    folder, mode, *rest = argv
    install()
    made = Path(folder).resolve()
    match mode:
        case "nth":
            said = nth(made, rest[0], int(rest[1]), int(rest[2]))
        case "recorded":
            said = recorded(made, rest)
        case _:
            raise SystemExit(f"there is no mode {mode}")
    print(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1:])
