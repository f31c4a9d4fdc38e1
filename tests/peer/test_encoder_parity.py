"""Speech encoders against the published classes of `transformers`, on seeded weights in the published layout."""

import json
import socket
import warnings

import numpy as np
import pytest

from mien.core import Device, MienError, Sound, WeightFiles
from mien.models.sound.encoders import Hubert, OnnxStates, Wav2Vec2, WavLM

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
safetensors = pytest.importorskip("safetensors.torch")
pytestmark = pytest.mark.peer
SECOND = 16_000
FAMILIES = {"wav2vec2": ("Wav2Vec2", Wav2Vec2), "hubert": ("Hubert", Hubert), "wavlm": ("WavLM", WavLM)}
TINY = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 64,
    "conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4,
}  # fmt: skip
NORMS = ("group", "layer")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(family, norm, kind="Model", **sizes):
    stable = norm == "layer"
    given = {**TINY, "feat_extract_norm": norm, "do_stable_layer_norm": stable, "conv_bias": stable, **sizes}
    torch.manual_seed(0)
    name = FAMILIES[family][0]
    return getattr(transformers, name + kind)(getattr(transformers, name + "Config")(**given)).eval()


def saved(model, at, standardise=True):
    """As the hub has it, with the key names of the first releases (weight_g, weight_v)."""
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    tensors = {}
    for name, tensor in model.state_dict().items():
        for new, was in old.items():
            name = name.replace(new, was)  # noqa: PLW2901
        tensors[name] = tensor.contiguous()
    safetensors.save_file(tensors, at / "model.safetensors")
    model.config.save_pretrained(at)
    (at / "preprocessor_config.json").write_text(json.dumps({"do_normalize": standardise, "sampling_rate": SECOND}))
    return at


def opened(family, at, **config):
    cls = FAMILIES[family][1]
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    return cls.open(WeightFiles({n: at / n for n in names}), cls.Config(**config), Device(threads=1))


def published(model, x, standardise=True):
    """Every layer `[l n d]` by the library alone: its own feature extractor, its own class, blocks heard by hooks."""
    door = transformers.Wav2Vec2FeatureExtractor(do_normalize=standardise)
    values = door(x, sampling_rate=SECOND, return_tensors="pt").input_values
    heard = []
    hooks = [
        model.encoder.layers[0].register_forward_pre_hook(lambda _, given: heard.append(given[0])),
        *(
            block.register_forward_hook(lambda _, __, said: heard.append(said[0] if isinstance(said, tuple) else said))
            for block in model.encoder.layers
        ),
    ]
    with torch.inference_mode():
        last = model(values).last_hidden_state
    for hook in hooks:
        hook.remove()
    return torch.cat([*heard[:-1], last]).numpy()


def sound(seconds, seed=1):
    """Noise whose level changes every second by up to 30 dB, with an offset: what normalisation and norms react to."""
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0.01, 0.3, seconds), SECOND)
    return (rng.normal(size=len(level)) * level + 0.01).astype(np.float32)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_those_of_the_published_class(family, norm, tmp_path):
    for standardise in (True, False):
        model = reference(family, norm)
        given = opened(family, saved(model, tmp_path, standardise), layers="0,1,2,3,last").run(Sound(sound(5), 0))
        want = published(model, sound(5), standardise)
        assert given.values.shape == want.shape == (5, 249, 32)
        np.testing.assert_allclose(given.values, want, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_normalisation_or_layer_would_show(family, tmp_path):
    model = reference(family, "layer")
    given = opened(family, saved(model, tmp_path), layers="middle,last").run(Sound(sound(5), 0)).values
    assert np.abs(given - published(model, sound(5), False)[[2, 4]]).max() > 0.01
    assert np.abs(given - published(model, sound(5))[[1, 3]]).max() > 0.01


def test_a_pre_training_checkpoint_loads_its_encoder_and_leaves_its_heads(tmp_path):
    model = reference("wav2vec2", "group", "ForPreTraining")
    at = saved(model, tmp_path)
    assert any(k.startswith("quantizer.") for k in safetensors.load_file(at / "model.safetensors"))
    given = opened("wav2vec2", at, layers="last").run(Sound(sound(2), 0)).values
    np.testing.assert_allclose(given, published(model.wav2vec2, sound(2))[-1:], atol=1e-4)


def test_a_published_folder_is_added_and_opened(tmp_path, monkeypatch):
    """As the hub has it: config.json, preprocessor_config.json and a pytorch_model.bin."""
    from mien.models.weights import add_local, open_adapter

    at = tmp_path / "hub"
    at.mkdir()
    model = reference("wav2vec2", "group", "ForPreTraining")
    torch.save(safetensors.load_file(saved(model, at) / "model.safetensors"), at / "pytorch_model.bin")
    (at / "model.safetensors").unlink()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    add_local("wav2vec2-base", at)
    given = open_adapter("states.wav2vec2", None, Device(threads=1)).run(Sound(sound(2), 0))
    np.testing.assert_allclose(given.values, published(model.wav2vec2, sound(2))[[2, 4]], atol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_and_its_excerpt_agree_away_from_the_excerpts_edges(family, norm, tmp_path):
    """4 s windows with 1 s of context: an excerpt of 7-32 s holds the windows from 8 to 28 s with theirs."""
    at, x = saved(reference(family, norm), tmp_path), sound(36)

    def apart(statistics):
        model = opened(family, at, window_s=4, context_s=1, statistics=statistics)
        whole, part = model.run(Sound(x, 0)), model.run(Sound(x[7 * SECOND : 32 * SECOND].copy(), 7_000_000))
        inner = whole.values[:, 400:1400], part.values[:, 50:1050]
        outer = whole.values[:, 350:400], part.values[:, :50]
        assert np.abs(outer[0] - outer[1]).max() > 1e-3, "at the edge they differ, or the test is blind"
        return float(np.abs(inner[0] - inner[1]).max())

    assert apart("window") < 1e-4
    if norm == "group":
        assert apart("recording") < 1e-4
    else:
        assert apart("recording") > 1e-2, "two recordings have two levels: if not, the docstring is wrong"


@pytest.mark.parametrize("norm", NORMS)
def test_windows_are_no_whole_recording(norm, tmp_path):
    """What the docstring admits: the windows' states are not those of one call."""
    at, x = saved(reference("hubert", norm), tmp_path), sound(36)
    cut = opened("hubert", at, window_s=4, context_s=1).run(Sound(x, 0)).values
    one = opened("hubert", at, window_s=40).run(Sound(x, 0)).values
    assert cut.shape == one.shape
    away = np.sqrt(((cut - one) ** 2).mean() / (one**2).mean())
    assert 1e-3 < away < 0.5


def test_nothing_is_asked_of_a_network(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a connection was tried")

    at = saved(reference("wavlm", "group"), tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(opened("wavlm", at).run(Sound(sound(1), 0))) == 49


def rewritten(at, change):
    held = safetensors.load_file(at / "model.safetensors")
    change(held)
    safetensors.save_file(held, at / "model.safetensors")


BLOCK = "encoder.layers.2.attention.k_proj.weight"


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        (lambda held: held.pop(BLOCK), "weights.wrong-keys", BLOCK),
        (lambda held: held.update({"decoder.x": torch.zeros(1)}), "weights.wrong-keys", "decoder.x"),
        (lambda held: held.update({BLOCK: torch.zeros(3, 32)}), "weights.wrong-shape", BLOCK),
        (lambda held: held.update({BLOCK: torch.full((32, 32), torch.nan)}), "weights.not-finite", BLOCK),
    ],
)
@pytest.mark.parametrize("family", FAMILIES)
def test_wrong_tensors_are_named(family, change, code, named, tmp_path):
    at = saved(reference(family, "group"), tmp_path)
    rewritten(at, change)
    with pytest.raises(MienError) as caught:
        opened(family, at)
    assert caught.value.code == code
    assert named in caught.value.message


def test_half_precision_is_widened_and_a_torn_file_refused(tmp_path):
    model = reference("hubert", "group")
    at = saved(model, tmp_path)
    rewritten(at, lambda held: held.update({k: v.half() for k, v in held.items()}))
    given = opened("hubert", at, layers="last").run(Sound(sound(1), 0)).values
    np.testing.assert_allclose(given, published(model, sound(1))[-1:], atol=0.05)
    data = (at / "model.safetensors").read_bytes()
    (at / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(MienError, match="weights.unreadable"):
        opened("hubert", at)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_onnx_export_gives_the_same_states(family, tmp_path):
    model = reference(family, "group").requires_grad_(False)
    at = saved(model, tmp_path)

    class Export(torch.nn.Module):
        def forward(self, samples):
            said = model(samples, output_hidden_states=True)
            return (said.last_hidden_state, *said.hidden_states)

    names = ["last_hidden_state", *(f"hidden_states.{i}" for i in range(5))]
    with warnings.catch_warnings():  # of the exporter's
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Export().eval(), (torch.randn(1, SECOND),), str(at / "model.onnx"), input_names=["input_values"],
            output_names=names, dynamic_axes={"input_values": {1: "samples"}}, opset_version=17, dynamo=False,
        )  # fmt: skip
    files = WeightFiles({n: at / n for n in ("config.json", "preprocessor_config.json", "model.onnx")})
    config = {"layers": "middle,last", "window_s": 4, "context_s": 1}
    given = OnnxStates.open(files, OnnxStates.Config(**config), Device(threads=1)).run(Sound(sound(12), 0))
    want = opened(family, at, **config).run(Sound(sound(12), 0))
    np.testing.assert_allclose(given.values, want.values, atol=2e-4)
    assert (given.layers, given.t0_us) == (want.layers, want.t0_us)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_base_size(family, tmp_path):
    """The published sizes of the base checkpoints (94 million parameters), seeded."""
    sizes = {
        "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
        "conv_dim": (512,) * 7, "num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16,
    }  # fmt: skip
    model = reference(family, "group", **sizes)
    given = opened(family, saved(model, tmp_path)).run(Sound(sound(5), 0))
    want = published(model, sound(5))[[6, 12]]
    print(family, "max difference", np.abs(given.values - want).max())
    np.testing.assert_allclose(given.values, want, atol=1e-4)
