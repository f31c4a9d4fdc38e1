"""Trainers' own loaders read what is exported: counts, pictures and texts are those that were written.

`datasets` and `webdataset` are used where they are installed. LLaMA-Factory and ms-swift are looked for in the folder
MIEN_PEERS (`pip install --target FOLDER --no-deps`, docs/training-data.md), each in a process of its own.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "export"))
from learnable import project

from mien.export.trainers import export_for

pytestmark = pytest.mark.peer
LLAMA = """
import os, sys, types, importlib.machinery, json
os.environ["DISABLE_VERSION_CHECK"] = "1"
audio = types.ModuleType("torchaudio"); audio.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
sys.modules["torchaudio"] = audio
sys.path.append(sys.argv[1])
from llamafactory.data.parser import get_dataset_list
from llamafactory.data.loader import _load_single_dataset
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import Seq2SeqTrainingArguments
folder = sys.argv[2]
for name in json.load(open(f"{folder}/dataset_info.json")):
    told = DataArguments(dataset=name, dataset_dir=folder, media_dir=folder)
    how = ModelArguments(model_name_or_path="x"), told, Seq2SeqTrainingArguments(output_dir=sys.argv[3])
    rows = _load_single_dataset(get_dataset_list([name], folder)[0], *how)
    for r in rows:
        print("ROW" + json.dumps([r["_prompt"][0]["content"], r["_response"][0]["content"], r["_videos"]]))
"""
SWIFT = """
import glob, json, os, sys
sys.path.append(sys.argv[1])
os.chdir(sys.argv[2])
from swift.dataset import load_dataset
rows, _ = load_dataset(sorted(f for f in glob.glob("*.jsonl") if f[:3] in ("tra", "val", "tes")), strict=True)
for r in rows:
    print("ROW" + json.dumps([r["messages"][0]["content"], r["messages"][1]["content"], r["videos"]], default=str))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    held = project(tmp_path_factory.mktemp("learnable") / "p", (1, 2))
    yield held
    held.close()


def told(folder):
    return [json.loads(line) for line in (folder / "examples.jsonl").read_text().splitlines()]


def test_datasets_loads_the_table_and_the_folders(made, tmp_path):
    datasets = pytest.importorskip("datasets", reason="needs: pip install datasets")
    out = tmp_path / "hf"
    export_for(made, "hf", out)
    clips = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "c"))
    rows = {r["stem"]: r for s in clips.values() for r in s.remove_columns(["video", "audio"])}
    assert set(rows) == {e["stem"] for e in told(out)}
    for e in told(out):
        row = rows[e["stem"]]
        assert [i.size for i in row["images"]] == [(96, 64)] * 4
        assert row["reasoning_medium"].startswith("<think>")
        assert [sum(p["states"]) for p in row["people"]] == pytest.approx([1.0] * len(e["people"]), abs=1e-4)
    names = next(iter(clips.values())).features["state_names"].feature.names
    assert names == ["calm", "distress", "pleasure"]
    pictures = datasets.load_dataset("imagefolder", data_dir=str(out / "images"), cache_dir=str(tmp_path / "c"))
    assert sum(len(s) for s in pictures.values()) == sum(len(e["images"]) for e in told(out))
    films = datasets.load_dataset("videofolder", data_dir=str(out / "videos"), cache_dir=str(tmp_path / "c"))
    assert sum(len(s) for s in films.values()) == len(told(out))


def test_trl_takes_the_rows_as_they_are(made, tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="needs: pip install datasets")
    data_utils = pytest.importorskip("trl.data_utils", reason="needs: pip install trl")
    out = tmp_path / "trl"
    export_for(made, "trl", out)
    monkeypatch.chdir(out)
    files = {p.stem: p.name for p in out.glob("*.jsonl") if p.stem in ("train", "validation", "test")}
    rows = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "c"))
    for split in rows.values():
        seen = split.cast_column("images", datasets.List(datasets.Image()))
        for row in seen:
            assert data_utils.is_conversational(row)
            prepared = data_utils.prepare_multimodal_messages(row["messages"], images=row["images"])
            parts = [p["type"] for p in prepared[0]["content"]]
            assert parts.count("image") == len(row["images"]) == 4


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # it leaves its tar files open
def test_webdataset_reads_the_shards(made, tmp_path):
    web = pytest.importorskip("webdataset", reason="needs: pip install webdataset")
    out = tmp_path / "web"
    export_for(made, "webdataset", out)
    seen = {}
    for shard in sorted(out.glob("*.tar")):
        seen |= {s["__key__"]: s for s in web.WebDataset(str(shard), shardshuffle=False, empty_check=False)}
    assert set(seen) == {e["stem"] for e in told(out)}
    for sample in seen.values():
        assert {"json", "txt", "mp4", "wav", "0.jpg", "3.jpg"} <= set(sample)
        assert sample["txt"].startswith(b"<think>")


@pytest.mark.parametrize(("name", "program"), [("llama-factory", LLAMA), ("ms-swift", SWIFT)])
def test_trainers_of_their_own_folder_read_conversations(made, tmp_path, name, program):
    peers = os.environ.get("MIEN_PEERS")
    package = {"llama-factory": "llamafactory", "ms-swift": "swift"}[name]
    if not peers or not (Path(peers) / package).is_dir():
        pytest.skip(f"needs {package} in the folder MIEN_PEERS")
    out = tmp_path / name
    export_for(made, name, out)
    command = [sys.executable, "-c", program, str(Path(peers).resolve()), str(out), str(tmp_path / "scratch")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ModuleNotFoundError" in done.stderr and done.returncode:
        pytest.skip(f"{package} needs a package that is not here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr[-3000:]
    rows = [json.loads(line[3:]) for line in done.stdout.splitlines() if line.startswith("ROW")]
    ending = "*.json" if name == "llama-factory" else "*.jsonl"
    split = [p for p in out.glob(ending) if p.stem in ("train", "validation", "test")]
    written: list[dict] = []
    for path in split:
        text = path.read_text(encoding="utf-8")
        written += json.loads(text) if path.suffix == ".json" else map(json.loads, text.splitlines())
    assert len(rows) == len(written)
    assert all(question.count("<video>") == len(videos) == 1 for question, _, videos in rows)
    assert sum(answer.startswith("<think>") for _, answer, _ in rows) == 2
