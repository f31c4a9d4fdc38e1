"""A published speech encoder from its own files: `config.json`, `preprocessor_config.json`, `model.safetensors`.

The network is the class of the `transformers` library (`pip install 'mien[transformers]'`), opened from the local
folder alone and without any code of the checkpoint's; what it only warns about (keys, shapes) is an error here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Self

from mien.core import SAMPLE_RATE_HZ, MienError, missing_extra

CLASSES = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
CONFIG, PREPROCESSOR, TENSORS = "config.json", "preprocessor_config.json", "model.safetensors"
HEADS = (
    "quantizer.",
    "project_q.",
    "project_hid.",
    "lm_head.",
    "projector.",
    "classifier.",
)  # of pre-training or tasks
TRAINING_ONLY = {"masked_spec_embed"}  # stands in for masked frames while training; fine-tuned checkpoints may lack it
HINT = "it is a checkpoint of another network: give the folder of the encoder itself"


@dataclass(frozen=True, slots=True)
class Layout:
    """What a checkpoint says of itself: its family, transformer blocks, samples from one state to the next and seen by
    one state, and whether a recording is brought to mean 0 and variance 1 first."""

    family: str
    blocks: int
    hop: int
    field: int
    standardise: bool

    @classmethod
    def read(cls, config: Path, preprocessor: Path) -> Self:
        """Raises MienError `weights.unreadable`, `weights.wrong-config`."""
        try:
            held, door = (json.loads(path.read_bytes()) for path in (config, preprocessor))
            family, blocks = held["model_type"], int(held["num_hidden_layers"])
            kernels, strides = held.get("conv_kernel", KERNELS), held.get("conv_stride", STRIDES)
            rate, standardise = int(door.get("sampling_rate", SAMPLE_RATE_HZ)), bool(door["do_normalize"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise MienError(
                "weights.unreadable",
                f"{config.name} and {preprocessor.name} do not describe a speech encoder: {error!r}",
                HINT,
            ) from error
        wrong = {
            f"model_type {family!r}": family not in CLASSES,
            f"sampling_rate {rate}": rate != SAMPLE_RATE_HZ,
            "add_adapter true": bool(held.get("add_adapter")),
        }
        if any(wrong.values()):
            what = next(name for name, is_so in wrong.items() if is_so)
            raise MienError(
                "weights.wrong-config", f"{config.parent.name} says {what}, which no adapter of states takes", HINT
            )
        field = 1 + sum((k - 1) * prod(strides[:i]) for i, k in enumerate(kernels))
        return cls(family, blocks, prod(strides), field, standardise)


KERNELS, STRIDES = (
    (10, 3, 3, 3, 3, 2, 2),
    (5, 2, 2, 2, 2, 2, 2),
)  # wav2vec 2.0 (Baevski et al., 2020): 25 ms every 20 ms


def encoder(config: Path, layout: Layout, layers: Sequence[int]) -> Any:
    """The network as a torch module: samples float32 `[1 s]` → states `[l n d]` of the chosen layers.

    Layer i is what the i-th transformer block gives, 0 what goes into the first; the last is the network's own answer
    (behind its closing layer norm where it has one).

    Raises:
        MienError: `install.missing-extra`, `weights.unreadable`, `weights.wrong-keys`, `weights.wrong-shape`,
            `weights.not-finite`.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise missing_extra("transformers", "transformers") from error

    class Chosen(torch.nn.Module):
        def __init__(self, inner: Any) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, samples: Any) -> Any:
            said = self.inner(samples, output_hidden_states=True)
            picked = [said.last_hidden_state if i == layout.blocks else said.hidden_states[i] for i in layers]
            return torch.cat(picked)

    where = f"{TENSORS} in {config.parent.name}"
    with quiet(transformers):
        try:
            inner, found = getattr(transformers, CLASSES[layout.family]).from_pretrained(
                config.parent,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
        except Exception as error:
            raise MienError(
                "weights.unreadable", f"{where} cannot be used: {error}", "run 'mien models verify'"
            ) from error
    raise_for(found, where)
    for name, tensor in inner.named_parameters():
        if not torch.isfinite(tensor).all():
            raise MienError("weights.not-finite", f"{name} in {where} holds NaN or Inf", "fetch the file again")
    return Chosen(inner).eval()


def raise_for(found: dict[str, Any], where: str) -> None:
    """Keys and shapes that do not fit, by name."""
    for key, own, given in sorted(found["mismatched_keys"]):
        raise MienError(
            "weights.wrong-shape", f"{key} in {where} has shape {list(own)}, but must have {list(given)}", HINT
        )
    lacks = sorted(set(found["missing_keys"]) - TRAINING_ONLY)
    more = sorted(k for k in found["unexpected_keys"] if not k.startswith(HEADS))
    for kind, names in (("lacks", lacks), ("also holds", more)):
        if names:
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise MienError("weights.wrong-keys", f"{where} {kind} {names[0]!r}{rest}", HINT)


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and no load reports: what they would say is an error or is expected."""
    logging = transformers.utils.logging
    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
