"""ai-toolkit: `ai-toolkit.json` (it reads JSON and YAML), a dataset per bucket; the model and its training are yours.

`shrink_video_to_frames` off: with it, the file's frames would be thinned out evenly, and movement run faster than it
was. `caption_dropout_rate` 0: dropout is in the captions already.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mien.export.diffusion.forms import made, write_json
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan", "ltx", "ltx25", "sdxl", "flux")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS)
    rows: list[dict[str, Any]] = []
    for b in done.buckets():
        row: dict[str, Any] = {
            "folder_path": b.folder,
            "caption_ext": "txt",
            "caption_dropout_rate": 0.0,
            "shuffle_tokens": False,
            "num_repeats": 1,
            "resolution": [round(math.sqrt(b.width * b.height))],
        }
        if b.fps:
            row |= {"num_frames": b.frames, "fps": b.fps, "shrink_video_to_frames": False}
            row |= {"do_audio": True} if done.target.sound else {}
        rows.append(row)
    process = {"type": "sd_trainer", "training_folder": "output", "datasets": rows}
    write_json(folder / "ai-toolkit.json", {"job": "extension", "config": {"name": "mien", "process": [process]}})
    return dict(done.rows)
