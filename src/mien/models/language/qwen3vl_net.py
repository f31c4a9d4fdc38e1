"""The network behind `vlm.qwen3vl`: transformers' Qwen3-VL on a local folder. Imported when a model is opened."""

from __future__ import annotations

import inspect
import json
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mien.core import Device, Frames, Message, MienError, missing_extra
from mien.models.language.chat import Failed, Said, Turn
from mien.models.language.frames import Seen, Sight, seen, shown
from mien.models.language.reading import CLOSE, OPEN
from mien.models.pretrained import strict
from mien.models.torchnet import need_torch, torch_device

if TYPE_CHECKING:
    from mien.models.language.qwen3vl import Qwen3VL

VISUAL = re.compile(r"<\|vision_start\|>(<\|image_pad\|>|<\|video_pad\|>)<\|vision_end\|>")
CLOSING = f"\n{CLOSE}\n\n"  # as the chat templates of thinking models write it


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the network is given: text, tokens, pictures and videos; `thinks`: the chat template opens a thought."""

    text: str
    ids: tuple[int, ...]
    visuals: tuple[Seen, ...]
    thinks: bool


class Qwen3VLNet:
    """One `Turn` in, what was `Said` out. Safe to call from several threads; they take turns."""

    def __init__(self, model: Any, tokenizer: Any, template: str, sight: Sight, config: Qwen3VL.Config) -> None:
        self.model, self.tokenizer, self.sight = model, tokenizer, sight
        self._template, self._config = template, config
        self._lock = threading.Lock()  # transformers keeps the positions of the last prompt on the model
        self._typed = "mm_token_type_ids" in inspect.signature(model.forward).parameters
        self._control = sorted(tokenizer.get_added_vocab(), key=len, reverse=True)
        held = model.generation_config
        ends = held.eos_token_id if held.eos_token_id is not None else tokenizer.eos_token_id
        self._ends = [ends] if isinstance(ends, int) else list(ends)
        self._sampling = {"do_sample": True, "top_p": held.top_p, "top_k": held.top_k}
        self._context = int(model.config.text_config.max_position_embeddings)

    @classmethod
    def open(cls, folder: Path, config: Qwen3VL.Config, device: Device) -> Self:
        torch, place = need_torch(), torch_device(device)
        try:
            from transformers import AutoTokenizer, Qwen3VLForConditionalGeneration
        except ImportError as error:
            raise missing_extra("transformers", "transformers") from error
        if device.name == "cpu":
            torch.set_num_threads(device.threads)
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "qwen3_vl":
            raise MienError("weights.wrong-format", f"{folder} holds a {kind!r} model, not qwen3_vl", "add a Qwen3-VL")
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = strict(Qwen3VLForConditionalGeneration, folder, config.dtype)
        return cls(model.eval().to(place), tokenizer, _template(folder, tokenizer), Sight.of(folder), config)

    def __call__(self, turn: Turn) -> Said:
        """Raises:
        MienError: `models.not-finite`.
        """
        prompt = self.prompt(turn.messages)
        begun = turn.prefill.removeprefix(f"{OPEN}\n") if prompt.thinks else turn.prefill
        if prompt.thinks and not turn.think and not begun:
            begun = CLOSING
        prefix = self.tokenizer(begun, add_special_tokens=False)["input_ids"] if begun else []
        n = len(prompt.ids) + len(prefix)
        most = min(self._config.max_input_tokens, self._context - turn.max_tokens)
        if n > most:
            raise Failed(f"language.too-long: {n} tokens, of which {most} may be")
        new = self.write(prompt, prefix, turn)
        cut = new[-1] not in self._ends
        text = self.tokenizer.decode(new if cut else new[:-1], skip_special_tokens=True)
        if turn.think and not prompt.thinks and CLOSE not in text:
            text = f"{CLOSE}{text}"  # it was asked to think, and cannot: all of it is the answer
        return Said(text, cut, n, len(new))

    def see(self, frames: Frames) -> Seen:
        """Frames within the pixel budgets."""
        n, limits = len(frames), self._config
        if not n:
            raise Failed("language.no-frames")
        if n > limits.max_frames:
            raise Failed(f"language.too-many-frames: {n}, of which {limits.max_frames} may be")
        high = limits.max_picture_px if n == 1 else min(n * limits.max_frame_px, limits.max_video_px)
        try:
            return seen(frames, self.sight, min(n * limits.min_frame_px, high), high)
        except MienError as error:
            raise Failed(f"{error.code}: {error.message}") from error

    def prompt(self, messages: Iterable[Message]) -> Prompt:
        """What the network is given. Control tokens inside a message's text are broken up: a text is data."""
        turns: list[dict[str, Any]] = []
        visuals: list[Seen] = []
        for message in messages:
            content: Any = self._plain(message.text)
            if message.frames is not None:
                visuals.append(self.see(message.frames))
                kind = "video" if visuals[-1].times else "image"
                content = [{"type": kind, kind: ""}, {"type": "text", "text": content}]
            turns.append({"role": message.role, "content": content})
        text = self.tokenizer.apply_chat_template(
            turns, chat_template=self._template, tokenize=False, add_generation_prompt=True
        )
        places = list(VISUAL.finditer(text))
        if [place[1] == "<|video_pad|>" for place in places] != [bool(v.times) for v in visuals]:
            raise Failed("language.misplaced-frames: only a user's message may hold frames")
        parts, at = [], 0
        for place, visual in zip(places, visuals, strict=True):
            parts += [text[at : place.start()], shown(visual, self.sight)]
            at = place.end()
        whole = "".join([*parts, text[at:]])
        return Prompt(whole, tuple(self.tokenizer(whole)["input_ids"]), tuple(visuals), text.rstrip().endswith(OPEN))

    def inputs(self, prompt: Prompt, prefix: Iterable[int] = ()) -> dict[str, Any]:
        """The tensors of a prompt, and of how its answer begins."""
        torch = need_torch()
        ids = torch.tensor([[*prompt.ids, *prefix]])
        given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if self._typed:  # transformers 5 tells pictures and videos apart by it
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
        return {name: tensor.to(self.model.device) for name, tensor in given.items()}

    def write(self, prompt: Prompt, prefix: list[int], turn: Turn) -> list[int]:
        """The tokens that follow, with the one that ends them where it came."""
        torch = need_torch()
        from transformers import GenerationConfig

        given = self.inputs(prompt, prefix)
        how = self._sampling | {"temperature": turn.temperature} if turn.temperature > 0 else {"do_sample": False}
        how = GenerationConfig(
            max_new_tokens=turn.max_tokens, eos_token_id=self._ends, pad_token_id=self._ends[0], use_cache=True, **how
        )
        with self._lock, torch.inference_mode(), torch.random.fork_rng():
            torch.manual_seed(turn.seed)
            self.model.generation_config = how  # the folder's own would fill what is left open here
            written = self.model.generate(**given, generation_config=how, logits_processor=[_numbers])
        return written[0, given["input_ids"].shape[1] :].tolist()

    def _plain(self, text: str) -> str:
        for token in self._control:
            text = text.replace(token, f"{token[0]} {token[1:]}")
        return text


def _numbers(ids: Any, scores: Any) -> Any:
    """Each step's scores must be numbers: NaN and Inf come from broken weights or an overflow, and would be chosen."""
    if not bool(scores.isfinite().all()):
        raise MienError("models.not-finite", "Qwen3-VL answered NaN or Inf", 'try dtype = "float32"')
    return scores


def _template(folder: Path, tokenizer: Any) -> str:
    """The chat template: a file of its own, or in the tokenizer's configuration."""
    for name in ("chat_template.jinja", "chat_template.json"):
        path = folder / name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            return text if path.suffix == ".jinja" else json.loads(text)["chat_template"]
    if not tokenizer.chat_template:
        raise MienError("weights.no-file", f"{folder} has no chat template", "fetch chat_template.json, too")
    return tokenizer.chat_template
