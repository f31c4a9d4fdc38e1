"""A folder of damaged inputs beside a good one: each ends ok, degraded or rejected with a code; the batch goes on."""

import os
import random

from mien.core import Clip, Failure, Item, Source
from mien.export.report.collect import write
from mien.pipeline import Project
from mien.pipeline.config import load
from mien.testing.corpus import flipped

DAMAGE = {
    **{f"cut at {p} %": (lambda d, p=p: d[: len(d) * p // 100]) for p in (1, 25, 50, 75, 99)},
    **{f"flips {s:.2%}": (lambda d, s=s: flipped(d, s, 7)) for s in (0.0005, 0.003, 0.03)},
    "zero run": lambda d: d[: len(d) // 3] + bytes(4096) + d[len(d) // 3 + 4096 :],
    "hole": lambda d: d[: len(d) // 2] + d[len(d) // 2 + len(d) // 5 :],
    "junk head": lambda d: random.Random(1).randbytes(512) + d,
}


def test_damaged_inputs_end_with_a_code_and_the_batch_goes_on(tmp_path, short_real_clip):
    folder = tmp_path / "in"
    folder.mkdir()
    good = short_real_clip.read_bytes()
    (folder / "good.mp4").write_bytes(good)
    for number, (name, damage) in enumerate(DAMAGE.items()):
        (folder / f"{number:02d} {name.replace('/', '-')}.mp4").write_bytes(damage(good))
    odd = {
        "empty.mp4": b"",
        "text.mp4": b"this is no film\n" * 99,
        "list.mp4": b"#EXTM3U\nhttp://127.0.0.1/x.ts\n",
        "concat.mp4": b"ffconcat version 1.0\nfile good.mp4\n",
        "zeros.avi": bytes(10_000),
        "noise.mkv": os.urandom(10_000),
        "archive.mp4": b"PK\x03\x04" + bytes(500),
        "<script>.mp4": good[: len(good) // 2 + 7],
        "e\u0301 \u202e.mp4": good[:2000],
    }
    for name, data in odd.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "pipe.mp4")

    (tmp_path / "p").mkdir()
    project = Project.init(tmp_path / "p" / "project", "research")
    project.config, _ = load(project.root, {"analysis": {"fps": 1.0}})
    outcome = project.run([folder, folder / "pipe.mp4", folder / "not-there.mp4"])

    inputs = len(DAMAGE) + len(odd) + 3
    assert inputs >= 23
    items = project.store.all(Item)
    assert len(items) == inputs
    failures = {f.unit: f for f in project.store.all(Failure)}
    sources = {s.sha256: s for s in project.store.all(Source)}
    states = []
    for item in items:
        units = item.source_shas or (item.origin,)
        ended = [sources[u].state for u in units if u in sources] or ["rejected" for u in units if u in failures]
        assert len(ended) == 1, item.origin
        states += ended
        if ended[0] != "ok":
            code = failures[units[0]].code if units[0] in failures else sources[units[0]].code
            assert code.startswith("media."), item.origin
            assert code not in {"media.decoder-failed", "media.stalled"}, item.origin
    assert {"ok", "degraded", "rejected"} == set(states)
    assert all(f.code.startswith("media.") for f in outcome.failures)

    (whole,) = [s for s in sources.values() if s.path.endswith("/good.mp4")]
    assert whole.state == "ok"
    clips = project.store.all(Clip, "source_sha = ?", (whole.sha256,))
    assert clips
    assert all(row.state == "ok" for clip in clips for row in project.store.stages_of(clip.id))
    assert project.root is not None
    html = write(project, project.root / "report.html").read_text()
    assert "<script>.mp4" not in html
    assert "&lt;script&gt;.mp4" in html
    project.close()
