"""What was withdrawn is skipped in every table, conversation, shard and folder that the loader hands out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import learnable
import pytest
import studio
from releasing import AGREED

import mien
from mien.core import Clip, MienError, Source, digest
from mien.export import release
from mien.pipeline import Project
from mien.store.payloads import ENDINGS, UNPLACED
from mien.store.revocation import Revocations, subject_key, withdrawn_key, write
from mien.store.sealing import check
from mien.testing.media import Recipe

CARE = ("trl", "ms-swift", "llama-factory", "qwen-vl", "axolotl", "hf", "webdataset")
STUDIO = ("diffusers", "musubi")
ROWS = {
    "trl/train.jsonl", "ms-swift/train.jsonl", "llama-factory/train.json", "qwen-vl/train.json", "axolotl/train.jsonl",
    "hf/data/train.parquet", "hf/images/train/metadata.jsonl", "hf/videos/train/metadata.jsonl",
    "hf/audio/train/metadata.jsonl", "webdataset/train-000000.tar", "tables/claims.parquet",
    "tables/observations.parquet", "tables/sources.parquet", "tables/tracks.parquet", "tables/clips.parquet",
    "trl/examples.jsonl", "trl/evidence.jsonl",
}  # fmt: skip


class Built:
    """A release of two recordings, the first of which is the canary; `marks`: what names each of them."""

    def __init__(self, project: Project, folder: Path, first: str) -> None:
        self.folder = folder
        manifest, wrong = check(folder)
        assert manifest is not None
        assert not wrong
        self.root = manifest.root
        self.marks: dict[bool, set[str]] = {True: set(), False: set()}
        self.sha = ""
        for source in project.store.all(Source):
            mine = first in source.path
            self.sha = source.sha256 if mine else self.sha
            for clip in project.store.all(Clip, "source_sha = ?", (source.sha256,)):
                stem = digest("example", source.sha256, clip.span)[:20]
                self.marks[mine] |= {source.sha256, clip.id, stem}

    def revoke(self, name: str) -> None:
        listed = Revocations(withdrawn=frozenset({withdrawn_key(self.root, name)}), at_utc="2026-01-01T00:00:00+00:00")
        write(self.folder / "revoked.json", listed)

    def free(self) -> None:
        (self.folder / "revoked.json").unlink()


@pytest.fixture(scope="module")
def care(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    root = tmp_path_factory.mktemp("care") / "p"
    project = learnable.project(root, source=AGREED, subject={1: "P-07", 2: None})
    project.close()
    told = (root / "mien.toml").read_text()
    (root / "mien.toml").write_text(f"{told}\n[splits]\nvalidation = 0.0\ntest = 0.0\n")
    project = Project.open(root)
    order = release.Order("care", "1.0.0", CARE, tables=True, licence="CC-BY-4.0")
    yield Built(project, release.build(project, order).folder, "Example 1")
    project.close()


def told(row: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in row.items() if not isinstance(v, bytes)}, default=repr)


def of(built: Built, rows: Any, canary: bool) -> list[str]:
    """The rows that name the canary, or the other recording."""
    return [t for t in map(told, rows) if any(m in t for m in built.marks[canary])]


@pytest.mark.parametrize("how", ["source", "subject"])
def test_every_file_with_rows_skips_what_was_withdrawn(care: Built, how: str):
    held = mien.load_release(care.folder)
    every = {f.path for f in held.manifest.files}
    assert every >= ROWS
    for path in ROWS:  # before: both are there, so that what is missing below is missing for a reason
        assert of(care, held.rows(path), True), path
        assert of(care, held.rows(path), False), path
    before = {m.file.path for m in held.files()}
    care.revoke(care.sha if how == "source" else subject_key("P-07"))
    try:
        held, stream = mien.load_release(care.folder), mien.load_release(care.folder, streaming=True)
        assert held.skipped == {"release.withdrawn": 1}
        for path in ROWS:
            rows, flow = held.rows(path), stream.rows(path)
            assert not of(care, rows, True), path
            assert of(care, rows, False), path
            assert list(flow) == list(rows) == rows[:], path
            assert rows.skipped == dict(flow.skipped)
            assert rows.skipped["release.withdrawn"] > 0, path
            assert set(rows.skipped) <= {"release.withdrawn", UNPLACED}
        after = {m.file.path for m in held.files()}
        assert after < before
        assert {p.partition("/")[0] for p in after} == {p.partition("/")[0] for p in before}
        assert not [p for p in after if any(m in p for m in care.marks[True])]
        assert [m.path for m in held.files("hf/videos")] == [m.path for m in stream.files("hf/videos")]
        for path in every - ROWS:  # no other file with rows hands the canary out
            if path.endswith(ENDINGS) and path != "examples.jsonl":
                with suppress(MienError):  # a JSON file that holds no list of rows
                    assert not of(care, stream.rows(path), True), path
    finally:
        care.free()


def test_rows_by_number_are_the_same_in_any_order(care: Built):
    held = mien.load_release(care.folder)
    for path in ROWS:
        rows = held.rows(path)
        listed = list(rows)
        assert [rows[i] for i in reversed(range(len(rows)))] == listed[::-1], path
        assert rows[-1] == listed[-1]
    assert list(mien.load_release(care.folder, split="train").rows("trl/train.jsonl")) == list(
        held.rows("trl/train.jsonl")
    )
    for wrong, code in (("trl/nothing.jsonl", "no-file"), ("examples.jsonl", "no-file"), ("README.md", "no-rows")):
        with pytest.raises(MienError, match=rf"release\.{code}"):
            held.rows(wrong)


def test_what_names_nobody_is_kept_back(care: Built):
    from mien.store.payloads import Marks

    marks = Marks()
    marks.add({"id": "c1", "source": "s1", "start_us": 0, "end_us": 5}, "")
    marks.add({"id": "c2", "source": "s1", "start_us": 5, "end_us": 9}, "release.withdrawn")
    marks.add({"id": "c3", "source": "s2", "start_us": 0, "end_us": 5}, None)
    asked = [{"clip_id": "c1"}, {"clip_id": "c2"}, {"clip_id": "c3"}, {"clip_id": "c9"}, {"text": "a word"}, {}]
    assert [marks.why_not(row) for row in asked] == ["", "release.withdrawn", None, UNPLACED, UNPLACED, UNPLACED]
    assert marks.why_not({"clip_id": "c1", "images": [f"x/{'0' * 20}-1.jpg"]}) == UNPLACED
    assert [marks.why_not({"sha256": s}) for s in ("s1", "s2", "s3")] == ["", None, UNPLACED]
    marks.add({"id": "c1", "source": "s1", "start_us": 0, "end_us": 5}, "gate.unknown")  # named twice, closed once
    assert marks.why_not({"clip_id": "c1"}) == "gate.unknown"


@pytest.mark.parametrize("path", ["trl/train.jsonl", "webdataset/train-000000.tar", "hf/data/train.parquet"])
def test_torch_and_datasets_skip_it_too(care: Built, path: str):
    torch_data = pytest.importorskip("torch.utils.data", reason="needs torch")
    from mien.train.streams import torch_stream

    care.revoke(care.sha)
    try:
        held, stream = mien.load_release(care.folder), mien.load_release(care.folder, streaming=True)
        views: dict[str, Any] = {
            "torch": torch_data.DataLoader(held.rows(path).to_torch(), batch_size=None),
            "torch stream": torch_data.DataLoader(torch_stream(stream.rows(path)), batch_size=None),
            "torch examples": torch_data.DataLoader(torch_stream(stream), batch_size=None),
        }
        for name, rows in views.items():
            found = list(rows)
            assert not of(care, found, True), name
            assert of(care, found, False), name
    finally:
        care.free()


def test_datasets_views_skip_it_too(care: Built):
    pytest.importorskip("datasets", reason="needs the extra datasets")
    import datasets

    care.revoke(care.sha)
    try:
        held, stream = mien.load_release(care.folder), mien.load_release(care.folder, streaming=True)
        for path in ("trl/train.jsonl", "hf/data/train.parquet", "llama-factory/train.json"):
            table = held.rows(path).to_datasets()
            assert table["stem"] == [r["stem"] for r in held.rows(path)]
            assert [r["stem"] for r in stream.rows(path).to_datasets()] == table["stem"]
            assert not set(table["stem"]) & care.marks[True]
        clips = held.rows("hf/data/train.parquet").to_datasets()
        assert isinstance(clips.features["images"].feature, datasets.Image)
        assert [r["id"] for r in stream.to_datasets()] == [e.id for e in held]
    finally:
        care.free()


def test_folders_for_models_that_make_pictures_skip_it_too(tmp_path: Path):
    small = Recipe(1.5, 16, 256, 256, sound=False)
    project = studio.studio(tmp_path, {"canary": {"source": AGREED}, "fine": {"source": AGREED}}, recipe=small)
    built = Built(
        project, release.build(project, release.Order("s", "1.0.0", STUDIO, licence="CC-BY-4.0")).folder, "canary"
    )
    project.close()
    held = mien.load_release(built.folder)
    (metadata,) = [f.path for f in held.manifest.files if f.path.endswith("metadata.jsonl")][:1]
    assert len(held.rows("musubi/records/clips.jsonl")) == 2
    n = {
        path: len(held.rows(path)) for path in (metadata, "musubi/records/clips.jsonl", "musubi/records/controls.jsonl")
    }
    files = held.files("musubi")
    built.revoke(built.sha)
    held = mien.load_release(built.folder, streaming=True)
    for path in n:
        assert not of(built, held.rows(path), True), path
    assert of(built, held.rows("musubi/records/clips.jsonl"), False)
    fewer = {m.file.path for m in held.files("musubi")}
    assert len(fewer) == len(files) / 2
    assert {Path(p).suffix for p in fewer} == {".mp4", ".txt", ".safetensors"}


def test_lists_are_found_where_the_manifest_says_and_tell_their_age(tmp_path: Path):
    from releasing import published

    project = published(tmp_path / "p")
    order = release.Order("near", "1.0.0", tables=True, licence="CC-BY-4.0", revocations="../../lists/near.json")
    near = release.build(project, order).folder
    far = release.build(
        project, release.Order("far", "1.0.0", licence="CC-BY-4.0", revocations="https://127.0.0.1:9/revoked.json")
    ).folder
    with pytest.raises(MienError, match=r"release\.bad-revocations"):
        release.Order("far", "1.0.0", revocations="http://example.org/list.json")
    project.close()
    assert mien.load_release(near).lists == ()
    assert len(mien.load_release(near)) == 2
    manifest, _ = check(near)
    assert manifest is not None
    keys = frozenset({withdrawn_key(manifest.root, "a" * 64)})
    write(tmp_path / "p" / "lists" / "near.json", Revocations(withdrawn=keys, at_utc="2026-01-01T00:00:00+00:00"))
    held = mien.load_release(near)
    assert (len(held), held.skipped) == (0, {"release.withdrawn": 2})
    assert not list(held.rows("tables/clips.parquet"))
    assert list(held.rows("tables/models.parquet"))  # about models, and nobody's
    (listed,) = held.lists
    assert listed.where.endswith("near.json")
    assert (listed.age_days or 0) > 100
    assert len(mien.load_release(far)) == 2  # nothing goes over a network unasked
    with pytest.raises(MienError, match=r"release\.revocation-unreadable"):
        mien.load_release(far, fetch=True)


def test_who_holds_a_clip_and_a_list_learns_nothing(care: Built):
    """Planted: the same list does say it to who holds the release, whose root is the key."""
    listed = Revocations(withdrawn=frozenset({withdrawn_key(care.root, care.sha)}))
    other = "0" * 64
    assert listed.skips([care.sha], [], care.root)
    assert not listed.skips([care.sha], [], other)
    assert not listed.skips([care.sha], [])
    assert care.root not in json.dumps(listed.told)


def test_no_heavy_library_is_imported_to_read_rows(care: Built):
    code = (
        "import sys, mien; held = mien.load_release(sys.argv[1])\n"
        "assert len(held.rows('trl/train.jsonl')) and len(held.rows('webdataset/train-000000.tar'))\n"
        "assert not {'torch', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(care.folder)], check=True)
