"""Conversations as rows of `messages`: TRL, ms-swift and axolotl. Paths are relative to the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.export.selection.examples import Example
from mien.export.trainers import Job
from mien.export.vlm.book import Book, Rows
from mien.export.vlm.media import STILLS, Media, Wants
from mien.export.vlm.talks import Talk, asked, repeated

UNDECIDED = "not decided"


def write_trl(job: Job, folder: Path) -> Mapping[str, int]:
    """TRL's vision rows: `messages` with plain text and `images` (TRL 1.16 takes pictures only, and puts the
    placeholders in itself). Soft labels are repeated rows."""
    with Book(job, folder, STILLS) as book, Rows(folder) as rows:
        for ex, media, said in book:
            for talk in repeated(said, job.terms.copies):
                pair = [_said("user", talk.question), _said("assistant", talk.answer)]
                row = {"messages": pair, "images": list(media.images), "stem": ex.stem, "kind": talk.kind}
                rows.add(f"{ex.split}.jsonl", row)
    return book.counts | rows.counts


def write_swift(job: Job, folder: Path) -> Mapping[str, int]:
    """ms-swift: `messages` with `<image>`, `<video>`, `<audio>`, `loss` and `loss_scale` per answer; the files in
    `images`, `videos`, `audios`. Answers that may not be learnt stay as turns without loss."""
    with Book(job, folder, Wants()) as book, Rows(folder) as rows:
        for ex, media, said in book:
            for talk in said:
                turns = [_said("user", placeholders(media) + talk.question), _learnt(talk)]
                if talk.kind == "reasoning":
                    turns += _masked(ex)
                rows.add(f"{ex.split}.jsonl", {"messages": turns, **_media(media), "stem": ex.stem, "kind": talk.kind})
    return book.counts | rows.counts


def write_axolotl(job: Job, folder: Path) -> Mapping[str, int]:
    """axolotl: `messages` whose content is a list of typed parts with paths."""
    with Book(job, folder, Wants()) as book, Rows(folder) as rows:
        for ex, media, said in book:
            files: list[dict[str, Any]] = [{"type": "image", "path": p} for p in media.images]
            files += [{"type": kind, "path": p} for kind, p in (("video", media.video), ("audio", media.audio)) if p]
            for talk in repeated(said, job.terms.copies):
                pair = [
                    {"role": "user", "content": [*files, {"type": "text", "text": talk.question}]},
                    {"role": "assistant", "content": [{"type": "text", "text": talk.answer}]},
                ]
                rows.add(f"{ex.split}.jsonl", {"messages": pair, "stem": ex.stem, "kind": talk.kind})
    return book.counts | rows.counts


def placeholders(media: Media) -> str:
    """One placeholder per file, in the order of the columns."""
    return "<image>" * len(media.images) + "<video>" * bool(media.video) + "<audio>" * bool(media.audio)


def _said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def _learnt(talk: Talk) -> dict[str, Any]:
    return _said("assistant", talk.answer) | {"loss": True, "loss_scale": round(talk.weight, 6)}


def _masked(ex: Example) -> list[dict[str, Any]]:
    """Questions about states that may not be learnt: they are there, and nothing is learnt from them."""
    made: list[dict[str, Any]] = []
    for soft in ex.soft:
        if soft.states and ex.barred("state", soft.who) is not None:
            made += [_said("user", asked(soft)), _said("assistant", UNDECIDED) | {"loss": False, "loss_scale": 0.0}]
    return made


def _media(media: Media) -> dict[str, list[str]]:
    return {
        "images": list(media.images),
        "videos": [media.video] if media.video else [],
        "audios": [media.audio] if media.audio else [],
    }
