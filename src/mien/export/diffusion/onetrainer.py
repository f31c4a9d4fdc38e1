"""OneTrainer: `concepts.json`, a concept per bucket. All changes of the picture are off: left and right mean something
in a face, and colours were measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.export.diffusion.forms import made, write_json
from mien.export.trainers import Job

TARGETS = ("sdxl", "flux", "hunyuan")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS)
    rows: list[dict[str, Any]] = [
        {
            "__version": 1,
            "name": b.folder.replace("/", "-"),
            "path": b.folder,
            "seed": 0,
            "enabled": True,
            "validation_concept": b.split != "train",
            "include_subdirectories": False,
            "image_variations": 1,
            "text_variations": 1,
            "balancing": 1.0,
            "balancing_strategy": "REPEATS",
            "loss_weight": 1.0,
            "image": {"enable_crop_jitter": False, "enable_random_flip": False},
            "text": {"prompt_source": "sample", "enable_tag_shuffling": False},
        }
        for split in ("train", "validation")
        for b in done.buckets(split)
    ]
    write_json(folder / "concepts.json", rows)
    return dict(done.rows)
