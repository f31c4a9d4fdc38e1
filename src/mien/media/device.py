"""Decoding pictures on a device (CUDA, VAAPI, VideoToolbox, Quick Sync), where there is one.

Decoders of H.264 and later are exact by their standards, so whole files give the same pictures; damage may be concealed
in another way.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mien.core import MienError

if TYPE_CHECKING:
    from av.container import InputContainer

DEVICES = ("cuda", "vaapi", "videotoolbox", "qsv")


def accelerated(fd: int, name: str, wanted: str, options: dict[str, str]) -> InputContainer | None:
    """The file behind `fd` with a device that decodes its picture.

    Args:
        wanted: one of `DEVICES`, `auto` for the first that can, "" for none.

    Returns:
        None where none was asked for, where there is no video to decode, or where `auto` finds none.

    Raises:
        MienError: `media.no-hwaccel` where the device that was named does not decode this video.
    """
    import av
    from av.codec.hwaccel import HWAccel

    why = "there is no such device, or it does not know this codec"
    for device in (DEVICES if wanted == "auto" else (wanted,)) if wanted else ():
        container = None
        try:
            container = av.open("fd:", options=options, hwaccel=HWAccel(device, allow_software_fallback=True))
            moving = [] if container.format.name.endswith("_pipe") else container.streams.video
            if any(s.codec_context is not None and s.codec_context.is_hwaccel for s in moving):
                return container
            if not moving:
                wanted = ""
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - a device's error, or the file's: that one comes again without
            why = f"{type(error).__name__}: {error}"
        if container is not None:
            container.close()
        os.lseek(fd, 0, os.SEEK_SET)
    if wanted not in ("", "auto"):
        hint = "auto takes what is there, off decodes without: analysis.hwaccel in mien.toml"
        raise MienError("media.no-hwaccel", f"{wanted} cannot decode {name} here: {why}", hint)
    return None
