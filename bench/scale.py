"""What a clip costs in a project of a hundred clips and of a hundred thousand: plan, commit, resume, query, export …

No model runs and nothing is decoded: one clip of the demo footage is really analysed, and its records and tables are
the content of every clip (`bench.scale_made`). The first hundred go through the store's own commits, the rest are
copied in SQL; what is timed is the real planner, runner, store and export at that size. The partner writes the rows of
the same clips into the same database with plain `sqlite3` and every table as a Parquet file, and syncs once a clip.

Processor time is what ratios are made of: other work on the machine moves wall time.
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
from pathlib import Path
from typing import Any

from bench.scale_made import Made, ScriptedRunner, Template, analyse, analysed, fill, multiply
from bench.scale_page import lines_of, plot
from mien.core import Clip, Source
from mien.pipeline import Project
from mien.pipeline.engine.run import utc_now
from mien.pipeline.forecast import forecast
from mien.pipeline.stages.compare import compared, standing
from mien.store import Store, arrays
from mien.store.rows import insertion, to_row

COMMITTED = 100  # clips that go through the store one by one; the rest are copies
MORE = 60  # clips that are added at each size, for what a commit costs there
SAMPLE = 4_000  # clips over which plan and resume go at most; 300 for exports
EXPORTED = 300
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


def timed(work: Callable[[], object], n: int = 1000) -> tuple[float, float]:
    """(processor s, wall s); the least of several times in a small project, where once says little."""
    least = (float("inf"), float("inf"))
    for _ in range(max(1, min(5, 1000 // n))):
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        least = min(least, (time.process_time() - cpu, time.perf_counter() - wall))
    return least


def median(spent: list[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(cpu for cpu, _ in spent), statistics.median(wall for _, wall in spent)


def measure(template: Template, n: int, folder: Path) -> dict[str, float]:
    """Everything at one size. Times in ms per clip of processor time, those with `wall` in wall time."""
    root = folder / f"clips-{n}"
    Project.init(root, "research").close()
    with Store(root, write=True) as store:
        fill(store, template, range(min(n, COMMITTED)))
    print(f"{n}: filling", file=sys.stderr, flush=True)
    if n > COMMITTED:
        multiply(root, template, range(COMMITTED, n), varied=n <= COMPARED)
    print(f"{n}: measuring", file=sys.stderr, flush=True)
    found: dict[str, float] = {"n": n}
    with contextlib.closing(Sampled(root, write=True)) as store:
        store.every = max(1, n // SAMPLE)
        seen = len(store.all(Source))
        found |= _compare(store, n)
        _resume(store, template, n, seen, found)
        cpu, wall = timed(lambda: forecast(store, template.config), n)
        found |= {"plan": 1e3 * cpu / seen, "plan wall": 1e3 * wall / seen}
        found["plan MB"] = growth_mb(lambda: forecast(store, template.config))
    size = sum(p.stat().st_size for p in root.glob("mien.db*"))
    files = [p for p in (root / "arrays").rglob("*") if p.is_file()]
    found |= {"kB": (size + sum(p.stat().st_size for p in files)) / n / 1e3, "files": len(files) / n}
    project = Project.open(root)
    cpu, wall = timed(project.status, n)
    found |= {"status": 1e3 * cpu / n, "status wall": 1e3 * wall / n}
    _ask(project, found)
    _export(project, n, folder, found)
    project.close()
    with Store(root, write=True) as store:
        _commit(store, template, n, found)
    _partner(root, template, n, folder, found)
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


def _resume(store: Store, template: Template, n: int, seen: int, found: dict[str, float]) -> None:
    """A run that finds everything done; that it read no array and gave nothing out is checked, not assumed."""
    said: list[str] = []
    runner = ScriptedRunner(store, template.config)
    once, once_wall = timed(lambda: standing(store), n)
    cpu, wall = timed(runner.run, n)
    store._db.set_trace_callback(lambda sql: said.append(sql[:60]))
    found["resume MB"] = growth_mb(runner.run)
    store._db.set_trace_callback(None)
    if runner.done or any("packed" in sql for sql in said):
        raise SystemExit(f"a resume at {n} clips did {runner.done} stages again, or read arrays")
    found |= {
        "resume": 1e3 * ((cpu - once) / seen + once / n),
        "resume wall": 1e3 * ((wall - once_wall) / seen + once_wall / n),
        "resume statements": len(said) / seen,
    }


def _ask(project: Project, found: dict[str, float]) -> None:
    clip = random.Random(0).choice(project.store.all(Clip)).id
    for name, sql in QUESTIONS.items():
        found[f"query: {name}"] = 1e3 * timed(lambda sql=sql: project.store.query(sql.format(clip=clip)))[0]


def _export(project: Project, n: int, folder: Path, found: dict[str, float]) -> None:
    """What may leave is judged for every clip; the rows of a sample are written."""
    from mien.export.tables import delimited, parquet
    from mien.export.tables.notice import models_of
    from mien.export.tables.scope import scope_of

    held: list[Any] = []
    judged, judged_wall = timed(lambda: held.append(scope_of(project)), n)
    scope = held[0]
    scope.parts = random.Random(1).sample(scope.parts, min(EXPORTED, n))
    models = models_of(scope)
    for name, writer in (("csv", delimited.write), ("parquet", parquet.write)):
        out = folder / f"{name}-{n}"
        out.mkdir()
        cpu, wall = timed(lambda writer=writer, out=out: writer(scope, out, models))
        found[f"export {name}"] = 1e3 * (cpu / len(scope.parts) + judged / n)
        found[f"export {name} wall"] = 1e3 * (wall / len(scope.parts) + judged_wall / n)
        shutil.rmtree(out)


def _commit(store: Store, template: Template, n: int, found: dict[str, float]) -> None:
    """More clips: half of them one stage after another through the store, half through the runner."""
    half = MORE // 2
    spent: list[tuple[float, float]] = []
    for number in range(n, n + half):
        results = template.results(template.clip(number))

        def each(results: list[Any] = results) -> None:
            for result in results:
                store.commit(result, run_id="run-1", at_utc=utc_now())

        spent.append(timed(each))
    cpu, wall = median(spent)
    found |= {"commit": 1e3 * cpu, "commit wall": 1e3 * wall}
    made = [template.clip(number) for number in range(n + half, n + MORE)]
    for m in made:
        store.commit_all(template.results(m)[:2], run_id="run-1", at_utc=utc_now())
    runner = ScriptedRunner(store, template.config)
    said = [0]

    def count(_: str) -> None:
        said[0] += 1

    store._db.set_trace_callback(count)
    cpu, wall = median([timed(lambda m=m: runner.bring([m])) for m in made])
    store._db.set_trace_callback(None)
    found |= {"queue": 1e3 * cpu, "queue wall": 1e3 * wall, "queue statements": said[0] / half}


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
    """Sizes; 100 1000 3000 without any."""
    sizes = [int(a) for a in args] or [100, 1000, 3000]
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
