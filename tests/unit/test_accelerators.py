"""CUDA is asked for and never guessed; the doctor says what is there, and what two onnxruntimes do to each other."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest

from mien.cli import look
from mien.core import MienError
from mien.pipeline import Stack
from mien.pipeline.config import load


def told() -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}

    def add(check: str, state: str, hint: str = "", bad: bool = False) -> None:
        rows[check] = {"state": state, "hint": hint, "bad": bad}

    look._accelerators(add)
    return rows


def test_a_run_that_asks_for_cuda_gets_it_or_an_error() -> None:
    config, origins = load(None, {"project": {"context": "research"}, "analysis": {"device": "cuda"}})
    assert origins["analysis.device"] == "flag"
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine has CUDA")
    stack = Stack(config)
    with pytest.raises(MienError) as caught:
        stack.get("faces")
    assert caught.value.code == "device.unavailable"


@pytest.mark.parametrize(
    ("held", "bad"),
    [({"onnxruntime"}, False), ({"onnxruntime-gpu"}, False), ({"onnxruntime", "onnxruntime-gpu"}, True), (set(), True)],
)
def test_exactly_one_onnxruntime(held: set[str], bad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name not in held:
            raise metadata.PackageNotFoundError(name)
        return "1.2.3"

    monkeypatch.setattr(metadata, "version", version)
    row = told()["onnxruntime packages"]
    assert row["bad"] == bad
    assert ("overwrite" in row["hint"]) == (len(held) == 2)


def test_providers_are_named() -> None:
    assert "CPU" in told()["onnxruntime runs on"]["state"]
    assert told()["torch"]["state"]
