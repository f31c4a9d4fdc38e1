"""What an adapter of language needs of a network: a prompt made, tokens written. And one that needs no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mien.core import Frames, Message, digest
from mien.models.language.frames import Seen, Sight, seen, shown
from mien.models.resampling import nearest


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a network is given: its text, its tokens, its pictures; `thinks`: the text opens a thought."""

    text: str
    ids: tuple[int, ...]
    visuals: tuple[Seen, ...]
    thinks: bool


@dataclass(frozen=True, slots=True)
class Written:
    """What it wrote: tokens without the final one, text (of the prefix, too), whether the length ran out."""

    ids: tuple[int, ...]
    text: str
    cut: bool
    tokens: int


class Writer(Protocol):
    """A network that writes. `context`: tokens of prompt and answer together."""

    context: int

    def see(self, frames: Frames, low_px: int, high_px: int) -> Seen: ...
    def prompt(self, messages: Sequence[Message], visuals: Sequence[Seen]) -> Prompt: ...
    def encode(self, text: str) -> list[int]: ...
    def write(
        self, prompt: Prompt, *, limit: int, prefix: Sequence[int], think: int, temperature: float, seed: int
    ) -> Written: ...
    def close(self) -> None: ...


class Scribe:
    """A stand-in: one token a byte, and a sentence that says how bright the frames are and when."""

    context = 1 << 20
    _sight = Sight()

    def see(self, frames: Frames, low_px: int, high_px: int) -> Seen:
        return seen(frames, self._sight, low_px, high_px, nearest)

    def prompt(self, messages: Sequence[Message], visuals: Sequence[Seen]) -> Prompt:
        text = "".join(f"{m.role}: {m.text}\n" for m in messages) + "".join(shown(v, self._sight) for v in visuals)
        return Prompt(text, tuple(text.encode()), tuple(visuals), thinks=False)

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def write(
        self, prompt: Prompt, *, limit: int, prefix: Sequence[int], think: int, temperature: float, seed: int
    ) -> Written:
        light = ", ".join(f"{float(v.values.mean()) / 2 + 0.5:.4f} at {list(v.times)} s" for v in prompt.visuals)
        said = f"Asked {digest(prompt.text)[:8]}; brightness {light or 'unseen'}.".encode()
        text = bytes([*prefix, *said[:limit]]).decode()
        return Written(tuple(said[:limit]), text, cut=limit < len(said), tokens=min(limit, len(said)))

    def close(self) -> None:
        """Nothing is held."""
