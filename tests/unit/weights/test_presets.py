"""Presets and terms: what is fetched without a name, what asks first, and what is remembered."""

from __future__ import annotations

import dataclasses
import json
import sys
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import pytest
from typer.testing import CliRunner

from mien.cli.models import app, default_adapters
from mien.core import AdapterSpec, Asset, Frames, Licences, MienError, Scalars, Strict, Weights, adapters
from mien.models.weights import (
    accept,
    add_local,
    expand,
    is_accepted,
    load_adapters,
    manifest,
    open_adapter,
    presets,
    pull,
    select,
)  # fmt: skip

from .conftest import Registry, asset
from .test_local_and_bundle import onnx_bytes

runner = CliRunner()
DATA = onnx_bytes(1.0)
TERMS = Licences("MIT", "for research", "not said", accept="research-only")
GATED = Weights("test-gated", (asset("fake/net.onnx", DATA),), TERMS, ("net.onnx",))
BROUGHT = Weights(
    "test-brought", (), TERMS, ("net.safetensors",),
    bring=(Asset("net.pth", "git", "someone/net", "0" * 40, "weights/net.pth", "", 0),),
)  # fmt: skip


class Gated:
    """An adapter that opens nothing."""

    spec: ClassVar = AdapterSpec(name="test.gated", slot="test", takes=Frames, gives=Scalars, weights=GATED)

    class Config(Strict):
        """No keys."""

    @classmethod
    def open(cls, files: object, config: object, device: object) -> Gated:
        return cls()


class Brought(Gated):
    spec: ClassVar = AdapterSpec(name="test.brought", slot="test", takes=Frames, gives=Scalars, weights=BROUGHT)


@pytest.fixture
def filed(configured: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Gated, Brought):
        monkeypatch.setitem(adapters._ADAPTERS, cls.spec.name, cls)  # pyright: ignore[reportArgumentType]
    registry.wheel("fake_model-1.0-py3-none-any.whl", {"fake/net.onnx": DATA})


def test_the_default_is_what_the_default_stack_runs_and_asks_for_nothing() -> None:
    names, found = default_adapters(), load_adapters()
    default = expand(["default"], names)
    weights = {spec.weights.model for n in names if (spec := found[n].spec).weights}
    assert set(default) == weights | {"page.uplot"}
    assert not [e.model for e in select(default) if e.weights.licences.accept or not e.weights.assets]
    off = {e.model for e in manifest()} - set(default)
    assert {"facex", "blazepose", "faceres", "sample.demo-video"} <= off


def test_presets_follow_from_what_models_declare() -> None:
    names = default_adapters()
    sets = {p: set(expand([p], names)) for p in presets.PRESETS}
    assert sets["default"] < sets["standard"] < sets["research"]
    asks = {e.model for e in manifest() if e.weights.licences.accept}
    assert sets["research"] - sets["standard"] == asks
    assert not sets["tests"] & asks
    assert sets["default"] | {"sample.demo-video", "sample.demo-laugh", "facex"} <= sets["tests"]
    assert expand(["facex", "default", "nothing"], names)[0] == "facex"
    assert "nothing" in expand(["nothing"], names)


@pytest.mark.usefixtures("filed")
def test_terms_are_asked_for_before_anything_and_remembered_with_their_text(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for act in (
        lambda: open_adapter("test.gated"),
        lambda: add_local("test-gated", tmp_path / "x"),
        lambda: (_ for _ in ()).throw(pull([GATED]).failed["test-gated"]),
    ):
        with pytest.raises(MienError) as caught:
            act()
        assert caught.value.code == "licence.not-accepted"
        assert caught.value.hint == "mien models pull test-gated --accept-licence research-only"
    refused = runner.invoke(app, ["pull", "test-gated"])
    assert refused.exit_code == 1
    assert "mien models pull test-gated --accept-licence research-only" in refused.stderr
    wrong = runner.invoke(app, ["pull", "test-gated", "--accept-licence", "MIT"])
    assert wrong.exit_code == 1
    assert registry.log == []
    done = runner.invoke(app, ["pull", "test-gated", "--accept-licence", "research-only"])
    assert done.exit_code == 0, done.stderr
    assert "weights for research" in done.stderr
    book = json.loads((tmp_path / "cache" / "licences.json").read_text())
    assert set(book["models"]["test-gated"]) == {"accept", "text", "by", "at"}
    assert isinstance(open_adapter("test.gated"), Gated)
    changed = dataclasses.replace(
        GATED, licences=dataclasses.replace(TERMS, weights="for research, and only on Sundays")
    )
    assert not is_accepted(changed)
    assert is_accepted(GATED)
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "another"))
    assert not is_accepted(GATED)


@pytest.mark.usefixtures("filed")
@pytest.mark.parametrize(("answer", "code"), [("research-only\n", 0), ("y\n", 1), ("", 1)])
def test_at_a_terminal_the_name_is_typed(answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.cli import terms

    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal(answer))
    try:
        terms.settle([GATED], None, "mien models pull test-gated")
        assert code == 0
    except MienError:
        assert code == 1
    assert is_accepted(GATED) == (code == 0)


@pytest.mark.usefixtures("filed")
def test_what_cannot_be_fetched_is_listed_as_missing_and_says_what_to_bring() -> None:
    (row,) = json.loads(runner.invoke(app, ["list", "test-brought", "--json"]).stdout)
    assert (row["state"], row["accepted"]) == ("missing", False)
    assert "no, bring it" in runner.invoke(app, ["list", "test-brought"]).stdout
    accept(BROUGHT)
    done = runner.invoke(app, ["pull", "test-brought", "--json"])
    assert done.exit_code == 0
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["failed"] == {}
    assert said["present"] == said["fetched"] == []
    assert said["bring"]["test-brought"].startswith("weights/net.pth from git someone/net 000")
    assert "mien models add test-brought net.pth" in said["bring"]["test-brought"]
    with pytest.raises(MienError) as caught:
        open_adapter("test.brought")
    assert caught.value.code == "weights.missing"
    assert "net.pth" in caught.value.message
