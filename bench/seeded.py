"""Networks of the published architecture and size with seeded random weights, for what cannot be had everywhere.

Time and memory do not depend on the values, unless signals fade so far that numbers become denormal, which costs ten
times as much: convolutions are scaled so that they do not. `BUILDERS`: adapter → what is built, and who writes its
run-time files into a folder, under the names that the adapter opens. They are run in a process of their own.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mien.models import tensors
from mien.testing import seeded

Build = Callable[[Path], None]


def module_file(path: Path, module: Any, gain: float = 1.0) -> None:
    """A torch module's tensors, seeded, under its own names."""
    tensors.write(path, seeded.weights(seeded.shapes_of(module), gain=gain), {})


def sown(module: Any) -> Any:
    """A torch module with seeded weights of He's scale (2015)."""
    import torch

    held = seeded.weights(seeded.shapes_of(module), gain=np.sqrt(2))
    module.load_state_dict({n: torch.from_numpy(t) for n, t in held.items()}, strict=False)
    return module.eval()


def emonet(classes: int, folder: Path) -> None:
    from mien.models.vision.faces.emonet_net import EmoNet

    module_file(folder / f"emonet_{classes}.safetensors", EmoNet(classes), gain=0.6)


def mivolo(folder: Path) -> None:
    from mien.models.vision.people.mivolo import SIDE
    from mien.models.vision.people.mivolo_net import MiVolo

    module_file(folder / "mivolo-v2.safetensors", MiVolo(SIDE))


def facenet(folder: Path) -> None:
    from mien.models.vision.faces.facenet import FILE, PROBE_FILE, Probe
    from mien.models.vision.faces.facenet_net import network

    tensors.write(folder / FILE, seeded.recorded(network), {})
    Probe.seeded().write(folder / PROBE_FILE, {})


def deepface(folder: Path) -> None:
    from mien.models.vision.faces.deepface import CONVOLUTIONS, DENSE, FILE

    shapes: dict[str, tuple[int, ...]] = {}
    for i, (size, wide, out) in enumerate(CONVOLUTIONS, 1):
        shapes |= {f"conv_{i}.weight": (out, wide, size, size), f"conv_{i}.bias": (out,)}
    for i, (wide, out) in enumerate(DENSE, 1):
        shapes |= {f"fc_{i}.weight": (out, wide), f"fc_{i}.bias": (out,)}
    tensors.write(folder / FILE, seeded.weights(shapes), {})


def hsemotion(file: str, side: int, width: float, depth: float, outs: int, folder: Path) -> None:
    transformers: Any = import_module("transformers")  # its constructors are typed more narrowly than they are

    config = transformers.EfficientNetConfig(
        image_size=side, width_coefficient=width, depth_coefficient=depth, hidden_dim=round(1280 * width),
        num_labels=outs,
    )  # fmt: skip
    _export(folder / file, _logits(sown(transformers.EfficientNetForImageClassification(config))), (1, 3, side, side))


def detr(folder: Path) -> None:
    import torch

    transformers: Any = import_module("transformers")

    model = transformers.RTDetrForObjectDetection(transformers.RTDetrConfig(num_labels=80)).eval()
    sown(model.model.backbone)

    class Both(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, pictures: Any) -> Any:
            said = self.inner(pictures)
            return said.logits, said.pred_boxes

    _export(folder / "detr.onnx", Both(), (1, 3, 640, 640), ("logits", "pred_boxes"))


def videomae(folder: Path) -> None:
    transformers: Any = import_module("transformers")

    from mien.models.weights.folders import INDEX, index

    inner = folder / "videomae-base"
    config = transformers.VideoMAEConfig(id2label={i: f"action {i}" for i in range(400)})
    transformers.VideoMAEForVideoClassification(config).save_pretrained(inner)
    how = {
        "do_resize": True, "do_center_crop": True, "do_normalize": True, "resample": 2, "do_rescale": True,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224},
        "image_processor_type": "VideoMAEImageProcessor",
    }  # fmt: skip
    (inner / "preprocessor_config.json").write_text(json.dumps(how))
    (folder / INDEX).write_bytes(index(inner))


def speech(family: str, folder: Path) -> None:
    model = _speech(family)
    model.save_pretrained(folder)
    _door(folder)


def speech_onnx(folder: Path) -> None:
    model = _speech("Wav2Vec2")
    model.config.save_pretrained(folder)
    _door(folder)
    last = _picked(model, "last_hidden_state")
    _export(folder / "model.onnx", last, (1, 16_000), ("last_hidden_state",), {1: "samples"})


def _speech(family: str) -> Any:
    transformers: Any = import_module("transformers")

    return getattr(transformers, f"{family}Model")(getattr(transformers, f"{family}Config")()).eval()


def _door(folder: Path) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True, "sampling_rate": 16_000}))


def yamnet(folder: Path) -> None:
    """MobileNet v1 on log-mel patches `[n 96 64]`, as published (Plakal & Ellis, 2019)."""
    import torch

    transformers: Any = import_module("transformers")

    config = transformers.MobileNetV1Config(num_channels=1, image_size=96, num_labels=521)
    inner = _logits(sown(transformers.MobileNetV1ForImageClassification(config)))

    class Patches(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, patches: Any) -> Any:
            return self.inner(patches[:, None]).sigmoid()

    _export(folder / "yamnet.onnx", Patches(), (2, 96, 64), dynamic={0: "n"})


def cnn14(folder: Path) -> None:
    """Cnn14 at 32 kHz (Kong et al., 2020): spectrogram by convolution, 64 mel bands, six blocks of two convolutions."""
    import torch
    from torch import nn

    def block(wide: int, out: int) -> Any:
        layers: list[Any] = []
        for i in range(2):
            layers += [nn.Conv2d(out if i else wide, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
        return nn.Sequential(*layers)

    class Cnn14(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            turn = 2 * np.pi * np.outer(np.arange(513), np.arange(1024)) / 1024
            waves = np.concatenate([np.cos(turn), -np.sin(turn)]) * np.hanning(1025)[:-1]
            self.waves: Any
            self.mel: Any
            self.register_buffer("waves", torch.from_numpy(waves.astype(np.float32))[:, None])
            self.register_buffer("mel", torch.rand(513, 64) / 513)
            self.norm = nn.BatchNorm2d(64)
            sizes = (1, 64, 128, 256, 512, 1024, 2048)
            self.blocks = nn.ModuleList(block(a, b) for a, b in pairwise(sizes))
            self.dense, self.last = nn.Linear(2048, 2048), nn.Linear(2048, 527)

        def forward(self, x: Any) -> Any:
            padded = nn.functional.pad(x[:, None], (512, 512), mode="reflect")
            parts = nn.functional.conv1d(padded, self.waves, stride=320)
            power = parts[:, :513] ** 2 + parts[:, 513:] ** 2
            x = torch.log10(power.transpose(1, 2) @ self.mel + 1e-10)[:, None]
            x = self.norm(x.transpose(1, 3)).transpose(1, 3)
            for i, layers in enumerate(self.blocks):
                x = layers(x)
                x = nn.functional.avg_pool2d(x, 2) if i < 5 else x
            x = x.mean(3)
            return self.last(self.dense(x.amax(2) + x.mean(2)).relu()).sigmoid()

    _export(folder / "panns.onnx", Cnn14(), (1, 64_000), dynamic={1: "samples"})


def smollm(folder: Path) -> None:
    """A Llama of SmolLM2-135M's size over bytes."""
    import tokenizers

    transformers: Any = import_module("transformers")

    from mien.models.weights.folders import INDEX, index

    inner = folder / "llama-135m"
    kind = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    kind.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    kind.decoder = tokenizers.decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = tokenizers.trainers.BpeTrainer(
        special_tokens=["<|end|>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    kind.train_from_iterator([], trainer)
    tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_object=kind, eos_token="<|end|>", pad_token="<|end|>",  # noqa: S106 - the end of a turn
        chat_template="{% for m in messages %}{{ m.content }}\n{% endfor %}",
    )  # fmt: skip
    tokens.save_pretrained(inner)
    config = transformers.LlamaConfig(
        vocab_size=49_152, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
        num_key_value_heads=3, tie_word_embeddings=True, eos_token_id=tokens.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(inner)
    (folder / INDEX).write_bytes(index(inner))


# ---------------------------------------------------------------- torch networks as ONNX files


def _picked(model: Any, name: str) -> Any:
    """A network of transformers that answers with one of its outputs."""
    import torch

    class Picked(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Any) -> Any:
            return getattr(self.inner(x), name)

    return Picked()


def _logits(model: Any) -> Any:
    return _picked(model, "logits")


def _export(
    path: Path, module: Any, shape: tuple[int, ...], outputs: tuple[str, ...] = ("output",), dynamic: Any = None
) -> None:
    import torch

    with warnings.catch_warnings():  # of the exporter's
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(), (torch.zeros(shape),), str(path), input_names=["input"], output_names=list(outputs),
            dynamic_axes={"input": dynamic} if dynamic else None, opset_version=17, dynamo=False,
        )  # fmt: skip


BUILDERS: dict[str, tuple[str, Build]] = {
    "action.videomae": ("VideoMAE base, 400 classes", videomae),
    "age.mivolo": ("MiVOLO 2 (d1, 384 px)", mivolo),
    "events.panns": ("Cnn14, 32 kHz", cnn14),
    "events.yamnet": ("MobileNet v1 on patches", yamnet),
    "expression.deepface": ("its five convolutions", deepface),
    "expression.emonet5": ("EmoNet", partial(emonet, 5)),
    "expression.emonet8": ("EmoNet", partial(emonet, 8)),
    "expression.facenet": ("InceptionResnetV1", facenet),
    "expression.hsemotion-b0-va": (
        "EfficientNet-B0",
        partial(hsemotion, "enet_b0_8_va_mtl.onnx", 224, 1.0, 1.0, 10),
    ),
    "expression.hsemotion-b2": ("EfficientNet-B2", partial(hsemotion, "enet_b2_8.onnx", 260, 1.1, 1.2, 8)),
    "identity.facenet": ("InceptionResnetV1", facenet),
    "language.transformers": ("Llama of 135 million", smollm),
    "object.detr": ("RT-DETR R50, 640 px", detr),
    "states.hubert": ("HuBERT base", partial(speech, "Hubert")),
    "states.onnx": ("wav2vec 2.0 base, last layer", speech_onnx),
    "states.wav2vec2": ("wav2vec 2.0 base", partial(speech, "Wav2Vec2")),
    "states.wavlm": ("WavLM base", partial(speech, "WavLM")),
}
"""Adapter → which network is built, and how."""

REASONS: dict[str, str] = {
    "object.yolo": "an ONNX export of your own: no architecture of that licence is rebuilt here",
    "pose.yolo": "an ONNX export of your own: no architecture of that licence is rebuilt here",
    "vlm.qwen3vl": "the smallest published folder is 4.3 GB",
}
"""Why no network is built for an adapter whose weights are not here."""
