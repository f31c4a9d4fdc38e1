"""Models of language behind an HTTP server that speaks OpenAI's chat protocol: vLLM, SGLang, llama.cpp, Ollama, others.

What they share and where they differ (read in their sources, 2026-11):

- Schema: `response_format` of type json_schema, everywhere; OpenAI itself takes a strict subset.
- Thinking apart: `reasoning` (vLLM, earlier `reasoning_content`; Ollama), `reasoning_content` (SGLang, llama.cpp).
  Without `--reasoning-parser`, vLLM and SGLang leave it in the text, before `</think>`.
- Thinking on and off: `chat_template_kwargs.enable_thinking` (vLLM, SGLang, llama.cpp), `reasoning_effort` (Ollama).
- Going on from a begun answer: `continue_final_message` (vLLM, without `add_generation_prompt`; SGLang), a last message
  of the assistant (llama.cpp, which then gives the beginning back, too); Ollama and OpenAI cannot.
- Pictures: data URLs everywhere (Ollama: JPEG, PNG, WebP; each part becomes a message of its own, in order).
- A video as frames with times of their own: `data:video/jpeg` and `media_io_kwargs.video`, in vLLM alone; versions that
  do not know `frames_indices` would silently take a rate of their own, so it is not the default.

vLLM and SGLang hold only the answer to a schema, and leave the thought free, where they were started with a reasoning
parser (`--reasoning-parser`); without it the schema leaves no room for a thought, and the answer is asked for again.
"""

from __future__ import annotations

import base64
import email.utils
import json
import os
import re
import time
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from annotated_types import Ge, Le
from pydantic import ConfigDict, Field, field_validator

from mien.core import (
    AdapterSpec,
    Asks,
    Device,
    Frames,
    Message,
    MienError,
    Replies,
    Strict,
    WeightFiles,
    adapter,
)
from mien.models.language.chat import Failed, Manner, Said, Say, Talker, Turn, stand_in
from mien.models.language.egress import Answer, Egress, Rules
from mien.models.language.reading import CLOSE

Server = Literal["vllm", "sglang", "llamacpp", "ollama", "openai"]
GOES_ON: tuple[Server, ...] = ("vllm", "sglang", "llamacpp")
AGAIN = (408, 429, 500, 502, 503, 504)
LONGEST_WAIT_S, FIRST_WAIT_S = 30.0, 0.5
# What a call fails with by itself; every other refusal of `Egress` concerns all calls, and is an error.
OF_ONE_CALL = ("egress.redirect", "egress.too-large", "egress.encoded", "egress.bad-answer")
JPEG_QUALITY = 92
_sleep: Callable[[float], None] = time.sleep


class EndpointConfig(Strict):
    """Settings of an endpoint. Those that change no answer are no part of the fingerprint."""

    # A key in the wrong place is not to be shown by an error.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)

    url: str = Field("", description="up to and including the version: http://127.0.0.1:8000/v1")
    model: str = Field("", description="the model's name as the server knows it")
    server: Server = Field("openai", description="which server it is, where they differ")
    structured: Literal["json_schema", "prompt"] = Field("json_schema", description="prompt: it knows no schemas")
    pictures: Literal["jpeg", "png"] = "jpeg"
    video: Literal["frames", "native"] = Field(
        "frames",
        description="native: one video with true times, for a vLLM that reads media_io_kwargs.video.frames_indices",
    )
    answer_tokens: Annotated[int, Ge(16)] = Field(256, description="room for an answer that has to be forced")
    repairs: Annotated[int, Ge(0), Le(3)] = Field(1, description="calls to mend an answer that is not of its schema")
    key_env: str = Field("", exclude=True, description="NAME of the environment variable that holds the key")
    tries: Annotated[int, Ge(1), Le(6)] = Field(3, exclude=True)
    timeout_s: Annotated[float, Ge(0.05)] = Field(300.0, exclude=True, description="of one call, in all")
    parallel: Annotated[int, Ge(1), Le(64)] = Field(4, exclude=True, description="questions at a time")
    max_bytes: Annotated[int, Ge(1024)] = Field(16 << 20, exclude=True, description="of an answer")
    ca_file: str = Field("", exclude=True, description="certificates to trust besides the system's")
    # Set by the project, never by the adapter's own table; where nobody sets it, nothing may be called.
    egress: Rules | None = Field(None, exclude=True)

    @field_validator("key_env")
    @classmethod
    def _name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", value):
            raise ValueError("must be the NAME of an environment variable; the key itself stands in no file")
        return value


@adapter
class OpenAI(Talker):
    """An instruct model behind an endpoint. In: `Asks`. Out: `Replies`, one each, in order.

    A video is given as pictures, each after a line `<12.3 seconds>`, its true time. What goes wrong with one question
    is its reply's status and reason: `language.http-429`, `language.http-400: …`, `egress.timeout`,
    `egress.unreachable`, `egress.redirect`, `egress.too-large`, `language.wrong-type`, `language.bad-body`,
    `language.refused`, and those of `mien.models.language.reading`. Which weights stand behind an endpoint cannot be
    known: the fingerprint names the address and the model's name.
    """

    spec: ClassVar[AdapterSpec] = AdapterSpec(name="language.openai", slot="text", takes=Asks, gives=Replies)
    Config: ClassVar[type[EndpointConfig]] = EndpointConfig

    def __init__(self, say: Say, config: EndpointConfig) -> None:
        goes_on, in_prompt = config.server in GOES_ON, config.structured == "prompt"
        super().__init__(say, Manner(goes_on, config.answer_tokens, config.repairs, config.parallel, in_prompt))

    @classmethod
    def open(cls, files: WeightFiles, config: EndpointConfig, device: Device) -> Self:
        """Raises MienError `config.no-endpoint`, `config.no-key`, `egress.*`; nothing is sent yet."""
        return cls(_Endpoint(config, cls.spec.name), config)

    @classmethod
    def tiny(cls) -> Self:
        return cls(stand_in, cls.Config())  # pyright: ignore[reportCallIssue]


@adapter
class OpenAIVision(OpenAI):
    """The same, where a model is wanted that sees: its endpoint is set apart from that of `language.openai`."""

    spec: ClassVar[AdapterSpec] = AdapterSpec(name="vlm.openai", slot="vlm", takes=Asks, gives=Replies)


class _Endpoint:
    """One call of the server: what is sent, how often it is tried, what its answer amounts to."""

    def __init__(self, config: EndpointConfig, name: str) -> None:
        if not config.url or not config.model:
            raise MienError(
                "config.no-endpoint",
                f"{name} needs an address and a model",
                f'[adapters."{name}"] url = "http://127.0.0.1:8000/v1", model = "…"; and the address in [egress] allow',
            )
        self._config, self._url = config, config.url.rstrip("/") + "/chat/completions"
        self._egress = Egress(
            config.egress,
            timeout_s=config.timeout_s,
            max_bytes=config.max_bytes,
            ca_file=config.ca_file,
        )
        self._named = self._egress.check(self._url).named
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"} | _key(config.key_env)

    def __call__(self, turn: Turn) -> Said:
        return said(*self._post(payload(turn, self._config)), turn.prefill)

    def _post(self, body: dict[str, Any]) -> tuple[Any, int]:
        """(the answer's JSON, how many tries it took)."""
        sent = json.dumps(body, ensure_ascii=False).encode()
        tries = self._config.tries
        for done in range(1, tries + 1):
            wait = FIRST_WAIT_S * 2 ** (done - 1)
            try:
                answer = self._egress.post(self._url, sent, self._headers)
            except MienError as error:
                if error.code in OF_ONE_CALL:
                    raise Failed(error.code, calls=done) from error
                if not error.retryable:
                    raise
                reason = error.code
            else:
                if answer.status not in AGAIN:
                    return self._json(answer, done), done
                reason = f"language.http-{answer.status}"
                wait = _asked_to_wait(answer.headers.get("retry-after", ""), wait)
            if done == tries or wait > LONGEST_WAIT_S:
                raise Failed(reason, calls=done)
            _sleep(wait)
        raise AssertionError  # tries is at least 1

    def _json(self, answer: Answer, calls: int) -> Any:
        if answer.status in (401, 403):
            hint = (
                "name the variable that holds the key: key_env" if not self._config.key_env else "is it the right key?"
            )
            raise MienError("language.unauthorised", f"{self._named} answered {answer.status}", hint)
        if answer.status == 404:
            raise MienError(
                "language.not-found",
                f"{self._named} has no {self._config.model!r}, or no chat protocol at this address",
                "see the names it knows at …/v1/models; the url ends with /v1",
            )
        kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = kind == "application/json" or kind.endswith("+json")
        if answer.status != 200:
            detail = answer.body[:300].decode("utf-8", "replace") if is_json else kind
            key = self._headers.get("Authorization", "").removeprefix("Bearer ")
            detail = detail.replace(key, "…") if key else detail
            raise Failed(f"language.http-{answer.status}: {detail}", calls=calls)
        if not is_json:
            raise Failed(f"language.wrong-type: {kind[:60] or 'none'}", calls=calls)
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise Failed("language.bad-body: not JSON", calls=calls) from error


# ---------------------------------------------------------------- the protocol, both ways


def payload(turn: Turn, config: EndpointConfig) -> dict[str, Any]:
    """The body of one call."""
    server = config.server
    native = config.video == "native" and server == "vllm" and sum(_is_video(m) for m in turn.messages) == 1
    body: dict[str, Any] = {
        "model": config.model,
        "messages": [_message(m, config.pictures, native) for m in turn.messages],
        "max_tokens": turn.max_tokens,
        "temperature": turn.temperature,
        "seed": turn.seed,
        "stream": False,
    }
    if turn.schema is not None and config.structured == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": turn.schema}}
    if server in ("vllm", "sglang", "llamacpp"):
        body["chat_template_kwargs"] = {"enable_thinking": turn.think}
    elif server == "ollama" and not turn.think:
        body["reasoning_effort"] = "none"
    if native:
        frames = next(m.frames for m in turn.messages if m.frames is not None and _is_video(m))
        body["media_io_kwargs"] = {"video": _clock_of(frames)}
    if turn.prefill:
        body["messages"].append({"role": "assistant", "content": turn.prefill})
        if server != "llamacpp":
            body["continue_final_message"] = True
        if server == "vllm":
            body["add_generation_prompt"] = False
    return body


def said(body: Any, calls: int, prefill: str = "") -> Said:
    """What a chat completion says, its thinking (if any) before a `</think>`. Raises Failed."""
    try:
        choice = body["choices"][0]
        message, finish = choice["message"], choice.get("finish_reason")
        text, thought = message.get("content"), message.get("reasoning") or message.get("reasoning_content") or ""
        refused = message.get("refusal") or finish == "content_filter"
        usage = body.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (LookupError, TypeError, AttributeError) as error:
        raise Failed("language.bad-body: no chat completion", calls=calls) from error
    if refused:
        raise Failed("language.refused", "refused", calls)
    if not isinstance(text, str | None) or not isinstance(thought, str):
        raise Failed("language.bad-body: no text", calls=calls)
    text = (text or "").removeprefix(prefill) if prefill else text or ""
    if thought and not prefill:
        # No answer after it: the model is still thinking, whatever the server says of why it stopped.
        text = f"{thought}{CLOSE}{text}" if text.strip() else f"<think>{thought}"
    counts = [t if isinstance(t, int) else None for t in tokens]
    return Said(text, finish == "length", counts[0], counts[1], calls)


def _message(message: Message, kind: Literal["jpeg", "png"], native: bool) -> dict[str, Any]:
    frames = message.frames
    if frames is None or len(frames) == 0:
        return {"role": message.role, "content": message.text}
    parts: list[dict[str, Any]] = []
    if native and _is_video(message):
        url = "data:video/jpeg;base64," + ",".join(_encoded(p, "jpeg") for p in frames.pixels)
        parts.append({"type": "video_url", "video_url": {"url": url}})
    else:
        for clock, pixels in zip(times(frames), frames.pixels, strict=True):
            if len(frames) > 1:
                parts.append({"type": "text", "text": clock})
            url = f"data:image/{kind};base64,{_encoded(pixels, kind)}"
            parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"role": message.role, "content": [*parts, {"type": "text", "text": message.text}]}


def times(frames: Frames) -> list[str]:
    """`<12.3 seconds>` of each frame, as Qwen3-VL knows it; up to three decimals where true times need them."""
    at = [t / 1e6 for t in frames.t_us.tolist()]
    digits = next((d for d in (1, 2) if all(abs(round(t, d) - t) < 5e-4 for t in at)), 3)
    return [f"<{t:.{digits}f} seconds>" for t in at]


def _clock_of(frames: Frames) -> dict[str, Any]:
    """The frames' times for vLLM: places on a clock of 1000 frames a second, so that uneven times stay true to 1 ms."""
    places = [round(t / 1000) for t in frames.t_us.tolist()]
    places = [p - min(0, places[0]) for p in places]
    total = places[-1] + 1
    held: dict[str, Any] = {"num_frames": -1, "fps": 1000.0, "frames_indices": places, "total_num_frames": total}
    return held | {"duration": total / 1000, "do_sample_frames": False}


def _is_video(message: Message) -> bool:
    return message.frames is not None and len(message.frames) > 1


def _encoded(pixels: Any, kind: Literal["jpeg", "png"]) -> str:
    import cv2

    flags = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if kind == "jpeg" else []
    _, data = cv2.imencode(".jpg" if kind == "jpeg" else ".png", np.ascontiguousarray(pixels[..., ::-1]), flags)
    return base64.b64encode(data.tobytes()).decode()


def _key(name: str) -> dict[str, str]:
    if not name:
        return {}
    key = os.environ.get(name, "")
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        what = "is not set" if not key else "holds no usable key (spaces, line ends or other characters)"
        raise MienError("config.no-key", f"the environment variable {name} {what}", f"export {name}=…")
    return {"Authorization": f"Bearer {key}"}


def _asked_to_wait(said: str, otherwise: float) -> float:
    """Seconds of a Retry-After header (a number or a date), else the backoff's own."""
    if said.strip().isdecimal():
        return max(float(said), otherwise)
    try:
        until = email.utils.parsedate_to_datetime(said).timestamp()
    except (TypeError, ValueError):
        return otherwise
    return max(until - time.time(), otherwise)
