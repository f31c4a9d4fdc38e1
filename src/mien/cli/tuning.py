"""`mien models tune`: what int8 would gain on this machine, what it would change, and whether it may be asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import Any

from mien.cli.talk import give, say, table
from mien.cli.trying import frames_of
from mien.core import Frames, MienError
from mien.models import variants
from mien.models import weights as room


def tunable(names: Sequence[str]) -> list[Any]:
    """Adapters that may run in int8: the named ones (or models), or all.

    Raises:
        MienError: `models.unknown`, `models.no-variant`.
    """
    adapters = room.load_adapters()
    able = {n: c for n, c in adapters.items() if issubclass(c.Config, variants.Precise)}
    wanted = [n for name in names for n in ([name] if name in adapters else room.select([name])[0].adapters)]
    for name in wanted:
        if name not in able:
            said = f"{name} has no int8 variant: it gains nothing, or its answers change too much"
            raise MienError("models.no-variant", said, f"these have: {', '.join(sorted(able))}")
    return [able[n] for n in wanted or sorted(able)]


def frames_for(files: Sequence[Path], count: int) -> tuple[Frames, list[Frames]]:
    """Frames to calibrate on (of the demonstration video) and to compare on: its others, and those of `files`.

    Raises:
        MienError: `weights.missing` without the demonstration video, and what reading a file raises.
    """
    (entry,) = room.select(["sample.demo-video"])
    seen = frames_of(room.resolve(entry.weights).only, 2 * count)
    learn, other = (Frames(seen.pixels[i::2].copy(), seen.t_us[i::2].copy()) for i in (0, 1))
    return learn, [other, *(frames_of(path, count) for path in files)]


def tune(names: Sequence[str], files: Sequence[Path], count: int, as_json: bool) -> bool:
    """Tune and print. True if a variant of every adapter is near enough to be asked for."""
    classes = tunable(names)
    learn, checks = frames_for(files, count)
    rows: list[dict[str, Any]] = []
    for cls in classes:
        say(f"{cls.spec.name}: calibrating on {len(learn)} frames, comparing on {sum(map(len, checks))}")
        network = cls.network(room.resolve(cls.spec.weights))
        told = variants.tune(cls, network, cls.Config(), learn, checks)
        speed = {"float32": _speeds(cls, "float32", learn)}
        if told.kept:
            speed["int8"] = _speeds(cls, "int8", learn)
        rows.append(asdict(told) | {"wall_ms_per_frame": speed})
        if not as_json:
            _show(told, speed)
    if as_json:
        give(rows)
    return all(row["kept"] for row in rows)


def _speeds(cls: Any, precision: str, frames: Frames) -> dict[str, float]:
    config = cls.Config(precision=precision)
    return variants.speeds(lambda device: room.open_adapter(cls.spec.name, config, device), frames)


def _show(told: variants.Tuned, speed: dict[str, dict[str, float]]) -> None:
    heads = ["network", "processor ms", "gain", "frames", "same decisions", "IoU", "score apart", "points apart"]
    rows = [["float32", f"{told.ms:.1f}", "", "", "", "", "", ""]]
    for v in told.variants:
        p = v.parity
        rows.append(
            [
                *(f"int8, {v.way}", f"{v.ms:.1f}", f"{told.ms / v.ms:.2f}", str(p.rows)),
                *(_n(p.agreed), _n(p.iou), f"{p.apart:.4f}", _n(p.points)),
            ]
        )
    table(heads, rows)
    table(
        ["frames × threads", *next(iter(speed.values()))],
        [[f"{name}, wall ms a frame", *(f"{v:.1f}" for v in values.values())] for name, values in speed.items()],
    )
    if told.kept:
        say(f'kept (int8, {told.kept}); a project asks for it: [adapters."{told.adapter}"] precision = "int8"')
    else:
        say(f"not kept: no variant of {told.adapter} is both faster and near enough")


def _n(value: float) -> str:
    return "" if isnan(value) else f"{value:.3f}"
