"""What a file says of training and mining: content credentials (C2PA) and the XMP packet. Nothing else of them is read.

Whether a file carries credentials is seen without any package, by walking its outermost boxes. Reading them needs
`c2pa-python` (the extra `c2pa`). Nothing is fetched: remote manifests, certificate status and trust lists stay off.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from mien.core import Attribute, MienError
from mien.media.files import open_regular
from mien.policy.mining import PREFIX, UNREAD, entries_of, plus_of, strictest

WINDOW = 1 << 20  # bytes at either end in which pictures and sound keep their metadata
_C2PA_UUID = bytes.fromhex("d8fec3d61b0e483c92975828877ec481")  # C2PA 2.1, A.5: the box of ISO base media files
_XMP_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_TYPES = {
    b"\xff\xd8\xff": "image/jpeg", b"\x89PNG": "image/png", b"GIF8": "image/gif", b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff", b"ID3": "audio/mpeg", b"fLaC": "audio/flac",
}  # fmt: skip
_REMOTE = b"dcterms:provenance"  # in XMP: where the manifest lies (C2PA 2.1, 11.5)
_RIFF = {b"WAVE": "audio/wav", b"AVI ": "video/avi", b"WEBP": "image/webp"}
_BRANDS = {b"avif": "image/avif", b"heic": "image/heic", b"mif1": "image/heif", b"M4A ": "audio/mp4", b"qt  ":
           "video/quicktime"}  # fmt: skip


def mining_attributes(item_id: str, path: Path) -> tuple[Attribute, ...]:
    """`mining.*` attributes of a file: entry → use, and `mining.unread` where it has credentials that were not read.
    Empty for a file that says nothing. A file that cannot be read is not judged here."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            kind, carries, packet = _look(file)
            found = plus_of(packet)
            unread = "they lie at an address, which is not fetched" if _REMOTE in packet else ""
            if carries:
                said, unread = _credentials(file, kind)
                for entry, use in said.items():
                    found[entry] = strictest(found.get(entry), use)
    except (OSError, MienError):
        return ()
    made = [Attribute(item_id, PREFIX + entry, "text", use) for entry, use in sorted(found.items())]
    return (*made, *([Attribute(item_id, UNREAD, "text", unread)] if unread else []))


def _look(file: BinaryIO) -> tuple[str, bool, bytes]:
    """(media type or "", whether it carries credentials, bytes that may hold XMP)."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(WINDOW)
    file.seek(max(len(head), size - WINDOW))
    packet = head + file.read(WINDOW)
    if head[4:8] == b"ftyp":
        carries, xmp = _boxes(file, size)
        return _BRANDS.get(head[8:12], "video/mp4"), carries, packet + xmp
    if head[:4] in (b"RIFF", b"RF64"):
        return _RIFF.get(head[8:12], ""), _chunks(file, size), packet
    kind = next((name for magic, name in _TYPES.items() if head.startswith(magic)), "")
    return kind, b"jumb" in packet and b"c2pa" in packet, packet


def _boxes(file: BinaryIO, size: int) -> tuple[bool, bytes]:
    """Walk the outermost boxes of an ISO base media file (ISO/IEC 14496-12, 4.2)."""
    at, carries, xmp = 0, False, b""
    while at + 8 <= size:
        file.seek(at)
        head = file.read(32)
        length, name = int.from_bytes(head[:4], "big"), head[4:8]
        start = 8
        if length == 1:
            length, start = int.from_bytes(head[8:16], "big"), 16
        if length == 0:
            length = size - at
        if length < start:
            break  # damaged: nothing beyond can be told
        if name == b"uuid":
            kind = head[start : start + 16]
            carries = carries or kind == _C2PA_UUID
            if kind == _XMP_UUID:
                file.seek(at)
                xmp += file.read(min(length, WINDOW))
        at += length
    return carries, xmp


def _chunks(file: BinaryIO, size: int) -> bool:
    """Whether a RIFF file has a chunk of credentials (C2PA 2.1, A.4)."""
    at = 12
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] == b"C2PA":
            return True
        length = int.from_bytes(head[4:], "little")
        at += 8 + length + length % 2
    return False


def _credentials(file: BinaryIO, kind: str) -> tuple[dict[str, str], str]:
    """(entry → use of every manifest in the store, why they were not read or "").

    All manifests are asked, also those of ingredients: what was made from a refused picture is refused. Neither
    signature nor trust is asked: a refusal does not become a permission because a certificate has run out.
    """
    if not kind:
        return {}, "they are in a kind of file that cannot be read here"
    if importlib.util.find_spec("c2pa") is None:
        return {}, "pip install 'mien[c2pa]', then run again"
    import c2pa

    offline = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False, "verify_trust": False}}
    try:
        with c2pa.Context.from_dict(offline) as context:
            file.seek(0)
            reader = c2pa.Reader.try_create(kind, file, context=context)
            if reader is None:
                return {}, ""
            with reader:
                held: Any = json.loads(reader.json())
    except (c2pa.C2paError, ValueError, OSError) as error:
        return {}, f"they are damaged ({type(error).__name__})"
    said = [
        (str(a.get("label", "")), a.get("data"))
        for manifest in held.get("manifests", {}).values()
        for a in manifest.get("assertions", [])
    ]
    return entries_of(said), ""
