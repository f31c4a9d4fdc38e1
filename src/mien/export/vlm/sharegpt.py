"""Conversations as rows of `conversations` (ShareGPT): LLaMA-Factory with its `dataset_info.json`, Qwen-VL finetuning.

Neither knows weights: a soft label is several rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.export.selection.folder import write_text
from mien.export.trainers import Job
from mien.export.vlm.book import Book, Rows
from mien.export.vlm.media import SILENT, Wants
from mien.export.vlm.messages import placeholders
from mien.export.vlm.talks import Talk, repeated
from mien.store.drawn import SPLITS


def write_llama_factory(job: Job, folder: Path) -> Mapping[str, int]:
    """LLaMA-Factory: `SPLIT.json` and `dataset_info.json`, which names the sets `mien_SPLIT`. The number of
    placeholders is that of the files; paths are relative to `dataset_dir`."""
    with Book(job, folder, Wants()) as book, Rows(folder, array=True) as rows:
        for ex, media, said in book:
            files = {
                "images": list(media.images),
                "videos": [media.video] if media.video else [],
                "audios": [media.audio] if media.audio else [],
            }
            for talk in repeated(said, job.terms.copies):
                row = {"conversations": _pair(talk, placeholders(media)), **files, "stem": ex.stem}
                rows.add(f"{ex.split}.json", row)
    columns = {"messages": "conversations", "images": "images", "videos": "videos", "audios": "audios"}
    info = {
        f"mien_{split}": {"file_name": f"{split}.json", "formatting": "sharegpt", "columns": columns}
        for split in SPLITS
        if f"{split}.json" in rows.counts
    }
    write_text(folder / "dataset_info.json", [json.dumps(info, indent=1) + "\n"])
    return book.counts | rows.counts | {"dataset_info.json": len(info)}


def write_qwen(job: Job, folder: Path) -> Mapping[str, int]:
    """qwen-vl-finetune: `SPLIT.json` with `image` (list) or `video` (path); `data_dict.json` holds the entries for its
    `data_dict`. It takes no sound."""
    with Book(job, folder, SILENT) as book, Rows(folder, array=True) as rows:
        for ex, media, said in book:
            seen: dict[str, Any] = {"video": media.video} if media.video else {"image": list(media.images)}
            marks = "<video>\n" if media.video else "<image>\n" * len(media.images)
            for talk in repeated(said, job.terms.copies):
                rows.add(f"{ex.split}.json", {"id": ex.stem, **seen, "conversations": _pair(talk, marks)})
    entries = {
        f"mien_{split}": {"annotation_path": f"{split}.json", "data_path": "."}
        for split in SPLITS
        if f"{split}.json" in rows.counts
    }
    write_text(folder / "data_dict.json", [json.dumps(entries, indent=1) + "\n"])
    return book.counts | rows.counts | {"data_dict.json": len(entries)}


def _pair(talk: Talk, marks: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": marks + talk.question}, {"from": "gpt", "value": talk.answer}]
