"""finetrainers and diffusers' own scripts: `metadata.jsonl` over a folder, as `datasets` reads it.

finetrainers' other form (`prompts.txt`, `videos.txt`) leaves out empty lines, and with them the pairs run apart: a
dropped caption would give every later clip another one's. Its folder is named `./media`: a bare `media` it would look
for on the Hugging Face hub first, and train on what somebody keeps there.

It thins out what is longer than a bucket evenly over the whole film, so that movement would jump where a frame is left
out: its films have no spare frames. It takes the bucket of the nearest shape, the largest of equals, and enlarges.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from mien.export.diffusion.forms import made, write_json, write_lines
from mien.export.diffusion.making import Bucket, Folder
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan", "ltx", "ltx25", "cogvideo")
STILLS = ("sdxl", "flux")
SPARE = 0


def write(job: Job, folder: Path) -> dict[str, int]:
    """finetrainers: films, `training.json` with the buckets (frames, height, width), and `validation.json` with what
    its `--validation_dataset_file` draws while it trains, where a clip is in that split."""
    done = made(job, folder, TARGETS, sidecars=False, spare=SPARE)
    rows = _metadata(done, "caption")
    job.notes.extend(_enlarged(done.buckets()))
    buckets = [[b.frames, b.height, b.width] for b in done.buckets()]
    dataset = {
        "data_root": "./media",
        "dataset_type": "video",
        "id": "mien",
        "video_resolution_buckets": buckets,
        "reshape_mode": "bicubic",
        "remove_common_llm_caption_prefixes": False,
    }
    write_json(folder / "training.json", {"datasets": [dataset]})
    drawn = [
        {"caption": r["captions"][0], "width": r["size_px"][0], "height": r["size_px"][1], "num_frames": r["frames"]}
        for r in done.clips()
        if r["split"] == "validation" and r["captions"][0]
    ]
    if drawn:
        write_json(folder / "validation.json", {"data": drawn})
    return dict(done.rows) | rows


def write_stills(job: Job, folder: Path) -> dict[str, int]:
    """diffusers' scripts for pictures: `--train_data_dir media --image_column image --caption_column text`."""
    done = made(job, folder, STILLS, sidecars=False)
    return dict(done.rows) | _metadata(done, "text")


def _enlarged(buckets: list[Bucket]) -> Iterator[str]:
    for b in buckets:
        same = [c for c in buckets if c.frames == b.frames and c.width * b.height == c.height * b.width]
        largest = max(same, key=lambda c: c.width)
        if largest != b:
            yield (
                f"finetrainers will enlarge the files of {b.folder} to {largest.width}×{largest.height}, the largest "
                "bucket of their shape: take one of the two out of training.json, or give each a data_root of its own"
            )


def _metadata(done: Folder, column: str) -> dict[str, int]:
    tops = sorted({b.folder.partition("/")[0] for b in done.counts})
    rows: dict[str, int] = {}
    for top in tops:
        mine = ((r["file"].partition("/")[2], r) for r in done.clips() if r["file"].partition("/")[0] == top)
        lines = (json.dumps({"file_name": n, column: r["captions"][0]}, ensure_ascii=False) for n, r in mine)
        rows[f"{top}/metadata.jsonl"] = write_lines(done.path / top / "metadata.jsonl", lines)
    return rows
