"""Any causal language model in the published layout, through transformers (`pip install 'mien[transformers]'`).

The weights are the user's own: `mien models add text-model FOLDER`. No code of a model repository is ever run, and no
file is fetched. transformers cannot hold an answer to a schema: the schema stands in the question, the answer is
checked, and one that is not of it is asked for again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Ge
from pydantic import Field

from mien.core import (
    AdapterSpec,
    Asks,
    Asset,
    Device,
    Licences,
    MienError,
    Replies,
    Strict,
    WeightFiles,
    Weights,
    adapter,
    missing_extra,
)
from mien.models.language.chat import Failed, Manner, Said, Say, Talker, Turn, stand_in
from mien.models.torchnet import torch_device

TEXT_MODEL = Weights(
    model="text-model",
    assets=(),
    bring=(Asset("FOLDER", "hub", "an instruct model of your choice", "", "", "", 0),),
    licences=Licences("Apache-2.0 (transformers)", "that of the model you add", "that of the model you add"),
    runtime=("folder.json",),
    note="fetch the folder of an instruct model whole (.safetensors, no .bin), then: mien models add text-model FOLDER",
)


@adapter
class Transformers(Talker):
    """An instruct model in this process. In: `Asks` without pictures. Out: `Replies`, one each, in order.

    Temperature 0 is greedy; any other samples with the question's own seed. float32 on the CPU, bfloat16 on CUDA.
    """

    class Config(Strict):
        answer_tokens: Annotated[int, Ge(16)] = Field(256, description="room for an answer that has to be forced")
        repairs: Annotated[int, Ge(0)] = 1

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="language.transformers", slot="text", takes=Asks, gives=Replies, weights=TEXT_MODEL
    )

    def __init__(self, say: Say, config: Config) -> None:
        super().__init__(say, Manner(True, config.answer_tokens, config.repairs, schema_in_prompt=True))

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`, `device.unavailable`, `weights.unreadable`,
        `weights.no-chat-template`, `weights.wrong-keys`."""
        from mien.models.weights.folders import opened

        return cls(_Model(opened(files.only), device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(stand_in, cls.Config())  # pyright: ignore[reportCallIssue]


class _Model:
    def __init__(self, folder: Path, device: Device) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched, whatever a configuration names
        try:
            import torch
            import transformers
        except ImportError as error:
            raise missing_extra("transformers", "transformers") from error
        self._torch, self._device = torch, torch_device(device)
        kind = torch.float32 if device.name == "cpu" else torch.bfloat16
        given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            self._tokens: Any = transformers.AutoTokenizer.from_pretrained(folder, **given)
            loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(
                folder, use_safetensors=True, dtype=kind, output_loading_info=True, **given
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise MienError(
                "weights.unreadable", f"transformers cannot open it: {first[:200]}", "is it a published, whole folder?"
            ) from error
        model, report = loaded
        for what in ("missing_keys", "mismatched_keys"):
            if report.get(what):
                name = sorted(str(k) for k in report[what])[0]
                message = f"the folder holds no {name!r} in the shape that its config.json asks for"
                raise MienError("weights.wrong-keys", message, "fetch the folder again, whole")
        if not self._tokens.chat_template:
            raise MienError(
                "weights.no-chat-template",
                "the folder holds no chat template",
                "take the instruct version of the model",
            )
        self._model: Any = model.to(self._device).eval()

    def __call__(self, turn: Turn) -> Said:
        if any(m.frames is not None for m in turn.messages):
            raise Failed("language.no-pictures")
        torch = self._torch
        talk = [{"role": m.role, "content": m.text} for m in turn.messages]
        prompt = self._tokens.apply_chat_template(
            talk, tokenize=False, add_generation_prompt=True, enable_thinking=turn.think
        )
        # Templates of thinking models open the thought themselves; what is gone on from begins with it.
        begun = turn.prefill.removeprefix("<think>\n") if prompt.rstrip().endswith("<think>") else turn.prefill
        ids = self._tokens(prompt + begun, return_tensors="pt", add_special_tokens=False).to(self._device)
        n, room = ids["input_ids"].shape[1], getattr(self._model.config, "max_position_embeddings", None)
        if room is not None and n + turn.max_tokens > room:
            raise Failed("language.too-long")
        greedy = turn.temperature <= 0
        how = {"do_sample": False} if greedy else {"do_sample": True, "temperature": turn.temperature}
        # A shipped generation_config may sample in ways of its own; only what was asked for counts.
        how |= {"top_p": None, "top_k": None} if greedy else {"top_p": 1.0, "top_k": 0}
        with torch.inference_mode(), torch.random.fork_rng(enabled=not greedy):
            if not greedy:
                torch.manual_seed(turn.seed)
            out = self._model.generate(
                **ids, max_new_tokens=turn.max_tokens, pad_token_id=self._tokens.eos_token_id, **how
            )
        new = out[0, n:].tolist()
        ends = self._ends()
        cut = len(new) >= turn.max_tokens and (not new or new[-1] not in ends)
        text = self._tokens.decode([t for t in new if t not in ends], skip_special_tokens=False)
        return Said(text, cut, n, len(new))

    def _ends(self) -> set[int]:
        given = self._model.generation_config.eos_token_id
        several = given if isinstance(given, list) else [given]
        return {t for t in (*several, self._tokens.eos_token_id) if t is not None}
