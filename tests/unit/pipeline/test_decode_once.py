"""The analysis takes its frames and sound from where the scan left them, and decodes again only where it must."""

import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from mien.core import Failure, Source
from mien.media import Decoder, hash_file
from mien.media import probe as probed
from mien.pipeline.config import load
from mien.pipeline.engine import run
from mien.pipeline.engine.hand import Hand, Inline
from mien.pipeline.engine.run import Runner
from mien.pipeline.engine.task import ClipTask, Done, Finished
from mien.pipeline.rows import table
from mien.pipeline.stack import Stack
from mien.store import Store
from mien.testing.media import Recipe, make


class Looking(Hand):
    """Hands that only look: the digest of all frames and of the sound is every stage's result."""

    def __init__(self, config, before=None) -> None:
        super().__init__(Stack(config), config.analysis, side_by_side=False)
        self.seen: dict[str, str] = {}
        self.before = before

    def prepare(self) -> None:
        """No models."""

    def do(self, task: ClipTask, progress) -> Finished:
        if self.before:
            self.before(task)
        media = self._media(task)
        digest = hashlib.sha256(media.sound(task.clip.span).samples.tobytes())
        for batch in media.frames(task.clip.span, self._analysis.fps, self._analysis.max_side_px):
            digest.update(batch.t_us.tobytes() + batch.pixels.tobytes())
        self.seen[task.clip.id] = digest.hexdigest()
        rows = table({"t_us": np.zeros(1, np.int64), "energy": np.zeros(1, np.float32)})
        held = {"motion": {f"motion/{task.clip.id}": rows}}
        return Finished(task, {stage: Done([], held.get(stage, {}), 1.0) for stage in task.stages})


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    one = make(folder / "one.mp4", Recipe(seconds=5.0, cuts_s=(1.6, 3.2))).path
    two = make(folder / "two.mp4", Recipe(seconds=1.5, seed=1)).path
    return [one, two]


def analysed(films: list[Path], monkeypatch: pytest.MonkeyPatch, before=None, **terms):
    """Digest by clip, and how often frames and sound were decoded for the analysis."""
    asked = {"frames": 0, "sound": 0}
    for name in asked:
        bare = getattr(Decoder, name)

        def counted(self, *given, _bare=bare, _name=name):
            asked[_name] += 1
            return _bare(self, *given)

        monkeypatch.setattr(Decoder, name, counted)
    config, _ = load(None, {"project": {"context": "research"}, "run": terms})
    store, hand = Store(None), Looking(config, before)
    monkeypatch.setattr(run, "crew_for", lambda *_: Inline(hand, lambda *_: None))
    for film in films:
        p, sha = probed(film), hash_file(film)
        known = p.duration_us or 0, p.width_px, p.height_px, p.fps, p.audio_rate_hz, p.audio_channels
        store.put([Source(sha, str(film), p.kind, film.stat().st_size, *known, "research")], unit=sha, stage="register")
    runner = Runner(store, config, run_id="run-1")
    runner.run()
    assert runner._sources._spool.held_bytes == 0
    runner.close()
    assert [f for f in store.all(Failure) if f.code.startswith("media.")] == []
    monkeypatch.undo()
    return hand.seen, asked


def test_once_is_the_same_as_twice(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    once, asked = analysed(films, monkeypatch)
    twice, again = analysed(films, monkeypatch, spool_mb=0)
    assert once == twice
    assert len(once) == 4
    assert asked == {"frames": 0, "sound": 3}  # the sound of parts depends on where decoding begins
    assert again == {"frames": 4, "sound": 4}


def test_it_is_really_read(films: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte that changes in the spool changes what the analysis sees of that clip, and of no other."""
    changed: list[str] = []

    def change(task: ClipTask) -> None:
        if not changed:
            assert task.spooled is not None
            assert task.spooled.pictures is not None
            _, place = task.spooled.pictures[2]
            byte = os.pread(place.fd, 1, place.offset + 100)
            os.pwrite(place.fd, bytes([byte[0] ^ 1]), place.offset + 100)
            changed.append(task.clip.id)

    good, _ = analysed(films, monkeypatch)
    seen, _ = analysed(films, monkeypatch, change)
    assert {clip for clip in good if good[clip] != seen[clip]} == set(changed)


@pytest.mark.parametrize("kept", [0, 3, 9])
def test_what_is_lost_is_decoded_again_from_there(
    films: list[Path], monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    good, _ = analysed(films, monkeypatch)
    lost: set[int] = set()
    read = os.preadv

    def lose(task: ClipTask) -> None:
        assert task.spooled is not None
        assert task.spooled.pictures is not None
        lost.update(place.offset for _, place in task.spooled.pictures[kept:])

    def preadv(fd, buffers, offset):
        if offset in lost:
            raise OSError(errno.EIO, "the disk is gone")
        return read(fd, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    seen, asked = analysed(films, monkeypatch, lose)
    assert seen == good
    assert asked["frames"] == (4 if kept < 7 else 0)
