"""WebDataset: tar shards of samples (`STEM.json`, `STEM.mp4`, …), the same bytes on every machine, and an index."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from mien.export.selection.folder import write_text
from mien.export.trainers import Job
from mien.export.vlm.book import Book, told
from mien.export.vlm.media import Wants

PER_SHARD, SHARD_BYTES = 1000, 1 << 28
MEDIA = ("images", "videos", "audio")


class _Shards:
    """Tar files of one split, the next one begun when the last is full."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, tarfile.TarFile] = {}
        self._number: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def add(self, split: str, members: list[tuple[str, bytes]]) -> None:
        name = self._name(split)
        if self.counts[name] >= PER_SHARD or self._bytes[name] >= SHARD_BYTES:
            self._open.pop(split).close()
            self._number[split] += 1
            name = self._name(split)
        if split not in self._open:
            self._open[split] = tarfile.open(self._folder / name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        for member, data in members:
            info = tarfile.TarInfo(member)  # no time, no owner
            info.size, info.mode = len(data), 0o644
            self._open[split].addfile(info, io.BytesIO(data))
            self._bytes[name] += len(data)
        self.counts[name] += 1

    def _name(self, split: str) -> str:
        return f"{split}-{self._number[split]:06d}.tar"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tar in self._open.values():
            tar.close()


def write(job: Job, folder: Path) -> Mapping[str, int]:
    """Samples of `json` (labels, masks, conversations with weights), `txt` (the reasoning), `N.jpg`, `mp4`, `wav`."""
    with Book(job, folder, Wants(pictures=True)) as book, _Shards(folder) as shards:
        for ex, media, said in book:
            row = told(ex, media)
            row["conversations"] = [
                {"kind": t.kind, "who": t.who, "question": t.question, "answer": t.answer, "weight": round(t.weight, 6),
                 "by": t.by}
                for t in said
            ]  # fmt: skip
            members = [(f"{ex.stem}.json", json.dumps(row, ensure_ascii=False, allow_nan=False).encode())]
            if ex.targets:
                members.append((f"{ex.stem}.txt", ex.targets[job.terms.length].text.encode()))
            for name in media.files:
                # A key ends at the first dot: pictures are told apart behind it.
                ending = f"{name.rpartition('-')[2]}" if name.startswith("images/") else name.rpartition(".")[2]
                members.append((f"{ex.stem}.{ending}", (folder / name).read_bytes()))
                (folder / name).unlink()
            shards.add(ex.split, members)
    for kind in MEDIA:
        shutil.rmtree(folder / kind, ignore_errors=True)
    listed = [{"url": name, "nsamples": n} for name, n in sorted(shards.counts.items())]
    index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "name": "mien", "shardlist": listed}
    write_text(folder / "index.json", [json.dumps(index, indent=1) + "\n"])
    return book.counts | shards.counts | {"index.json": len(listed)}
