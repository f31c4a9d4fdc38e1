"""Lays a real sound under a real silent video: the demonstration footage, whose own sound track is digital silence.

`python -m mien.testing.composite VIDEO SOUND OUT.mp4` makes what the demo analyses: laughter under the laughing part.
Picture and sound come from different people; the point is that both sources pass through the whole pipeline.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np

LAUGHING_FROM_S = (11.0, 15.0)
RATE = 48_000


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


if __name__ == "__main__":
    video, sound, out = (Path(arg) for arg in sys.argv[1:])
    print(with_sound(video, sound, LAUGHING_FROM_S, out))
