"""Keras' HDF5 files: both layouts in their own names and order, and nothing followed out of the file."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core import MienError
from mien.models.weights.reading import bringing

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(4)
KERNEL = RNG.normal(size=(3, 3, 1, 8)).astype(np.float32)


def bring(path: Path, key: str = "") -> tuple[dict[str, np.ndarray], list[str], bringing.Brought]:
    draft = path.with_suffix(".safetensors")
    with path.open("rb") as source:
        found = bringing.bring(source, draft, key)
    data = draft.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header, kinds = json.loads(data[8 : 8 + size]), {"F32": "<f4", "F16": "<f2", "I64": "<i8", "BOOL": "?"}
    order = json.loads(header.pop("__metadata__")["order"])
    arrays: dict[str, np.ndarray] = {}
    for name, entry in header.items():
        first, last = (8 + size + at for at in entry["data_offsets"])
        arrays[name] = np.frombuffer(data[first:last], kinds[entry["dtype"]]).reshape(entry["shape"])
    draft.unlink()
    return arrays, order, found


def keras2(group: Any, **options: Any) -> dict[str, np.ndarray]:
    """`save_weights` of Keras 2: the order of the layers is in attributes and is not that of the alphabet."""
    layers = {"z_conv": ["kernel:0", "bias:0"], "activation": [], "a_dense": ["kernel:0"]}
    group.attrs["layer_names"] = [name.encode() for name in layers]
    want: dict[str, np.ndarray] = {}
    for layer, names in layers.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = [f"{layer}/{name}".encode() for name in names]
        for name in names:
            value = KERNEL if layer == "z_conv" and name == "kernel:0" else RNG.normal(size=8).astype(np.float32)
            inner.create_dataset(f"{layer}/{name}", data=value, **options)
            want[f"{layer}/{layer}/{name}"] = value
    return want


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True, "fletcher32": True}])
@pytest.mark.parametrize("where", ["", "model_weights"])
def test_keras_2(tmp_path: Path, where: str, options: dict[str, Any]) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        want = keras2(file.create_group(where) if where else file, **options)
        if where:
            file.attrs["model_config"] = '{"class_name": "Lambda"}'
            file.create_dataset("optimizer_weights/m", data=KERNEL)
    got, order, found = bring(tmp_path / "w.h5")
    assert order == list(want) == ["z_conv/z_conv/kernel:0", "z_conv/z_conv/bias:0", "a_dense/a_dense/kernel:0"]
    for name, value in want.items():
        np.testing.assert_array_equal(got[name], value)
    assert (found.kind, found.took) == ("HDF5", where)


def test_keras_3_and_other_kinds_of_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.weights.h5", "w") as file:
        file["layers/conv2d/vars/0"] = KERNEL.astype(">f4")
        file["layers/conv2d/vars/1"] = np.ones(2, np.float16)
        file["layers/seed/vars/0"] = np.int64(5)
        file["layers/seed/vars/1"] = np.array([True, False])
        file["layers/none/vars/0"] = np.zeros((0, 3), np.float32)
        file["layers/text"] = "words"
        file["optimizer/vars/0"] = np.ones(3)
    got, _, found = bring(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(got["layers/conv2d/vars/0"], KERNEL)
    assert got["layers/conv2d/vars/1"].dtype == np.float16
    assert got["layers/seed/vars/0"] == 5
    assert got["layers/seed/vars/1"].tolist() == [True, False]
    assert got["layers/none/vars/0"].shape == (0, 3)
    assert found.dropped == ("layers/text (object)", "optimizer (of the training)")
    assert list(bring(tmp_path / "w.weights.h5", "layers/conv2d")[0]) == ["vars/0", "vars/1"]


def linked(file: Any, other: Path) -> None:
    file["w"] = h5py.ExternalLink(str(other), "secret")


def soft(file: Any, other: Path) -> None:
    file["w"] = h5py.SoftLink("/elsewhere")


def virtual(file: Any, other: Path) -> None:
    layout = h5py.VirtualLayout((4,), np.float32)
    layout[:] = h5py.VirtualSource(str(other), "secret", shape=(4,))
    file.create_virtual_dataset("w", layout)


def external(file: Any, other: Path) -> None:
    file.create_dataset("w", (4,), np.float32, external=[(str(other), 0, 16)])


def filtered(file: Any, other: Path) -> None:
    file.create_dataset("w", data=np.ones(64, np.float32), compression="lzf")


def looped(file: Any, other: Path) -> None:
    inner = file.create_group("a/b")
    inner["up"] = file["a"]


def huge(file: Any, other: Path) -> None:
    file.create_dataset("w", (1 << 40,), np.float32, chunks=(1 << 10,))


def packed(file: Any, other: Path) -> None:
    file.create_dataset("w", (1 << 40,), np.float32, chunks=(1 << 10,), compression="gzip")


def wide(file: Any, other: Path) -> None:
    file.create_dataset("w", (1 << 30,), np.float32, chunks=(1 << 29,), compression="gzip")


def broken(file: Any, other: Path) -> None:
    file["w"] = np.array([1.0, np.nan], np.float32)


def nothing(file: Any, other: Path) -> None:
    file.attrs["layer_names"] = [b"gone"]


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (linked, "weights.can-carry-code"),
        (soft, "weights.can-carry-code"),
        (virtual, "weights.can-carry-code"),
        (external, "weights.can-carry-code"),
        (filtered, "weights.can-carry-code"),
        (looped, "weights.unreadable"),
        (huge, "weights.too-large"),
        (packed, "weights.too-large"),
        (wide, "weights.too-large"),
        (broken, "weights.not-finite"),
        (nothing, "weights.no-tensors"),
    ],
)
def test_nothing_leads_out_of_the_file_or_claims_what_is_not_there(
    tmp_path: Path, make: Callable[[Any, Path], None], code: str
) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones(4, np.float32)
    with h5py.File(tmp_path / "w.h5", "w") as file:
        make(file, tmp_path / "other.h5")
    with pytest.raises(MienError) as caught:
        bring(tmp_path / "w.h5")
    assert caught.value.code == code
    assert not (tmp_path / "w.safetensors").exists()


def test_cut_and_changed_files_are_coded_errors(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "w.h5", "w") as file:
        keras2(file)
    data = (tmp_path / "w.h5").read_bytes()
    for part in (8, 100, len(data) // 2, len(data) - 40):
        (tmp_path / "w.h5").write_bytes(data[:part])
        with pytest.raises(MienError) as caught:
            bring(tmp_path / "w.h5")
        assert caught.value.code in ("weights.unreadable", "weights.no-tensors"), part
