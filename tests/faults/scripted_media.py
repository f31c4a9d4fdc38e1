"""Media without a decoder: three seconds of a moving grey picture and a tone, the same each time they are asked for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np

from mien.core import SAMPLE_RATE_HZ, US, Frames, Sound, Span
from mien.media.clips import CELL_US, Found
from mien.media.records import Probe, Scan, Tally

LENGTH_US, FPS, SIDE = 3 * US, 4, 32


class ScriptedDecoder:
    """Answers as `mien.media.Decoder` does, of any file."""

    def __init__(self, path: Path | str, limits: Any = None) -> None:
        self.path, self.tally = Path(path), Tally()

    def probe(self) -> Probe:
        sound = {"audio_index": 1, "audio_codec": "pcm", "audio_rate_hz": SAMPLE_RATE_HZ, "audio_channels": 1}
        return Probe("video", "scripted", LENGTH_US, 0, 0, "scripted", SIDE, SIDE, float(FPS), 0, **sound)

    def scan(self, tell: Callable[[Found], None] | None = None, *_: Any) -> Scan:
        cells = LENGTH_US // CELL_US
        if tell:
            tell(Found(LENGTH_US, (), tuple(0.1 + 0.01 * (i % 5) for i in range(cells))))
        return Scan(
            (), 0, LENGTH_US - US // FPS, LENGTH_US, LENGTH_US, US // FPS, 1.0, (), Tally(LENGTH_US * FPS // US)
        )

    def frames(self, span: Span, fps: Any, max_side_px: Any = None, batch: int = 8) -> Iterator[Frames]:
        t = np.arange(0, LENGTH_US, US // FPS, np.int64)
        t = t[(t >= span.start_us) & (t < span.end_us)]
        if len(t):
            light = (np.arange(SIDE, dtype=np.uint8) * 3)[None, :, None, None] + (t // 50_000).astype(np.uint8)[
                :, None, None, None
            ]
            yield Frames(np.broadcast_to(light, (len(t), SIDE, SIDE, 3)).copy(), t)

    def sound(self, span: Span) -> Sound:
        at = np.arange(*(round(t * SAMPLE_RATE_HZ / US) for t in (span.start_us, span.end_us))) / SAMPLE_RATE_HZ
        return Sound(0.3 * np.sin(2 * np.pi * 220 * at).astype(np.float32), span.start_us)

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...


def install() -> None:
    """Put it in the decoder's place, wherever the engine has that by name."""
    from mien.media import Decoder
    from mien.pipeline.engine import run  # noqa: F401 - it imports whatever else decodes

    for name, module in list(sys.modules.items()):
        if name.startswith(("mien.pipeline.", "mien.media.scanning")) and getattr(module, "Decoder", None) is Decoder:
            module.Decoder = ScriptedDecoder
