"""Planted projects that may be published, and a build of one in a process of its own."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

from planted import project

from mien.export import release
from mien.pipeline import Project

HERE = Path(__file__).parent
AGREED = {"consent": "analyse, export, train, publish", "licence": "CC-BY-4.0"}
ORDER = release.Order("faces", "1.0.0", tables=True, licence="CC-BY-4.0")


def published(root: Path, context: str = "research", **more: Any) -> Project:
    """A planted project whose recording may be published, unless `source` says otherwise."""
    source = AGREED | more.pop("source", {})
    return project(root, context, source=source, **more)


def shuffled(root: Path, seed: int) -> None:
    """Put every row of the record in another order."""
    with sqlite3.connect(root / "mien.db") as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite%'"):
            rows = db.execute(f"SELECT * FROM {name}").fetchall()  # noqa: S608
            if rows and name not in ("log", "meta"):
                random.Random(seed).shuffle(rows)
                db.execute(f"DELETE FROM {name}")  # noqa: S608
                db.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)  # noqa: S608
    db.close()


def built_apart(folder: Path, seed: int, config: str = "", **env: str) -> str:
    """The root of a build of the same record in another process, order of rows, folder and environment."""
    code = f"import releasing; releasing.build_here({str(folder)!r}, {seed}, {config!r})"
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    made = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths, **env}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def build_here(folder: str, seed: int, config: str) -> None:
    root = Path(folder) / "p"
    published(root).close()
    shuffled(root, seed)
    with (root / "mien.toml").open("a", encoding="utf-8") as file:
        file.write(config)
    held = Project.open(root)
    print(release.build(held, ORDER, Path(folder) / "out").root)
    held.close()
