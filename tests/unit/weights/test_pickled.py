"""PyTorch files read without PyTorch: equal to what torch reads, and nothing in a file ever runs."""

from __future__ import annotations

import collections
import contextlib
import io
import json
import math
import pickle
import socket
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.core import MienError
from mien.models.weights.reading import bringing, formats, pytorch, tensors

torch = pytest.importorskip("torch")
CANARY = "canary-is-out"


class Net(torch.nn.Module):
    """A network pickled whole, with what real ones carry: a shared module, buffers that last and one that does not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4), torch.nn.SiLU())
        self.head = torch.nn.Linear(4, 2)
        self.again = self.head
        self.register_buffer("grid", torch.arange(6).reshape(2, 3))
        self.register_buffer("passing", torch.ones(2), persistent=False)
        self.act = torch.nn.functional.silu
        self.sizes = {3, 5}


def state() -> dict[str, Any]:
    torch.manual_seed(0)
    base = torch.randn(4, 6)
    return {
        "whole": base,
        "turned": base.t(),
        "cut": base[1:3, 2:5],
        "every_other": base[:, ::2],
        "expanded": torch.randn(1).expand(3, 4),
        "bf16": torch.randn(5).bfloat16(),
        "half": torch.randn(2, 3).half(),
        "double": torch.randn(3).double(),
        "count": torch.tensor(7),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "mask": torch.tensor([[True, False, True]]),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
    }


def saved(path: Path, value: Any, *, new: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=new)
    return path


def read(path: Path, key: str = "") -> tuple[dict[str, Any], tensors.Held]:
    """What our reader makes of a file, in this very process."""
    from safetensors.torch import load

    out = io.BytesIO()
    with path.open("rb") as file:
        held = pytorch.read(file, path.stat().st_size, key)
        tensors.write(out, held.tensors, {})
    return load(out.getvalue()), held


def same(got: dict[str, Any], want: dict[str, Any]) -> None:
    assert got.keys() == want.keys()
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype, name
        assert got[name].shape == tensor.shape, name
        assert torch.equal(got[name], tensor), name


@pytest.mark.parametrize("new", [True, False], ids=["zip", "stream"])
class TestEqualToTorch:
    def test_every_layout_of_a_tensor(self, tmp_path: Path, new: bool) -> None:
        path = saved(tmp_path / "a.pth", state(), new=new)
        same(read(path)[0], torch.load(path, weights_only=False))

    def test_a_checkpoint_around_it(self, tmp_path: Path, new: bool) -> None:
        import argparse

        value = {
            "epoch": 3,
            "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}},
            "args": argparse.Namespace(lr=0.1),
            "best": np.float64(0.5),
            "state_dict": collections.OrderedDict(state()),
            "model_ema": state(),
        }
        got, held = read(saved(tmp_path / "a.pth", value, new=new))
        same(got, state())
        assert (held.took, held.others) == ("state_dict", ("model_ema",))
        same(read(tmp_path / "a.pth", "model_ema")[0], state())

    def test_a_network_pickled_whole(self, tmp_path: Path, new: bool) -> None:
        net = Net().eval()
        saved(tmp_path / "a.pt", {"model": net, "date": None}, new=new)
        got, held = read(tmp_path / "a.pt")
        same(got, net.state_dict())
        assert "again.weight" in got
        assert held.took == "model"

    def test_through_the_child(self, tmp_path: Path, new: bool) -> None:
        from safetensors.torch import load_file

        path = saved(tmp_path / "a.pth", {"net": state(), "epoch": 1}, new=new)
        with path.open("rb") as source:
            found = bringing.bring(source, tmp_path / "a.safetensors")
        same(load_file(tmp_path / "a.safetensors"), state())
        assert (found.kind, found.took, found.tensors) == ("PyTorch", "net", len(state()))
        assert formats.check(tmp_path / "a.safetensors") == "safetensors"

    def test_a_cut_file_is_a_coded_error(self, tmp_path: Path, new: bool) -> None:
        data = saved(tmp_path / "a.pth", state(), new=new).read_bytes()
        for part in (0, 1, 20, len(data) // 3, len(data) // 2, len(data) - 30, len(data) - 1):
            (tmp_path / "cut.pth").write_bytes(data[:part])
            with pytest.raises(MienError) as caught:
                read(tmp_path / "cut.pth")
            assert caught.value.code in ("weights.unreadable", "weights.too-large"), part

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    @pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "float64"])
    def test_what_is_no_number_is_named(self, tmp_path: Path, new: bool, bad: float, kind: str) -> None:
        value = {"good": torch.ones(3), "bad.weight": torch.tensor([1.0, bad]).to(getattr(torch, kind))}
        with pytest.raises(MienError, match=r"bad\.weight holds NaN") as caught:
            read(saved(tmp_path / "a.pth", value, new=new))
        assert caught.value.code == "weights.not-finite"

    @pytest.mark.parametrize("odd", [torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.complex64)])
    def test_other_kinds_of_tensors_are_refused_by_name_or_dropped(self, tmp_path: Path, new: bool, odd: Any) -> None:
        with pytest.raises(MienError, match="mask") as caught:
            read(saved(tmp_path / "a.pth", {"w": torch.ones(2), "mask": odd}, new=new))
        assert caught.value.code == "weights.unsupported-tensor"
        beside = {"state_dict": {"w": torch.ones(2)}, "other": {"mask": odd, "v": torch.ones(1)}}
        same(read(saved(tmp_path / "b.pth", beside, new=new))[0], {"w": torch.ones(2)})


def test_the_rule_of_choosing(tmp_path: Path) -> None:
    one = {"w": torch.ones(1)}
    assert read(saved(tmp_path / "a.pth", {"encoder": one, "optimizer": {"m": torch.ones(1)}}))[1].took == "encoder"
    assert read(saved(tmp_path / "a.pth", {"model": {"state_dict": one}}))[1].took == "model.state_dict"
    with pytest.raises(MienError) as caught:
        read(saved(tmp_path / "a.pth", {"encoder": one, "decoder": one}))
    assert caught.value.code == "weights.ambiguous"
    assert "--key encoder" in caught.value.hint
    assert read(tmp_path / "a.pth", "decoder")[1].took == "decoder"
    for value, key, code in (
        ({"encoder": one}, "coder", "weights.no-key"),
        ({"epoch": 1}, "", "weights.no-tensors"),
        (torch.ones(2), "", "weights.no-tensors"),
        ([one], "", "weights.no-tensors"),
    ):
        with pytest.raises(MienError) as caught:
            read(saved(tmp_path / "a.pth", value), key)
        assert caught.value.code == code
    dropped = read(saved(tmp_path / "a.pth", one | {"note": "x", "sizes": [1, 2]}))[1].dropped
    assert dropped == ("note (str)", "sizes (list of 2)")


# ---------------------------------------------------------------- nothing runs


class Evil:
    """Runs when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


class Sets:
    """Runs when its state is given back."""

    def __setstate__(self, given: Any) -> None:
        Path(given["path"]).touch()


def payloads(where: Path) -> dict[str, bytes]:
    import functools
    import os

    command, path = f"touch {where}", str(where)
    raw, told = command.encode(), Sets()
    told.__dict__["path"] = path
    ex = pickle.PROTO + b"\x04" + b"csubprocess\nPopen\n" + b"((S'" + raw + b"'\nt}\x8c\x05shell\x88s\x92."
    stacked = b"\x80\x04\x8c\x05posix\x8c\x06system\x93(S'" + raw + b"'\nt\x85R."
    return {
        "reduce": pickle.dumps(Evil(os.system, command), 2),
        "reduce in a state dict": pickle.dumps({"state_dict": {"x": Evil(os.system, command)}}, 2),
        "reduce as a key": b"}cposix\nsystem\n(S'" + raw + b"'\ntRK\x01s.",
        "eval": pickle.dumps(Evil(eval, f"open({path!r}, 'w').close()"), 2),
        "exec of Python 2": b"c__builtin__\nexec\n(S'import os; os.system(\"" + raw + b"\")'\ntR.",
        "getattr": b"cbuiltins\ngetattr\n(cos\nopen\nS'x'\ntR.",
        "import": b"c__builtin__\n__import__\n(S'antigravity'\ntR.",
        "inst": b"(S'" + raw + b"'\niposix\nsystem\n.",
        "obj": b"(cposix\nsystem\nS'" + raw + b"'\no.",
        "newobj": b"\x80\x02csubprocess\nPopen\n((S'touch'\nS'" + path.encode() + b"'\nltt\x81.",
        "newobj_ex": ex,
        "build": pickle.dumps({"w": told}, 2),
        "a name alone": b"cos\nsystem\n.",
        "a factory": b"ccollections\ndefaultdict\n(cos\nsystem\ntR.",
        "partial": pickle.dumps(functools.partial(os.system, command), 2),
        "stack_global": stacked.replace(b"\x85R", b"R"),
        "numpy": b"\x80\x04\x8c\x1cnumpy.testing._private.utils\x8c\trunstring\x93(S'" + raw + b"'\n}tR.",
        "torch.load": b"\x80\x02ctorch.storage\n_load_from_bytes\n(S'" + b"x" * 8 + b"'\ntR.",
        "torch.hub": b"\x80\x02ctorch.hub\nload\n(S'a'\ntR.",
        "through a rebuild": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch.hub\nload\nNS'a'\n\x85NtR.",
        "a stranger's class": b"\x80\x02cmy.package\nThing\n)\x81}b.",
        "a stranger's function": b"\x80\x02cmy.package\nmake\n)R.",
        "copyreg": b"ccopyreg\n_reconstructor\n(cmy.package\nThing\nc__builtin__\nobject\nNtR.",
        "ext1": b"\x80\x02\x82\x01.",
        "persid": b"Pstorage\n.",
        "buffer": b"\x80\x05\x97.",
    }


LIVE = ("reduce", "reduce in a state dict", "eval", "inst", "obj", "build", "stack_global")


def as_zip(pickled: bytes, **members: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in {"version": b"3\n", **members}.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)
    return out.getvalue()


def as_stream(pickled: bytes) -> bytes:
    head = [pytorch.MAGIC, pytorch.PROTOCOL, {"little_endian": True, "protocol_version": 1001, "type_sizes": {}}]
    return b"".join(pickle.dumps(x, 2) for x in head) + pickled + pickle.dumps([], 2)


@pytest.mark.parametrize("name", LIVE)
def test_the_canaries_live_where_pickle_reads_them(name: str, tmp_path: Path) -> None:
    """Without this, the tests below would prove nothing."""
    pickle.loads(payloads(tmp_path / CANARY)[name])  # noqa: S301 - the point of it
    assert (tmp_path / CANARY).exists()


@pytest.mark.parametrize("wrap", [as_zip, as_stream, lambda data: data], ids=["zip", "stream", "bare"])
@pytest.mark.parametrize("name", payloads(Path(CANARY)))
def test_nothing_in_a_file_runs(tmp_path: Path, name: str, wrap: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(wrap(payloads(tmp_path / CANARY)[name]))
    before = set(sys.modules)
    with pytest.raises(MienError) as caught:
        read(path)
    assert caught.value.code == "weights.can-carry-code"
    assert not (tmp_path / CANARY).exists()
    assert not {"antigravity", "my", "my.package", "torch.hub"} & (set(sys.modules) - before)


def test_nothing_runs_in_the_child_either_and_no_draft_stays(tmp_path: Path) -> None:
    for name in ("reduce in a state dict", "build"):
        (tmp_path / "a.pth").write_bytes(as_zip(payloads(tmp_path / CANARY)[name]))
        with (tmp_path / "a.pth").open("rb") as source, pytest.raises(MienError) as caught:
            bringing.bring(source, tmp_path / "draft.safetensors")
        assert caught.value.code == "weights.can-carry-code"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth"]


def test_the_child_can_open_nothing_once_the_door_is_shut(tmp_path: Path) -> None:
    code = (
        "import socket, os\nfrom mien.models.weights.reading import bringing\nbringing._lock(bringing.Limits(), 10)\n"
        "for what in (lambda: open('x', 'w'), lambda: open(os.devnull), socket.socket, os.pipe):\n"
        "    try:\n        what()\n    except OSError as error:\n        print(error.errno)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["24"] * 4  # too many open files
    assert list(tmp_path.iterdir()) == []
    assert socket.socket


def test_a_child_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.pth", state())
    with path.open("rb") as source, pytest.raises(MienError) as caught:
        bringing.bring(source, tmp_path / "a.safetensors", limits=bringing.Limits(wall_s=0.01))
    assert caught.value.code == "weights.stalled"
    assert not (tmp_path / "a.safetensors").exists()


# ---------------------------------------------------------------- files that claim what they do not hold


class Pid:
    def __init__(self, *pid: Any) -> None:
        self.pid = pid


def described(kind: Any, count: int, offset: int, shape: Any, strides: Any) -> bytes:
    """A state dict with one tensor as told, pickled as torch does."""
    storage = Pid("storage", kind, "0", "cpu", count)
    args = (storage, offset, shape, strides, False, collections.OrderedDict())
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return obj.pid if isinstance(obj, Pid) else None

    Pickler(out, 2).dump({"w": Evil(torch._utils._rebuild_tensor_v2, *args)})
    return out.getvalue()


NUMBERS = np.arange(6, dtype="<f4").tobytes()


def test_a_file_made_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(as_zip(described(torch.FloatStorage, 6, 1, (2, 2), (1, 2)), data__0=NUMBERS))
    same(read(tmp_path / "a.pth")[0], {"w": torch.tensor([[1.0, 3.0], [2.0, 4.0]])})


@pytest.mark.parametrize(
    "claim",
    [
        (1 << 50, 0, (1 << 50,), (1,)),
        (6, 0, (7,), (1,)),
        (6, 5, (2,), (1,)),
        (6, 0, (1 << 40, 1 << 20), (0, 0)),
        (6, 0, (1 << 61,) * 30, (0,) * 30),
        (6, 0, (2, 3), (3,)),
        (6, -1, (2,), (1,)),
        (6, 0, (-2,), (1,)),
        (6, 0, (2,), (-1,)),
        (6, 0, (2.5,), (1,)),
        (6, 0, (True,), (1,)),
        (6, 0, (1,) * 40, (1,) * 40),
        (7, 0, (7,), (1,)),
        (6, 0, [6], [1]),
    ],
)
def test_claims_are_held_against_the_file_before_memory_is_taken(tmp_path: Path, claim: Any) -> None:
    (tmp_path / "a.pth").write_bytes(as_zip(described(torch.FloatStorage, *claim), data__0=NUMBERS))
    with pytest.raises(MienError) as caught:
        read(tmp_path / "a.pth")
    assert caught.value.code in ("weights.too-large", "weights.unreadable")


def test_a_storage_of_a_strange_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(as_zip(described(pytest.Item, 6, 0, (6,), (1,)), data__0=NUMBERS))
    with pytest.raises(MienError) as caught:
        read(tmp_path / "a.pth")
    assert caught.value.code == "weights.can-carry-code"


def rewritten(path: Path, change: Callable[[dict[str, bytes]], None], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_numbers_of_the_other_byte_order(tmp_path: Path) -> None:
    def turn(members: dict[str, bytes]) -> None:
        members["a/byteorder"] = b"big"
        for name, data in members.items():
            if "/data/" in name:
                members[name] = np.frombuffer(data, "<u4").astype(">u4").tobytes()

    want = {"a": torch.randn(3, 4), "b": torch.randn(5)}
    path = rewritten(saved(tmp_path / "a.pth", want), turn)
    same(torch.load(path), want)
    same(read(path)[0], want)


def overlapping() -> bytes:
    data = bytearray(as_zip(described(torch.FloatStorage, 6, 0, (6,), (1,)), data__0=NUMBERS, data__1=NUMBERS))
    first, second = data.rindex(b"archive/data/0"), data.rindex(b"archive/data/1")
    data[second - 4 : second] = data[first - 4 : first]  # both entries of the directory point at one member
    return bytes(data)


def twice() -> bytes:
    out = io.BytesIO(as_zip(described(torch.FloatStorage, 6, 0, (6,), (1,)), data__0=NUMBERS))
    with zipfile.ZipFile(out, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("archive/data/0", NUMBERS)
    return out.getvalue()


def named(name: str) -> bytes:
    out = io.BytesIO(as_zip(described(torch.FloatStorage, 6, 0, (6,), (1,)), data__0=NUMBERS))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(name, b"x")
    return out.getvalue()


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    return out.getvalue()


def flipped() -> bytes:
    data = bytearray(as_zip(described(torch.FloatStorage, 6, 0, (6,), (1,)), data__0=NUMBERS))
    at = data.index(NUMBERS)
    data[at + 5] ^= 1
    return bytes(data)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (overlapping, "weights.unreadable"),
        (twice, "weights.unreadable"),
        (lambda: named("archive/../../evil"), "weights.unreadable"),
        (lambda: named("/evil"), "weights.unreadable"),
        (bomb, "weights.unreadable"),
        (flipped, "weights.unreadable"),
        (lambda: as_zip(b"N."), "weights.no-tensors"),
        (lambda: b"PK\x03\x04" + b"\0" * 60, "weights.unreadable"),
        (lambda: as_zip(b"\x80\x02}.", constants__pkl=b"", code__net=b"").replace(b"constants/pkl", b"constants.pkl"),
         "weights.can-carry-code"),
        (lambda: as_stream(b"]" * 10), "weights.unreadable"),
        (lambda: as_stream(b"(" * 100_000 + b"t" * 99_999 + b"."), "weights.no-tensors"),
        (lambda: as_zip(b"}q\x00X\x01\x00\x00\x00ah\x00s."), "weights.no-tensors"),
        (lambda: as_zip(b"\x8e" + struct.pack("<Q", 1 << 60) + b"x."), "weights.unreadable"),
        (lambda: as_zip(b"L" + b"9" * 100_000 + b"L\n."), "weights.unreadable"),
    ],
)  # fmt: skip
def test_hostile_files_are_coded_errors(tmp_path: Path, make: Callable[[], bytes], code: str) -> None:
    (tmp_path / "a.pth").write_bytes(make())
    with pytest.raises(MienError) as caught:
        read(tmp_path / "a.pth")
    assert caught.value.code == code


def test_torchscript_is_refused(tmp_path: Path) -> None:
    out = io.BytesIO(as_zip(b"\x80\x02}."))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr("archive/code/__torch__.py", "import os")
    (tmp_path / "a.pt").write_bytes(out.getvalue())
    with pytest.raises(MienError, match="TorchScript") as caught:
        read(tmp_path / "a.pt")
    assert caught.value.code == "weights.can-carry-code"


def test_random_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    """Every single-byte change of a real file gives the tensors, or a coded error: never a traceback."""
    base = saved(tmp_path / "a.pth", {"state_dict": {"w": torch.ones(3), "v": torch.zeros(2, 2)}}, new=False)
    data, rng = base.read_bytes(), np.random.default_rng(0)
    for _ in range(400):
        hurt = bytearray(data)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            hurt[at] = rng.integers(0, 256)
        base.write_bytes(hurt)
        with contextlib.suppress(MienError):
            read(base)


def test_the_order_of_the_file_is_kept_in_the_header(tmp_path: Path) -> None:
    path = saved(
        tmp_path / "a.pth", {"z": torch.ones(1).half(), "a": torch.ones(3, dtype=torch.uint8), "m": torch.ones(2)}
    )
    out = io.BytesIO()
    with path.open("rb") as file:
        tensors.write(out, pytorch.read(file, path.stat().st_size, "").tensors, {"k": "v"})
    data = out.getvalue()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header) == ["__metadata__", "z", "a", "m"]
    assert [header[n]["data_offsets"] for n in ("m", "z", "a")] == [[0, 8], [8, 10], [10, 13]]
