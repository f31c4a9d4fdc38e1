"""What discovery hands over: one entry per item, or one refusal; nothing here has been hashed or decoded yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mien.core import Attribute, Item, MienError

_VIDEO = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts flv ogv wmv asf 3gp mxf rm ivf dv"
_SOUND = "wav mp3 flac ogg oga opus m4a aac ac3 eac3 aiff aif au caf amr wma mka"
_PICTURE = "jpg jpeg png apng gif webp bmp tif tiff jp2 pgm ppm pnm"
MEDIA = frozenset(f".{end}" for ends in (_VIDEO, _SOUND, _PICTURE) for end in ends.split())
TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"})
ARCHIVES = (".tar", ".tar.gz", ".tgz")
TEXTS = frozenset({".txt"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One item with its attributes, and the media, person and labels it names.

    Attributes:
        item: without `source_shas` (nothing is hashed yet) and without a subject.
        media: absolute paths, in the order of the columns; none for a text-only item.
        subject: what the subject column says; kept only as a salted code, see `identity.Pseudonyms`.
        labels: (column, value) of label columns.
        problems: what of this row could not be used; the rest of it is kept.
    """

    item: Item
    attributes: tuple[Attribute, ...] = ()
    media: tuple[Path, ...] = ()
    subject: str | None = field(default=None, repr=False)
    labels: tuple[tuple[str, str], ...] = ()
    problems: tuple[MienError, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that is no item. `unit`: its path, then `#` and the place within it, for a row or a member."""

    unit: str
    error: MienError


def is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def suffix(name: str) -> str:
    """`.mp4` of `a.MP4`: lower case, with its dot; empty where there is none."""
    stem, dot, last = name.rpartition(".")
    return f".{last.lower()}" if dot and stem and "/" not in last else ""
