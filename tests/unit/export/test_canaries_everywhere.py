"""Canaries through exporter, release and loader in the format of every trainer that is registered.

Generated stripes and a scripted gate. What may leave is striped green and captioned; canaries are striped magenta and
captioned otherwise. Every file of the output is opened, also within tar and Parquet, so that a format in which nothing
could be found fails, too: the green has to be there.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import learnable
import numpy as np
import pyarrow.parquet as pq
import pytest
import studio
from releasing import AGREED

import mien
from mien.core import Attribute, Clip, Item, MienError, Source, digest
from mien.export import release
from mien.export.trainers import export_for, trainer, trainers
from mien.pipeline import Project
from mien.store import Store
from mien.store.sealing import MANIFEST, Sealed, check, seal, walk
from mien.testing.media import Recipe

TRAINERS = tuple(sorted(trainers()))
GREEN, MAGENTA = (30, 200, 60), (210, 30, 200)
FINE, CANARY = "a paper kite over quiet dunes", "the zirconium walrus juggles teapots"
CARE, REFUSED = {"source": AGREED | {"context": "care"}}, {"source": AGREED | {"consent": "no"}}
CANARIES = {
    "explicit": {"explicit": 0.9}, "minor": {"explicit": 0.9, "age": 12.0}, "unseen": {"explicit": None},
    "care": CARE, "refused": REFUSED,
}  # fmt: skip


def striped(path: Path, colour: tuple[int, int, int], seconds: float, fps: int, size: int) -> Path:
    """Vertical stripes of a colour on dark grey, moving by a pixel per frame, over an edge that no other file has."""
    edge = np.random.default_rng(zlib.crc32(path.name.encode())).integers(0, 255, (size, 3), np.uint8)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=fps)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = size, size, "yuv420p", 2_000_000
        for i in range(round(seconds * fps)):
            pixels = np.full((size, size, 3), 40, np.uint8)
            pixels[:, (np.arange(size) + i) % 32 < 24] = colour
            pixels[-4:] = edge
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def captioned(root: Path) -> Project:
    """Every recording with a caption of its own."""
    with Store(root, write=True) as store:
        for n, source in enumerate(store.all(Source)):
            item = Item(f"item-{n}", source.path, (source.sha256,))
            text = FINE if "fine" in source.path or "Example 1" in source.path else CANARY
            store.put([item, Attribute(item.id, "caption", "text", text)], unit=source.sha256, stage="input")
    return Project.open(root)


@pytest.fixture(scope="module")
def projects(tmp_path_factory):
    """Track → a studio project with one recording that may leave, and the canaries."""
    root = tmp_path_factory.mktemp("canaries")
    (root / "studio").mkdir()

    def painted(colour, seconds, fps, size):
        return lambda path, *_: striped(path, colour, seconds, fps, size)

    brief, small = (1.5, 16, 256), (learnable.SECONDS, learnable.FPS, 96)
    # closed to models that make pictures alone
    more = CANARIES | {"minor alone": {"age": 15.0}, "research": {"source": AGREED | {"context": "research"}}}
    films = {"fine": {"source": AGREED, "film": painted(GREEN, *brief)}} | {
        f"canary-{n}": {"source": AGREED, "film": painted(MAGENTA, *brief)} | c for n, c in more.items()
    }
    studio.studio(root / "studio", films, recipe=Recipe(1.5, 16, 256, 256, sound=False)).close()
    seeds = (1, *range(2, 2 + len(CANARIES)))
    asked = dict(zip(seeds, ({}, *CANARIES.values()), strict=True))
    learnable.project(
        root / "care", seeds, "studio",
        explicit={n: c.get("explicit") for n, c in asked.items()},
        score={n: None if c.get("explicit", 0) is None else 0.01 for n, c in asked.items()},
        age={n: c.get("age") for n, c in asked.items()},
        source={n: c.get("source", AGREED) for n, c in asked.items()},
        film={n: painted(GREEN if n == 1 else MAGENTA, *small) for n in seeds},
    ).close()  # fmt: skip
    held = {"studio": captioned(root / "studio" / "p"), "care": captioned(root / "care")}
    yield held
    for project in held.values():
        project.close()


def traces(project: Project) -> dict[str, list[bytes]]:
    """Whose, "fine" or "canary" → words and bytes that stand for it: hashes, names, ids, a piece of its own file."""
    found: dict[str, list[bytes]] = {"fine": [FINE.encode()], "canary": [CANARY.encode()]}
    for source in project.store.all(Source):
        held, path = project.store.all(Clip, "source_sha = ?", (source.sha256,)), Path(source.path)
        assert held
        words = [source.sha256, path.stem, *(c.id for c in held)]
        words += [digest("example", source.sha256, c.span)[:20] for c in held]
        raw = path.read_bytes()
        mine = "fine" if "fine" in path.name or "Example 1" in path.name else "canary"
        found[mine] += [w.encode() for w in words] + [raw[len(raw) // 2 :][:48]]
    assert len(set(found["canary"])) > 5 * len(CANARIES)  # each has five at least: none has another one's bytes
    return found


def opened(name: str, raw: bytes) -> Iterator[tuple[str, bytes]]:
    """A file and the files in it."""
    yield name, raw
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            for member in tar:
                yield from opened(member.name, tar.extractfile(member).read())
    elif name.endswith(".parquet"):
        for row in pq.read_table(io.BytesIO(raw)).to_pylist():
            yield "row.json", repr(row).encode()
            yield from ((f"{n}.bin", held) for n, held in enumerate(_bytes(row)))


def _bytes(value: object) -> Iterator[bytes]:
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _bytes(inner)


def shown(name: str, raw: bytes) -> Iterator[np.ndarray]:
    """Pictures of a file, uint8 `[h w 3]` RGB; none where it holds none."""
    if raw[:3] == b"\xff\xd8\xff" or raw[:4] == b"\x89PNG":
        yield cv2.cvtColor(cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    elif raw[4:8] == b"ftyp":
        with av.open(io.BytesIO(raw)) as film:
            yield from (f.to_ndarray(format="rgb24") for f in film.decode(video=0))


def share(pixels: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float((np.abs(pixels.astype(int) - colour).max(axis=2) < 60).mean())


def scanned(folder: Path, found: dict[str, list[bytes]]) -> None:
    """Nothing of a canary in any file or name, and what may leave is there, by its pixels and its name."""
    seen = {"fine": 0, "canary": 0}
    told: dict[str, int] = {"fine": 0, "canary": 0}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        for inner, raw in opened(name, path.read_bytes()):
            for whose, colour in (("fine", GREEN), ("canary", MAGENTA)):
                seen[whose] += sum(share(p, colour) > 0.2 for p in shown(inner, raw))
                told[whose] += sum(t in raw or t in f"{name}/{inner}".encode() for t in found[whose])
    assert seen["canary"] == told["canary"] == 0
    assert seen["fine"] > 0
    assert told["fine"] > 0


def test_every_trainer_is_there_and_belongs_to_one_track():
    assert len(TRAINERS) >= 15
    assert {trainer(name).track for name in TRAINERS} == {"care", "studio"}


@pytest.mark.parametrize("name", TRAINERS)
def test_no_canary_in_an_export(projects, tmp_path, name):
    track = trainer(name).track
    written = export_for(projects[track], name, tmp_path / "out")
    scanned(tmp_path / "out", traces(projects[track]))
    codes = {w.code for w in written.withheld}
    asked = {"gate.quarantined", "gate.permanent", "gate.not-run", "context.mixed", "consent.refused"}
    assert asked <= codes
    assert ("gate.minor" in codes) == (track == "studio")


@pytest.fixture(scope="module")
def released(projects, tmp_path_factory):
    """Track → one release with the folders of all its trainers."""
    made = {}
    for track, project in projects.items():
        names = tuple(n for n in TRAINERS if trainer(n).track == track)
        order = release.Order(track, "1.0.0", names, tables=True, licence="CC-BY-4.0")
        made[track] = release.build(project, order, tmp_path_factory.mktemp(track)).folder
    return made


@pytest.mark.parametrize("name", TRAINERS)
def test_no_canary_in_a_release(projects, released, name):
    track = trainer(name).track
    scanned(released[track] / name, traces(projects[track]))


@pytest.mark.parametrize("track", ["care", "studio"])
def test_no_canary_in_what_lies_around_the_trainers_folders(projects, released, track):
    folder, found = released[track], traces(projects[track])["canary"]
    assert check(folder)[1] == []
    for path, _ in walk(folder):
        for name, raw in opened(path, (folder / path).read_bytes()):
            assert not [t for t in found if t in raw or t in name.encode()], path


def planted(folder: Path, name: str, change: dict) -> None:
    """One more example, written in by somebody who knows the format, that shows the files of a trainer."""
    text = (folder / "examples.jsonl").read_text()
    row = json.loads(text.splitlines()[0])
    own = [p for p in row["media"] if p.startswith(f"{name}/")]
    own = own or [p for p, _ in walk(folder) if p.startswith(f"{name}/") and p.endswith(".tar")]  # a shard is of many
    assert own, name
    (folder / "examples.jsonl").write_text(text + json.dumps(row | {"id": "canary", "media": own} | change) + "\n")
    files = [
        Sealed(p, s.st_size, hashlib.sha256((folder / p).read_bytes()).hexdigest())
        for p, s in walk(folder) if p != MANIFEST
    ]  # fmt: skip
    (folder / MANIFEST).write_bytes(seal(json.loads((folder / MANIFEST).read_text()), files, None)[0])


@pytest.mark.parametrize("name", TRAINERS)
def test_the_loader_hands_no_canary_out(released, name):
    folder = released[trainer(name).track]
    before = (folder / "examples.jsonl").read_text(), (folder / MANIFEST).read_bytes()
    for change, code in (
        ({"context": "care"}, "context.mixed"),
        ({"gate": {"decision": "passed", "explicit": 0.9}}, "gate.quarantined"),
        ({"gate": {"decision": "quarantined", "explicit": 0.9}}, "gate.unknown"),
        ({}, ""),  # the same row without the canary's mark is handed out: nothing else closes it
    ):
        try:
            planted(folder, name, change)
            held = mien.load_release(folder)
            assert held.skipped == ({code: 1} if code else {})
            assert ("canary" in {e.id for e in held}) == (not code)
            assert ("canary" in {e.id for e in mien.load_release(folder, streaming=True)}) == (not code)
        finally:
            (folder / "examples.jsonl").write_text(before[0])
            (folder / MANIFEST).write_bytes(before[1])


def test_care_feeds_no_model_that_makes_pictures(tmp_path):
    """A whole project of care, in every format of the studio."""
    (tmp_path / "c").mkdir()
    held = studio.studio(tmp_path / "c", {"ward": {"source": AGREED}}, "care", Recipe(1.5, 16, 256, 256, sound=False))
    for name in TRAINERS:
        if trainer(name).track == "studio":
            with pytest.raises(MienError, match=r"export\.all-withheld.*care recordings train no model"):
                export_for(held, name, tmp_path / name)
            assert not (tmp_path / name).exists()
    held.close()


def test_a_canary_that_gets_through_would_be_found(projects, tmp_path):
    """The scan itself: a picture, a name, a caption and bytes of a canary are each enough."""
    found = traces(projects["studio"])
    good, bad = (striped(tmp_path / f"{n}.mp4", c, 0.5, 8, 96) for n, c in (("g", GREEN), ("b", MAGENTA)))
    _, coded = cv2.imencode(".jpg", np.full((32, 32, 3), MAGENTA[::-1], np.uint8))
    for n, leak in enumerate((bad.read_bytes(), coded.tobytes(), *found["canary"])):
        folder = tmp_path / f"leak-{n}"
        folder.mkdir()
        (folder / "good.mp4").write_bytes(good.read_bytes())
        (folder / "told.txt").write_bytes(found["fine"][0])
        scanned(folder, found)
        with tarfile.open(folder / "shard.tar", "w") as tar:
            info = tarfile.TarInfo("x.bin")
            info.size = len(leak)
            tar.addfile(info, io.BytesIO(leak))
        with pytest.raises(AssertionError):
            scanned(folder, found)
