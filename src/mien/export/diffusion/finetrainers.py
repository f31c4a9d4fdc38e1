"""finetrainers and diffusers' own scripts: `metadata.jsonl` over a folder, as `datasets` reads it.

finetrainers' other form (`prompts.txt`, `videos.txt`) leaves out empty lines, and with them the pairs run apart: a
dropped caption would give every later clip another one's.
"""

from __future__ import annotations

import json
from pathlib import Path

from mien.export.diffusion.forms import made, write_json, write_lines
from mien.export.diffusion.making import Folder
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan", "ltx", "ltx25", "cogvideo")
STILLS = ("sdxl", "flux")


def write(job: Job, folder: Path) -> dict[str, int]:
    """finetrainers: films, and `training.json` with the buckets (frames, height, width)."""
    done = made(job, folder, TARGETS, sidecars=False)
    rows = _metadata(done, "caption")
    buckets = [[b.frames, b.height, b.width] for b in done.buckets()]
    dataset = {
        "data_root": "media",
        "dataset_type": "video",
        "id": "mien",
        "video_resolution_buckets": buckets,
        "reshape_mode": "bicubic",
        "remove_common_llm_caption_prefixes": False,
    }
    write_json(folder / "training.json", {"datasets": [dataset]})
    return dict(done.rows) | rows


def write_stills(job: Job, folder: Path) -> dict[str, int]:
    """diffusers' scripts for pictures: `--train_data_dir media --image_column image --caption_column text`."""
    done = made(job, folder, STILLS, sidecars=False)
    return dict(done.rows) | _metadata(done, "text")


def _metadata(done: Folder, column: str) -> dict[str, int]:
    tops = sorted({b.folder.partition("/")[0] for b in done.counts})
    rows: dict[str, int] = {}
    for top in tops:
        mine = ((r["file"].partition("/")[2], r) for r in done.clips() if r["file"].partition("/")[0] == top)
        lines = (json.dumps({"file_name": n, column: r["captions"][0]}, ensure_ascii=False) for n, r in mine)
        rows[f"{top}/metadata.jsonl"] = write_lines(done.path / top / "metadata.jsonl", lines)
    return rows
