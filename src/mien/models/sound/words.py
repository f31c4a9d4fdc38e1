"""Words with times: Whisper tiny.en, decoder and cross-attention (Radford et al., 2022). English alone.

The same weights as `voice.whisper`. Off by default: a transcript is personal data, and other languages become English
words that nobody said. Whisper also writes words where there are none; three guards stand against it: its own
no-speech probability, its own confidence, and `signals.vocal.spoken`, which asks the speech detector.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Le

from mien.core import (
    SAMPLE_RATE_HZ,
    US,
    AdapterSpec,
    Device,
    MienError,
    Sound,
    Strict,
    WeightFiles,
    Words,
    adapter,
    probe,
)
from mien.models.sound import whisper
from mien.models.sound.whisper import WEIGHTS, log_mel

F32 = npt.NDArray[np.float32]

WINDOW_S, SEARCH_S = 28.0, 8.0  # a window holds at most 28 s and is cut at the quietest moment of its last 8 s
FRAMES = 3000  # mel frames of 30 s, what the decoder was trained on; without the padding it repeats itself
FILL = (whisper.PEAK_LOG10 - whisper.RANGE_LOG10 + 4) / 4  # silence on the scale of `log_mel`
TOKEN_US = 20_000  # one position of the encoder
START, END, NO_TIMES = "<|startoftranscript|>", "<|endoftext|>", "<|notimestamps|>"
START_ID = 50_257
LONGEST = 200  # tokens: 28 s of fast speech have about 150
TINY_LOUD = 0.01  # -40 dBFS


@adapter
class WhisperWords:
    """Words with times. In: list of `Sound`, best one stretch of speech each. Out: `Words`.

    Times come from dynamic time warping over the cross-attention (the aligned heads of the model), in steps of 20 ms; a
    pause without punctuation belongs to the word after it until `signals.vocal.spoken` trims it. A window is left out
    where no_speech_prob > `no_speech` and the mean log-probability < `least_logprob` (Radford et al., 2022), where it
    repeats itself, or where its words have a mean score below `least_score`: cries and laughs come out as "Ahhh" there.
    """

    class Config(Strict):
        no_speech: Annotated[float, Ge(0), Le(1)] = 0.6
        least_logprob: Annotated[float, Le(0)] = -1.0
        least_score: Annotated[float, Ge(0), Le(1)] = 0.5
        beam: Annotated[int, Ge(1), Le(10)] = 1

    spec: ClassVar[AdapterSpec] = AdapterSpec(
        name="words.whisper", slot="words", takes=list, gives=Words, weights=WEIGHTS
    )

    def __init__(self, model: Any, config: Config) -> None:
        self._model, self._config = model, config

    @classmethod
    def open(cls, files: WeightFiles, config: Config, device: Device) -> Self:
        """Raises MienError `weights.unreadable`."""
        import ctranslate2

        folder = files["model.bin"].parent
        try:
            model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=device.threads
            )
        except (RuntimeError, ValueError) as error:
            raise MienError(
                "weights.unreadable",
                f"{folder.name} holds no usable Whisper model: {error}",
                "run 'mien models verify'",
            ) from error
        return cls(model, config)

    @classmethod
    def tiny(cls) -> Self:
        """Weightless: every sound louder than -40 dBFS is one "word" that lasts as long as it is loud."""
        return cls(None, cls.Config())

    def run(self, batch: Sequence[Sound]) -> Words:
        """Words in the order of the sounds; a sound without words has none."""
        found = [(i, *word) for i, sound in enumerate(batch) for word in self._words(sound)]
        return Words(
            sound=np.array([f[0] for f in found], np.int64),
            span_us=np.array([(f[1], f[2]) for f in found], np.int64).reshape(-1, 2),
            score=np.array([f[3] for f in found], np.float32),
            text=tuple(f[4] for f in found),
        )

    def _words(self, sound: Sound) -> list[tuple[int, int, float, str]]:
        """(start_us, end_us, score, text) of one sound."""
        if self._model is None:
            return _loud(sound)
        out: list[tuple[int, int, float, str]] = []
        for first, last in windows(sound.samples):
            t0_us = sound.t0_us + first * US // SAMPLE_RATE_HZ
            mel = log_mel(sound.samples[first:last])
            if mel is not None:
                out += [(t0_us + a, t0_us + b, p, text) for a, b, p, text in self._heard(mel)]
        return out

    def _heard(self, mel: F32) -> list[tuple[int, int, float, str]]:
        import ctranslate2

        assert self._model is not None  # noqa: S101 — narrowed by the caller
        frames = mel.shape[1]
        padded = np.pad(mel, ((0, 0), (0, max(0, FRAMES - frames))), constant_values=FILL)
        with probe.infer(self):
            states = self._model.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(padded[None])))
            said = self._model.generate(
                states,
                [[START, NO_TIMES]],
                beam_size=self._config.beam,
                max_length=LONGEST,
                return_scores=True,
                return_no_speech_prob=True,
            )[0]
        tokens, ids = list(said.sequences[0]), list(said.sequences_ids[0])
        doubtful = said.no_speech_prob > self._config.no_speech and said.scores[0] < self._config.least_logprob
        if not tokens or doubtful or repeats(tokens):
            return []
        with probe.infer(self):
            aligned = self._model.align(states, [START_ID], [ids], [frames], median_filter_width=3)[0]
        words = timed(tokens, aligned.alignments, aligned.text_token_probs)
        return words if words and np.mean([score for _, _, score, _ in words]) >= self._config.least_score else []

    def close(self) -> None:
        self._model = None


def windows(samples: F32) -> list[tuple[int, int]]:
    """[first, last) of stretches of at most 28 s, cut at the quietest 50 ms of the last 8 s."""
    longest, search, step = (round(s * SAMPLE_RATE_HZ) for s in (WINDOW_S, SEARCH_S, 0.05))
    out, first = [], 0
    while len(samples) - first > longest:
        part = samples[first + longest - search : first + longest].reshape(-1, step)
        first, before = first + longest - search + int(np.argmin((part**2).sum(axis=1))) * step + step // 2, first
        out.append((before, first))
    return [*out, (first, len(samples))] if len(samples) > first else out


def timed(
    tokens: Sequence[str], path: Sequence[tuple[int, int]], probs: Sequence[float]
) -> list[tuple[int, int, float, str]]:
    """(start_us, end_us, score, text) of the words that tokens spell, from the warping path (token, position).

    A token that begins with a space begins a word; one without letters or digits belongs to the word before. A word
    ends where its closing punctuation begins, because that holds the pause. The path's rows are the tokens and the end.
    """
    last = max((position for _, position in path), default=-1) + 1
    starts = np.full(len(tokens) + 1, last, np.int64)
    for token, position in reversed(path):
        starts[token] = position
    spelt = [any(c.isalnum() for c in decoded(t)) for t in tokens]
    heads = [i for i, t in enumerate(tokens) if i == 0 or (t.startswith("Ġ") and spelt[i])]
    out: list[tuple[int, int, float, str]] = []
    free = 0  # two words may get the same position: the second then begins one position later
    for a, b in pairwise([*heads, len(tokens)]):
        letters = [i for i in range(a, b) if spelt[i]]
        if letters:
            first = max(int(starts[a]), free)
            free = max(int(starts[letters[-1] + 1]), first + 1)
            text = "".join(decoded(t) for t in tokens[a:b]).strip()
            out.append((first * TOKEN_US, free * TOKEN_US, float(np.mean([probs[i] for i in letters])), text))
    return out


def repeats(tokens: Sequence[str]) -> bool:
    """Whether the last four or more tokens are said three times in a row: a decoder that is caught in a loop."""
    return any(
        list(tokens[-n:]) == list(tokens[-2 * n : -n]) == list(tokens[-3 * n : -2 * n])
        for n in range(4, len(tokens) // 3 + 1)
    )


def decoded(token: str) -> str:
    """The text of a byte-level token (GPT-2): printable bytes stand for themselves, others from U+0100."""
    return bytes(_bytes()[c] for c in token).decode("utf-8", "replace")


@cache
def _bytes() -> dict[str, int]:
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {chr(b): b for b in plain} | {chr(256 + i): b for i, b in enumerate(rest)}


def _loud(sound: Sound) -> list[tuple[int, int, float, str]]:
    loud = np.flatnonzero(np.abs(sound.samples) > TINY_LOUD)
    if not len(loud):
        return []
    a, b = (sound.t0_us + int(i) * US // SAMPLE_RATE_HZ for i in (loud[0], loud[-1] + 1))
    return [(a, b, float(np.mean(sound.samples[:-1] * sound.samples[1:] < 0)), "word")]
