"""What every format has in common: walking over the examples, their media, and the files that tell of each clip.

`examples.jsonl` holds soft labels, masks and media of each clip; `evidence.jsonl` each sentence of a reasoning with its
claim and the rows it stands on; `dropped.jsonl` what is not learnt, and why.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TextIO

from mien.core import MienError
from mien.export.intact import Intact
from mien.export.selection.examples import Example, Mask, Soft, examples
from mien.export.selection.gate import Withheld
from mien.export.trainers import Job
from mien.export.vlm.media import Cutter, Media, Wants
from mien.export.vlm.talks import Talk, talks


class Rows:
    """JSON rows in one file per name, opened with its first row. array: one JSON list per file, else JSON lines."""

    def __init__(self, folder: Path, *, array: bool = False) -> None:
        self._folder, self._array = folder, array
        self._files: dict[str, TextIO] = {}
        self.counts: Counter[str] = Counter()

    def add(self, name: str, row: dict[str, Any]) -> None:
        first = name not in self._files
        if first:
            path = self._folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            self._files[name] = path.open("w", encoding="utf-8", newline="\n")
        text = json.dumps(row, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        lead = "" if not self._array else "[\n" if first else ",\n"
        self._files[name].write(lead + text + ("" if self._array else "\n"))
        self.counts[name] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            if self._array:
                file.write("\n]\n")
            file.close()


class Book:
    """Examples with their media, one after another; what is told beside them is written on the way."""

    def __init__(self, job: Job, folder: Path, wants: Wants) -> None:
        self._job, self._folder, self._wants = job, folder, wants
        self._stack = ExitStack()
        self._told = Rows(folder)
        self._intact = Intact()

    @property
    def counts(self) -> dict[str, int]:
        return dict(self._told.counts)

    def __enter__(self) -> Self:
        self._cutter = self._stack.enter_context(Cutter(self._job.terms))
        self._stack.enter_context(self._told)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def __iter__(self) -> Iterator[tuple[Example, Media, list[Talk]]]:
        """Each clip that has something to learn from: its media, and what is asked and answered."""
        learnt = 0
        for ex in examples(self._job.scope, self._job.splits):
            for mask in ex.masks:
                self._drop(ex, mask)
            said = list(talks(ex, self._job.terms.length))
            mask = closed(ex, said, self._wants)
            media = Media()
            if mask is None:
                try:
                    if wrong := self._intact.wrong(ex.rows.part.source):
                        raise wrong
                    media = self._cutter.write(ex, self._folder, self._wants)
                except MienError as error:
                    mask = Mask("picture", "", error.code, error.message.replace(Path(_path(ex)).name, "the recording"))
                    self._cutter.close()
            if mask is not None:
                self._drop(ex, mask, clip=True)
                self._clear(ex)
                continue
            learnt += 1
            self._told.add("examples.jsonl", told(ex, media))
            self._evidence(ex)
            yield ex, media, said
        if not learnt:
            raise MienError(
                "export.nothing-learnable",
                f"no clip has anything that may be learnt ({len(self._job.dropped)} dropped)",
                "see why: mien export --for TRAINER OUT --preview",
            )

    def _drop(self, ex: Example, mask: Mask, *, clip: bool = False) -> None:
        what = "clip" if clip else mask.what
        row = {"stem": ex.stem, "split": ex.split, "what": what, "who": mask.who}
        self._told.add("dropped.jsonl", {**row, "code": mask.code, "reason": mask.reason})
        if clip:
            name = f"{ex.rows.part.name} {ex.span}"
            self._job.dropped.append(Withheld(name, mask.code, mask.reason))

    def _clear(self, ex: Example) -> None:
        """Take away what was written of a clip before it failed."""
        for kind in ("images", "videos", "audio"):
            for path in (self._folder / kind / ex.split).glob(f"{ex.stem}*"):
                path.unlink()

    def _evidence(self, ex: Example) -> None:
        target = ex.targets.get(self._job.terms.length)
        for n, s in enumerate(target.sentences if target else ()):
            row = {"stem": ex.stem, "length": self._job.terms.length, "sentence": n, "start": s.start, "end": s.end}
            self._told.add(
                "evidence.jsonl",
                {**row, "claim_id": s.claim_id, "evidence_ids": list(s.evidence_ids), "thought": s.thought},
            )


def closed(ex: Example, said: Sequence[Talk], wants: Wants) -> Mask | None:
    """Why nothing is learnt of a clip; None where something is."""
    kind = ex.rows.part.source.kind
    barred = ex.barred("sound" if kind == "audio" else "picture")
    if barred is not None:
        return barred
    if kind == "audio" and not wants.audio:
        return Mask("sound", "", "media.no-picture", "this trainer takes no sound by itself")
    if not said:
        return Mask("reasoning", "", "example.nothing-to-learn", "neither its reasoning nor a state may be learnt")
    return None


def _path(ex: Example) -> str:
    return ex.rows.part.source.path


def told(ex: Example, media: Media) -> dict[str, Any]:
    """One row of `examples.jsonl`."""
    return {
        "stem": ex.stem,
        "split": ex.split,
        "group": ex.group,
        "source": ex.rows.part.name,
        "start_us": ex.span.start_us,
        "end_us": ex.span.end_us,
        "images": list(media.images),
        "image_times_us": list(media.times_us),
        "video": media.video,
        "fps": media.fps,
        "audio": media.audio,
        "covered": bool(ex.covered),
        "people": [soft_row(ex, s) for s in ex.soft],
        "masks": [{"what": m.what, "who": m.who, "code": m.code, "reason": m.reason} for m in ex.masks],
    }


def soft_row(ex: Example, s: Soft) -> dict[str, Any]:
    """Soft labels of one person; null where nothing was measured."""
    return {
        "who": s.who,
        "learn_state": ex.barred("state", s.who) is None,
        "states": dict(_plain(s.states)),
        "spread": dict(_plain(s.spread)),
        "people": dict(_plain(s.people)),
        "labelled": _round(s.labelled),
        "ambiguity_nats": _round(s.ambiguity),
        "conflict_nats": _round(s.conflict),
        "vacuity": _round(s.vacuity),
        "abstained": _round(s.abstained),
        "credible": list(s.credible),
        "level": s.level,
        "windows": s.windows,
        "seconds": _round(s.seconds),
    }


def _plain(dist: tuple[tuple[str, float], ...]) -> Iterator[tuple[str, float | None]]:
    yield from ((n, _round(p)) for n, p in dist)


def _round(value: float) -> float | None:
    """Six digits: less than any error of a model, more than any reader needs, the same on every machine."""
    return round(value, 6) if math.isfinite(value) else None
