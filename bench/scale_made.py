"""A project of as many clips as wanted, made of one that was really analysed: its records and tables under new names.

Every id that is made of content is shifted by the same number per clip, so that references stay whole and ids lie as
scattered in the indexes as real ones do. What only comparisons of clips look at (scene features, picture hashes) is
drawn anew for each clip, seeded.
"""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import re
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Clip, Item, Source, clip_id, digest
from mien.pipeline.config import Config
from mien.pipeline.engine.books import utc_now
from mien.pipeline.engine.run import Runner
from mien.pipeline.engine.task import ClipTask, Done, Finished
from mien.pipeline.plan import STAGES, Stage, applies, cutting
from mien.pipeline.stack import Stack
from mien.pipeline.stages.compare import STAGE as COMPARE
from mien.pipeline.stale import ABSENT, stage_key, values_of
from mien.store import StageResult, Store, arrays
from mien.store.rows import TABLES, insertion, to_row

ID = re.compile(r"-([0-9a-f]{15})(?![0-9a-f])")
_ID = re.compile(ID.pattern.encode())
NOT_OF_A_CLIP = (Source, Clip, Item)


class Template:
    """One clip of a real project: what each of its stages gave."""

    def __init__(self, store: Store, config: Config) -> None:
        self.config = config
        self._values, self._stack = values_of(config), Stack(config)
        self._clip = min(store.all(Clip), key=lambda c: c.span)
        (self._source,) = store.all(Source, "sha256 = ?", (self._clip.source_sha,))
        unit = self._clip.id
        self.stages = [row.stage for row in store.stages_of(unit) if row.stage != COMPARE and row.state == "ok"]
        held: dict[str, list[Any]] = {
            stage: [
                record
                for kind in TABLES
                if kind not in NOT_OF_A_CLIP
                for record in store.all(kind, "_unit = ? AND _stage = ?", (unit, stage))
            ]
            for stage in self.stages
        }
        self.rows = sum(map(len, held.values()))
        self._pickled = pickle.dumps((self._source, self._clip, held), protocol=5)
        names = [r for r in store.query("SELECT name, stage, unit FROM arrays")[1] if r[2] == unit]
        self._tables = {stage: {n: store.table(n) for n, s, _ in names if s == stage} for stage in self.stages}

    def wanted(self, number: int) -> tuple[str, str]:
        """(sha256 of its source, id) of the clip of this number."""
        sha = hashlib.sha256(f"source {number}".encode()).hexdigest()
        return sha, clip_id(sha, self._clip.span, cutting(self._source, self.config.analysis.max_clip_s)[0])

    def clip(self, number: int, lead: str | None = None) -> Made:
        """The clip of this number: the same one every time. `lead`: what the ids of all its records begin with."""
        sha, wanted = self.wanted(number)
        own, shift = self._clip.id[-15:], int(self._clip.id[-15:], 16) ^ int(wanted[-15:], 16)

        def moved(found: re.Match[Any]) -> Any:
            old = found[1] if isinstance(found[1], str) else found[1].decode()
            new = f"{int(old, 16) ^ shift:015x}"
            text = "-" + (new if lead is None or old == own else lead + new[len(lead) :])
            return text if isinstance(found[0], str) else text.encode()

        old = self._source.sha256.encode()
        source, clip, held = pickle.loads(_ID.sub(moved, self._pickled.replace(old, sha.encode())))  # noqa: S301 - ours
        cutter = cutting(self._source, self.config.analysis.max_clip_s)[0]
        source = dataclasses.replace(source, path=f"/media/{number:06d}.mp4", duration_us=clip.span.end_us)
        clip = dataclasses.replace(clip, cutter=cutter)
        rng = np.random.default_rng(number)
        tables = {s: {ID.sub(moved, n): _varied(n, t, rng) for n, t in of.items()} for s, of in self._tables.items()}
        return Made(source, clip, {s: (held[s], tables[s]) for s in self.stages})

    def named(self, number: int, like: Made) -> Made:
        """Source and clip of this number, without anything in it."""
        sha, wanted = self.wanted(number)
        source = dataclasses.replace(like.source, sha256=sha, path=f"/media/{number:06d}.mp4")
        return Made(source, dataclasses.replace(like.clip, id=wanted, source_sha=sha), {})

    def tables(self, stage: str) -> dict[str, Any]:
        return self._tables[stage]

    def results(self, made: Made) -> list[StageResult]:
        """What a run would commit for this clip, under the keys it would have."""
        sha = made.source.sha256
        _, key, _ = cutting(made.source, self.config.analysis.max_clip_s)
        results = [
            StageResult(sha, "register", digest("register", 1, sha, self.config.context), [made.source]),
            StageResult(sha, "clips", key, [made.source, made.clip]),
        ]
        keys: dict[str, str] = {}
        for stage in sorted(STAGES, key=lambda s: s.kind == "derived"):
            if not applies(stage, made.source, self._stack.has):
                keys[stage.name] = ABSENT
                continue
            keys[stage.name] = stage_key(stage, made.clip.id, keys, {}, self._values, self._stack.label)
            records, tables = made.stages.get(stage.name, ([], {}))
            results.append(StageResult(made.clip.id, stage.name, keys[stage.name], records, tables, ms=1.0))
        return results


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A clip and what its stages give: (records, tables) by stage."""

    source: Source
    clip: Clip
    stages: dict[str, tuple[list[Any], dict[str, Any]]]


def _varied(name: str, table: Any, rng: np.random.Generator) -> Any:
    import pyarrow as pa

    if name.startswith("hashes/"):
        drawn = pa.array([f"{v:016x}" for v in rng.integers(0, 2**63, table.num_rows, np.uint64)])
        return table.set_column(table.schema.get_field_index("hash"), "hash", drawn)
    if name.startswith("scene/"):
        value = table["value"].to_numpy() + rng.normal(0, 0.5, table.num_rows)
        drawn = pa.array(value.astype(np.float32)).cast(table.schema.field("value").type)
        return table.set_column(table.schema.get_field_index("value"), table.schema.field("value"), drawn)
    return table


class Scripted:
    """A crew that gives what the template holds."""

    room, busy = True, False

    def __init__(self) -> None:
        self._done: list[Finished] = []
        self.made: dict[str, Made] = {}

    def give(self, task: ClipTask) -> None:
        stages = self.made[task.clip.id].stages
        given = {s: stages.get(s, ([], {})) for s in task.stages}
        self._done.append(Finished(task, {s: Done(*held, ms=1.0) for s, held in given.items()}))

    def finished(self, *, wait: bool) -> list[Finished]:
        done, self._done = self._done, []
        return done

    def prepare(self) -> None:
        """There are no models."""

    unload = close = prepare


class ScriptedRunner(Runner):
    """The runner as it is, but for who does the work: media and derived stages come from the template."""

    def __init__(self, store: Store, config: Config) -> None:
        super().__init__(store, config, run_id=f"run-{utc_now()}")
        self._crew = self.crew = Scripted()

    def _derived(self, clip: Clip, stage: Stage) -> tuple[list[Any], dict[str, Any]]:
        return self.crew.made[clip.id].stages.get(stage.name, ([], {}))

    def bring(self, made: list[Made]) -> None:
        """Bring the sources of these clips up to date, and no others."""
        self.crew.made = {m.clip.id: m for m in made}
        self._pass([m.source for m in made], None)


def analyse(folder: Path, max_clip_s: float = 10.0) -> None:
    """The project the template is of: the demo footage with the default stack, in clips of this length at most."""
    from mien.models.weights import resolve, select
    from mien.pipeline import Project
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    video, laugh = (resolve(e.weights).only for e in select(["sample.demo-video", "sample.demo-laugh"]))
    Project.init(folder / "real", "research").close()
    project = Project.open(folder / "real", {"analysis": {"max_clip_s": max_clip_s}})
    project.run([with_sound(video, laugh, LAUGHING_FROM_S, folder / "first.mp4")])
    project.close()


def analysed(folder: Path, max_clip_s: float = 10.0) -> Template:
    from mien.pipeline import Project

    project = Project.open(folder / "real", {"analysis": {"max_clip_s": max_clip_s}})
    template = Template(project.store, project.config)
    project.close()
    return template


def fill(store: Store, template: Template, numbers: range) -> None:
    """Commit these clips through the store, one after another."""
    for number in numbers:
        store.commit_all(template.results(template.clip(number)), run_id="run-0", at_utc=utc_now())


LEAD = "00000"
GROUP = 200


def multiply(root: Path, template: Template, numbers: range, *, varied: bool) -> None:
    """Bring a project to many more clips: one that the store committed, copied in SQL under other ids and its own keys.

    Rows are those that `fill` would have written (a test compares them). They come in the order of their ids, which
    spares a large database most of its page writes and gives the same indexes. varied: also what comparisons look at.
    """
    with tempfile.TemporaryDirectory(dir=root) as folder:
        base = template.clip(numbers.start, LEAD)
        with Store(Path(folder), write=True) as store:
            store.commit_all(template.results(base), run_id="run-0", at_utc=utc_now())
        db = sqlite3.connect(root / "mien.db", isolation_level=None)
        db.executescript("PRAGMA synchronous=OFF; PRAGMA cache_size=-262144; PRAGMA wal_autocheckpoint=50000")
        db.execute("ATTACH ? AS base", (str(Path(folder) / "mien.db"),))
        db.execute("CREATE TEMP TABLE k (clip TEXT, lead TEXT)")
        order = sorted(numbers, key=lambda n: template.wanted(n)[1])
        for start in range(0, len(order), GROUP):
            db.execute("BEGIN")
            _copies(
                db, template, base, [(n, start + i) for i, n in enumerate(order[start : start + GROUP])], len(order)
            )
            if varied:
                _vary(db, template, order[start : start + GROUP])
            db.execute("COMMIT")
        db.close()


def _copies(db: sqlite3.Connection, template: Template, base: Made, ranked: list[tuple[int, int]], total: int) -> None:
    made = [(template.named(n, base), f"{(rank << 20) // total:05x}") for n, rank in ranked]
    db.execute("DELETE FROM k")
    db.executemany("INSERT INTO k VALUES (?,?)", [(m.clip.id, lead) for m, lead in made])
    for m, _ in made:
        for result in template.results(m):
            owner = {"_unit": result.unit, "_stage": result.stage}
            for record in result.records:
                db.execute(insertion(type(record)), to_row(record)[1] | owner)
            row = (*owner.values(), result.key, result.state, None, None, 1, "run-0", result.ms, utc_now())
            db.execute("INSERT INTO stages VALUES (?,?,?,?,?,?,?,?,?,?)", row)
    for table in (*(t for k, t in TABLES.items() if k not in NOT_OF_A_CLIP), "arrays", "packed"):
        told = db.execute(f"PRAGMA base.table_info({table})").fetchall()
        moved = ", ".join(
            f"replace(replace({c[1]}, '-{LEAD}', '-' || k.lead), '{base.clip.id}', k.clip)" if c[2] == "TEXT" else c[1]
            for c in told
        )
        db.execute(f"INSERT INTO {table} SELECT {moved} FROM k CROSS JOIN base.{table}")  # noqa: S608 - our own names


def _vary(db: sqlite3.Connection, template: Template, numbers: list[int]) -> None:
    for number in numbers:
        clip, rng = template.wanted(number)[1], np.random.default_rng(number)
        tables = {f"{name.partition('/')[0]}/{clip}": t for name, t in template.tables("scene").items()}
        drawn = {name: _varied(name, t, rng) for name, t in tables.items()}
        packed = [(arrays.pack(t) or b"", name) for name, t in drawn.items()]
        db.executemany("UPDATE packed SET body=? WHERE name=?", packed)
        db.executemany("UPDATE arrays SET bytes=? WHERE name=?", [(len(body), name) for body, name in packed])
