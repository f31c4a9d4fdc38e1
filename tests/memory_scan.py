"""Looks for embeddings in the memory of another process: the scanner, and the child that is looked at.

The scanner knows every vector and looks for pieces of it at every byte of all writable memory.
"""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

# A network to plant vectors with, which every child has at hand.
PLANTED = """
import numpy as np

class Planted:
    seed = 1000
    def into(self, x, out):  # what the network returns: written in place, no copy anywhere
        if x.any():
            np.random.default_rng(self.seed).standard_normal(out=out.reshape(-1), dtype=np.float32)
            self.seed += 1
    def close(self): pass
"""


def fullest(pieces: list[np.ndarray]) -> int:
    """The piece with most values that are not zero (real vectors are sparse): as good as a fingerprint."""
    return max(range(len(pieces)), key=lambda i: (pieces[i][1] != 0, np.count_nonzero(pieces[i])))


def needles(vectors: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
    """Pieces of each vector, as floats of three widths, raw and of length one."""
    found = {}
    for name, vector in vectors.items():
        at = fullest([vector[i : i + 8] for i in range(len(vector) - 8)])
        length = np.float32(1 / float(np.sqrt(np.dot(vector, vector))))
        both = (vector[at : at + 8], np.multiply(vector, length)[at : at + 8])
        found[name] = [v.astype(t).tobytes()[:32] for v in both for t in ("<f2", "<f4", "<f8")]
    return found


def search(data: bytes, wanted: dict[str, list[bytes]]) -> list[tuple[str, int]]:
    """(name, offset) of every needle in data, at any byte: one look at all 4-byte words, then the candidates.

    A needle is known by its second word: the first of a float32 kept as float64 is nearly always zero.
    """
    by_word: dict[int, list[tuple[str, bytes]]] = {}
    for name, pieces in wanted.items():
        for piece in pieces:
            by_word.setdefault(int.from_bytes(piece[4:8], "little"), []).append((name, piece))
    words = np.array(sorted(by_word), np.uint32)
    coarse = np.zeros(1 << 16, bool)
    coarse[words & 0xFFFF] = True
    hits = []
    for first, last in filled(data):
        for shift in range(4):
            here = np.frombuffer(data, np.uint32, max(0, last - first - shift) // 4, first + shift)
            maybe = np.flatnonzero(coarse[here.astype(np.uint16)])
            for i in maybe[np.isin(here[maybe], words)].tolist():
                at = first + 4 * i + shift - 4
                hits += [(name, at) for name, piece in by_word[int(here[i])] if at >= 0 and data.startswith(piece, at)]
    return hits


def filled(data: bytes, block: int = 1 << 16) -> list[tuple[int, int]]:
    """Blocks that are not all zero: most of a process's writable memory was never touched."""
    nothing = bytes(block)
    starts = (at for at in range(0, len(data), block) if not nothing.startswith(data[at : at + block]))
    return [(at, min(at + block + 8, len(data))) for at in starts]


def scan(pid: int, wanted: dict[str, list[bytes]]) -> dict[str, list[int]]:
    """Name → addresses, over all writable memory of a process; skips where the system forbids the look."""
    found: dict[str, list[int]] = {}
    seen = 0
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
            for line in maps:
                place, rights, *rest = line.split()
                if not rights.startswith("rw") or (rest[3:] and rest[3].startswith("[v")):
                    continue
                first, last = (int(x, 16) for x in place.split("-"))
                try:
                    memory.seek(first)
                    data = memory.read(last - first)
                except OSError:  # a guard page
                    continue
                seen += len(data)
                for name, at in search(data, wanted):
                    found.setdefault(name, []).append(first + at)
    except (FileNotFoundError, PermissionError) as error:
        pytest.skip(f"the memory of another process cannot be read here: {error}")
    if seen < 1 << 20:
        pytest.skip("the memory of another process cannot be read here")
    return found


@dataclasses.dataclass
class Looked:
    """What lay in the child's memory while embeddings were held and one second after, and what it said."""

    open: dict[str, list[int]]
    closed: dict[str, list[int]]
    block: range
    said: list
    flags: set[str]
    core_bytes: str


def watch(code: str, args: list[str], folder: Path, wanted: dict[str, list[bytes]]) -> Looked:
    """Run `code` in a child and look twice. It prints [address, bytes] of its block while embeddings are held, waits
    for a line, prints what it has to say once they are gone, and waits again."""
    child = subprocess.Popen(
        [sys.executable, "-c", PLANTED + code, *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
        env=os.environ | {"TMPDIR": str(folder)},
    )  # fmt: skip
    assert child.stdin
    assert child.stdout
    with child:
        try:
            address, size = json.loads(child.stdout.readline() or "[0, 0]")
            assert size, "the child came to nothing"
            before = scan(child.pid, wanted)
            flags, core = flags_of(child.pid, address), core_limit(child.pid)
            child.stdin.write("\n")
            child.stdin.flush()
            said = json.loads(child.stdout.readline())
            time.sleep(1)
            return Looked(before, scan(child.pid, wanted), range(address, address + size), said, flags, core)
        finally:
            child.kill()


def flags_of(pid: int, address: int) -> set[str]:
    inside = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, last = (int(x, 16) for x in head.split("-"))
            inside = first <= address < last
        elif inside and head == "VmFlags:":
            return set(line.split()[1:])
    return set()


def core_limit(pid: int) -> str:
    (line,) = (x for x in Path(f"/proc/{pid}/limits").read_text().splitlines() if x.startswith("Max core file size"))
    return line.split()[4]


def planted_faces(file: Path, n: int, width: int) -> dict[str, list[bytes]]:
    """Write n random pictures with a face each; the needles of the vectors that `PLANTED` gives them."""
    np.savez(
        file,
        pixels=np.random.default_rng(1).integers(1, 255, (n, 32, 32, 3), np.uint8),
        xyxy=np.tile(np.array([4, 4, 28, 28], np.float32), (n, 1)),
        points=np.tile(np.array([[10, 12], [22, 12]], np.float32), (n, 1, 1)),
    )
    draw = (np.random.default_rng(1000 + i).standard_normal(width, dtype=np.float32) for i in range(n))
    return needles({f"planted {i}": vector for i, vector in enumerate(draw)})
