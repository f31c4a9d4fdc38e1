"""The part that all trainers share: pieces planned, encoded by several workers, described; one record per file.

Layout: `media/16fps-81f-832x480/STEM.mp4` with `STEM.txt` beside it, and nothing else in there (trainers take every
other file for media); `records/` has where each file comes from, what was dropped, and the control vectors.
"""

from __future__ import annotations

import json
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import US, MienError
from mien.export.captions import CaptionTerms, Description, Statistics, controls_row, describe, write_controls
from mien.export.diffusion.planning import NOTHING, Motion, Piece, pieces
from mien.export.diffusion.targets import Target
from mien.export.intact import Intact
from mien.export.selection.examples import Example, examples
from mien.export.selection.gate import Withheld
from mien.export.trainers import Job
from mien.media import Decoder
from mien.media.encoding import Cutting, encode, pictures

WORKERS = min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
CLIPS, DROPPED, CONTROLS = "records/clips.jsonl", "records/dropped.jsonl", "records/controls.jsonl"


@dataclass(frozen=True, slots=True)
class Bucket:
    """One folder of files that are alike: fps (0: pictures), frames to train, size; split of people and sources."""

    split: str
    fps: int
    frames: int
    width: int
    height: int

    @property
    def folder(self) -> str:
        what = f"{self.fps}fps-{self.frames}f" if self.fps else "images"
        return f"{'media' if self.split == 'train' else self.split}/{what}-{self.width}x{self.height}"


@dataclass(frozen=True, slots=True)
class Planned:
    """A piece with its clip and what is said of it."""

    example: Example
    piece: Piece
    bucket: Bucket
    stem: str
    said: Description

    @property
    def captions(self) -> tuple[str, ...]:
        """None of the captions names anything where the clip trains with an empty one."""
        return ("",) if self.said.dropped else self.said.captions


@dataclass(slots=True)
class Folder:
    """What was written: files per bucket, and rows of each file of records."""

    path: Path
    target: Target
    counts: Counter[Bucket] = field(default_factory=Counter[Bucket])
    rows: Counter[str] = field(default_factory=Counter[str])

    def buckets(self, split: str = "train") -> list[Bucket]:
        return sorted((b for b in self.counts if b.split == split), key=lambda b: b.folder)

    def clips(self) -> Iterator[dict[str, Any]]:
        """The records of the files, one after another."""
        with (self.path / CLIPS).open(encoding="utf-8") as held:
            for line in held:
                yield json.loads(line)


def plan(job: Job, wanted: Target) -> Iterator[Planned | Withheld]:
    """Everything that will be trained, or is dropped and why, in one order on every machine.

    Raises:
        MienError: `context.generation`: the selection was not made for models that make pictures, or this is a care
            project. No setting opens that.
    """
    if job.scope.target != "generation" or job.project.config.context == "care":
        raise MienError("context.generation", "care recordings train no model that makes pictures", "--for trl")
    terms: CaptionTerms = job.project.config.captions
    for example in examples(job.scope, job.splits):
        part = example.rows.part
        what = f"{part.name} {part.clip.span}"
        if why := _barred(example):
            yield Withheld(what, *why)
            continue
        found = pieces(what, part.source, part.clip.span, wanted, _motion(job, part.clip.id))
        if isinstance(found, Withheld):
            yield found
            continue
        if wanted.still or not found[0].whole:  # what a clip does in its course, none of its pieces does
            said = describe(example.rows, job.project, terms.model_copy(update={"temporal": False, "soft": False}))
        else:
            said = describe(example.rows, job.project, terms)
        for piece in found:
            bucket = Bucket(example.split, wanted.fps, piece.frames, *piece.size)
            stem = example.stem if piece.whole else f"{example.stem}-{piece.index:03}"
            yield Planned(example, piece, bucket, stem, said)


def _barred(example: Example) -> tuple[str, str] | None:
    for mask in example.masks:
        if mask.what == "person":
            return mask.code, mask.reason
    for region in example.covered:
        if region.kind == "picture" and region.span.overlap_us(example.span):
            return region.reason, "somebody has to be covered, and nobody knows where they are"
    return None


def _motion(job: Job, clip_id: str) -> Motion:
    held = job.project.store.table(f"motion/{clip_id}")
    if held is None:
        return NOTHING
    return Motion(held["t_us"].to_numpy(), held["energy"].to_numpy().astype(np.float32))


def make(job: Job, folder: Path, wanted: Target, *, sidecars: bool = True) -> Folder:
    """Encode all pieces and write captions and records. What fails to decode is dropped with its code, not fatal.

    Args:
        sidecars: a `.txt` with the main caption beside every file.

    Raises:
        MienError: `export.nothing-learnable`; of `plan`.
    """
    made = Folder(folder, wanted)
    (folder / "records" / "controls").mkdir(parents=True)
    written, figures = "", Statistics()
    with (
        (folder / CLIPS).open("w", encoding="utf-8", newline="") as clips,
        (folder / DROPPED).open("w", encoding="utf-8", newline="") as dropped,
        (folder / CONTROLS).open("w", encoding="utf-8", newline="") as controls,
    ):
        for planned, row in _encoded(job, folder, wanted):
            if isinstance(row, Withheld):
                job.dropped.append(row)
                _line(dropped, {"what": row.what, "code": row.code, "reason": row.reason})
                made.rows[DROPPED] += 1
                continue
            assert isinstance(planned, Planned)  # noqa: S101 - what was encoded was planned
            _line(clips, row)
            if sidecars:
                text = folder / planned.bucket.folder / f"{planned.stem}.txt"
                text.write_text(planned.captions[0], encoding="utf-8", newline="")
            made.counts[planned.bucket] += 1
            made.rows[CLIPS] += 1
            if planned.example.stem != written:
                written = planned.example.stem
                write_controls(folder / "records" / "controls" / f"{written}.safetensors", planned.said.controls)
                _line(controls, controls_row(written, planned.said.controls))
                figures.add(planned.said.controls)
                made.rows[CONTROLS] += 1
    told = json.dumps(figures.result(), indent=1, sort_keys=True) + "\n"
    (folder / "records" / "controls.statistics.json").write_text(told, encoding="utf-8")
    if not made.counts:
        why = "; ".join(f"{w.what}: {w.reason} [{w.code}]" for w in job.dropped[:3]) or "nothing was planned"
        raise MienError("export.nothing-learnable", f"no clip can be trained: {why}", "look: --preview")
    return made


def _line(out: Any, row: dict[str, Any]) -> None:
    out.write(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n")


def _encoded(job: Job, folder: Path, wanted: Target) -> Iterator[tuple[Planned | None, dict[str, Any] | Withheld]]:
    """In the order of the plan, however many work; at most so many wait as there are workers."""
    intact = Intact()
    work = _picture if wanted.still else _film
    waiting: deque[tuple[Planned | None, Future[dict[str, Any] | Withheld] | Withheld]] = deque()

    def first() -> tuple[Planned | None, dict[str, Any] | Withheld]:
        planned, state = waiting.popleft()
        return planned, state if isinstance(state, Withheld) else state.result()

    with ThreadPoolExecutor(WORKERS) as pool:
        for planned in plan(job, wanted):
            if isinstance(planned, Withheld):
                waiting.append((None, planned))
            elif wrong := intact.wrong(planned.example.rows.part.source):
                waiting.append((None, _dropped(planned, wrong)))
            else:
                (folder / planned.bucket.folder).mkdir(parents=True, exist_ok=True)
                waiting.append((planned, pool.submit(_safely, work, planned, folder, wanted)))
            while len(waiting) > 2 * WORKERS:
                yield first()
        while waiting:
            yield first()


def _safely(
    work: Callable[[Planned, Path, Target], dict[str, Any]], planned: Planned, folder: Path, wanted: Target
) -> dict[str, Any] | Withheld:
    try:
        return work(planned, folder, wanted)
    except MienError as error:
        return _dropped(planned, error)


def _dropped(planned: Planned, error: MienError) -> Withheld:
    part = planned.example.rows.part
    message = error.message.replace(Path(part.source.path).name, "the file")
    return Withheld(f"{part.name} {planned.piece.span}", error.code, message)


def cutting(planned: Planned, wanted: Target) -> Cutting:
    """How a piece is cut, with what has to be covered in it."""
    piece, covered = planned.piece, planned.example.covered
    boxes = [r for r in covered if r.kind in ("face", "person")]
    silent = any(r.kind == "sound" and r.span.overlap_us(piece.span) for r in covered)
    return Cutting(
        piece.span, piece.total, Fraction(max(wanted.fps, 1)), *piece.size, piece.crop, wanted.sound and not silent,
        (lambda t_us: [box for r in boxes if (box := r.at(t_us))]) if boxes else None,
    )  # fmt: skip


def _film(planned: Planned, folder: Path, wanted: Target) -> dict[str, Any]:
    name = f"{planned.bucket.folder}/{planned.stem}.mp4"
    with Decoder(Path(planned.example.rows.part.source.path)) as decoder:
        found = encode(decoder, cutting(planned, wanted), folder / name)
    return record(planned, name) | {
        "encoder": found.encoder, "sound": found.sound, "source_t_us": found.t_us.tolist(),
    }  # fmt: skip


def _picture(planned: Planned, folder: Path, wanted: Target) -> dict[str, Any]:
    """The sharpest of four pictures a second, by the variance of its Laplacian (Pech-Pacheco et al. 2000)."""
    import cv2

    name = f"{planned.bucket.folder}/{planned.stem}.png"
    span, best = planned.piece.span, (-1.0, 0, np.zeros((0, 0), np.uint8))
    asked = replace(cutting(planned, wanted), fps=Fraction(4), frames=max(1, span.duration_us * 4 // US))
    with Decoder(Path(planned.example.rows.part.source.path)) as decoder:
        for t_us, packed in pictures(decoder, asked):
            sharpness = float(cv2.Laplacian(packed[: asked.height_px], cv2.CV_64F).var())
            if sharpness > best[0]:
                best = (sharpness, t_us, packed.copy())
    ok, data = cv2.imencode(".png", cv2.cvtColor(best[2], cv2.COLOR_YUV2BGR_I420))
    if not ok:
        raise MienError(
            "media.no-encoder", "the picture cannot be written as PNG", "pip install --upgrade opencv-python-headless"
        )
    (folder / name).write_bytes(data.tobytes())
    return record(planned, name) | {"sharpness": float(f"{best[0]:.6g}"), "sound": False, "source_t_us": [best[1]]}


def record(planned: Planned, name: str) -> dict[str, Any]:
    """Where a file comes from and what is said of it."""
    part, piece, said = planned.example.rows.part, planned.piece, planned.said
    return {
        "file": name, "source_sha256": part.source.sha256, "clip": part.clip.id, "split": planned.bucket.split,
        "group": planned.example.group, "span_us": [piece.span.start_us, piece.span.end_us],
        "piece": [piece.index, piece.of], "fps": planned.bucket.fps, "frames": piece.frames,
        "frames_in_file": piece.total, "size_px": list(piece.size), "crop": [round(c, 6) for c in piece.crop],
        "captions": list(planned.captions), "said": said.sidecar(), "controls": planned.example.stem,
        "covered": sorted({r.kind for r in planned.example.covered}), "licence": part.source.licence,
    }  # fmt: skip
