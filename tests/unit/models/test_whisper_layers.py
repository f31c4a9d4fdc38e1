"""Every layer of a Whisper encoder out of CTranslate2's file, held to the formulas and to damage."""

import struct

import numpy as np
import pytest

from mien.core import Device, MienError, Sound
from mien.models.onnx import OnnxNet
from mien.models.sound import prosody
from mien.models.sound.whisper import COLUMNS, POOLED, WhisperVoice
from mien.models.weights.converting.ctranslate import variables, whisper_encoder

D, HEADS, MELS, LONGEST = 8, 2, 4, 20
RATE = 16_000


def small():
    """Variables of an encoder of two blocks, by name; float16 as in the published file."""
    draw = np.random.default_rng(0).standard_normal
    shapes = {
        "conv1/weight": (D, MELS, 3), "conv1/bias": (D,), "conv2/weight": (D, D, 3), "conv2/bias": (D,),
        "position_encodings/encodings": (LONGEST, D), "layer_norm/gamma": (D,), "layer_norm/beta": (D,),
    }  # fmt: skip
    for i in range(2):
        for part, (first, second) in {"self_attention": (3 * D, (D, D)), "ffn": (4 * D, (D, 4 * D))}.items():
            name = f"layer_{i}/{part}"
            shapes |= {
                f"{name}/layer_norm/gamma": (D,), f"{name}/layer_norm/beta": (D,),
                f"{name}/linear_0/weight": (first, D), f"{name}/linear_0/bias": (first,),
                f"{name}/linear_1/weight": second, f"{name}/linear_1/bias": (D,),
            }  # fmt: skip
    return {name: (draw(shape) / 2).astype(np.float16) for name, shape in shapes.items()}


def packed(held, version=6, spec=b"WhisperSpec"):
    """The bytes of a model file: an int16 number of heads, then float16 arrays."""

    def text(name):
        return struct.pack("<H", len(name) + 1) + name + b"\0"

    out = struct.pack("<I", version) + text(spec) + struct.pack("<II", 3, len(held) + 2)
    out += text(b"decoder/weight") + struct.pack("<BIBI", 1, 3, 0, 12) + bytes(12)
    out += text(b"encoder/num_heads") + struct.pack("<BBIh", 0, 2, 2, HEADS)
    for name, value in held.items():
        out += text(f"encoder/{name}".encode()) + struct.pack(f"<B{value.ndim}I", value.ndim, *value.shape)
        out += struct.pack("<BI", 4, value.nbytes) + value.tobytes()
    return out + struct.pack("<I", 0)


def by_hand(held, mel):
    """All layers in float64, from the formulas of the paper."""
    from scipy.special import erf

    w = {name: value.astype(np.float64) for name, value in held.items()}

    def gelu(x):
        return 0.5 * x * (1 + erf(x / np.sqrt(2)))

    def conv(x, n, stride):
        padded = np.pad(x, ((0, 0), (1, 1)))
        steps = range(0, padded.shape[1] - 2, stride)
        return (
            np.stack([np.tensordot(w[f"conv{n}/weight"], padded[:, i : i + 3], 2) for i in steps], 1)
            + w[f"conv{n}/bias"][:, None]
        )

    def norm(x, name):
        return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5) * w[f"{name}/gamma"] + w[
            f"{name}/beta"
        ]

    def linear(x, name):
        return x @ w[f"{name}/weight"].T + w[f"{name}/bias"]

    x = gelu(conv(gelu(conv(mel, 1, 1)), 2, 2)).T
    x = x + w["position_encodings/encodings"][: len(x)]
    layers = [x]
    for i in range(2):
        a, f = f"layer_{i}/self_attention", f"layer_{i}/ffn"
        q, k, v = (
            p.reshape(len(x), HEADS, -1) for p in np.split(linear(norm(x, f"{a}/layer_norm"), f"{a}/linear_0"), 3, 1)
        )
        scores = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(D / HEADS)
        share = np.exp(scores - scores.max(2, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", share / share.sum(2, keepdims=True), v).reshape(len(x), D)
        x = x + linear(mixed, f"{a}/linear_1")
        x = x + linear(gelu(linear(norm(x, f"{f}/layer_norm"), f"{f}/linear_0")), f"{f}/linear_1")
        layers.append(x)
    return np.stack([*layers[:-1], norm(x, "layer_norm")])


@pytest.mark.parametrize("frames", [1, 7, 24])
def test_every_layer_follows_the_formulas(tmp_path, frames):
    held = small()
    (tmp_path / "model.bin").write_bytes(packed(held))
    net = OnnxNet(whisper_encoder(tmp_path / "model.bin"), Device(threads=1))
    mel = np.random.default_rng(1).standard_normal((MELS, frames))
    (states,) = net.run(mel[None].astype(np.float32))
    assert states.shape == (3, -(-frames // 2), D)
    np.testing.assert_allclose(states, by_hand(held, mel), rtol=1e-3, atol=1e-3)


def test_the_same_file_gives_the_same_graph_and_only_what_is_asked_for_is_read(tmp_path):
    (tmp_path / "model.bin").write_bytes(packed(small()))
    assert whisper_encoder(tmp_path / "model.bin") == whisper_encoder(tmp_path / "model.bin")
    assert set(variables(tmp_path / "model.bin", "decoder/")) == {"weight"}


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        packed(small())[:200],
        packed(small(), version=5),
        packed(small(), spec=b"Other"),
        packed({"conv1/bias": np.zeros(D, np.float16)}),
    ],
)
def test_damaged_models_are_refused_with_a_code(tmp_path, damage):
    (tmp_path / "model.bin").write_bytes(damage)
    with pytest.raises(MienError) as error:
        whisper_encoder(tmp_path / "model.bin")
    assert error.value.code == "weights.unreadable"


def tone(f0, seconds=1.0, level=0.1):
    t = np.arange(round(seconds * RATE)) / RATE
    return (level * sum(np.sin(2 * np.pi * f0 * k * t) / k for k in range(1, 8))).astype(np.float32)


@pytest.mark.parametrize("f0", [90, 180, 330, 620])
def test_prosody_finds_the_pitch(f0):
    found = dict(zip(prosody.NAMES, prosody.prosody(tone(f0)), strict=True))
    assert 100 * 2 ** found["pitch_octaves.median"] == pytest.approx(f0, rel=0.02)
    assert found["voiced"] > 0.95
    assert abs(found["pitch_octaves.trend"]) < 0.1


def test_prosody_does_not_know_the_gain_but_knows_the_shape():
    swell = tone(200, 1.6) * np.hanning(round(1.6 * RATE)).astype(np.float32)
    for gain in (0.1, 10):
        np.testing.assert_allclose(prosody.prosody(swell * np.float32(gain)), prosody.prosody(swell), atol=2e-3)
    noise = (0.1 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    made = {
        name: dict(zip(prosody.NAMES, prosody.prosody(x), strict=True)) for name, x in {"n": noise, "s": swell}.items()
    }
    assert made["n"]["voiced"] < 0.2 < made["s"]["voiced"]
    assert made["s"]["attack_s"] > 0.3
    assert made["n"]["flatness.mean"] > 10 * made["s"]["flatness.mean"]
    assert np.isfinite(prosody.prosody(noise[:400])).all()


def test_the_embedding_has_its_columns_and_quiet_around_a_sound_counts_little():
    voice = WhisperVoice.tiny()
    padded = np.pad(tone(200), RATE // 2)
    rows = voice.run([Sound(tone(200), 0), Sound(padded, 0)]).vectors
    assert rows.shape == (2, COLUMNS)
    means = rows[:, :POOLED].reshape(2, -1, 384)[:, ::2]
    assert np.abs(means[0] - means[1]).max() < 0.2 * np.abs(means[0]).max()
    states = voice.states(Sound(tone(200), 7))
    assert states.values.shape == (5, 50, 384)
    assert (states.t0_us, states.hop_us, states.layers) == (7, 20_000, (0, 1, 2, 3, 4))
