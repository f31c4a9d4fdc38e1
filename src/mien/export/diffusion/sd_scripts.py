"""kohya sd-scripts: `dataset.toml` for models of pictures. Unknown keys are rejected by its schema.

A dataset per size with buckets off: the pictures have exactly that size. Dropout is in the captions already, since it
does nothing while text outputs are cached.
"""

from __future__ import annotations

from pathlib import Path

from mien.export.diffusion.forms import made, toml
from mien.export.trainers import Job

TARGETS = ("sdxl", "flux")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS)
    rows = [
        {
            "resolution": [b.width, b.height],
            "batch_size": 1,
            "enable_bucket": False,
            "subsets": [{"image_dir": b.folder, "num_repeats": 1, "caption_extension": ".txt"}],
        }
        for b in done.buckets()
    ]
    general = {"shuffle_caption": False, "caption_dropout_rate": 0.0, "flip_aug": False}
    (folder / "dataset.toml").write_text(toml({"general": general}, {"datasets": rows}), encoding="utf-8", newline="")
    return dict(done.rows)
