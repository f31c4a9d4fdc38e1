"""SimpleTuner: `multidatabackend.json`, a local backend per bucket and one for text. `repeats` 0 is once."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from mien.export.diffusion.forms import made, write_json
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan", "ltx", "ltx25", "cogvideo", "sdxl", "flux")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS)
    backends: list[dict[str, Any]] = []
    for b in done.buckets():
        name = b.folder.replace("/", "-")
        row: dict[str, Any] = {
            "id": name,
            "type": "local",
            "dataset_type": "video" if b.fps else "image",
            "instance_data_dir": b.folder,
            "caption_strategy": "textfile",
            "disable_multiline_split": True,
            "metadata_backend": "discovery",
            "resolution": round(math.sqrt(b.width * b.height)),
            "resolution_type": "pixel_area",
            "crop": False,
            "repeats": 0,
            "cache_dir_vae": f"cache/vae/{name}",
        }
        if b.fps:
            row["video"] = {"num_frames": b.frames, "min_frames": b.frames, "bucket_strategy": "resolution_frames"}
            row["video"]["is_i2v"] = False  # for LTX it would be on where nothing is said
            if done.target.sound:
                row["audio"] = {"auto_split": True, "sample_rate": 48_000, "channels": 2, "allow_zero_audio": True}
        backends.append(row)
    text = {"id": "text", "type": "local", "dataset_type": "text_embeds", "default": True, "cache_dir": "cache/text"}
    write_json(folder / "multidatabackend.json", [*backends, text])
    return dict(done.rows)
