"""diffusion-pipe: `dataset.toml`, and `captions.json` in each folder, whose lists hold every reading of a clip.

Every other file in a folder would be taken for media, so there are no sidecars. It computes `int(frames · fps ratio)`
and takes the longest bucket that is not longer: the spare frames keep a clip of 49 from falling to 33.
"""

from __future__ import annotations

import json
from pathlib import Path

from mien.export.diffusion.forms import made, toml
from mien.export.diffusion.making import Bucket, Folder
from mien.export.trainers import Job

TARGETS = ("wan", "hunyuan", "ltx", "ltx25")


def write(job: Job, folder: Path) -> dict[str, int]:
    done = made(job, folder, TARGETS, sidecars=False)
    rows = [
        {"path": b.folder, "num_repeats": 1, "size_buckets": [[b.width, b.height, b.frames]]} for b in done.buckets()
    ]
    head = {"enable_ar_bucket": False, "skip_empty_caption": False}
    (folder / "dataset.toml").write_text(toml(head, {"directory": rows}), encoding="utf-8", newline="")
    for bucket in done.counts:
        _captions(done, bucket)
    return dict(done.rows)


def _captions(done: Folder, bucket: Bucket) -> None:
    """One object, written line by line: file name → list of captions."""
    with (done.path / bucket.folder / "captions.json").open("w", encoding="utf-8", newline="") as out:
        between = "{\n"
        for row in done.clips():
            where, _, name = row["file"].rpartition("/")
            if where == bucket.folder:
                out.write(f"{between}{json.dumps(name)}: {json.dumps(row['captions'], ensure_ascii=False)}")
                between = ",\n"
        out.write("\n}\n")
