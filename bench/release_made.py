"""A studio project of N short clips of one generated film, exported whole: the memory of `bench release`."""

from __future__ import annotations

import resource
import tempfile
from contextlib import closing
from pathlib import Path

from mien.core import Clip, Observation, Source, Span, clip_id
from mien.export.trainers import export_for
from mien.media import hash_file
from mien.pipeline import Project
from mien.store import StageResult, Store
from mien.testing.media import Recipe, make

CLIP_US = 1_500_000
WHEN = {"run_id": "run-bench", "at_utc": "2026-01-01T00:00:00.000+00:00"}


def exported(n: int) -> list[str]:
    """Peak memory in MB of this process, and how many films were written."""
    with tempfile.TemporaryDirectory() as where:
        root = Path(where)
        with closing(_project(root, n)) as project:
            made = export_for(project, "musubi", root / "out")
        films = sum(f.name.endswith(".mp4") for f in made.files)
    return [f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f}", str(films)]


def _project(root: Path, n: int) -> Project:
    recipe = Recipe(n * CLIP_US / 1e6, 16, 256, 256, sound=False)
    path = make(root / "film.mp4", recipe).path
    Project.init(root / "p", "studio").close()
    with Store(root / "p", write=True) as store:
        length = n * CLIP_US
        sha = hash_file(path)
        source = Source(sha, str(path), "video", path.stat().st_size, length, 256, 256, 16.0, None, None, "studio",
                        coverage=1.0)  # fmt: skip
        spans = [Span(k * CLIP_US, (k + 1) * CLIP_US) for k in range(n)]
        clips = [Clip(clip_id(sha, s, "p"), sha, s, "start", "end", "p") for s in spans]
        store.commit(StageResult(sha, "clips", "k", [source, *clips]), **WHEN)
        for clip in clips:
            store.commit(StageResult(clip.id, "explicit", f"k-{clip.id}", [_harmless(clip)]), **WHEN)
    return Project.open(root / "p")


def _harmless(clip: Clip) -> Observation:
    return Observation(
        f"obs-{clip.id}", clip.id, None, clip.span, "explicit.max", 0.01, None, "0..1", (), 0.9, 5, "rule.planted@1"
    )
