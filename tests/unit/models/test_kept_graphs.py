"""Sessions and the graphs that are kept for them: never another answer, whatever happens to what is kept."""

from __future__ import annotations

import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.core import Device, MienError
from mien.models import kept, sessions
from mien.models.onnx import OnnxNet
from mien.models.sessions import Written

X = np.linspace(-1, 1, 3 * 16 * 16, dtype=np.float32).reshape(1, 3, 16, 16)


def network(seed: int = 0) -> bytes:
    """Two convolutions with a rectifier between them."""
    rng = np.random.default_rng(seed)
    held = {"a": rng.normal(size=(16, 3, 3, 3)), "b": rng.normal(size=(8, 16, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["p"], pads=[1] * 4),
        helper.make_node("Relu", ["p"], ["q"]),
        helper.make_node("Conv", ["q", "b"], ["y"], pads=[1] * 4),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "n",
        [value("x", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v.astype(np.float32), n) for n, v in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "net.onnx"
    path.write_bytes(network())
    return path


@pytest.fixture
def opened(monkeypatch):
    """How each session was opened: whether from a kept graph."""
    seen: list[bool] = []
    plain = sessions._session

    def noting(*args, optimised=False, **more):
        seen.append(optimised)
        return plain(*args, optimised=optimised, **more)

    monkeypatch.setattr(sessions, "_session", noting)
    return seen


def graphs():
    return sorted(kept.home().rglob("*.onnx"))


def answer(model) -> np.ndarray:
    return OnnxNet(model, Device(threads=1)).run(X)[0]


def test_the_second_opening_takes_the_kept_graph_and_answers_the_same_to_the_bit(file, opened):
    plain = OnnxNet(file.read_bytes(), Device(threads=1)).run(X)[0]  # bytes are never kept
    assert not graphs()
    first, second = answer(file), answer(file)
    assert opened == [False, False, True]
    assert len(graphs()) == 1
    assert np.array_equal(plain, first)
    assert np.array_equal(first, second)


def test_a_network_that_is_written_is_written_once(file, opened):
    times: list[int] = []

    def write() -> bytes:
        times.append(1)
        return file.read_bytes()

    answers = [answer(Written((file,), "so", write)) for _ in range(3)]
    assert (len(times), opened) == (1, [False, True, True])
    assert np.array_equal(answers[0], answers[2])
    answer(Written((file,), "otherwise", write))
    assert len(times) == 2


def test_other_weights_under_the_same_name_have_another_graph(file, opened):
    before = answer(file)
    file.write_bytes(network(seed=1))
    after = answer(file)
    assert opened == [False, False]
    assert not np.allclose(before, after)
    assert np.array_equal(after, OnnxNet(network(seed=1), Device(threads=1)).run(X)[0])


@pytest.mark.parametrize("harm", ["flipped", "cut", "empty", "foreign"])
def test_a_damaged_graph_is_made_again(file, opened, harm):
    truth = answer(file)
    (graph,) = graphs()
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 0x40
    graph.write_bytes({"flipped": bytes(data), "cut": bytes(data[:99]), "empty": b"", "foreign": network(2)}[harm])
    assert np.array_equal(answer(file), truth)
    assert opened == [False, False]
    assert np.array_equal(answer(file), truth)
    assert opened[-1]


def test_a_graph_that_does_not_open_is_made_again(file, opened, monkeypatch):
    truth = answer(file)
    monkeypatch.setattr(kept.cache, "state_of", lambda *_: "ok")
    graphs()[0].write_bytes(b"no graph")
    assert np.array_equal(answer(file), truth)
    assert opened == [False, True, False]


def test_a_disk_that_takes_nothing_stops_nothing(file, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    assert answer(file).shape == (1, 8, 16, 16)
    assert not [f for f in kept.home().rglob("*") if f.suffix in (".onnx", ".tmp")]


def test_nothing_is_kept_where_it_is_switched_off(file, opened, monkeypatch):
    monkeypatch.setenv("MIEN_GRAPHS", "off")
    answer(file)
    answer(file)
    assert opened == [False, False]
    assert not kept.home().exists()


def test_many_open_the_same_network_at_once(file):
    truth, found = OnnxNet(file.read_bytes(), Device(threads=1)).run(X)[0], []
    threads = [threading.Thread(target=lambda: found.append(answer(file))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert all(np.array_equal(f, truth) for f in found)


def test_few_generations_are_left_and_clean_takes_all(file):
    for i in range(kept.GENERATIONS + 3):
        answer(Written((file,), str(i), file.read_bytes))
    assert len(graphs()) == kept.GENERATIONS
    files, size = kept.clean()
    assert files >= kept.GENERATIONS
    assert size > 0
    assert not kept.home().exists()
    assert kept.clean() == (0, 0)


def test_what_is_no_network_is_an_error_and_is_not_kept(file):
    file.write_bytes(b"not onnx")
    with pytest.raises(MienError) as caught:
        answer(file)
    assert caught.value.code == "weights.unreadable"
    assert not graphs()


def test_cuda_is_asked_for_and_never_replaced(file):
    import onnxruntime as ort

    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(MienError) as caught:
        OnnxNet(file, Device("cuda"))
    assert caught.value.code == "device.unavailable"
    assert not graphs()


def test_the_kept_file_is_a_graph_of_onnxruntime(file):
    answer(file)
    assert onnx.load(graphs()[0]).graph.node
