"""What a clip costs in a project of a hundred clips and of a hundred thousand: plan, commit, resume, query, export …

No model runs and nothing is decoded: one clip of the demo footage is really analysed, and its records and tables are
the content of every clip (`bench.scale_made`). The first hundred go through the store's own commits, the rest are
copied in SQL; what is timed is the real planner, runner, store and export at that size. The partner writes the rows of
the same clips into the same database with plain `sqlite3` and every table as a Parquet file, and syncs once a clip.

Processor time is what ratios are made of, and each is against a project of a hundred clips that is measured at the same
moments: other work on the machine moves wall time, and shared caches move processor time by half.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.scale_made import Made, ScriptedRunner, Template, analyse, analysed, fill, multiply
from bench.scale_page import lines_of, plot
from mien.core import Clip, Source
from mien.pipeline import Project
from mien.pipeline.engine.books import utc_now
from mien.pipeline.forecast import forecast
from mien.pipeline.rates import rates_of
from mien.pipeline.stages.compare import compared, standing
from mien.store import Store, arrays
from mien.store.rows import insertion, to_row

COMMITTED = 100  # clips that go through the store one by one; the rest are copies
MORE = 40  # clips that are added at each size, for what a commit costs there
SAMPLE = 2_000  # clips over which plan and resume go at most
EXPORTED = 200  # and exports
COMPARED = 3_000  # clips up to which all are compared with all
QUESTIONS = {
    "one clip": "SELECT target, avg(value) FROM observations WHERE clip_id = '{clip}' GROUP BY target",
    "claims of a clip": "SELECT c.kind, c.text FROM traces t JOIN claims c ON c.trace_id = t.id "
    "WHERE t.clip_id = '{clip}'",
    "the ledger": "SELECT stage, state, count(*) FROM stages GROUP BY stage, state",
    "most conflict": "SELECT clip_id, max(conflict) FROM assessments GROUP BY clip_id ORDER BY 2 DESC LIMIT 20",
    "one target everywhere": "SELECT count(*), avg(value) FROM observations WHERE target = 'voice.arousal'",
}


class Sampled(Store):
    """The store of a project, which shows every n-th source to who asks for all."""

    every = 1

    def all(self, record: type[Any], where: str = "", params: Sequence[object] = ()) -> list[Any]:
        found = super().all(record, where, params)
        return found[:: self.every] if record is Source and not where else found


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """(processor s, wall s)."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def median(spent: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(cpu for cpu, _ in spent), statistics.median(wall for _, wall in spent)


@dataclass(frozen=True, slots=True)
class Sizes:
    """The project that is measured, and beside it a small and an empty one. `seen`: clips that a sample goes over."""

    n: int
    seen: int
    big: Sampled
    small: Sampled
    empty: Sampled

    def cost(self, work: Callable[[Any], object], whole: Callable[[Any], object], name: str) -> dict[str, float]:
        """ms per clip in both projects, without what an empty one costs. `whole`: the part that looks at all clips,
        however few of them the sample shows."""
        fixed, _ = median([timed(lambda: work(self.empty)) for _ in range(5)])
        all_of_it, all_wall = timed(lambda: whole(self.big)) if self.seen < self.n else (0.0, 0.0)
        few = [timed(lambda: work(self.small)) for _ in range(5)]
        cpu, wall = timed(lambda: work(self.big))
        few += [timed(lambda: work(self.small)) for _ in range(5)]
        return {
            name: 1e3 * ((cpu - all_of_it - fixed) / self.seen + all_of_it / self.n),
            f"{name} wall": 1e3 * ((wall - all_wall) / self.seen + all_wall / self.n),
            f"{name} small": 1e3 * (median(few)[0] - fixed) / COMMITTED,
        }


def measure(template: Template, n: int, folder: Path) -> dict[str, float]:
    """Everything at one size. Times in ms per clip of processor time, those with `wall` in wall time, those with
    `small` in a project of `COMMITTED` clips at the same moments."""
    roots = [folder / f"{name}-{n}" for name in ("clips", "small", "empty")]
    print(f"{n}: filling", file=sys.stderr, flush=True)
    for root, clips in zip(roots, (n, COMMITTED, 0), strict=True):
        Project.init(root, "research").close()
        with Store(root, write=True) as store:
            fill(store, template, range(min(clips, COMMITTED)))
        if clips > COMMITTED:
            multiply(root, template, range(COMMITTED, clips), varied=clips <= COMPARED)
    print(f"{n}: measuring", file=sys.stderr, flush=True)
    found: dict[str, float] = {"n": n}
    with contextlib.ExitStack() as closing:
        big, small, empty = (closing.enter_context(contextlib.closing(Sampled(r, write=True))) for r in roots)
        big.every = max(1, n // SAMPLE)
        sizes = Sizes(n, len(big.all(Source)), big, small, empty)
        small.commit_all(compared(small), run_id="run-0", at_utc=utc_now())
        found |= _compare(big, n) | _resume(sizes, template)
        found |= sizes.cost(
            lambda store: forecast(store, template.config), lambda store: rates_of(store, template.config), "plan"
        )
        found["plan MB"] = growth_mb(lambda: forecast(big, template.config))
        found |= _commit(sizes, template)
    held = [p for p in roots[0].rglob("*") if p.is_file()]
    files = sum("arrays" in p.parts for p in held)
    found |= {"kB": sum(p.stat().st_size for p in held) / (n + MORE) / 1e3, "files": files / n}
    projects = [Project.open(root) for root in roots[:2]]
    for project, clips, said in zip(projects, (n, COMMITTED), ("", " small"), strict=True):
        cpu, wall = median([timed(project.status) for _ in range(3)])
        found |= {f"status{said}": 1e3 * cpu / clips, f"status wall{said}": 1e3 * wall / clips}
    _ask(projects[0], found)
    _export(projects, n, folder, found)
    for project in projects:
        project.close()
    _partner(roots[0], template, n, folder, found)
    for root in roots:
        shutil.rmtree(root)
    return found


def growth_mb(work: Callable[[], object]) -> float:
    """What the process held at most during some work beyond what it held before, in MB (Linux; else NaN)."""
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    except OSError:
        work()
        return float("nan")
    before = _kb(status.read_text(), "VmRSS")
    work()
    return (_kb(status.read_text(), "VmHWM") - before) / 1e3


def _kb(text: str, name: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


def _compare(store: Store, n: int) -> dict[str, float]:
    if n > COMPARED:  # as if it had been done: a resume must find it so
        key, _, _ = standing(store)
        sql = "INSERT INTO stages SELECT unit, 'compare', ?, 'ok', NULL, NULL, 1, 'run-0', NULL, at_utc FROM stages "
        store._db.execute(sql + "WHERE stage = 'scene'", (key,))
        return {}
    cpu, wall = timed(lambda: store.commit_all(compared(store), run_id="run-0", at_utc=utc_now()))
    return {"compare": 1e3 * cpu / n, "compare wall": 1e3 * wall / n}


def _resume(sizes: Sizes, template: Template) -> dict[str, float]:
    """A run that finds everything done; that it read no array and gave nothing out is checked, not assumed."""

    def resume(store: Store) -> None:
        runner = ScriptedRunner(store, template.config)
        runner.run()
        if runner.counts[0]:
            raise SystemExit(f"a resume did {runner.counts[0]} stages again")

    found = sizes.cost(resume, standing, "resume")
    said: list[str] = []
    sizes.big._db.set_trace_callback(lambda sql: said.append(sql[:60]))
    found["resume MB"] = growth_mb(lambda: resume(sizes.big))
    sizes.big._db.set_trace_callback(None)
    if any("packed" in sql for sql in said):
        raise SystemExit("a resume read arrays")
    return found | {"resume statements": len(said) / sizes.seen}


def _ask(project: Project, found: dict[str, float]) -> None:
    clip = random.Random(0).choice(project.store.all(Clip)).id
    for name, sql in QUESTIONS.items():
        found[f"query: {name}"] = 1e3 * timed(lambda sql=sql: project.store.query(sql.format(clip=clip)))[0]


def _export(projects: list[Project], n: int, folder: Path, found: dict[str, float]) -> None:
    """What may leave is judged for every clip; the rows of a sample are written."""
    from mien.export.selection.scope import scope_of
    from mien.export.tables import delimited, parquet
    from mien.export.tables.notice import models_of

    scopes: list[Any] = []
    judged = [timed(lambda p=p: scopes.append(scope_of(p)))[0] for p in projects]
    for scope, clips in zip(scopes, (n, COMMITTED), strict=True):
        scope.parts = random.Random(1).sample(scope.parts, min(EXPORTED, clips))
    models = models_of(scopes[1])
    for name, writer in (("csv", delimited.write), ("parquet", parquet.write)):
        for i in (1, 0, 1):
            out = folder / f"{name}-{n}"
            out.mkdir()
            cpu, wall = timed(lambda writer=writer, out=out, i=i: writer(scopes[i], out, models))
            shutil.rmtree(out)
            cost, said = 1e3 * (cpu / len(scopes[i].parts) + judged[i] / (n, COMMITTED)[i]), ("", " small")[i]
            found[f"export {name}{said}"] = min(cost, found.get(f"export {name}{said}", cost))
            found[f"export {name} wall{said}"] = 1e3 * wall / len(scopes[i].parts)


def _commit(sizes: Sizes, template: Template) -> dict[str, float]:
    """More clips, in both projects in turn: half of them one stage after another through the store, half by the
    runner with a crew that answers at once."""
    spent: dict[str, list[tuple[float, float]]] = defaultdict(list)
    stores = {"": sizes.big, " small": sizes.small}
    runners = {said: ScriptedRunner(store, template.config) for said, store in stores.items()}
    said_sql = [0]

    def count(_: str) -> None:
        said_sql[0] += 1

    def each(store: Store, results: list[Any]) -> None:
        for result in results:
            store.commit(result, run_id="run-1", at_utc=utc_now())

    for number in range(sizes.n, sizes.n + MORE):
        made = template.clip(number)
        results = template.results(made)
        for said, store in stores.items():
            if number % 2:
                spent[f"commit{said}"].append(timed(lambda store=store, results=results: each(store, results)))
                continue
            store.commit_all(results[:2], run_id="run-1", at_utc=utc_now())
            store._db.set_trace_callback(None if said else count)
            spent[f"queue{said}"].append(timed(lambda said=said, made=made: runners[said].bring([made])))
            store._db.set_trace_callback(None)
    found = {"queue statements": said_sql[0] / len(spent["queue"])}
    for name, times in spent.items():
        cpu, wall = median(times)
        what, _, small = name.partition(" ")
        found |= {name: 1e3 * cpu, f"{what} wall {small}".strip(): 1e3 * wall}
    return found


def _partner(root: Path, template: Template, n: int, folder: Path, found: dict[str, float]) -> None:
    import pyarrow.parquet as pq

    db = sqlite3.connect(root / "mien.db", isolation_level=None)
    db.executescript("PRAGMA synchronous=FULL; PRAGMA cache_size=-65536")
    spent: list[tuple[float, float]] = []
    disk = 0
    for number in range(n + MORE, n + MORE + MORE // 2):
        made = template.clip(number)
        rows: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for result in template.results(made):
            for record in result.records:
                rows[insertion(type(record))].append(to_row(record)[1] | {"_unit": result.unit, "_stage": result.stage})
        out = folder / f"partner-{number}"
        out.mkdir()
        spent.append(timed(lambda rows=rows, made=made, out=out: _plainly(db, rows, made, out, pq)))
        disk += sum(-(-p.stat().st_size // 4096) * 4096 for p in out.iterdir())
        shutil.rmtree(out)
    db.close()
    cpu, wall = median(spent)
    found |= {"partner": 1e3 * cpu, "partner wall": 1e3 * wall, "partner kB": disk / len(spent) / 1e3}
    packed = sum(len(arrays.pack(t) or b"") for _, of in template.clip(0).stages.values() for t in of.values())
    found["packed kB"] = packed / 1e3


def _plainly(db: sqlite3.Connection, rows: dict[str, list[dict[str, Any]]], made: Made, out: Path, pq: Any) -> None:
    tables = [t for _, of in made.stages.values() for t in of.values()]
    for i, table in enumerate(tables):
        pq.write_table(table, out / f"{i}.parquet", compression="zstd")
    db.execute("BEGIN")
    for sql, held in rows.items():
        db.executemany(sql, held)
    db.execute("COMMIT")


def measured(n: int, folder: Path) -> dict[str, float]:
    template = analysed(folder)
    tables = sum(len(template.tables(stage)) for stage in template.stages)
    return measure(template, n, folder) | {"rows": template.rows, "tables": tables}


def main(args: list[str]) -> list[str]:
    """Sizes; 1000 3000 10000 without any."""
    sizes = [int(a) for a in args] or [1000, 3000, 10_000]
    folder = Path(tempfile.mkdtemp(prefix="mien-scale-", dir=os.environ.get("MIEN_BENCH_DIR")))
    try:
        analyse(folder)
        found: list[dict[str, float]] = []
        for n in sizes:  # each in a process of its own, so that its memory is its own
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                found.append(pool.submit(measured, n, folder).result())
            print(found[-1], file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder)
    plot(found, Path("docs/scale.svg"))
    return lines_of(found)
