"""What a trainer will really train, before anything is written: files, frames, captions as they are drawn."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mien.core import US
from mien.export.diffusion.forms import chosen
from mien.export.diffusion.making import Bucket, Planned, plan
from mien.export.diffusion.targets import SPARE, Target
from mien.export.selection.gate import Withheld
from mien.export.trainers import Job

DRAWS = 3
MOST = 48  # clips that are shown one by one; all are counted


@dataclass(slots=True)
class Seen:
    """What will be trained. shown: the first clips, with all that is needed to draw their frames."""

    target: Target
    buckets: Counter[Bucket] = field(default_factory=Counter[Bucket])
    seconds: dict[Bucket, float] = field(default_factory=dict[Bucket, float])
    shown: list[Planned] = field(default_factory=list[Planned])
    draws: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    dropped: list[Withheld] = field(default_factory=list[Withheld])
    empty: int = 0

    @property
    def warnings(self) -> list[str]:
        said: list[str] = []
        if self.target.spare and not self.target.still:
            said += [
                f"{b.frames} of the {self.target.total(b.frames)} frames of a file are trained; without the spare ones"
                f" a trainer that rounds down (diffusion-pipe: {b.frames} → {b.frames - 1}) would take the next"
                " smaller count"
                for b in sorted(self.buckets, key=lambda b: b.folder)[:1]
            ]
        small = [b.folder for b, n in self.buckets.items() if n == 1]
        if small:
            said.append(f"{len(small)} folder(s) hold a single file: {', '.join(sorted(small)[:3])}")
        if self.empty:
            said.append(f"{self.empty} file(s) train with an empty caption: do not turn on the trainer's dropout, too")
        return said


def look(job: Job, targets: Sequence[str], *, lists: bool = False, spare: int = SPARE) -> Seen:
    """Plan everything; nothing is decoded and nothing written.

    Args:
        lists: the trainer draws one of several captions each time it meets a clip; others take the first.
    """
    wanted = chosen(job, targets, spare)
    seen = Seen(wanted)
    for planned in plan(job, wanted):
        if isinstance(planned, Withheld):
            seen.dropped.append(planned)
            continue
        b = planned.bucket
        seen.buckets[b] += 1
        seen.seconds[b] = seen.seconds.get(b, 0.0) + (planned.piece.frames / b.fps if b.fps else 0.0)
        seen.empty += planned.said.dropped
        if len(seen.shown) < MOST:
            seen.shown.append(planned)
            rng = random.Random(f"draw {planned.stem}")  # noqa: S311 - a preview, not a secret
            seen.draws.append(
                tuple(rng.choice(planned.captions) if lists else planned.captions[0] for _ in range(DRAWS))
            )
    return seen


def of(targets: Sequence[str], *, lists: bool = False, spare: int = SPARE) -> Callable[[Job], dict[str, Any]]:
    """The preview of a trainer as plain values."""

    def preview(job: Job) -> dict[str, Any]:
        return values(look(job, targets, lists=lists, spare=spare))

    preview.seen = lambda job: look(job, targets, lists=lists, spare=spare)  # type: ignore[attr-defined]
    return preview


def values(seen: Seen) -> dict[str, Any]:
    """As plain values for JSON and tables."""
    return {
        "target": seen.target.name,
        "buckets": [
            {"folder": b.folder, "files": n, "fps": b.fps, "frames": b.frames, "size_px": [b.width, b.height],
             "seconds": round(seen.seconds[b], 3), "repeats": 1}
            for b, n in sorted(seen.buckets.items(), key=lambda kv: kv[0].folder)
        ],
        "clips": [
            {"file": f"{p.bucket.folder}/{p.stem}", "from_us": p.piece.span.start_us, "to_us": p.piece.span.end_us,
             "seconds": p.piece.span.duration_us / US, "crop": list(p.piece.crop), "captions": list(p.captions),
             "drawn": list(d)}
            for p, d in zip(seen.shown, seen.draws, strict=True)
        ],
        "dropped": [{"what": w.what, "code": w.code, "reason": w.reason} for w in seen.dropped],
        "warnings": seen.warnings,
    }  # fmt: skip
