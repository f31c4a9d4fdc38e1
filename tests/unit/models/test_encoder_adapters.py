"""Speech encoders without a network: where rows lie, how long sound is cut, what a checkpoint says of itself."""

import json

import numpy as np
import pytest

from mien.core import Device, MienError, Sound, WeightFiles
from mien.models.sound import encoders
from mien.models.sound.chunking import Call, Grid, standardised
from mien.models.sound.encoders import Hubert, OnnxLayers, Wav2Vec2, WavLM, chosen_layers
from mien.models.sound.pretrained import Layout

SECOND = 16_000
GRID = Grid(320, 400, window=200, context=50)  # 4 s and 1 s


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * SECOND)).astype(np.float32)


def test_rows_are_counted_as_the_published_convolutions_count_them():
    for samples, rows in ((0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (SECOND, 49)):
        assert GRID.place(Sound(np.zeros(samples, np.float32), 0)) == (0, 0, rows)


@pytest.mark.parametrize("shift", [0, 1, 160, 319, 320, 321])
def test_an_excerpt_has_its_rows_where_the_file_has_them(shift):
    t0_us = round(shift * 62.5)
    number, start, _ = GRID.place(Sound(np.zeros(SECOND, np.float32), t0_us))
    assert shift + start == number * 320
    assert 0 <= start < 320


def test_windows_tile_the_rows_and_lie_on_the_clock():
    for number, count in ((0, 1000), (123, 777), (-30, 640)):
        calls = GRID.calls(number, count)
        assert [c.keep_first for c in calls] == [0, *(c.keep_last for c in calls[:-1])]
        assert calls[-1].keep_last == count
        assert all((c.keep_first + number) % 200 == 0 for c in calls[1:])
        assert all(c.first == max(0, c.keep_first - 50) for c in calls[1:])
    assert GRID.calls(150, 299) == [Call(0, 299, 0, 299)], "what is shorter goes in one piece"
    assert Call(0, 300, 50, 250) in GRID.calls(150, 300), "what holds a window and its context is cut as the file is"
    assert GRID.calls(0, 0) == []


def test_a_window_is_given_the_samples_its_rows_look_at():
    x = np.arange(10 * SECOND, dtype=np.float32)
    part = GRID.samples(x, Call(10, 13, 10, 13))
    assert part[0] == 3200
    assert len(part) == 2 * 320 + 400
    assert len(GRID.samples(x[:1000], Call(0, 2, 0, 2))) == 1000, "one piece is the whole sound"


def test_standardised_has_mean_0_and_variance_1_by_what_is_named():
    x = noise(1) * 3 + 5
    assert abs(standardised(x, x).mean()) < 1e-5
    assert abs(standardised(x, x).var() - 1) < 1e-4
    np.testing.assert_allclose(standardised(x[:10], x), standardised(x, x)[:10], atol=1e-6)
    assert np.isfinite(standardised(np.zeros(9, np.float32), np.zeros(9, np.float32))).all()


@pytest.mark.parametrize("cls", [Wav2Vec2, Hubert, WavLM])
def test_stand_in_agrees_on_a_file_and_its_excerpt_and_hears_a_tone_where_it_is(cls):
    config = cls.Config(window_s=4, context_s=1)
    tiny = cls.tiny()
    model = cls(tiny._net, tiny._layout, (1, 2), config)
    x = noise(30)
    x[18 * SECOND : 19 * SECOND] += np.sin(2 * np.pi * 1500 * np.arange(SECOND) / SECOND).astype(np.float32)
    whole, part = model.run(Sound(x, 0)), model.run(Sound(x[5 * SECOND + 77 :].copy(), 5_004_812))
    a, b = (8_000_000 // 20_000 - s.t0_us // 20_000 for s in (whole, part))
    np.testing.assert_allclose(part.values[:, b : b + 800], whole.values[:, a : a + 800], atol=1e-4)
    band = whole.values[0, :, 1]  # 1000-2000 Hz
    assert 18 <= np.argmax(band) * 0.02 < 19
    assert (whole.hop_us, whole.field_us, whole.layers) == (20_000, 25_000, (1, 2))


def test_layers_are_named_or_numbered():
    assert chosen_layers("middle,last", 12) == (6, 12)
    assert chosen_layers(" 0, 12,3, last", 12) == (0, 3, 12)
    for wrong in ("", "13", "-1", "first", "2.5"):
        with pytest.raises(MienError, match="config.layers"):
            chosen_layers(wrong, 12)


def test_a_window_without_a_state_is_refused():
    with pytest.raises(MienError, match="config.window"):
        Grid.of(320, 400, 0.001, 0)


GOOD = {"model_type": "hubert", "num_hidden_layers": 12, "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2]}  # fmt: skip
DOOR = {"do_normalize": True, "sampling_rate": 16000}


def folder(tmp_path, config=GOOD, door=DOOR):
    for name, held in (("config.json", config), ("preprocessor_config.json", door)):
        (tmp_path / name).write_text(held if isinstance(held, str) else json.dumps(held))
    return tmp_path / "config.json", tmp_path / "preprocessor_config.json"


def test_a_checkpoint_is_read_for_its_layout(tmp_path):
    assert Layout.read(*folder(tmp_path)) == Layout("hubert", 12, 320, 400, True)


@pytest.mark.parametrize(
    ("config", "door", "code"),
    [
        ("{", DOOR, "weights.unreadable"),
        ({"model_type": "hubert"}, DOOR, "weights.unreadable"),
        (GOOD, {}, "weights.unreadable"),
        (GOOD | {"model_type": "whisper"}, DOOR, "weights.wrong-config"),
        (GOOD | {"add_adapter": True}, DOOR, "weights.wrong-config"),
        (GOOD, DOOR | {"sampling_rate": 8000}, "weights.wrong-config"),
    ],
)
def test_a_folder_of_another_kind_is_refused(tmp_path, config, door, code):
    with pytest.raises(MienError, match=code):
        Layout.read(*folder(tmp_path, config, door))


def test_a_checkpoint_of_another_family_is_refused_before_anything_is_loaded(tmp_path):
    config, door = folder(tmp_path)
    files = WeightFiles({"config.json": config, "preprocessor_config.json": door, "model.safetensors": tmp_path / "x"})
    with pytest.raises(MienError, match=r"weights.wrong-config(.|\n)*states.hubert"):
        WavLM.open(files, WavLM.Config(), Device())


class Answers:
    """Stands for an ONNX network of given outputs."""

    def __init__(self, outputs, values, inputs=("input_values",)):
        self.outputs, self.inputs, self._values, self.given = outputs, list(inputs), values, ()

    def run(self, *inputs):
        self.given = inputs
        return self._values

    def map(self, function, items):
        return [function(i) for i in items]


def test_onnx_outputs_are_picked_by_name():
    layout = Layout("wavlm", 2, 320, 400, False)
    values = [np.full((1, 3, 4), i, np.float16) for i in (9, 0, 1, 2)]
    names = ["last_hidden_state", "hidden_states.0", "hidden_states.1", "hidden_states.2"]
    net = Answers(names, values, ("input_values", "attention_mask"))
    (states,) = OnnxLayers(net, layout, (1, 2)).run(np.zeros((1, 1360), np.float32))
    assert states.dtype == np.float32
    assert states[:, 0, 0].tolist() == [1, 9]
    assert net.given[1].shape == (1, 1360)
    with pytest.raises(MienError, match="config.layers"):
        OnnxLayers(Answers(names[:1], values[:1]), layout, (1, 2))
    bad = Answers(["last_hidden_state"], [np.full((1, 3, 4), np.nan, np.float32)])
    with pytest.raises(MienError, match="models.not-finite"):
        OnnxLayers(bad, layout, (2,)).run(np.zeros((1, 1360), np.float32))


def test_adapters_of_the_slot_are_filed():
    assert {c.spec.slot for c in (Wav2Vec2, Hubert, WavLM, encoders.OnnxStates)} == {"sound_states"}
