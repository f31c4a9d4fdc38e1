"""AudioSet taggers: the published front end, the contracts of the files, and planted sounds that must be found."""

import json

import numpy as np
import pytest

from mien.core import Device, MienError, Sound, WeightFiles
from mien.models.sound import audioset, yamnet_mel
from mien.models.sound.audioset import Panns, YamNet, class_names
from mien.models.sound.yamnet_mel import PATCH, PATCH_HOP

RATE = 16_000


def tone(hz, at, length, seconds=6.0, level=0.3):
    """Quiet noise with a tone from `at` s on."""
    x = np.random.default_rng(0).normal(0, 1e-3, round(seconds * RATE)).astype(np.float32)
    a, b = round(at * RATE), round((at + length) * RATE)
    x[a:b] += (level * np.sin(2 * np.pi * hz * np.arange(b - a) / RATE)).astype(np.float32)
    return x


# ---------------------------------------------------------------- names


def test_names_are_in_the_published_order():
    names, known = class_names(), class_names(yamnet=True)
    assert (len(names), len(known)) == (527, 521)
    places = {0: "Speech", 13: "Laughter", 22: "Wail, moan", 33: "Groan", 132: "Music", 277: "Wind", 294: "Vehicle",
              348: "Door", 398: "Mechanisms", 427: "Firecracker", 494: "Silence", 500: "Inside, small room",
              520: "Field recording"}  # fmt: skip
    assert {i: known[i] for i in places} == places, "as in yamnet_class_map.csv"
    assert (names[1], names[16], names[526]) == ("Male speech, man speaking", "Laughter", "Field recording")
    assert [n for n in names if n in set(known)] == list(known)
    assert len(set(names)) == 527


@pytest.mark.peer
def test_names_are_those_of_the_ontology(shared_data):
    told = json.loads((shared_data / "ontology_audioset" / "ontology.json").read_text(encoding="utf-8"))
    assert set(class_names()) <= {entry["name"] for entry in told}


# ---------------------------------------------------------------- the front end


def test_front_end_has_the_published_sizes():
    assert (PATCH, PATCH_HOP) == (15_600, 7_680)
    for samples, rows in ((1, 1), (15_600, 1), (15_601, 2), (23_280, 2), (23_281, 3)):
        x = yamnet_mel.padded(np.ones(samples, np.float32))
        assert len(yamnet_mel.patches(x)) == rows
        assert len(x) == PATCH + (rows - 1) * PATCH_HOP
    assert yamnet_mel.patches(np.zeros(0, np.float32)).shape == (0, 96, 64)


def test_silence_is_the_log_of_the_published_offset():
    np.testing.assert_allclose(yamnet_mel.log_mel(np.zeros(800, np.float32)), np.log(0.001), rtol=1e-6)


def test_front_end_agrees_with_an_independent_one():
    tools = pytest.importorskip("transformers.audio_utils")
    filters = tools.mel_filter_bank(
        257, 64, 125.0, 7500.0, RATE, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True
    )
    filters[0] = 0
    np.testing.assert_allclose(yamnet_mel.mel_filters(), filters, atol=1e-4)
    x = tone(700, 0.2, 0.5, 1.0)
    window = tools.window_function(400, "hann")
    magnitude = tools.spectrogram(x, window, 400, 160, fft_length=512, power=1.0, center=False)
    want = np.log(filters.T @ magnitude + 0.001).T
    np.testing.assert_allclose(yamnet_mel.log_mel(x), want[: len(yamnet_mel.log_mel(x))], atol=2e-3)


def test_a_tone_is_loudest_in_its_own_band():
    edges = np.linspace(1127 * np.log1p(125 / 700), 1127 * np.log1p(7500 / 700), 66)
    centres = 700 * np.expm1(edges[1:-1] / 1127)
    for band in (5, 20, 40, 60):
        assert yamnet_mel.log_mel(tone(centres[band], 0, 1, 1.0)).mean(0).argmax() == band


# ---------------------------------------------------------------- networks of the contracts


def classes_of_bands(classes, bands=64):
    """Class k hears band k mod `bands`; the same weights for every file, seeded: float32 `[bands classes]`."""
    weights = np.zeros((bands, classes), np.float32)
    weights[np.arange(classes) % bands, np.arange(classes)] = np.random.default_rng(1).uniform(0.8, 1.2, classes)
    return weights


class Graph:
    """A small ONNX file, node by node."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def const(self, value):
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, kind, *inputs, **attributes):
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [f"{kind}{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def save(self, path, shape, outputs):
        from onnx import TensorProto, checker, helper

        given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
        answers = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * rank) for n, rank in outputs.items()]
        graph = helper.make_graph(self.nodes, "tagger", given, answers, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path


def on_patches(path, shape):
    """Patches in one of three layouts → probabilities `[n 521]`: mean over time, classes of bands."""
    g = Graph()
    x = g.node("Reshape", "x", g.const(np.array([-1, 96, 64], np.int64)))
    level = g.node("ReduceMean", x, axes=[1], keepdims=0)
    p = g.node(
        "Sigmoid", g.node("Add", g.node("MatMul", level, g.const(classes_of_bands(521))), g.const(np.float32(2)))
    )
    return g.save(path, shape, {p: 2})


def on_samples(path, shape):
    """Samples → (scores, embeddings, log-mel) with the front end inside, as convolutions: written apart from ours."""
    g = Graph()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    angle = 2 * np.pi * np.outer(np.arange(257), np.arange(400)) / 512
    kernel = np.concatenate([np.cos(angle) * window, -np.sin(angle) * window])[:, None].astype(np.float32)
    x = g.node("Reshape", "x", g.const(np.array([1, 1, -1], np.int64)))
    both = g.node("Conv", x, g.const(kernel), strides=[160])
    square = g.node("Mul", both, both)
    halves = [g.node("Slice", square, *(g.const(np.array([v], np.int64)) for v in (a, a + 257, 1))) for a in (0, 257)]
    magnitude = g.node("Transpose", g.node("Sqrt", g.node("Add", *halves)), perm=[0, 2, 1])
    mel = g.node("MatMul", magnitude, g.const(yamnet_mel.mel_filters()))
    logmel = g.node("Log", g.node("Add", mel, g.const(np.float32(0.001))))
    bands = g.node("Transpose", logmel, perm=[0, 2, 1])
    mean = g.node("AveragePool", bands, kernel_shape=[96], strides=[48])
    level = g.node("Squeeze", g.node("Transpose", mean, perm=[0, 2, 1]), g.const(np.array([0], np.int64)))
    p = g.node(
        "Sigmoid", g.node("Add", g.node("MatMul", level, g.const(classes_of_bands(521))), g.const(np.float32(2)))
    )
    return g.save(path, shape, {p: 2, level: 2, g.node("Squeeze", logmel, g.const(np.array([0], np.int64))): 2})


CONTRACTS = {
    "samples": (on_samples, ["s"]),
    "a batch of samples": (on_samples, ["b", "s"]),
    "one patch of samples": (on_samples, [1, PATCH]),
    "three patches of samples": (on_samples, [PATCH + 2 * PATCH_HOP]),
    "patches": (on_patches, ["n", 96, 64]),
    "one patch": (on_patches, [1, 1, 96, 64]),
    "patches, channels last": (on_patches, [4, 96, 64, 1]),
}


def yamnet(path):
    return YamNet.open(WeightFiles({"yamnet.onnx": path}), YamNet.Config(), Device(threads=1))


@pytest.mark.parametrize("contract", CONTRACTS)
def test_a_planted_tone_is_found_in_its_class_at_its_time(contract, tmp_path):
    make, shape = CONTRACTS[contract]
    model = yamnet(make(tmp_path / "yamnet.onnx", shape))
    x = tone(1000, 2.0, 1.5)
    given = model.run(Sound(x, 7_000_000))
    assert (given.t0_us, given.hop_us, given.values.shape) == (7_000_000, 480_000, (12, 521))
    band = int(yamnet_mel.mel_filters()[32].argmax())  # 1000 Hz
    heard = given.values[:, band]
    assert int(heard.argmax()) in (4, 5), "rows that lie within 2.0-3.5 s"
    assert heard[[0, 1, 8, 9, 10, 11]].max() < heard[4] / 2
    assert heard[4] > 2 * given.values[4, (band + 20) % 64]
    assert given.names[int(given.values[4].argmax())] in {n for i, n in enumerate(given.names) if i % 64 == band}
    others = yamnet(on_patches(tmp_path / "other.onnx", ["n", 96, 64])).run(Sound(x, 7_000_000))
    np.testing.assert_allclose(given.values, others.values, atol=2e-3)
    model.close()


def test_long_sound_is_told_block_by_block_as_in_one(tmp_path, monkeypatch):
    x = np.random.default_rng(3).normal(0, 0.1, 20 * RATE).astype(np.float32)
    for name in ("samples", "patches"):
        make, shape = CONTRACTS[name]
        model = yamnet(make(tmp_path / "yamnet.onnx", shape))
        whole = model.run(Sound(x, 0)).values
        monkeypatch.setattr(audioset, "BLOCK", 7)
        np.testing.assert_allclose(model.run(Sound(x, 0)).values, whole, atol=1e-5)
        monkeypatch.undo()
        part = model.run(Sound(x[5 * PATCH_HOP : 5 * PATCH_HOP + 10 * RATE].copy(), 0)).values
        np.testing.assert_allclose(part[:10], whole[5:15], atol=1e-5)


@pytest.mark.parametrize("shape", [[16000], [3, "s"], ["n", 64, 96], ["n", 96, 64, 3], ["n", 3, 96, 64, 1]])
def test_files_of_another_input_are_refused(shape):
    with pytest.raises(MienError, match="weights.wrong-shape"):
        audioset._yamnet_input(shape)


@pytest.mark.parametrize(
    ("outputs", "code"),
    [
        ([np.zeros((2, 1000), np.float32)], "weights.wrong-shape"),
        ([np.zeros((1, 521), np.float32)], "weights.wrong-shape"),
        ([np.full((2, 521), np.nan, np.float32)], "models.not-finite"),
        ([np.full((2, 521), 3, np.float32)], "models.no-probability"),
    ],
)
def test_answers_that_are_none_are_refused(outputs, code):
    with pytest.raises(MienError, match=code):
        audioset.scores(outputs, 521, 2, "yamnet.onnx")


# ---------------------------------------------------------------- PANNs


def on_32k(path, shape, frame_wise, rate=32_000):
    """Samples → `[1 527]` or `[1 t 527]`: class k hears (k + 0.5) · 15 Hz, a Hann window of 0.1 s every 0.05 s."""
    g = Graph()
    n = rate // 10
    t = np.arange(n) / rate
    hz = (np.arange(527) + 0.5) * 15
    window = np.hanning(n) * 4 / n
    kernel = np.concatenate([f(2 * np.pi * hz[:, None] * t) * window for f in (np.cos, np.sin)])
    x = g.node("Reshape", "x", g.const(np.array([1, 1, -1], np.int64)))
    both = g.node("Conv", x, g.const(kernel[:, None].astype(np.float32)), strides=[n // 2], pads=[n // 2, n // 2])
    square = g.node("Mul", both, both)
    halves = [g.node("Slice", square, *(g.const(np.array([v], np.int64)) for v in (a, a + 527, 1))) for a in (0, 527)]
    level = g.node("Transpose", g.node("Tanh", g.node("Sqrt", g.node("Add", *halves))), perm=[0, 2, 1])
    mean = g.node("ReduceMean", level, axes=[1], keepdims=0)
    return g.save(path, shape, {level: 3, mean: 2} if frame_wise else {mean: 2})


def panns(path, **config):
    return Panns.open(WeightFiles({"panns.onnx": path}), Panns.Config(**config), Device(threads=1))


@pytest.mark.parametrize("frame_wise", [False, True])
@pytest.mark.parametrize("shape", [["b", "s"], [1, 32_000]])
def test_panns_hears_a_planted_tone_at_its_time(shape, frame_wise, tmp_path):
    model = panns(on_32k(tmp_path / "panns.onnx", shape, frame_wise), window_s=1.0, hop_s=0.25)
    given = model.run(Sound(tone(1507.5, 2.0, 1.0), 1_000_000))
    assert (given.t0_us, given.hop_us, given.values.shape) == (1_000_000, 250_000, (24, 527))
    heard = given.values[:, 100]
    middle = (np.arange(24) + 0.5) * 0.25
    centre = (heard * middle).sum() / heard.sum()
    assert abs(centre - 2.5) < 0.05
    assert heard[9:11].min() > 10 * heard[[0, 1, 2, 3, 15, 16, 20]].max()
    assert heard[9] > 10 * given.values[9, 140]
    width = (heard > heard.max() / 2).sum() * 0.25
    assert width <= (1.25 if frame_wise else 1.5)


@pytest.mark.parametrize(("rate", "loss"), [(32_000, 0.01), (16_000, 1e-6), (8_000, 0.01)])
def test_panns_is_given_the_same_sound_at_its_own_rate(rate, loss, tmp_path):
    model = panns(on_32k(tmp_path / "panns.onnx", ["b", "s"], False, rate), rate_hz=rate, window_s=1.0)
    heard = model.run(Sound(tone(1507.5, 0, 6.0), 0)).values[4, 100]
    assert abs(heard - np.tanh(0.3)) < 0.02 + loss


def test_panns_windows_are_resampled_as_the_whole_would_be(tmp_path):
    """The samples a window gets are those of the recording resampled at once."""
    from scipy.signal import resample_poly

    x = np.random.default_rng(5).normal(0, 0.1, 4 * RATE).astype(np.float32)
    seen = []

    class Ear:
        def run(self, given):
            seen.append(given[0])
            return [np.zeros((1, 527), np.float32)]

        def map(self, function, items):
            return [function(i) for i in items]

    Panns(Ear(), ["b", "s"], Panns.Config(window_s=1.0, hop_s=0.5)).run(Sound(x, 0))  # pyright: ignore
    whole = resample_poly(x, 2, 1)
    np.testing.assert_allclose(seen[4], whole[2 * 28_000 : 2 * 44_000], atol=1e-5)


def test_panns_refuses_another_input(tmp_path):
    with pytest.raises(MienError, match="weights.wrong-shape"):
        panns(on_32k(tmp_path / "panns.onnx", [2, 32_000], False))
