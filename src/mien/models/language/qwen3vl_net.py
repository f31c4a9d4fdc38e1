"""The network behind `vlm.qwen3vl`: transformers' Qwen3-VL on a local folder. Imported when a model is opened."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from mien.core import Device, Frames, Message, MienError, missing_extra
from mien.models.language.frames import Seen, Sight, seen, shown
from mien.models.language.reading import CLOSE, OPEN
from mien.models.language.thinking import CLOSING, forced
from mien.models.language.writer import Prompt, Written
from mien.models.torchnet import need_torch, torch_device

VISUAL = re.compile(r"<\|vision_start\|>(<\|image_pad\|>|<\|video_pad\|>)<\|vision_end\|>")


class Qwen3VLNet:
    """A `Writer`: prompts made by the folder's own chat template, tokens by greedy search or seeded sampling."""

    def __init__(self, model: Any, tokenizer: Any, template: str, sight: Sight, device: Any) -> None:
        self.model: Any = model
        self.tokenizer, self.sight = tokenizer, sight
        self._template, self._device = template, device
        self._lock = threading.Lock()  # transformers keeps the positions of the last prompt on the model
        self._typed = "mm_token_type_ids" in inspect.signature(model.forward).parameters
        self._close = tokenizer.convert_tokens_to_ids(CLOSE)
        self._closing = tokenizer(CLOSING, add_special_tokens=False)["input_ids"]
        held = model.generation_config
        ends = held.eos_token_id if held.eos_token_id is not None else tokenizer.eos_token_id
        self._ends = [ends] if isinstance(ends, int) else list(ends)
        self._top_p, self._top_k = held.top_p, held.top_k
        self.context = int(model.config.text_config.max_position_embeddings)

    @classmethod
    def open(cls, folder: Path, dtype: str, device: Device) -> Self:
        """Raises:
        MienError: `install.missing-extra`, `weights.wrong-keys`, `weights.wrong-shape`, `weights.wrong-format`,
            `weights.no-file`, `device.unavailable`.
        """
        torch, place = need_torch(), torch_device(device)
        try:
            from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration
        except ImportError as error:
            raise missing_extra("transformers", "transformers") from error
        if device.name == "cpu":
            torch.set_num_threads(device.threads)
        only: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "qwen3_vl":
            raise MienError("weights.wrong-format", f"{folder} holds a {kind!r} model, not qwen3_vl", "add a Qwen3-VL")
        tokenizer = AutoTokenizer.from_pretrained(folder, **only)
        model = strict(Qwen3VLForConditionalGeneration, folder, dtype=dtype, **only)
        return cls(model.eval().to(place), tokenizer, _template(folder, tokenizer), Sight.of(folder), place)

    def prompt(self, messages: Sequence[Message], visuals: Sequence[Seen]) -> Prompt:
        """What the network is given. Control tokens inside a message's text are broken up: a text is data."""
        turns: list[dict[str, Any]] = []
        for message in messages:
            text, frames = self._plain(message.text), message.frames
            kind = "" if frames is None else "image" if len(frames) == 1 else "video"
            content = [{"type": kind, kind: ""}, {"type": "text", "text": text}] if kind else text
            turns.append({"role": message.role, "content": content})
        text = self.tokenizer.apply_chat_template(
            turns, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        places = list(VISUAL.finditer(text))
        kinds = ["<|video_pad|>" if v.times else "<|image_pad|>" for v in visuals]
        if [place[1] for place in places] != kinds:
            raise MienError(
                "language.bad-template",
                f"the chat template has {len(places)} places for {len(visuals)} pictures and videos",
                "only user turns may hold frames",
            )
        parts, at = [], 0
        for place, visual in zip(places, visuals, strict=True):
            parts += [text[at : place.start()], shown(visual, self.sight)]
            at = place.end()
        whole = "".join([*parts, text[at:]])
        ids = self.tokenizer(whole)["input_ids"]
        return Prompt(whole, tuple(ids), tuple(visuals), whole.rstrip().endswith(OPEN))

    def inputs(self, prompt: Prompt, prefix: Sequence[int] = ()) -> dict[str, Any]:
        """The tensors of a prompt and of what was written already."""
        torch = need_torch()
        import numpy as np

        ids = torch.tensor([[*prompt.ids, *prefix]])
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self._typed:
            image, video = (self.tokenizer.convert_tokens_to_ids(t) for t in ("<|image_pad|>", "<|video_pad|>"))
            given["mm_token_type_ids"] = (ids == image).int() + 2 * (ids == video).int()
        for values, grid, moving in (
            ("pixel_values", "image_grid_thw", False),
            ("pixel_values_videos", "video_grid_thw", True),
        ):
            mine = [v for v in prompt.visuals if bool(v.times) is moving]
            if mine:
                given[values] = torch.from_numpy(np.concatenate([v.values for v in mine]))
                given[grid] = torch.tensor([v.grid for v in mine])
        return {name: tensor.to(self._device) for name, tensor in given.items()}

    def see(self, frames: Frames, low_px: int, high_px: int) -> Seen:
        return seen(frames, self.sight, low_px, high_px)

    def encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def write(
        self, prompt: Prompt, *, limit: int, prefix: Sequence[int], think: int, temperature: float, seed: int
    ) -> Written:
        """Up to `limit` tokens after prompt and prefix; `think`: how many of them may be thinking (0: no limit).

        Raises:
            MienError: `models.not-finite`.
        """
        torch = need_torch()
        from transformers import GenerationConfig

        sampled: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            sampled = {"do_sample": True, "temperature": temperature, "top_p": self._top_p, "top_k": self._top_k}
        given = self.inputs(prompt, prefix)
        start = given["input_ids"].shape[1]
        how = GenerationConfig(
            max_new_tokens=limit, eos_token_id=self._ends, pad_token_id=self._ends[0], use_cache=True, **sampled
        )
        devices = [self._device] if self._device.type == "cuda" else []
        with self._lock, torch.inference_mode(), torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            self.model.generation_config = how  # the folder's own would fill what is left open here
            written = self.model.generate(**given, generation_config=how, logits_processor=[self._steps(start, think)])
        ids = written[0, start:].tolist()
        ended = bool(ids) and ids[-1] in self._ends
        body = ids[:-1] if ended else ids
        text = self.tokenizer.decode([*prefix, *body], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return Written(tuple(body), text, cut=not ended, tokens=len(ids))

    def _steps(self, start: int, think: int) -> Callable[[Any, Any], Any]:
        """At each step: the scores must be numbers, and a thought whose budget is spent is closed."""

        def step(ids: Any, scores: Any) -> Any:
            # A score of -inf is another processor's "never"; NaN and +inf come from broken weights or an overflow.
            if bool((scores.isnan() | scores.isposinf()).any()):
                raise MienError("models.not-finite", "Qwen3-VL answered NaN or Inf", 'try dtype = "float32"')
            must = forced(ids[0, start:].tolist(), think, self._closing, self._close) if think else None
            if must is not None:
                scores = scores.new_full(scores.shape, float("-inf"))
                scores[:, must] = 0
            return scores

        return step

    def _plain(self, text: str) -> str:
        for token in self.tokenizer.get_added_vocab():
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text

    def close(self) -> None:
        self.model = None


def strict(cls: Any, folder: Path, **how: Any) -> Any:
    """A transformers model from safetensors in a local folder, every parameter of it and nothing else.

    Raises:
        MienError: `weights.wrong-keys`, `weights.wrong-shape`, `weights.unreadable`, each with the first name.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, said = cls.from_pretrained(
            folder, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=True, **how
        )
    except Exception as error:
        raise MienError("weights.unreadable", f"{folder} cannot be loaded: {error}"[:400], "fetch it again") from error
    for code, what, names in (
        (
            "weights.wrong-shape",
            "has another shape of",
            [m[0] if isinstance(m, tuple) else m for m in said["mismatched_keys"]],
        ),
        ("weights.wrong-keys", "lacks", sorted(said["missing_keys"])),
        ("weights.wrong-keys", "also holds", sorted(said["unexpected_keys"])),
    ):
        if names:
            raise MienError(
                code,
                f"{folder.name} {what} {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
                "it is a folder of another network, or not all of its files are there",
            )
    return model


def _template(folder: Path, tokenizer: Any) -> str:
    """The chat template: a file of its own, or in the tokenizer's or processor's configuration."""
    for name in ("chat_template.jinja", "chat_template.json"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            return text if path.suffix == ".jinja" else json.loads(text)["chat_template"]
    if not tokenizer.chat_template:
        raise MienError("weights.no-file", f"{folder} has no chat template", "fetch chat_template.json, too")
    return tokenizer.chat_template
