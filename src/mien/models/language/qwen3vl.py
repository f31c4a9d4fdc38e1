"""Qwen3-VL, Thinking and Instruct, on this machine: pictures, and frames at their own times.

The published folders (config.json, safetensors shards, tokenizer, chat template) are read where they lie; nothing is
fetched, and no code in them is run.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Le
from pydantic import Field

from mien.core import AdapterSpec, Asks, Asset, Device, Licences, Replies, Strict, WeightFiles, Weights, adapter
from mien.models.language.chat import Manner, Say, Talker, stand_in

TOKEN_PX = 32 * 32  # of a frame that one token of the published checkpoints stands for
SIZES = ("2B", "4B", "8B", "32B")


@adapter
class Qwen3VL(Talker):
    """Questions about text, pictures and frames. In: `Asks`. Out: `Replies`, one each, in order, one after the other.

    Temperature 0 is greedy; any other samples with the question's own seed. A single frame is a picture; several are
    one video, each two of them (the network's temporal patch) after their own time, as the published processor writes
    it. An Instruct checkpoint does not think, whatever is asked; a Thinking one that must not gets its thought closed
    at once. A question beyond the budgets fails before anything runs: `language.too-long`, `language.too-many-frames`,
    `language.too-narrow`.
    """

    spec: ClassVar[AdapterSpec] = AdapterSpec(
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
            note="fetch one of the folders whole, then: mien models add qwen3-vl FOLDER",
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
        answer_tokens: Annotated[int, Ge(16)] = Field(256, description="room for an answer that has to be forced")
        repairs: Annotated[int, Ge(0)] = Field(1, description="calls to mend an answer that is not of its schema")

    def __init__(self, say: Say, config: Config) -> None:
        super().__init__(say, Manner(True, config.answer_tokens, config.repairs, schema_in_prompt=True))
        self._net: Any = say

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`, `device.unavailable`, `weights.unreadable`, `weights.wrong-format`,
        `weights.wrong-keys`, `weights.wrong-shape`, `weights.no-file`, `weights.damaged`."""
        from mien.models.language.qwen3vl_net import Qwen3VLNet
        from mien.models.weights.folders import opened

        return cls(Qwen3VLNet.open(opened(files.only), config, device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(stand_in, cls.Config())  # pyright: ignore[reportCallIssue]

    def close(self) -> None:
        self._net = self._say = stand_in  # lets go of the weights
