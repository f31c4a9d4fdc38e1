"""What the trainers' files have in common: TOML and JSON text, paths within the folder. Keys come from each trainer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mien.core import MienError
from mien.export.diffusion.making import Folder, make
from mien.export.diffusion.targets import SPARE, Target, target
from mien.export.trainers import Job

Table = Mapping[str, Any]


def made(job: Job, folder: Path, targets: Sequence[str], *, sidecars: bool = True, spare: int = SPARE) -> Folder:
    """Plan and encode for the target that was asked for, or the trainer's first.

    Args:
        sidecars: a `.txt` with the main caption beside every file.
        spare: frames of a film beyond those that are trained.

    Raises:
        MienError: `export.wrong-target` where the trainer does not train that; of `target`, of `make`.
    """
    return make(job, folder, chosen(job, targets, spare), sidecars=sidecars)


def chosen(job: Job, targets: Sequence[str], spare: int = SPARE) -> Target:
    """The target that was asked for, or the first of those a trainer has."""
    name = str(getattr(job.terms, "target", "") or targets[0])
    found = target(name, still=target_is_still(name, targets))
    if name not in targets:
        raise MienError("export.wrong-target", f"this trainer does not train {name}", f"--target {' | '.join(targets)}")
    return replace(found, spare=spare)


def target_is_still(name: str, targets: Sequence[str]) -> bool:
    from mien.export.diffusion.targets import TARGETS

    return TARGETS[name].still if name in TARGETS else TARGETS[targets[0]].still


def toml(head: Table, tables: Mapping[str, Sequence[Table]]) -> str:
    """TOML of plain values: keys of the top or `[general]`, then arrays of tables. A JSON list is a TOML one."""
    lines = [_line(k, v) for k, v in head.items() if not isinstance(v, Mapping)]
    for name, table in head.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{name}]", *(_line(str(k), v) for k, v in table.items())]
    for name, rows in tables.items():
        for row in rows:
            lines += ["", f"[[{name}]]"]
            lines += [_line(k, v) for k, v in row.items() if not _is_rows(v)]
            for key, inner in row.items():
                for sub in inner if _is_rows(inner) else ():
                    lines += ["", f"[[{name}.{key}]]", *(_line(k, v) for k, v in sub.items())]
    return "\n".join(lines).lstrip("\n") + "\n"


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _line(key: str, value: Any) -> str:
    return f"{key} = {json.dumps(value)}"


def write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8", newline="")


def write_lines(path: Path, rows: Sequence[str] | Any) -> int:
    """Write lines as they come; how many there were."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as out:
        for row in rows:
            out.write(row + "\n")
            count += 1
    return count
