"""What this room says of a source: its probe, its scan, its limits, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mien.core import MienError


@dataclass(frozen=True, slots=True)
class Limits:
    """What one decoding child may use.

    Attributes:
        memory_bytes: address space of the child (`RLIMIT_AS`).
        cpu_s: processor time over the child's life (`RLIMIT_CPU`).
        stall_s: the child is killed when it makes no progress for so long.
        max_pixels: frames larger than this are refused.
        threads: decoder threads for pictures above 1080p. Up to there one: with more, libav does not decode a damaged
            file alike twice (26 of 60 with flipped bits).
        ahead_bytes: how much decoded media may wait for the caller.
        hwaccel: decode pictures on a device: a libav type such as `cuda` or `vaapi`, `auto` for the first that is
            there; "" for none. What a device cannot decode is decoded without it. A driver maps far more address space
            than it uses, so `memory_bytes` cannot be held to then.
    """

    memory_bytes: int = 2 << 30
    cpu_s: int = 4 * 3600
    stall_s: float = 10.0
    max_pixels: int = 100_000_000
    threads: int = 2
    ahead_bytes: int = 32 << 20
    hwaccel: str = ""


@dataclass(frozen=True, slots=True)
class Probe:
    """What a file claims, and what its first frame shows.

    Attributes:
        kind: `image` has one frame and no duration; an animated picture is a `video`.
        format, video_codec, audio_codec: libav's names.
        duration_us: the span the header claims; None when it claims none. Not to be trusted: see `Scan`.
        width_px, height_px: as displayed: upright and with square pixels.
        fps: nominal frame rate; None for images and where unknown.
        rotation_deg: clockwise turn that was applied to make frames upright.
        video_index, audio_index: the chosen streams (the default one, else the best; cover art is no video).
        start_us: what the file's own clock reads at our t = 0, shared by picture and sound.
    """

    kind: Literal["video", "audio", "image"]
    format: str
    duration_us: int | None
    start_us: int
    video_index: int | None = None
    video_codec: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    fps: float | None = None
    rotation_deg: int = 0
    audio_index: int | None = None
    audio_codec: str | None = None
    audio_rate_hz: int | None = None
    audio_channels: int | None = None


@dataclass(slots=True)
class Tally:
    """What happened while one request was decoded.

    Attributes:
        frames: pictures that came out with a time.
        corrupt: pictures that the decoder itself flags as damaged.
        errors: packets or reads that failed.
        repaired: times that were missing or stepped back a little, and were set to follow their predecessor.
        dropped: pictures whose time stepped back by half a second or more.
        gap_us: sound filled with zeros inside the requested span, before its end or the end of the sound.
        hardware: pictures of `frames` that a device decoded.
    """

    frames: int = 0
    corrupt: int = 0
    errors: int = 0
    repaired: int = 0
    dropped: int = 0
    gap_us: int = 0
    hardware: int = 0

    @property
    def damaged(self) -> bool:
        """Whether anything but missing sound had to be stepped over or mended."""
        return bool(self.corrupt or self.errors or self.repaired or self.dropped)


@dataclass(frozen=True, slots=True)
class Scan:
    """What decoding the whole source found. Times in µs on the source's clock.

    Attributes:
        cuts_us: first frame of every new shot (the first shot's start is not a cut).
        stitched_us: cuts that were withdrawn because the pictures on both sides are alike.
        first_us, last_us: times of the first and last picture; None without pictures.
        end_us: end of the last picture or sound, whichever is later: the true duration.
        sound_us: decoded sound; None without a sound stream.
        longest_gap_us: longest time between two pictures.
        coverage: decoded ÷ claimed span, the worse of picture and sound, 0..1; None when nothing was claimed. Where
            the file counts its frames and fewer than 90 % of them came, the share of frames if that is less.
        tally: counts of the pass.
        sound_kept: the sound was handed out whole, as a request for all of it would give it.
    """

    cuts_us: tuple[int, ...]
    first_us: int | None
    last_us: int | None
    end_us: int
    sound_us: int | None
    longest_gap_us: int
    coverage: float | None
    stitched_us: tuple[int, ...] = ()
    tally: Tally = field(default_factory=Tally)
    sound_kept: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """How a source ended; `code` is None only for `ok`."""

    state: Literal["ok", "degraded", "rejected"]
    code: str | None = None
    message: str = ""


def judge(outcome: Scan | MienError) -> Status:
    """The status of a source from its scan, or from the error that stopped it.

    Degraded: `media.truncated` when more than 2 % of the claimed span is missing, else `media.corrupt` when packets
    failed or pictures are flagged, else `media.clock` when times had to be repaired or pictures dropped.
    """
    if isinstance(outcome, MienError):
        return Status("rejected", outcome.code, outcome.message)
    tally = outcome.tally
    if outcome.coverage is not None and outcome.coverage < 0.98:
        return Status("degraded", "media.truncated", f"{outcome.coverage:.1%} of the claimed span could be decoded")
    if tally.errors or tally.corrupt:
        return Status("degraded", "media.corrupt", f"{tally.errors} failed packets, {tally.corrupt} damaged pictures")
    if tally.repaired or tally.dropped:
        return Status("degraded", "media.clock", f"{tally.repaired} times repaired, {tally.dropped} pictures dropped")
    return Status("ok")
