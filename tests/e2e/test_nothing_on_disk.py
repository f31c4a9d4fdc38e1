"""No embedding of a face or a voice reaches a disk: planted vectors are looked for, byte by byte, in every file."""

import os
import sqlite3
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from mien.core import Embeddings, Landmarks
from mien.models.sound.whisper import COLUMNS, WhisperVoice
from mien.models.vision.faces.landmarks import FaceMesh
from mien.pipeline import Project
from mien.store import StageResult, Store, arrays


def forms(vector: np.ndarray) -> dict[str, bytes]:
    """A vector's ways onto a disk: binary of any float width and order, and text."""
    found = {
        np.dtype(t).str: vector.astype(t).tobytes()[: 8 * np.dtype(t).itemsize]
        for t in ("<f2", "<f4", "<f8", ">f4", ">f8")
    }
    found["int8"] = np.round(127 * vector / np.abs(vector).max()).astype(np.int8).tobytes()[:32]
    for digits in (4, 6):
        found[f"text{digits}"] = ", ".join(f"{v:.{digits}f}" for v in vector[:4]).encode()
        found[f"compact{digits}"] = ",".join(f"{v:.{digits}f}" for v in vector[:4]).encode()
    return found


def unpacked(path: Path) -> bytes:
    """What compression hides from a look at the bytes: the columns of packed arrays and of Parquet files."""
    if path.suffix == ".parquet":
        tables = [arrays.read(path)]
    elif path.name == "mien.db":
        with sqlite3.connect(path) as db:
            tables = [arrays.unpack(body, name) for name, body in db.execute("SELECT name, body FROM packed")]
    else:
        return b""
    columns = [c.to_numpy(zero_copy_only=False) for t in tables for c in t.columns]
    rows = [r for t in tables for r in zip(*(c.to_numpy(zero_copy_only=False) for c in t.columns), strict=True)]
    numbers = [np.array([v for v in row if isinstance(v, float)], np.float32) for row in rows]  # across the columns
    return b"".join([c.tobytes() for c in columns if c.dtype != object] + [n.tobytes() for n in numbers])


def scan(folder: Path, vectors: list[np.ndarray]) -> list[str]:
    """Which planted forms lie in which file (Parquet and SQLite pages included, as the bytes they are)."""
    needles = [(f"{i}:{name}", data) for i, v in enumerate(vectors) for name, data in forms(v).items()]
    hits: list[str] = []
    for path in folder.rglob("*"):
        if path.is_file():
            held = path.read_bytes() + unpacked(path)
            hits += [f"{path.name} {name}" for name, data in needles if data in held]
    return hits


@pytest.fixture
def planted(monkeypatch):
    """Models that answer with known vectors; everything else is real."""
    rng = np.random.default_rng(7)
    vectors: list[np.ndarray] = []
    mesh = FaceMesh.run

    def voice(self, batch):
        made = rng.standard_normal((len(batch), COLUMNS)).astype(np.float32)
        vectors.extend(made.copy())
        return Embeddings(made)

    def face(self, batch):
        answer = mesh(self, batch)
        vectors.extend(p.ravel()[:256].copy() for p in answer.points[:2])
        return Landmarks(answer.points, answer.score)

    monkeypatch.setattr(WhisperVoice, "run", voice)
    monkeypatch.setattr(FaceMesh, "run", face)
    return vectors


def test_planted_vectors_are_nowhere_on_disk(tmp_path, short_real_clip, planted, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    project = Project.init(tmp_path / "project", "research")
    outcome = project.run([short_real_clip])
    assert outcome.failures == ()
    assert len(planted) >= 3
    assert scan(tmp_path, planted) == []
    project.close()


def test_the_scan_finds_what_is_planted(tmp_path):
    vector = np.random.default_rng(1).standard_normal(128).astype(np.float32)
    (tmp_path / "leak.bin").write_bytes(os.urandom(100) + vector.tobytes() + os.urandom(9))
    (tmp_path / "leak.json").write_text("[" + ", ".join(f"{v:.6f}" for v in vector) + "]")
    assert {hit.split()[0] for hit in scan(tmp_path, [vector])} == {"leak.bin", "leak.json"}
    for wide, name in ((False, "down"), (True, "across")):
        (tmp_path / name).mkdir()
        with Store(tmp_path / name, write=True) as store:
            data = {f"c{i}": [v] for i, v in enumerate(vector.tolist()[:60])} if wide else {"c": vector}
            store.commit(StageResult("u", "s", "k", tables={"s/u": pa.table(data)}), run_id="run-1", at_utc="2026")
        found = {hit.split()[0] for hit in scan(tmp_path / name, [vector])}
        assert found == {"mien.db"}, "packed and compressed, and found all the same"
    assert scan(tmp_path, [np.random.default_rng(2).standard_normal(128)]) == []


def test_no_column_of_the_record_is_made_for_vectors(tmp_path):
    with Project.init(tmp_path / "p", "research").store as store:
        _, rows = store.query("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    text = {name: sql.lower() for name, sql in rows}
    assert "embedding" not in " ".join(text.values())
    # Small tables are packed into one column of bytes; what may be in them is `arrays.check`'s to say.
    assert [name for name, sql in text.items() if "blob" in sql] == ["packed"]
