"""Lays a real sound under real silent footage: the demonstration video, whose own sound track is digital silence.

`python -m mien.testing.composite VIDEO SOUND OUT.mp4` makes what the demo analyses: laughter under the laughing part.
`contexts` makes what `mien demo moan-vs-groan` analyses: one sound under three parts of the footage, and by itself.
Picture and sound come from different people; the point is that both sources pass through the whole pipeline.
"""

from __future__ import annotations

import itertools
import math
import struct
import sys
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.core import SAMPLE_RATE_HZ, MienError

F32 = npt.NDArray[np.float32]
I16 = npt.NDArray[np.int16]

LAUGHING_FROM_S = (11.0, 15.0)
RATE = 48_000

CONTEXTS_FROM_S = {"crying": 2.5, "calm": 6.0, "laughing": 13.0}
"""Where in the footage the actor cries, is calm and laughs."""
ALONE = "sound-alone"
CONTEXT_S = 4.0
SOUND_AT_S = 2.25  # the sound lies whole in the second window of assessment; the first shows the picture alone
PEAK = 2**14
GROAN = "DSPOSIT1"
_LUMP, _DIGITISED, _PAD = 16, 3, 16  # bytes of a directory entry, the format's number, samples of padding at each end


def with_sound(video: Path, sound: Path, starts_s: tuple[float, ...], out: Path) -> Path:
    """Write `out` (MP4): the video's packets copied, and a sound track of silence with `sound` at each start.

    Args:
        starts_s: times in s at which the sound begins; it is cut at the end of the video.
    """
    import av

    with av.open(str(sound)) as file:
        resampler = av.AudioResampler("flt", "mono", RATE)
        parts = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
    voice = np.concatenate(parts)
    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        picture = source.streams.video[0]
        length_s = float((source.duration or 0) / av.time_base)
        track = np.zeros(round(length_s * RATE), np.float32)
        for start_s in starts_s:
            first = round(start_s * RATE)
            piece = voice[: max(0, len(track) - first)]
            track[first : first + len(piece)] += piece
        copied = target.add_stream_from_template(picture)
        audio = target.add_stream("aac", rate=RATE, layout="mono")
        for packet in source.demux(picture):
            if packet.dts is not None:
                packet.stream = copied
                target.mux(packet)
        for first in range(0, len(track), 1024):
            frame = av.AudioFrame.from_ndarray(track[None, first : first + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, first, Fraction(1, RATE)
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
    return out


# ---------------------------------------------------------------- one sound in several contexts


def lump(wad: Path, name: str) -> tuple[F32, int]:
    """One sound of a WAD: samples float32 `[s]` in -1..1, and their rate in Hz.

    The archive is a directory of named lumps; a digitised sound is its format's number, its rate, its length and
    unsigned 8-bit samples (Fell, The Unofficial DOOM Specs, 1994), padded with 16 samples at each end.

    Raises:
        MienError: `media.no-lump` when the archive holds no digitised sound of this name.
    """
    held = wad.read_bytes()
    count, at = struct.unpack_from("<ii", held, 4)
    for entry in range(at, at + _LUMP * count, _LUMP):
        start, _, found = struct.unpack_from("<ii8s", held, entry)
        if found.rstrip(b"\0") == name.encode():
            kind, rate, n = struct.unpack_from("<HHI", held, start)
            if kind == _DIGITISED:
                pcm = np.frombuffer(held, np.uint8, n - 2 * _PAD, start + 8 + _PAD)
                return ((pcm.astype(np.float32) - 128) / 128).astype(np.float32), rate
    raise MienError("media.no-lump", f"{wad.name} holds no sound {name}", "'mien models verify' checks the file")


def soundtrack(voice: F32, rate_hz: int) -> I16:
    """Silence of `CONTEXT_S` with the voice at `SOUND_AT_S`, its peak at half of full scale: int16 `[s]` at 16 kHz."""
    from scipy.signal import resample_poly

    common = math.gcd(SAMPLE_RATE_HZ, rate_hz)
    heard = resample_poly(voice, SAMPLE_RATE_HZ // common, rate_hz // common)
    track = np.zeros(round(CONTEXT_S * SAMPLE_RATE_HZ), np.int16)
    first = round(SOUND_AT_S * SAMPLE_RATE_HZ)
    piece = heard[: len(track) - first]
    loudest = max(1e-9, float(np.abs(piece).max(initial=0.0)))
    track[first : first + len(piece)] = np.round(piece * (PEAK / loudest))
    return track


def contexts(video: Path, track: I16, folder: Path, starts_s: dict[str, float] | None = None) -> dict[str, Path]:
    """Write the same samples under parts of the footage, and by themselves: name → file, lossless sound in each.

    Args:
        track: `soundtrack`, int16 `[s]` at 16 kHz.
        starts_s: name → where in the footage its picture begins; `CONTEXTS_FROM_S` without it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        name: _under(video, start_s, track, folder / f"{name}.mov")
        for name, start_s in (CONTEXTS_FROM_S if starts_s is None else starts_s).items()
    }
    alone = folder / f"{ALONE}.wav"
    with wave.open(str(alone), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(track.astype("<i2").tobytes())
    return made | {ALONE: alone}


def _under(video: Path, start_s: float, track: I16, out: Path) -> Path:
    """A part of the footage, encoded anew, with the track as PCM."""
    import av

    with av.open(str(video)) as source, av.open(str(out), "w") as target:
        seen = source.streams.video[0]
        rate = seen.average_rate or Fraction(25)
        count = round(len(track) / SAMPLE_RATE_HZ * rate)
        picture: Any = target.add_stream("libx264", rate=rate, options={"crf": "14", "preset": "veryfast"})
        picture.width, picture.height, picture.pix_fmt = seen.width, seen.height, "yuv420p"
        audio = target.add_stream("pcm_s16le", rate=SAMPLE_RATE_HZ, layout="mono")
        source.seek(round(start_s * av.time_base))  # to the keyframe before it
        wanted = (frame for frame in source.decode(seen) if frame.time >= start_s)
        for n, frame in enumerate(itertools.islice(wanted, count)):
            frame.pts, frame.time_base = n, 1 / rate
            target.mux(picture.encode(frame))
        target.mux(picture.encode(None))
        heard = av.AudioFrame.from_ndarray(track[None], format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        target.mux(audio.encode(heard))
        target.mux(audio.encode(None))
    return out


if __name__ == "__main__":
    video, sound, out = (Path(arg) for arg in sys.argv[1:])
    print(with_sound(video, sound, LAUGHING_FROM_S, out))
