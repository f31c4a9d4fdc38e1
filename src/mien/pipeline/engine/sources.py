"""From inputs to sources to clips: registering files, and cutting them while they are decoded."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mien.core import Clip, MienError, Source, clip_id, digest, probe
from mien.media import Cut, Decoder, Probe, Scan, Scanning, Shelf, Spool, Spooled, hash_file, judge
from mien.pipeline.config import Config
from mien.pipeline.engine.books import Books, utc_now
from mien.pipeline.engine.hand import DIED, limits_of, present
from mien.pipeline.inputs import Entry, Keeper, Pseudonyms, Refused
from mien.pipeline.plan import cutting
from mien.store import StageResult, Store
from mien.store.forgotten import Forgotten

log = logging.getLogger("mien")


class _DecoderLostError(Exception):
    """The decoding child of a scan was killed, by the file or by something else."""


class Sources:
    """The sources of a project and their clips.

    Args:
        prepare: called when there will be clips that nobody has analysed. settle: called before clips are withdrawn, to
            wait for those that are being analysed.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        books: Books,
        run_id: str,
        prepare: Callable[[], None],
        settle: Callable[[], None],
    ) -> None:
        self._store, self._config, self._books, self._run_id = store, config, books, run_id
        self._prepare, self._settle = prepare, settle
        self._forgotten = Forgotten(store.root)
        self._spool = Spool(store.root, config.run.spool_mb << 20)
        self._spooled: dict[str, Spooled | None] = {}

    def take(
        self, entries: Iterable[Entry | Refused], given: Sequence[str], only: frozenset[str] | None
    ) -> tuple[str, ...]:
        """Keep what discovery found; the names of items that these inputs have no longer."""

        def fail(unit: str, stage: str, key: str, error: MienError, keep: Sequence[Any]) -> None:
            self._books.fail(unit, stage, key, error, name=Path(unit).name if stage == "register" else "", keep=keep)

        people = Pseudonyms(self._store.root)
        times = {"run_id": self._run_id, "at_utc": utc_now()}
        return Keeper(self._store, people, self.register, fail, only=only, **times).keep(entries, given)

    @probe.timed("decode", "register")
    def register(self, path: Path) -> str:
        """Hash and probe one file; its sha256. One that cannot be decoded is a failure row of its own.

        Raises:
            MienError: `media.*` when it cannot even be read; `input.forgotten`.
        """
        unit = hash_file(path)
        self._forgotten.check(unit, path.name)
        key = digest("register", 1, unit, self._config.context)
        held = self._store.stage(unit, "register")
        if held and held.key == key:
            self._moved(unit, path)
            return unit
        try:
            try:
                p = _probed(path)
            except MienError as error:
                if error.code != DIED:
                    raise
                p = _probed(path)  # whatever killed its decoder, it may not have been the file
        except MienError as error:
            self._books.fail(unit, "register", key, error, name=path.name)
            return unit
        source = Source(
            unit,
            str(path),
            p.kind,
            path.stat().st_size,
            p.duration_us or 0,
            p.width_px,
            p.height_px,
            p.fps,
            p.audio_rate_hz,
            p.audio_channels,
            self._config.context,
        )
        self._books.commit(StageResult(unit, "register", key, [source]))
        return unit

    def _moved(self, sha: str, path: Path) -> None:
        for source in self._store.all(Source, "sha256 = ?", (sha,)):
            if source.path != str(path) and not Path(source.path).exists():
                stage = "clips" if self._store.stage(sha, "clips") else "register"
                self._store.put([dataclasses.replace(source, path=str(path))], unit=sha, stage=stage)

    def clips(self, source: Source) -> Generator[Clip]:
        """The clips of a source: the stored ones, or new ones as its scan finds them.

        The scan runs beside the analysis, and only its end commits the cutting. A run that was stopped before scans
        again, finds the same clips, and so finds what was already done for them.
        """
        sha = source.sha256
        cutter, key, max_us = cutting(source, self._config.analysis.max_clip_s)
        held = self._store.stage(sha, "clips")
        if held is not None and held.key == key:
            if held.state == "ok":
                yield from sorted(self._store.all(Clip, "source_sha = ?", (sha,)), key=lambda c: c.span)
            return
        self._prepare()  # while the first clip is being found
        given: set[str] = set()
        for last in (False, True):
            try:
                found = yield from self._scan(source, cutter, key, max_us, given, last=last)
                break
            except _DecoderLostError:
                log.warning("the decoder of %s was killed: scanning again", sha)
        else:
            return
        if found is None:
            return
        scan, clips = found
        status = judge(scan)
        seen = dataclasses.replace(
            source, duration_us=scan.end_us, coverage=scan.coverage, state=status.state, code=status.code
        )
        self._forget_clips(sha, {c.id for c in clips})
        self._books.commit(StageResult(sha, "clips", key, [seen, *clips], note=status.message or None))

    def _scan(
        self, source: Source, cutter: str, key: str, max_us: int, given: set[str], *, last: bool
    ) -> Generator[Clip, None, tuple[Scan, list[Clip]] | None]:
        """Clips as they are found, but for those that were `given` before; in the end the scan, or None: it failed."""
        sha, clips = source.sha256, list[Clip]()
        with Scanning(present(source), max_us, limits_of(self._config.analysis), self._shelf(max_us)) as scanning:
            found = iter(scanning)
            while (cut := self._scanned(found, source, key, last=last)) is not None:
                clips.append(clip := Clip(clip_id(sha, cut.span, cutter), sha, *cut, cutter))
                if clip.id in given:
                    continue
                given.add(clip.id)
                self._store.put([clip], unit=sha, stage="clips")
                self._spooled[clip.id] = scanning.spooled(cut.span)
                yield clip
            return (scanning.result, clips) if scanning.result is not None else None

    def _shelf(self, longest_us: int) -> Shelf | None:
        """Where the scan leaves what the analysis needs; nowhere when the workers are on other machines."""
        wanted = self._config.analysis
        return None if self._config.run.ray_address else self._spool.shelf(wanted.fps, wanted.max_side_px, longest_us)

    def release(self, clip: Clip) -> None:
        """Nobody needs the clip's decoded media any more."""
        self._spool.release(self._spooled.pop(clip.id, None))

    def _scanned(self, found: Iterator[Cut], source: Source, key: str, *, last: bool) -> Cut | None:
        """The next clip of a scan; None at its end, also when it failed: then the source is rejected."""
        try:
            with probe.span("scan", "scan"):
                return next(found, None)
        except MienError as error:
            if error.code == DIED and not last:
                raise _DecoderLostError from error
            self._settle()
            status = judge(error)
            gone = dataclasses.replace(source, state=status.state, code=status.code)
            self._forget_clips(source.sha256, set())
            self._books.fail(source.sha256, "clips", key, error, name=Path(source.path).name, keep=[gone])
            return None

    def _forget_clips(self, sha: str, kept: set[str]) -> None:
        """Withdraw the results of clips that a new cutting no longer has."""
        for clip in self._store.all(Clip, "source_sha = ?", (sha,)):
            if clip.id not in kept:
                self._store.withdraw_unit(clip.id, run_id=self._run_id)

    def spooled(self, clip: Clip) -> Spooled | None:
        """Where the clip's decoded media lie, if the scan kept them."""
        return self._spooled.get(clip.id)

    def close(self) -> None:
        """Free what is decoded and was not needed."""
        self._spool.close()


def _probed(path: Path) -> Probe:
    with Decoder(path) as decoder:
        return decoder.probe()
