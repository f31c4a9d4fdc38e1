"""Qwen3-VL, Thinking and Instruct, on this machine: pictures and frames at their own times, a thought held to a budget.

The published folders (config.json, safetensors shards, tokenizer, chat template) are read where they lie; nothing is
fetched, and no code in them is run.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal, Self

from annotated_types import Ge, Le
from pydantic import Field

from mien.core import (
    AdapterSpec,
    Ask,
    Asks,
    Asset,
    Device,
    Licences,
    Message,
    MienError,
    Replies,
    Reply,
    Strict,
    WeightFiles,
    Weights,
    adapter,
)
from mien.models.language.reading import check_schema, read
from mien.models.language.thinking import CLOSING, kept
from mien.models.language.writer import Prompt, Scribe, Writer, Written

TOKEN_PX = 32 * 32  # of the picture that one token of the published checkpoints stands for
SIZES = ("2B", "4B", "8B", "32B")


@adapter
class Qwen3VL:
    """Questions about text, pictures and frames. In: asks. Out: one reply each, in order, one after the other.

    Greedy at temperature 0. A thought ends at `think_tokens`; one that uses up `max_tokens` is cut to half of them and
    answered from once (tries 2); what is not of the schema is asked for again once, with the error. What is too large
    for the budgets fails before anything runs (`language.too-long`, `language.too-many-frames`). An Instruct
    checkpoint does not think, whatever is asked.
    """

    spec: ClassVar = AdapterSpec(
        name="vlm.qwen3vl",
        slot="vlm",
        takes=Asks,
        gives=Replies,
        weights=Weights(
            model="qwen3-vl",
            assets=(),
            bring=tuple(
                Asset(name, "hub", f"Qwen/{name}", "main", "", "", 0)
                for size in SIZES
                for name in (f"Qwen3-VL-{size}-Thinking", f"Qwen3-VL-{size}-Instruct")
            ),
            licences=Licences("Apache-2.0", "Apache-2.0", "not published by its makers (web text, pictures, videos)"),
            runtime=("folder.json",),
            note="fetch one of the folders whole (without .bin files), then: mien models add qwen3-vl FOLDER",
        ),
    )

    class Config(Strict):
        dtype: Literal["auto", "bfloat16", "float16", "float32"] = Field("auto", description="auto: as published")
        min_frame_px: Annotated[int, Ge(TOKEN_PX)] = Field(128 * TOKEN_PX, description="smaller frames are enlarged")
        max_frame_px: Annotated[int, Ge(TOKEN_PX)] = Field(768 * TOKEN_PX, description="larger frames are reduced")
        max_video_px: Annotated[int, Ge(TOKEN_PX)] = Field(24576 * TOKEN_PX, description="all frames of a video")
        max_picture_px: Annotated[int, Ge(TOKEN_PX)] = Field(4096 * TOKEN_PX, description="a single frame")
        max_frames: Annotated[int, Ge(1), Le(768)] = Field(256, description="of one message")
        max_input_tokens: Annotated[int, Ge(64)] = Field(32768, description="of one question, frames included")
        repair: bool = Field(True, description="ask once more for an answer that is not of the schema")

    def __init__(self, writer: Writer, config: Config) -> None:
        self._writer, self._config = writer, config

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        from mien.models.language.qwen3vl_net import Qwen3VLNet
        from mien.models.weights.folders import opened

        return cls(Qwen3VLNet.open(opened(files.only), config.dtype, device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(Scribe(), cls.Config.model_validate({"min_frame_px": TOKEN_PX}))

    def run(self, batch: Asks) -> Replies:
        for ask in batch.rows:
            if ask.schema is not None:
                check_schema(ask.schema)
        return Replies(tuple(self._answer(ask) for ask in batch.rows))

    def close(self) -> None:
        self._writer.close()

    def _answer(self, ask: Ask) -> Reply:
        try:
            messages = _told(ask)
            reply = self._ask(ask, messages)
            if reply.status != "invalid" or not self._config.repair:
                return reply
            wrong = f"That is not what was asked for ({reply.reason}). Answer again, with the JSON alone."
            again = (*messages, Message("assistant", reply.text), Message("user", wrong))
            second = self._ask(dataclasses.replace(ask, think=False), again)
        except MienError as error:
            if not error.code.startswith("language."):
                raise  # the model is at fault, not the question
            return Reply("", "failed", reason=f"{error.code}: {error.message}")
        return dataclasses.replace(
            second,
            thinking=reply.thinking,
            tries=reply.tries + second.tries,
            output_tokens=(reply.output_tokens or 0) + (second.output_tokens or 0),
        )

    def _ask(self, ask: Ask, messages: Sequence[Message]) -> Reply:
        """One answer, and a second start from half of a thought that found no end."""
        prompt = self._prompt(ask, messages)
        closing = self._writer.encode(CLOSING)
        ask = dataclasses.replace(ask, think=ask.think and prompt.thinks)
        prefix = closing if prompt.thinks and not ask.think else []
        first = self._write(ask, prompt, prefix, ask.max_tokens)
        reply = _read(ask, prompt, first)
        if reply.reason != "language.no-answer":
            return reply
        thought = kept(first.ids, ask.max_tokens)
        prefix = [*thought, *closing]
        second = self._write(ask, prompt, prefix, max(1, ask.max_tokens - len(prefix)))
        return dataclasses.replace(_read(ask, prompt, second), tries=2, output_tokens=first.tokens + second.tokens)

    def _write(self, ask: Ask, prompt: Prompt, prefix: Sequence[int], limit: int) -> Written:
        think = ask.think_tokens if ask.think and not prefix else 0
        how = {"temperature": ask.temperature, "seed": ask.seed}
        return self._writer.write(prompt, limit=limit, prefix=prefix, think=think, **how)

    def _prompt(self, ask: Ask, messages: Sequence[Message]) -> Prompt:
        """The prompt, if it is within every budget.

        Raises:
            MienError: `language.no-frames`, `language.too-many-frames`, `language.too-narrow`, `language.too-long`.
        """
        limits, visuals = self._config, []
        for frames in (m.frames for m in messages if m.frames is not None):
            n = len(frames)
            if not n:
                raise MienError("language.no-frames", "a message has frames, but none in them")
            if n > limits.max_frames:
                raise MienError("language.too-many-frames", f"{n} frames are more than max_frames={limits.max_frames}")
            high = limits.max_picture_px if n == 1 else min(n * limits.max_frame_px, limits.max_video_px)
            visuals.append(self._writer.see(frames, min(n * limits.min_frame_px, high), high))
        prompt = self._writer.prompt(messages, visuals)
        most = min(limits.max_input_tokens, self._writer.context - ask.max_tokens)
        if len(prompt.ids) > most:
            raise MienError("language.too-long", f"the question has {len(prompt.ids)} tokens, and may have {most}")
        return prompt


def _told(ask: Ask) -> tuple[Message, ...]:
    """The messages; the last one says the schema, where there is one."""
    if ask.schema is None:
        return ask.messages
    *before, last = ask.messages
    told = f"{last.text}\n\nAnswer with JSON of this schema and nothing else:\n{json.dumps(ask.schema)}"
    return (*before, dataclasses.replace(last, text=told))


def _read(ask: Ask, prompt: Prompt, written: Written) -> Reply:
    counts = {"input_tokens": len(prompt.ids), "output_tokens": written.tokens}
    return read(ask, written.text, cut=written.cut, **counts)
