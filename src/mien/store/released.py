"""Reading a release: its examples, in memory's order or as a stream, with media that are checked when they are opened.

Closed by default, whoever wrote the folder: an example is handed out only where its own row says that the gate passed
it, that nobody refused and that its context may flow here, and where no list of revocations names its source or people.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from mien.core import MienError, Span, missing_extra
from mien.store import revocation
from mien.store.payloads import FREE, Marks, Payload, PayloadStream, datasets_stream
from mien.store.sealing import Finding, Manifest, Sealed, check, file_sha256, read_manifest

EXAMPLES = "examples.jsonl"
EXPLICIT_LIMIT = 0.2  # of `mien.policy`, which this room may not import; a test holds both together


@dataclass(frozen=True, slots=True)
class Media:
    """One file of an example, not opened yet. `trainer`: the folder of the release it belongs to."""

    file: Sealed
    folder: Path

    @property
    def trainer(self) -> str:
        return self.file.path.partition("/")[0]

    @property
    def path(self) -> Path:
        """Where the file lies, after its bytes were compared with the manifest.

        Raises:
            MienError: `release.changed`.
        """
        found = self.folder / self.file.path
        if found.is_symlink() or not found.is_file() or file_sha256(found) != self.file.sha256:
            raise _bad(Finding("release.changed", self.file.path, "holds other bytes than the manifest says"))
        return found

    def read(self) -> bytes:
        """Its bytes, checked. Raises MienError `release.changed`."""
        raw = (self.folder / self.file.path).read_bytes()
        if hashlib.sha256(raw).hexdigest() != self.file.sha256:
            raise _bad(Finding("release.changed", self.file.path, "holds other bytes than the manifest says"))
        return raw


@dataclass(frozen=True, slots=True)
class Listed:
    """One list of revocations that was read. `at_utc`: when it was written; "" where it does not say."""

    where: str
    at_utc: str

    @property
    def age_days(self) -> float | None:
        """Days since it was written; None where it does not say."""
        return revocation.age_days(self.at_utc)


@dataclass(frozen=True, slots=True)
class Released:
    """One example of a release: a clip.

    Attributes:
        source: sha256 of the recording; span: on its clock, in µs.
        kind: video, audio or image.
        split, group: examples of one group are never in two splits.
        states: per track and window the posterior over states, and whether it abstained.
        labels: what people said, where they did.
        texts: sentences of reasoning, each with its kind.
        media: files of the release that show or tell of this clip.
    """

    id: str
    source: str
    span: Span
    kind: str
    split: str
    group: str
    states: tuple[dict[str, Any], ...]
    labels: tuple[dict[str, Any], ...]
    texts: tuple[dict[str, str], ...]
    media: tuple[Media, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseStream:
    """The examples of a release, one after another; nothing is kept. For torch: `mien.train.streams`.

    `skipped`: code → examples left out so far. `lists`: the lists of revocations that were read, and how old they are.
    """

    folder: Path
    manifest: Manifest
    revocations: revocation.Revocations
    split: str | None
    lists: tuple[Listed, ...] = ()
    skipped: Counter[str] = field(default_factory=Counter)

    def rows(self, path: str) -> PayloadStream:
        """The rows of a file of the release ("trl/train.jsonl", "tables/claims.parquet", "hf/data/train.parquet"),
        without those of examples that may not be handed out.

        Raises:
            MienError: `release.no-file`, `release.no-rows`, `release.changed`.
        """
        return _payload(self, path, self._marks())

    def files(self, folder: str = "") -> tuple[Media, ...]:
        """The pictures, clips, sounds and sidecars below a folder of the release that belong to examples that may be
        handed out; files that belong to no one example are not among them."""
        return _files_in(self, folder, self._marks())

    def to_datasets(self) -> Any:
        """As `datasets.IterableDataset`. Raises MienError `install.missing-extra`."""
        return datasets_stream(_Flat(self))

    def _marks(self) -> Marks:
        for _ in self._open_rows(marks := Marks()):
            pass
        return marks

    def __iter__(self) -> Iterator[Released]:
        """Raises MienError `release.changed` at the end where the list of examples is not the listed one."""
        self.skipped.clear()
        files = _files(self.manifest)
        for _, row in self._open_rows():
            yield _released(row, self.folder, files)

    def _open_rows(self, marks: Marks | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """(offset, row) of examples that may be handed out; `marks` gets all of them."""
        sha, offset = hashlib.sha256(), 0
        with (self.folder / EXAMPLES).open("rb") as lines:
            for line in lines:
                sha.update(line)
                row = _parsed(line)
                code = closed(row, self.manifest.context, self.manifest.use, self.revocations, self.manifest.root)
                mine = self.split is None or row.get("split") == self.split
                if marks is not None:
                    marks.add(row, code if code or mine else None)
                elif code:
                    self.skipped[code] += 1
                if mine and not code:
                    yield offset, row
                offset += len(line)
        if sha.hexdigest() != _files(self.manifest)[EXAMPLES].sha256:
            raise _bad(Finding("release.changed", EXAMPLES, "holds other bytes than the manifest says"))


class Release(Sequence[Released]):
    """The examples of a release by number. Only where each one's line begins is kept, not the lines.

    `skipped`: code → how many examples were left out, and why. `lists`: the lists of revocations that were read, and
    how old they are.
    """

    def __init__(self, stream: ReleaseStream) -> None:
        self.folder, self.manifest = stream.folder, stream.manifest
        self._at = np.fromiter((offset for offset, _ in stream._open_rows()), np.int64)
        self.skipped, self.lists = dict(stream.skipped), stream.lists
        self._stream, self._files = stream, _files(stream.manifest)
        self._marked: Marks | None = None

    def rows(self, path: str) -> Payload:
        """As `ReleaseStream.rows`, by number."""
        return Payload(_payload(self._stream, path, self._marks()))

    def files(self, folder: str = "") -> tuple[Media, ...]:
        """As `ReleaseStream.files`."""
        return _files_in(self._stream, folder, self._marks())

    def _marks(self) -> Marks:
        if self._marked is None:
            self._marked = self._stream._marks()
        return self._marked

    def __len__(self) -> int:
        return len(self._at)

    @overload
    def __getitem__(self, index: int) -> Released: ...
    @overload
    def __getitem__(self, index: slice) -> list[Released]: ...
    def __getitem__(self, index: int | slice) -> Released | list[Released]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        with (self.folder / EXAMPLES).open("rb") as lines:
            lines.seek(int(self._at[index]))
            return _released(_parsed(lines.readline()), self.folder, self._files)

    def to_torch(self) -> Rows:
        """The examples as plain dictionaries, with what `torch.utils.data.DataLoader` asks of a map-style dataset
        (`__len__`, `__getitem__`); torch itself is not imported. Pass a `collate_fn`: rows are of different lengths."""
        return Rows(self)

    def to_datasets(self) -> Any:
        """The examples as a `datasets.Dataset` (needs the package); media as paths within the release, not checked.

        Raises:
            MienError: `install.missing-extra`.
        """
        try:
            import datasets
        except ImportError:
            raise missing_extra("datasets", "datasets") from None
        return datasets.Dataset.from_list([flat(e) for e in self])


@dataclass(frozen=True, slots=True)
class Rows:
    """A release as plain dictionaries, for loaders of other packages."""

    release: Release

    def __len__(self) -> int:
        return len(self.release)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return flat(self.release[int(index)])


@dataclass(frozen=True, slots=True)
class _Flat:
    """Examples as plain dictionaries, one after another."""

    stream: ReleaseStream

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from map(flat, self.stream)


def _payload(stream: ReleaseStream, path: str, marks: Marks) -> PayloadStream:
    file = _files(stream.manifest).get(path)
    if file is None or path == EXAMPLES:
        raise MienError(
            "release.no-file", f"{stream.manifest.label} has no rows in {path!r}", "MANIFEST.json lists all"
        )
    return PayloadStream(Media(file, stream.folder).path, marks, path in FREE)


def _files_in(stream: ReleaseStream, folder: str, marks: Marks) -> tuple[Media, ...]:
    below = f"{folder.strip('/')}/" if folder.strip("/") else ""
    held = (f for f in stream.manifest.files if f.path.startswith(below))
    return tuple(Media(f, stream.folder) for f in held if marks.why_not({"file": f.path}) == "")


@overload
def load_release(
    path: str | Path, *, split: str | None = None, revocations: str | Path | Iterable[str | Path] = (),
    key: str | bytes | None = None, verify: bool = False, fetch: bool = False, streaming: Literal[False] = False,
) -> Release: ...  # fmt: skip
@overload
def load_release(
    path: str | Path, *, split: str | None = None, revocations: str | Path | Iterable[str | Path] = (),
    key: str | bytes | None = None, verify: bool = False, fetch: bool = False, streaming: Literal[True],
) -> ReleaseStream: ...  # fmt: skip
def load_release(
    path: str | Path,
    *,
    split: str | None = None,
    revocations: str | Path | Iterable[str | Path] = (),
    key: str | bytes | None = None,
    verify: bool = False,
    fetch: bool = False,
    streaming: bool = False,
) -> Release | ReleaseStream:
    """Read a release: `load_release("releases/faces-1.0.0", split="train")`. Needs only the folder, and no torch.

    Args:
        path: the folder of the release.
        split: "train", "validation" or "test"; None: all.
        revocations: more lists of revocations; those in and beside the folder, in the user's configuration and at a
            place on this machine that the manifest names are always read. There is no way around them.
        key: the public key that must have signed it: 32 bytes, or hex.
        verify: compare every file now. Else the manifest, its root, sizes and the list of examples are checked, and
            each medium when it is opened.
        fetch: also ask the https address that the manifest names for its list, now; else nothing goes over a network.
        streaming: give an iterable that keeps nothing instead of a sequence.

    Raises:
        MienError: `release.revoked`; what `mien release verify` finds (`release.changed`, `release.root`, …);
            `release.revocation-unreadable`, `release.unknown-split`, `release.no-examples`.
    """
    folder = Path(path)
    wanted = bytes.fromhex(key) if isinstance(key, str) else key
    manifest, found = check(folder, wanted) if verify or wanted else read_manifest(folder)
    if found or manifest is None:
        raise _bad(found[0], len(found) - 1)
    more = [revocations] if isinstance(revocations, (str, Path)) else list(revocations)
    lists = lists_of(folder, manifest, _there(more), fetch=fetch)
    joined = reduce(or_, (r for _, r in lists), revocation.Revocations())
    refuse_revoked(manifest, joined)
    files = _files(manifest)
    for file in manifest.files:
        held = folder / file.path
        if held.is_symlink() or not held.is_file() or held.stat().st_size != file.bytes:
            raise _bad(Finding("release.changed", file.path, "is not there, or of another size than the manifest says"))
    if EXAMPLES not in files:
        raise MienError("release.no-examples", f"{manifest.label} has no {EXAMPLES}", "build it again with this mien")
    splits = manifest.about.get("splits", {})
    if split is not None and split not in splits:
        raise MienError("release.unknown-split", f"there is no split {split!r}", f"there are: {', '.join(splits)}")
    told = tuple(Listed(str(where), held.at_utc) for where, held in lists)
    stream = ReleaseStream(folder, manifest, joined, split, told)
    return stream if streaming else Release(stream)


def lists_of(
    folder: Path, manifest: Manifest, more: Sequence[Path] = (), *, fetch: bool = False
) -> list[tuple[Path | str, revocation.Revocations]]:
    """Every list that speaks for a release: in and beside it, in the configuration, where its manifest says, and more.

    Raises:
        MienError: `release.revocation-unreadable`, also where one was to be fetched and could not be.
    """
    named = str(manifest.about.get("revocations", ""))
    online = named.startswith("https://")
    local = [folder / named] if named and not online else []
    found: list[tuple[Path | str, revocation.Revocations]] = []
    found += revocation.read_each(dict.fromkeys([*revocation.beside(folder), *local, *more]))
    if online and fetch:
        found.append((named, revocation.fetched(named)))
    return found


def refuse_revoked(manifest: Manifest, revocations: revocation.Revocations) -> None:
    """Raises MienError `release.revoked`."""
    gone = revocations.of(manifest.label, manifest.root)
    if gone is not None:
        instead = f"use {gone.successor} instead" if gone.successor else "use its successor, where there is one"
        raise MienError("release.revoked", f"{manifest.label} was revoked: {gone.reason}", instead)


def closed(row: dict[str, Any], context: str, use: str, revocations: revocation.Revocations, root: str = "") -> str:
    """Why an example may not be handed out, as a code; "" where it may. What is missing or unclear is closed.

    Args:
        context, use: of the release, as its manifest says. root: of the release; "": it is being built.

    Explicit pictures are never in a release, so that a score at the limit closes whatever the ages say.
    """
    try:
        gate, kind, origin, consent = row["gate"], row["kind"], row["context"], row["consent"]
        decision, score = gate["decision"], gate["explicit"]
        subjects = [s for s in row["subjects"] if isinstance(s, str)]
        whole = all(isinstance(row[k], str) and row[k] for k in ("id", "source", "split", "group"))
        whole = whole and len(subjects) == len(row["subjects"])
    except (KeyError, TypeError):
        return "gate.unknown"
    care = origin == "care" and (context != "care" or use == "publish")
    crossing = origin != context and (context == "studio" or use == "publish")
    rules = {
        "gate.unknown": not whole or decision != "passed" or kind not in ("video", "audio", "image"),
        "gate.not-run": kind != "audio" and not _scored(score),
        "gate.quarantined": score is not None and not (_scored(score) and score < EXPLICIT_LIMIT),
        "context.mixed": origin not in ("care", "research", "studio") or care or crossing,
        "consent.not-stated": consent != "stated" and (use == "publish" or consent != "not-stated"),
        "release.withdrawn": revocations.skips([str(row["source"])], subjects, root),
    }
    return next((code for code, holds in rules.items() if holds), "")


def _scored(score: object) -> bool:
    return isinstance(score, (int, float)) and not isinstance(score, bool) and score >= 0


def flat(example: Released) -> dict[str, Any]:
    """An example as plain values; what nests is JSON text, so that columns have one type."""
    told = {k: json.dumps(getattr(example, k), ensure_ascii=False) for k in ("states", "labels", "texts")}
    names = ("id", "source", "kind", "split", "group")
    return {
        **{k: getattr(example, k) for k in names},
        "start_us": example.span.start_us,
        "end_us": example.span.end_us,
        **told,
        "media": [str(m.folder / m.file.path) for m in example.media],
    }


def _released(row: dict[str, Any], folder: Path, files: dict[str, Sealed]) -> Released:
    media = tuple(Media(files[p], folder) for p in row["media"] if p in files)
    return Released(
        row["id"], row["source"], Span(row["start_us"], row["end_us"]), row["kind"], row["split"], row["group"],
        tuple(row["states"]), tuple(row["labels"]), tuple(row["texts"]), media,
    )  # fmt: skip


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    return row if isinstance(row, dict) else {}


def _files(manifest: Manifest) -> dict[str, Sealed]:
    return {f.path: f for f in manifest.files}


def _there(given: list[str | Path]) -> list[Path]:
    """Lists that somebody named must be there: a typing mistake is no permission."""
    for path in map(Path, given):
        if not path.is_file():
            raise MienError("release.revocation-unreadable", f"there is no list {path}", "name one that is there")
    return [Path(p) for p in given]


def _bad(finding: Finding, more: int = 0) -> MienError:
    tail = f" (and {more} more)" if more else ""
    return MienError(
        finding.code, f"{finding.path}: {finding.text}{tail}", "see everything: mien release verify FOLDER"
    )
