"""How parent and child talk: requests as JSON lines, replies as `<json length, payload length><json><payload>`.

Both sides of the pipe read exact sizes, so payloads go straight into arrays; the reader sets the deadline.
"""

from __future__ import annotations

import json
import os
import select
import struct
from typing import Any

PREFIX = struct.Struct("<IQ")
NUMBER = struct.Struct("<i")  # on life lines: a pid, then how it ended
MAX_HEADER_BYTES = 64 << 20


class StalledError(Exception):
    """No byte came before the deadline."""


class ClosedError(Exception):
    """The other side is gone."""


def encode(header: dict[str, Any], payload_bytes: int) -> bytes:
    """Prefix and header of one reply."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return PREFIX.pack(len(text), payload_bytes) + text


def write(fd: int, data: bytes | memoryview) -> None:
    """All of `data`, however often the pipe takes only a part."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


class Reader:
    """Exact reads from a pipe; raises `StalledError` when no byte comes for `stall_s`, `ClosedError` at its end."""

    def __init__(self, fd: int, stall_s: float) -> None:
        self._fd = fd
        self.stall_s = stall_s
        self._poll = select.poll()
        self._poll.register(fd, select.POLLIN)

    def into(self, target: memoryview) -> None:
        """Fill `target`."""
        while target:
            if not self._poll.poll(self.stall_s * 1000):
                raise StalledError
            got = os.readv(self._fd, [target])
            if not got:
                raise ClosedError
            target = target[got:]

    def header(self) -> tuple[dict[str, Any], int]:
        """The next header and the size of the payload that follows it."""
        prefix = bytearray(PREFIX.size)
        self.into(memoryview(prefix))
        size, payload = PREFIX.unpack(prefix)
        if size > MAX_HEADER_BYTES:
            raise ClosedError
        text = bytearray(size)
        self.into(memoryview(text))
        try:
            header = json.loads(text)
        except ValueError as error:
            raise ClosedError from error
        return header, payload

    def skip(self, size: int) -> None:
        """Read and forget a payload."""
        scratch = memoryview(bytearray(min(size, 1 << 20)))
        while size:
            self.into(scratch[: min(size, len(scratch))])
            size -= min(size, len(scratch))
