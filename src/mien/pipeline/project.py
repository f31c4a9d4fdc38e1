"""A project: a folder with `mien.toml` and `mien.db`. Init, open, run, retry, status."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from mien.core import VERSION, Clip, Context, Failure, Item, MienError, Run, Source, digest
from mien.core.records import Observation
from mien.pipeline.config import FILE, Config, find_root, load, starter
from mien.pipeline.engine.books import utc_now
from mien.pipeline.engine.run import Runner
from mien.pipeline.events import Listener, silent
from mien.pipeline.forecast import Forecast, discovered, forecast
from mien.pipeline.inputs import Vault, affected, discover
from mien.pipeline.watching.progress import Progress
from mien.policy import CONTEXTS, EXPLICIT_LIMIT, MISSING_CONTEXT, WAITING_CODE
from mien.store import Store, durable
from mien.store.lock import holder

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run did: stages done, units failed, stages waiting for a person, the failures that stand now, and the
    items that the inputs had before and have no longer (they stay in the record)."""

    done: int
    failed: int
    waiting: int
    failures: tuple[Failure, ...]
    gone: tuple[str, ...] = ()


class Project:
    """A mien project. Opened for reading; a run opens it for writing and holds a lock meanwhile."""

    def __init__(self, root: Path | None, config: Config, origins: dict[str, Any], store: Store) -> None:
        self.root, self.config, self.origins, self.store = root, config, origins, store

    @classmethod
    def init(cls, root: Path, context: str | None, name: str = "", *, mapping: str = "") -> Self:
        """Make a project folder. `mapping`: the text of `[inputs]` for its mien.toml.

        Raises:
            MienError: `config.no-context`, `config.unknown-context`, `project.exists`, `project.not-writable`.
        """
        if context is None:
            raise MienError("config.no-context", MISSING_CONTEXT, f"mien init {root} --context care|research|studio")
        if context not in CONTEXTS:
            raise MienError("config.unknown-context", f"there is no context {context!r}; {MISSING_CONTEXT}")
        if (root / FILE).exists():
            raise MienError("project.exists", f"{root} is a project already", f"mien -C {root} run VIDEO")
        try:
            root.mkdir(parents=True, exist_ok=True)
            text = starter(context, name or root.resolve().name) + mapping
            Store(root, write=True).close()
            durable.write(root / FILE, lambda out: out.write(text.encode()))
        except OSError as error:
            raise MienError("project.not-writable", f"cannot make a project in {root}: {error.strerror}") from error
        return cls.open(root)

    @classmethod
    def open(cls, folder: Path, flags: dict[str, Any] | None = None) -> Self:
        """Open the project at or above a folder. Raises MienError `project.not-found`, `config.*`, `store.*`."""
        root = find_root(folder)
        config, origins = load(root, flags)
        if not (root / "mien.db").exists():
            Store(root, write=True).close()
        try:
            store = Store(root)
        except MienError as error:
            if error.code != "store.older":
                raise
            Store(root, write=True).close()  # brings it up to this version
            store = Store(root)
        return cls(root, config, origins, store)

    @classmethod
    def in_memory(cls, context: Context, flags: dict[str, Any] | None = None) -> Self:
        """A project without a folder: nothing is kept."""
        config, origins = load(None, {"project": {"context": context}, **(flags or {})})
        return cls(None, config, origins, Store(None))

    @property
    def name(self) -> str:
        return self.config.project.name or (self.root.resolve().name if self.root else "in memory")

    def close(self) -> None:
        self.store.close()

    # ------------------------------------------------------------ work

    def run(
        self,
        inputs: Sequence[str | Path] = (),
        *,
        listener: Listener = silent,
        command: str = "run",
        only: frozenset[str] | None = None,
    ) -> Outcome:
        """Register inputs (files, folders, tables, archives) and bring everything up to date.

        `only`: the items to register, of all that the inputs hold; None for all.

        Raises:
            MienError: `weights.missing`, `store.busy`, `config.*`; a bad input is a failure row, not an exception.
        """
        store = Store(self.root, write=True) if self.root else self.store
        if store.erasing():
            store.close()
            raise MienError("forget.unfinished", "an erasure was cut off", "finish it: mien forget, as before")
        run_id = store.next_run_id(utc_now())
        said = self.config.model_dump(mode="json")
        config_sha = digest(said)
        run = Run(run_id, utc_now(), None, command, VERSION, self.config.context, config_sha)
        try:
            progress = Progress(self.root, run_id, listener)
            runner = Runner(store, self.config, run_id=run_id, listener=progress)
            try:
                runner.require_weights()
                store.put_config(config_sha, json.dumps(said))
                store.put([run], unit=run_id, stage="run")
                found = discover(inputs, self.config.inputs, Vault(self.root, self.config.context))
                gone = runner.take(found, [os.path.abspath(i) for i in inputs], only)
                runner.run()
            finally:
                runner.close()
                progress.close()
            finished = Run(run_id, run.started_utc, utc_now(), command, VERSION, run.context, config_sha)
            store.put([finished], unit=run_id, stage="run")
            store.prune_history(self.config.history.runs)
            return Outcome(*runner.counts, tuple(store.all(Failure)), gone)
        finally:
            if self.root:
                store.close()

    def plan(self, inputs: Sequence[str | Path] = ()) -> Forecast:
        """What `run` would do with these inputs and with what is registered: decodes and writes nothing."""
        return forecast(self.store, self.config, discovered(inputs, self.config))

    def retry(self, *, listener: Listener = silent) -> Outcome:
        """Do again what failed, and only that (and what depends on it)."""
        failures = self.store.all(Failure)
        again, items = affected(self.store)
        if self.root:
            with Store(self.root, write=True) as store:
                store.forget_stages((f.unit, f.stage) for f in failures)
        else:
            self.store.forget_stages((f.unit, f.stage) for f in failures)
        return self.run(again, listener=listener, command="retry", only=items)

    def repair(self) -> None:
        """Forget results whose arrays are missing or damaged; the next run makes them again."""
        if self.root:
            with Store(self.root, write=True) as store:
                store.forget_stages(store.damaged())

    def names(self, units: Collection[str] | None = None) -> dict[str, str]:
        """What people call a unit: the file name of a source or item (and its row), the name and span of a clip.

        `units`: of these alone; None for all.
        """
        if units is not None and not units:
            return {}
        clips, sources = self._named(Clip, "id", units), self._named(Source, "sha256", units)
        if units is not None:
            sources += self._named(Source, "sha256", {c.source_sha for c in clips})
        items = self.store.all(Item)
        named = {sha: Path(i.origin).name for i in items for sha in (*i.source_shas, i.origin)}
        named |= {i.id: f"{Path(i.origin).name}{f', {i.row}' if i.row else ''}" for i in items}
        named |= {s.sha256: Path(s.path).name for s in sources}
        return named | {c.id: f"{named.get(c.source_sha, c.source_sha)} {c.span}" for c in clips}

    def _named(self, record: type[R], key: str, units: Collection[str] | None) -> list[R]:
        if units is None:
            return self.store.all(record)
        return [found for unit in sorted(units) for found in self.store.all(record, f"{key} = ?", (unit,))]

    def status(self) -> dict[str, Any]:
        """Counts and reasons, ready for JSON."""
        states = {key: n for key, n in self.store.states().items() if key[0] != "input"}
        _, ((waiting, needs),) = self.store.query(
            f"SELECT count(DISTINCT unit), min(note) FROM stages WHERE state = '{WAITING_CODE}' AND stage != 'input'"  # noqa: S608 - our own name
        )
        explicit = self.store.all(Observation, "target = 'explicit.max' AND value >= ?", (EXPLICIT_LIMIT,))
        failures, gone = self.store.all(Failure), self.store.stages_in("input", "gone")
        names = self.names({f.unit for f in failures} | {row.unit for row in gone})
        clips = dict(self.store.query("SELECT source_sha, count(*) FROM clips GROUP BY source_sha")[1])
        totals: Counter[str] = Counter()
        for (_, state), n in states.items():
            totals[state] += n
        return {
            "project": self.name,
            "context": self.config.context,
            "sources": [
                {
                    "name": Path(s.path).name,
                    "sha256": s.sha256,
                    "state": s.state,
                    "code": s.code,
                    "coverage": s.coverage,
                    "duration_s": s.duration_us / 1e6,
                    "clips": clips.get(s.sha256, 0),
                }
                for s in self.store.all(Source)
            ],
            "items": {
                "count": self.store.query(
                    "SELECT count(*) FROM stages WHERE stage = 'input' AND substr(unit, 1, 5) = 'item-'"
                )[1][0][0],
                "gone": [names.get(row.unit, row.unit) for row in gone],
            },
            "stages": dict(totals),
            "waiting": {
                "stages": sorted(stage for stage, state in states if state == WAITING_CODE),
                "clips": waiting,
                "needs": needs,
            },
            "quarantined_clips": [o.clip_id for o in explicit],
            "failures": [
                {
                    "unit": f.unit,
                    "name": names.get(f.unit, f.unit),
                    "stage": f.stage,
                    "code": f.code,
                    "message": f.message,
                    "hint": f.hint,
                    "attempt": f.attempt,
                }
                for f in failures
            ],
            "history": dict(zip(("runs", "bytes"), self.store.history_size(), strict=True)),
            "unfinished_runs": self._interrupted(),
        }

    def _interrupted(self) -> list[str]:
        """Runs that began and did not end; not the one that goes on now."""
        begun = sorted(r.id for r in self.store.all(Run, "finished_utc IS NULL"))
        return begun[:-1] if begun and self.root is not None and holder(self.root) is not None else begun
