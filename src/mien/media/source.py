"""One opened file inside the child: stream choice, the microsecond clock, seeking, decoding that outlives damage."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from mien.core import US, MienError
from mien.media.device import accelerated
from mien.media.files import open_regular, refuse_playlist
from mien.media.records import Limits, Probe, Tally

if TYPE_CHECKING:
    import av
    from av.audio.frame import AudioFrame
    from av.video.frame import VideoFrame

# Containers and pictures only: nothing that names other files (hls, dash, concat, image2 patterns, sdp, imf).
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,h264,hevc,m4v,flv,live_flv,ogg,wav,w64,mp3,flac,aac,ac3,eac3,aiff,au,caf,"
    "amr,amrnb,amrwb,asf,mxf,rm,ivf,obu,dv,gif,apng,png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe,jpegls_pipe,"
    "j2k_pipe,pnm_pipe,ppm_pipe,pgm_pipe"
)
_MAGIC = (b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"fLaC", b"ID3", b"FLV")
_STEP_BACK_US = 500_000
_READ_RETRIES = 3
_ONE_THREAD_PX = 1920 * 1088  # with more threads, libav conceals damage in whatever order they come
_PREROLL_US = (0, 10 * US)


class Source:
    """A file opened through libav's `fd:` protocol, so that no path, pattern or address can reach libav.

    Times are `PTS·time_base - start` in µs, where `start` is the container's: picture and sound keep their sync.
    `pulse` is called for every packet; it reports progress and may raise to stop the work.
    """

    def __init__(self, path: Path, limits: Limits, pulse: Callable[[], None]) -> None:
        self.limits, self.tally, self._pulse = limits, Tally(), pulse
        self._name = path.name
        self._fd = open_regular(path)
        try:
            refuse_playlist(self._fd, path.name)
            self._open()
            start = self.container.start_time
            self.start_us = 0 if start is None or self.image else start
            if self.video is None and self.audio is None:
                message = f"{path.name} has neither picture nor sound that can be decoded"
                raise MienError("media.no-streams", message, "is it a data or subtitle file?")
            if self.video is not None:
                self._refuse_large(self.video.width, self.video.height)
        except BaseException:
            os.close(self._fd)
            raise
        self.frame_us = round(US / self.rate) if self.rate else 40_000

    def _open(self) -> None:
        import av

        os.lseek(self._fd, 0, os.SEEK_SET)
        options = {"fd": str(self._fd), "protocol_whitelist": "fd", "format_whitelist": FORMATS}
        try:
            self.container = accelerated(self._fd, self._name, self.limits.hwaccel, options) or av.open(
                "fd:", options=options
            )
        except (MemoryError, MienError):
            raise
        except Exception as error:
            raise self._unreadable(self._name, error) from error
        self.format = self.container.format.name
        self.image = self.format.endswith("_pipe")
        self.video, self.audio = self._streams()
        if self.video is not None:
            large = self.video.width * self.video.height > _ONE_THREAD_PX
            self.video.codec_context.thread_count = self.limits.threads if large else 1
            self.video.codec_context.thread_type = "AUTO"
        self.hardware = self.video is not None and bool(self.video.codec_context.is_hwaccel)
        self._fresh = True

    def _unreadable(self, name: str, error: Exception) -> MienError:
        head = os.pread(self._fd, 12, 0)
        if head.startswith(_MAGIC) or head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free"):
            return MienError(
                "media.corrupt", f"{name} starts like media but cannot be opened: {error}", "copy it again"
            )
        return MienError("media.unknown-format", f"{name} is not a known media format", "give video, audio or images")

    def _streams(self) -> tuple[av.VideoStream | None, av.AudioStream | None]:
        from av.stream import Disposition

        def usable(stream: Any) -> bool:
            return stream.codec_context is not None and not stream.disposition & Disposition.attached_pic

        def choose(kind: str, streams: list[Any]) -> Any:
            best: Any = self.container.streams.best(kind)  # pyright: ignore[reportArgumentType]
            default = [s for s in streams if s.disposition & Disposition.default]
            return (default or ([best] if best in streams else streams) or [None])[0]

        videos = [s for s in self.container.streams.video if usable(s) and s.width and s.height]
        audios = [s for s in self.container.streams.audio if usable(s) and s.rate and s.channels]
        return choose("video", videos), choose("audio", audios)

    @property
    def rate(self) -> Fraction | None:
        """Nominal frame rate in 1..1000 Hz, else None."""
        if self.video is None or self.image:
            return None
        for rate in (self.video.average_rate, self.video.guessed_rate, self.video.base_rate):
            if rate and 1 <= rate <= 1000:
                return Fraction(rate)
        return None

    @property
    def tolerance_us(self) -> int:
        """How early a frame may be and still count as on time: half a tick of its clock, 1 µs to 0.5 ms.

        Containers round times to their clock (Matroska to 1 ms), so 33.333 ms is written as 33 ms.
        """
        tick = self.video.time_base if self.video is not None else None
        return max(1, min(500, int(tick * US / 2))) if tick else 1

    def claimed_us(self, stream: Any = None) -> int | None:
        """The duration the header claims for a stream (or for the container); None when it claims none."""
        if self.image:
            return 0
        if stream is not None and stream.duration and stream.duration > 0 and stream.time_base:
            return int(stream.duration * stream.time_base * US)
        whole = self.container.duration or 0
        if "matroska" in self.format and whole > self.start_us > 0:
            whole -= self.start_us  # its duration is counted from 0, not from the first frame
        return whole if whole > 0 else None

    def probe(self) -> Probe:
        """What the header claims and the first picture shows."""
        from mien.media.picture import displayed, turned

        size, rotation = (None, None), 0
        if self.video is not None:
            size = displayed(self.video.width, self.video.height, self.video.sample_aspect_ratio, 0)
            for tries, (_, frame) in enumerate(self.decoded(self.video)):
                rotation = turned(frame)
                size = displayed(frame.width, frame.height, self.video.sample_aspect_ratio, rotation)
                if frame.key_frame or tries:
                    break
        return Probe(
            kind="audio" if self.video is None else "image" if self.image else "video",
            format=self.format,
            duration_us=self.claimed_us(),
            start_us=self.start_us,
            video_index=self.video.index if self.video else None,
            video_codec=self.video.codec_context.name if self.video else None,
            width_px=size[0],
            height_px=size[1],
            fps=float(self.rate) if self.rate else None,
            rotation_deg=rotation,
            audio_index=self.audio.index if self.audio else None,
            audio_codec=self.audio.codec_context.name if self.audio else None,
            audio_rate_hz=self.audio.rate if self.audio else None,
            audio_channels=self.audio.channels if self.audio else None,
        )

    def decoded(self, *streams: Any) -> Iterator[tuple[Any, Any]]:
        """(stream, frame) from here to the end. Damage is counted and stepped over."""
        self._fresh, failed_reads = False, 0
        packets = self.container.demux(*streams)
        while True:
            self._pulse()
            try:
                packet = next(packets)
            except StopIteration:
                return
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - a failed read ends libav's loop; a few more tries often get past it
                self.tally.errors += 1
                failed_reads += 1
                if failed_reads > _READ_RETRIES:
                    return
                packets = self.container.demux(*streams)
                continue
            frames: list[Any]
            try:
                frames = packet.decode()
            except MemoryError:
                raise
            except Exception:  # noqa: BLE001 - PyAV raises more than FFmpegError on damaged packets
                self.tally.errors += 1
                continue
            for frame in frames:
                if packet.stream is self.video:
                    self._refuse_large(frame.width, frame.height)
                yield packet.stream, frame

    def rising(self, frames: Iterable[VideoFrame]) -> Iterator[tuple[int, VideoFrame]]:
        """Frames with strictly rising times in µs.

        A missing time, or a single one that leaps ahead of its successor, follows its predecessor; a small step back
        follows it by 1 µs; a frame that steps back by half a second or more is dropped. All are counted.
        """
        last: int | None = None
        for frame, following in pairwise(chain(frames, (None,))):
            if frame is None:
                return
            self.tally.corrupt += bool(frame.is_corrupt)
            t_us = self.time(frame)
            after = None if following is None else self.time(following)
            leapt = t_us is not None and after is not None and after < t_us - _STEP_BACK_US
            if t_us is None or (leapt and after is not None and (last is None or after > last)):
                self.tally.repaired += 1
                t_us = 0 if last is None else last + self.frame_us
            elif last is not None and t_us <= last:
                if last - t_us >= _STEP_BACK_US:
                    self.tally.dropped += 1
                    continue
                self.tally.repaired += 1
                t_us = last + 1
            last = t_us
            yield t_us, frame

    def time(self, frame: AudioFrame | VideoFrame) -> int | None:
        """The frame's presentation time in µs on the source's clock; None where it has none."""
        if self.image:
            return 0
        if frame.pts is None or not frame.time_base:
            return None
        return _us(frame.pts, frame.time_base) - self.start_us

    def pictures(self, start_us: int) -> Iterator[tuple[int, VideoFrame]]:
        """(t_us, frame) in strictly rising time, beginning at or before `start_us` where there is such a frame."""
        if self.video is None:
            return
        for preroll in (*_PREROLL_US, None):
            begin = 0 if preroll is None else max(0, start_us - preroll)
            rewound, landed, first = self.seek(begin, "video"), True, True
            for t_us, frame in self.rising(f for _, f in self.decoded(self.video)):
                if first and t_us > start_us and not rewound and preroll is not None:
                    landed = False  # the index led behind the target: try from further back
                    break
                first = False
                self.tally.frames += 1
                self.tally.hardware += self.hardware
                yield t_us, frame
            if landed and (not first or rewound):
                return

    def seek(self, t_us: int, kind: Literal["video", "audio"]) -> bool:
        """Go to the keyframe at or before `t_us`; True when that is the beginning of the file.

        The beginning is reached by opening the file anew: not every container can seek there once it is damaged.
        """
        from av.error import FFmpegError

        stream = self.video if kind == "video" else self.audio
        if t_us > 0 and not self.image and stream is not None and stream.time_base:
            try:
                target = int((t_us + self.start_us) / (stream.time_base * US))
                self.container.seek(target, stream=stream, backward=True, any_frame=False)
                return False
            except (FFmpegError, OverflowError):
                pass
        if not self._fresh:
            self.container.close()
            self._open()
        return True

    def sounds(self, start_us: int) -> Iterator[tuple[int | None, AudioFrame]]:
        """(t_us, frame) of the sound stream from at or before `start_us`; the time is None where the file has none."""
        if self.audio is None:
            return
        self.seek(start_us, "audio")
        for _, frame in self.decoded(self.audio):
            yield self.time(frame), frame

    def _refuse_large(self, width: int, height: int) -> None:
        if width * height > self.limits.max_pixels:
            raise MienError(
                "media.too-large",
                f"a picture of {width}×{height} is above the limit of {self.limits.max_pixels} pixels",
                "raise the limit if the size is real",
            )

    def close(self) -> None:
        self.container.close()
        os.close(self._fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _us(pts: int, time_base: Fraction) -> int:
    """A presentation time in µs, rounded half up, in integers."""
    return (2 * pts * time_base.numerator * US + time_base.denominator) // (2 * time_base.denominator)
