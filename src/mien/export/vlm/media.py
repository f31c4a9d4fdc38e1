"""The pixels and the sound of a clip as files: pictures (JPEG), a cut clip (MP4), sound (WAV), with people covered.

Everything is decoded and encoded anew, so no metadata of a recording survives; names are made of content. The same
clip gives the same bytes.
"""

from __future__ import annotations

import wave
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Self

import numpy as np

from mien.core import SAMPLE_RATE_HZ, US, Source, Span
from mien.export.selection.examples import Example
from mien.export.trainers import Terms
from mien.media import Decoder
from mien.media.encoding import Box, Cutting, encode, pictures, rgb
from mien.policy.redaction import Region

QUALITY = 92  # of JPEG


@dataclass(frozen=True, slots=True)
class Wants:
    """What a trainer takes. pictures: as files of their own beside a video, too; else only where there is no video."""

    video: bool = True
    pictures: bool = False
    audio: bool = True


ALL, SILENT, STILLS = Wants(), Wants(audio=False), Wants(video=False, audio=False)


@dataclass(frozen=True, slots=True)
class Media:
    """Files of one clip, by their paths within the folder. fps: of the video; times_us: of each picture."""

    images: tuple[str, ...] = ()
    video: str | None = None
    audio: str | None = None
    fps: float | None = None
    times_us: tuple[int, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        return (*self.images, *([self.video] if self.video else []), *([self.audio] if self.audio else []))


class Cutter:
    """Cuts clips out of their sources; keeps the decoder of the last one."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._held: tuple[str, Decoder] | None = None

    def write(self, ex: Example, folder: Path, wants: Wants) -> Media:
        """Write what is wanted of a clip below `folder` (`images/SPLIT`, `videos/SPLIT`, `audio/SPLIT`).

        Raises:
            MienError: `media.*`, where the recording cannot be read. Files written by then stay: see `Media.files`.
        """
        source, span = ex.rows.part.source, ex.span
        decoder = self._decoder(source)
        images: tuple[str, ...] = ()
        times: tuple[int, ...] = ()
        video = audio = fps = None
        hears = source.kind == "audio" or bool(source.audio_channels)
        if source.kind == "image" or (source.kind == "video" and (wants.pictures or not wants.video)):
            images, times = self._pictures(ex, decoder, folder)
        if source.kind == "video" and wants.video:
            video = f"videos/{ex.split}/{ex.stem}.mp4"
            fps = float(self._cut(ex, decoder, _place(folder, video)))
        if wants.audio and hears and ex.barred("sound") is None and (source.kind == "audio" or wants.pictures):
            audio = f"audio/{ex.split}/{ex.stem}.wav"
            _wave(decoder.sound(span).samples, _place(folder, audio))
        return Media(images, video, audio, fps, times)

    def _pictures(self, ex: Example, decoder: Decoder, folder: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Pictures at even distances: the middles of as many equal parts of the clip."""
        import cv2

        source, span = ex.rows.part.source, ex.span
        count = 1 if source.kind == "image" else self._terms.frames
        length = max(span.duration_us, 1)
        later = Span(span.start_us + length // (2 * count), span.end_us) if source.kind == "video" else span
        cutting = self._cutting(ex, later, count, Fraction(count * US, length))
        names: list[str] = []
        times: list[int] = []
        for t_us, packed in pictures(decoder, cutting):
            names.append(f"images/{ex.split}/{ex.stem}-{len(names)}.jpg")
            bgr = cv2.cvtColor(rgb(packed), cv2.COLOR_RGB2BGR)
            _, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
            _place(folder, names[-1]).write_bytes(coded.tobytes())
            times.append(t_us)
        return tuple(names), tuple(times)

    def _cut(self, ex: Example, decoder: Decoder, path: Path) -> Fraction:
        source = ex.rows.part.source
        fps = Fraction(min(self._terms.fps, source.fps or self._terms.fps)).limit_denominator(1001)
        count = max(1, int(Fraction(ex.span.duration_us, US) * fps))
        cutting = self._cutting(ex, ex.span, count, fps, sound=ex.barred("sound") is None)
        encode(decoder, cutting, path)
        return fps

    def _cutting(self, ex: Example, span: Span, count: int, fps: Fraction, *, sound: bool = False) -> Cutting:
        source = ex.rows.part.source
        width, height = _size(source.width_px or 2, source.height_px or 2, self._terms.max_side_px)
        return Cutting(span, count, fps, width, height, sound=sound, covered=_covering(ex.covered))

    def _decoder(self, source: Source) -> Decoder:
        if self._held is None or self._held[0] != source.sha256:
            self.close()
            self._held = source.sha256, Decoder(Path(source.path))
        return self._held[1]

    def close(self) -> None:
        if self._held is not None:
            self._held[1].close()
            self._held = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _size(width: int, height: int, longest: int) -> tuple[int, int]:
    """Even sides of the same shape, none longer than asked for and none enlarged."""
    share = min(1.0, longest / max(width, height))
    return max(2, int(width * share) // 2 * 2), max(2, int(height * share) // 2 * 2)


def _covering(regions: Sequence[Region]) -> Callable[[int], Sequence[Box]] | None:
    seen = [r for r in regions if r.kind != "sound"]
    if not seen:
        return None
    return lambda t_us: [box for r in seen if (box := r.at(t_us)) is not None]


def _wave(samples: np.ndarray[tuple[int], np.dtype[np.float32]], path: Path) -> None:
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE_HZ)
        out.writeframes((np.clip(samples, -1.0, 1.0) * 32767).round().astype("<i2").tobytes())


def _place(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
