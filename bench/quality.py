"""Near-duplicates on changed copies of real clips, and speech-to-noise ratios on mixtures of known level.

Needs the shared data (`../shared/data`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bench.faces import DATA, resized, video
from mien.core import Sound
from mien.models.weights import open_adapter, resolve
from mien.models.weights.extras import DEMO_SPEECH, DEMO_VIDEO
from mien.signals.neighbours import POSITIONS, SAME_BITS, frame_hash, near_duplicates
from mien.signals.quality import snr_db

U8 = Any
FACES, TRACKING = DATA / "video_faces", DATA / "tracking"
CUT = "cut by 2 % a side"
LIMITS = (4.0, 6.0, 8.0, 10.0, 12.0, 14.0, 16.0)


def main(args: list[str]) -> list[str]:
    return [*copies(), "", *speech_to_noise()]


# ---------------------------------------------------------------- near-duplicates


def copies() -> list[str]:
    """Clips of two seconds: changed copies must match, other clips must not."""
    import cv2

    clips: list[tuple[str, list[U8]]] = []
    for path in (*sorted(FACES.glob("*.m*")), resolve(DEMO_VIDEO).only, *sorted(TRACKING.glob("*.*[v4i]"))):
        if path.suffix in (".mp4", ".mov", ".mkv", ".avi"):
            frames = [resized(p, 640, 360) for p in video(path, 5)]
            spans = [frames[i : i + 10] for i in range(0, min(len(frames), 80), 10)]
            clips += [(path.name, s) for s in spans if len(s) >= 5]

    def coded(p: U8, quality: int = 30) -> U8:
        ok, data = cv2.imencode(".jpg", p, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert ok
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)

    changes: dict[str, Callable[[U8], U8]] = {
        "JPEG quality 30": coded,
        "scaled to 40 %": lambda p: resized(p, 256, 144),
        "brighter by 30 %": lambda p: np.clip(p * 1.3, 0, 255).astype(np.uint8),
        "darker by half": lambda p: (p * 0.5).astype(np.uint8),
        CUT: lambda p: p[7:-7, 13:-13],
        "cut by 5 % a side": lambda p: p[18:-18, 32:-32],
        "mirrored (is another picture)": lambda p: p[:, ::-1],
    }
    plain = [hashes(frames) for _, frames in clips]
    names = [n for n, _ in clips]
    changed = {
        name: [hashes([np.ascontiguousarray(change(p)) for p in frames]) for _, frames in clips]
        for name, change in changes.items()
    }
    lines = [
        f"**Near-duplicates**: {len(clips)} clips of {len(set(names))} videos, {len(POSITIONS)} frames each.",
        "",
        "| change | mean bits apart (of 64) | 95th percentile | "
        + " | ".join(f"found at {b:.0f}" for b in LIMITS)
        + " |",
        "|---" * (3 + len(LIMITS)) + "|",
    ]
    for name, copy in changed.items():
        apart = np.array([bits(a, b) for a, b in zip(plain, copy, strict=True)])
        shares = " | ".join(f"{np.mean(apart <= b):.3f}" for b in LIMITS)
        lines.append(f"| {name} | {apart.mean():.1f} | {np.quantile(apart, 0.95):.1f} | {shares} |")
    for name, alike in (("other videos", False), ("other seconds of the same video", True)):
        pairs = [(i, j) for i in range(len(plain)) for j in range(i) if (names[i] == names[j]) is alike]
        apart = np.array([bits(plain[i], plain[j]) for i, j in pairs])
        shares = " | ".join(f"{np.mean(apart <= b):.3f}" for b in LIMITS)
        lines.append(
            f"| {len(pairs)} pairs of {name} | {apart.mean():.1f} | {np.quantile(apart, 0.95):.1f} | {shares} |"
        )
    found = near_duplicates(plain, names).pairs
    files = sorted({f"{names[i]} and {names[j]}" for i, j, _ in found})
    found_copies = np.mean([bool(near_duplicates(list(pair)).pairs) for pair in zip(plain, changed[CUT], strict=True)])
    lines += [
        "",
        f"Shipped limit {SAME_BITS:.0f} (chosen on these files), through `near_duplicates`: {found_copies:.3f} of "
        f"copies cut by 2 % found; of all clips as they are, {len(found)} pairs of two videos: "
        f"{', '.join(files) or 'none'}.",
    ]
    return lines


def hashes(frames: list[U8]) -> list[int | None]:
    return [frame_hash(frames[min(len(frames) - 1, int(p * len(frames)))]) for p in POSITIONS]


def bits(a: list[int | None], b: list[int | None]) -> float:
    both = [(x ^ y).bit_count() for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return float(np.mean(both)) if both else float("nan")


# ---------------------------------------------------------------- speech-to-noise


def speech_to_noise() -> list[str]:
    """Real speech with real pauses in added noise of known level, with the voice activity found in the mixture."""
    import soundfile

    vad = open_adapter("vad.silero")
    pause, acted = np.zeros(9600, np.float32), sorted((DATA / "speech_emodb/original16k").glob("*.wav"))
    voices = [
        np.concatenate([np.append(soundfile.read(p, dtype="float32")[0], pause) for p in acted[i : i + 3]])
        for i in range(len(acted) - 2)
    ]
    samples, rate = soundfile.read(resolve(DEMO_SPEECH).only, dtype="float32")
    read_speech = Sound(mono(samples, rate).astype(np.float32), 0)
    lines = [
        f"**Speech-to-noise ratio** from the pauses: {len(voices)} recordings of three acted sentences with 0.6 s of "
        "digital silence after each, in white and in pink noise; voice activity of the mixture; error where measured. "
        f"(Read speech as it was recorded: {snr_db(read_speech, vad.run(read_speech)):.1f} dB.)"
    ]
    for ratio in (-5, 0, 5, 10, 15, 20, 25, 30):
        error = []
        for number, x in enumerate(voices):
            spoken = np.repeat(vad.run(Sound(np.asarray(x, np.float32), 0)).values[:, 0] >= 0.5, 512)[: len(x)]
            for tilt in (0.0, 0.5):
                noise = coloured(len(x), tilt, number)
                noise *= np.sqrt((x[spoken] ** 2).mean() / 10 ** (ratio / 10))
                mixed = Sound((x + noise).astype(np.float32), 0)
                error.append(snr_db(mixed, vad.run(mixed)) - ratio)
        e = np.array(error)
        known = e[np.isfinite(e)]
        size = f"mean {known.mean():+.1f}, largest {np.abs(known).max():.1f}" if len(known) else "none"
        lines.append(f"- {ratio:+d} dB: measured {len(known)} of {len(e)}; {size}")
    return lines


def mono(samples: Any, rate: int) -> np.ndarray:
    from scipy.signal import resample_poly

    x = samples.mean(1) if samples.ndim == 2 else samples
    return resample_poly(x, 16_000, rate).astype(np.float32)


def coloured(n: int, tilt: float, seed: int) -> Any:
    """Noise of power 1 whose amplitude falls with frequency to the power of `tilt` (0.5: pink)."""
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(n))
    spectrum /= np.maximum(np.arange(len(spectrum)), 20) ** tilt
    noise = np.fft.irfft(spectrum, n)
    return noise / noise.std()
