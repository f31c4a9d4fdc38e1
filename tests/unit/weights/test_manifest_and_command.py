"""The manifest as it is, the command over it, and one real file from the real registry."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mien.cli.models import app
from mien.models.weights import brought, manifest, pull, resolve, select
from mien.models.weights.converting import convert

from .conftest import Registry

LOADED = {".onnx", ".safetensors", ".tflite", ".gguf", ".json", ".txt", ".bin"}
runner = CliRunner()


def test_every_file_is_pinned_and_of_a_kind_that_carries_no_code() -> None:
    for entry in manifest():
        weights = entry.weights
        made = convert.made_by(weights)
        assert all((weights.licences.code, weights.licences.weights, weights.licences.training_data))
        if not weights.runtime:  # a package without files of its own: there is only its licence
            assert not weights.assets
            assert not weights.bring
            continue
        given = {a.file for a in weights.assets} | set(made)
        assert set(weights.runtime) <= given | set(brought(weights)), weights.model
        assert weights.assets or weights.bring or weights.note, weights.model  # it says where its files come from
        for asset in weights.assets:
            assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256), (weights.model, asset.file)
            assert asset.bytes > 0, (weights.model, asset.file)
            assert asset.version, (weights.model, asset.file)
        if entry.slot not in ("sample", "page"):
            assert {Path(name).suffix for name in weights.runtime} <= LOADED


def test_names_of_models_and_of_adapters_both_select() -> None:
    entries = manifest()
    assert [e.slot for e in entries[-2:]] == ["sample", "page"]
    assert select([]) == entries
    for entry in entries:
        assert select([entry.model, *entry.adapters]) == (entry,)


def test_the_room_and_every_adapter_import_without_a_runtime() -> None:
    code = (
        "import sys, mien.models.weights as w, mien.cli.models; w.manifest();"
        "print(*sorted({'onnx', 'onnxruntime', 'cv2', 'av', 'ctranslate2', 'pyarrow', 'pandas', 'torch', 'requests'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_list_and_licences_are_data_and_mistakes_are_talk(here: Path) -> None:
    rows = json.loads(runner.invoke(app, ["list", "--json"]).stdout)
    assert {r["model"]: r["state"] for r in rows}["sample.demo-video"] == "missing"
    shown = runner.invoke(app, ["list", "sample.demo-video"])
    assert "Pexels licence" in shown.stdout
    held = json.loads(runner.invoke(app, ["licences", "page.uplot", "--json"]).stdout)
    assert held == {"page.uplot": {"code": "MIT", "weights": "none", "training_data": "none", "accept": ""}}
    wrong = runner.invoke(app, ["list", "page.uplt"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "did you mean 'page.uplot'" in wrong.stderr
    assert runner.invoke(app, ["add", "page.uplot"]).exit_code == 2
    assert here.exists()


def test_pull_says_sizes_first_and_exits_1_with_codes_when_a_model_fails(
    configured: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.tarball("uplot", "1.6.32", {"package/dist/uPlot.min.css": b"c" * 1857, "package/z": b"z" * 9})
    result = runner.invoke(app, ["pull", "page.uplot", "sample.demo-video", "--json"])
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    assert answer["failed"]["page.uplot"]["code"] in ("weights.sha256", "weights.no-member")
    assert answer["failed"]["sample.demo-video"]["code"] == "weights.not-found"
    assert re.search(r"npm uplot 1\.6\.32: at most [\d.]+ MB to fetch, 0\.1 MB kept", result.stderr)
    assert "page.uplot: code MIT" in result.stderr
    assert "Traceback" not in result.stderr
    verified = runner.invoke(app, ["verify", "page.uplot", "--json"])
    assert verified.exit_code == 1
    assert {row["state"] for row in json.loads(verified.stdout)} == {"missing"}


def test_one_real_file_from_the_real_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    (weights,) = (e.weights for e in manifest() if e.model == "swift-f0")
    result = pull([weights])
    error = result.failed.get(weights.model)
    if error is not None and error.code == "weights.network":
        pytest.skip(f"the package registry cannot be reached: {error.message}")
    assert result.fetched == (weights.model,)
    assert resolve(weights).only.stat().st_size == weights.assets[0].bytes
