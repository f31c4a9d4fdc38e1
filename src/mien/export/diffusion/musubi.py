"""musubi-tuner: `dataset.toml`, one `[[datasets]]` per bucket. Unknown keys are rejected by its schema.

It never reads a file's rate: `source_fps` tells it, as a float. Clips shorter than `target_frames` are skipped, so the
spare frames stay unused (`head`).
"""

from __future__ import annotations

from pathlib import Path

from mien.export.diffusion.forms import made, toml
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS)
    rows = [
        {
            "video_directory": b.folder,
            "cache_directory": f"cache/{b.folder}",
            "resolution": [b.width, b.height],
            "target_frames": [b.frames],
            "frame_extraction": "head",
            "source_fps": float(b.fps),
        }
        for b in done.buckets()
    ]
    general = {"caption_extension": ".txt", "batch_size": 1, "num_repeats": 1, "enable_bucket": False}
    (folder / "dataset.toml").write_text(toml({"general": general}, {"datasets": rows}), encoding="utf-8", newline="")
    return dict(done.rows)
