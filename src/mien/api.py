"""mien from Python: `analyse`, `open`, `init`, and views of what a project holds."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from mien.core import (
    US,
    Assessment,
    Claim,
    Clip,
    Context,
    MienError,
    Observation,
    Signal,
    Source,
    Trace,
    Track,
    missing_extra,
)
from mien.pipeline import Listener, Outcome, Project, silent
from mien.reason import in_order
from mien.store.released import load_release

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Analysis", "ClipView", "Clips", "Curves", "analyse", "init", "load_release", "open"]


class Curves:
    """One named signal of one or more clips and tracks, on one clock."""

    def __init__(self, name: str, parts: Sequence[tuple[Signal, pa.Table]]) -> None:
        self.name, self._parts = name, list(parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[tuple[Signal, pa.Table]]:
        return iter(self._parts)

    @property
    def unit(self) -> str:
        return self._parts[0][0].unit if self._parts else ""

    @property
    def t_s(self) -> npt.NDArray[np.float64]:
        """Times in s of all parts, float64 `[n]`."""
        return self._joined("t_us").astype(np.float64) / US

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """float64 `[n]`; NaN where not measured."""
        return self._joined("value").astype(np.float64)

    @property
    def sd(self) -> npt.NDArray[np.float64]:
        """Standard deviation, float64 `[n]`; NaN where the model gives none."""
        return self._joined("sd").astype(np.float64)

    def mean(self, start_s: float = 0.0, end_s: float = float("inf")) -> float:
        """Mean of the measured values in a span of seconds; NaN if there are none."""
        rows = (self.t_s >= start_s) & (self.t_s < end_s) & np.isfinite(self.value)
        return float(self.value[rows].mean()) if rows.any() else float("nan")

    def _joined(self, column: str) -> npt.NDArray[Any]:
        return np.concatenate([t[column].to_numpy() for _, t in self._parts] or [np.zeros(0)])

    def to_arrow(self) -> pa.Table:
        """clip_id, track_id, t_us, value, sd (and gap where the signal has gaps), as one Arrow table."""
        import pyarrow as pa

        parts = []
        for signal, table in self._parts:
            n = table.num_rows
            held = table.select([c for c in ("t_us", "value", "sd", "gap") if c in table.column_names])
            held = held.append_column("clip_id", pa.array([signal.clip_id] * n, pa.string()))
            parts.append(held.append_column("track_id", pa.array([signal.track_id] * n, pa.string())))
        return pa.concat_tables(parts, promote_options="default") if parts else pa.table({})

    def to_pandas(self) -> pd.DataFrame:
        """The same as a pandas frame (needs `mien[pandas]`)."""
        _need("pandas", "pandas")
        return self.to_arrow().to_pandas()

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves with their ±1 sd bands; returns the matplotlib axes (needs `mien[plot]`)."""
        _need("matplotlib", "plot")
        from matplotlib import pyplot

        axes = ax if ax is not None else pyplot.subplots(figsize=(8, 2.6), layout="constrained")[1]
        for signal, table in self._parts:
            t = table["t_us"].to_numpy() / US
            value, sd = table["value"].to_numpy(), table["sd"].to_numpy()
            (line,) = axes.plot(t, value, linewidth=1.2, label=signal.track_id or signal.clip_id)
            if np.isfinite(sd).any():
                axes.fill_between(t, value - sd, value + sd, alpha=0.2, color=line.get_color(), linewidth=0)
        axes.set_xlabel("time (s)")
        axes.set_ylabel(f"{self.name} ({self.unit})" if self.unit else self.name)
        if 1 < len(self._parts) <= 6:
            axes.legend(fontsize=7)
        return axes


class ClipView:
    """One clip and what is known of it."""

    def __init__(self, project: Project, clip: Clip, source: Source) -> None:
        self._project, self.clip, self.source = project, clip, source

    @property
    def id(self) -> str:
        return self.clip.id

    @property
    def duration_s(self) -> float:
        return self.clip.span.duration_s

    @property
    def tracks(self) -> list[Track]:
        return self._mine(Track)

    @property
    def observations(self) -> list[Observation]:
        return self._mine(Observation)

    @property
    def assessments(self) -> list[Assessment]:
        return sorted(self._mine(Assessment), key=lambda a: (a.span, a.track_id or ""))

    @property
    def trace(self) -> Trace | None:
        """The ledger engine's; what models of language wrote is read by `mien reason`."""
        return next((t for t in self._mine(Trace) if t.engine.startswith("ledger")), None)

    @property
    def claims(self) -> list[Claim]:
        trace = self.trace
        return in_order(self._project.store.all(Claim, "trace_id = ?", (trace.id,))) if trace else []

    def signals(self, name: str) -> Curves:
        return Clips(self._project, [self]).signals(name)

    def _mine(self, record: type[Any]) -> list[Any]:
        return self._project.store.all(record, "clip_id = ?", (self.clip.id,))

    def __repr__(self) -> str:
        return f"<clip {self.id} of {Path(self.source.path).name} {self.clip.span}>"


class Clips(Sequence[ClipView]):
    """A list of clips that can be narrowed."""

    def __init__(self, project: Project, views: Sequence[ClipView]) -> None:
        self._project, self._views = project, list(views)

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, index: Any) -> Any:
        return Clips(self._project, self._views[index]) if isinstance(index, slice) else self._views[index]

    def where(
        self,
        test: Callable[[ClipView], bool] | None = None,
        *,
        source: str | None = None,
        observed: str | None = None,
        state: str | None = None,
        min_s: float = 0.0,
    ) -> Clips:
        """Clips that fit all that is given.

        Args:
            test: any function of a clip.
            source: file name, `*` and `?` allowed.
            observed: a target that must have been observed (`vocal.kind`, `presence`, …).
            state: a state that some assessment of the clip leads with, not abstaining.
            min_s: least duration.
        """
        return Clips(
            self._project,
            [
                v
                for v in self._views
                if v.duration_s >= min_s
                and (source is None or fnmatch.fnmatch(Path(v.source.path).name, source))
                and (observed is None or any(o.target == observed for o in v.observations))
                and (state is None or any(not a.abstained and _top(a) == state for a in v.assessments))
                and (test is None or test(v))
            ],
        )

    def signals(self, name: str) -> Curves:
        """A named signal of these clips. Raises MienError `signal.unknown`, with the names there are."""
        store = self._project.store
        parts: list[tuple[Signal, Any]] = []
        known: set[str] = set()
        for view in self._views:
            for signal in store.all(Signal, "clip_id = ?", (view.id,)):
                known.add(signal.name)
                table = store.table(signal.array) if signal.name == name else None
                if table is not None:
                    parts.append((signal, table))
        if not parts:
            raise MienError(
                "signal.unknown",
                f"there is no signal {name!r} here",
                f"there are: {', '.join(sorted(known)) or 'none'}",
            )
        return Curves(name, parts)


class Analysis:
    """A project and what it holds; a context manager. `analyse` gives one that lives in memory."""

    def __init__(self, project: Project) -> None:
        self.project = project

    @property
    def clips(self) -> Clips:
        store = self.project.store
        sources = {s.sha256: s for s in store.all(Source)}
        found = [ClipView(self.project, c, sources[c.source_sha]) for c in store.all(Clip)]
        return Clips(self.project, sorted(found, key=lambda v: (v.source.path, v.clip.span)))

    @property
    def claims(self) -> list[Claim]:
        return [claim for clip in self.clips for claim in clip.claims]

    @property
    def sources(self) -> list[Source]:
        return self.project.store.all(Source)

    def signals(self, name: str) -> Curves:
        return self.clips.signals(name)

    def run(self, *inputs: str | Path, listener: Listener = silent) -> Outcome:
        """Register inputs and do whatever is missing or changed."""
        return self.project.run(inputs, listener=listener)

    def retry(self) -> Outcome:
        return self.project.retry()

    def status(self) -> dict[str, Any]:
        return self.project.status()

    def query(self, sql: str) -> pa.Table:
        """A read-only SQL question, answered as an Arrow table."""
        import pyarrow as pa

        names, rows = self.project.store.query(sql)
        columns: list[Any] = [list(c) for c in zip(*rows, strict=True)] if rows else [[] for _ in names]
        return pa.table(dict(zip(names, columns, strict=True)))

    def report(self, path: str | Path = "report.html", *, pictures: bool = True) -> Path:
        """Write the self-contained HTML report."""
        from mien.export.report.collect import write

        return write(self.project, Path(path), pictures=pictures)

    def close(self) -> None:
        self.project.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def analyse(*inputs: str | Path, context: Context = "research", listener: Listener = silent, **flags: Any) -> Analysis:
    """Analyse files without a project: everything stays in memory and is gone with the object.

    Args:
        inputs: files or folders.
        context: the deployment context; in `care`, affect stages wait for an enrolled person here too.
        flags: configuration tables, e.g. `analysis={"fps": 2}`.

    Raises:
        MienError: what the inputs cannot give, with a code (`media.*`), when none of them could be analysed.
    """
    project = Project.in_memory(context, flags)
    outcome = project.run(inputs, listener=listener)
    if outcome.failures and not project.store.all(Clip):
        first = outcome.failures[0]
        raise MienError(first.code, first.message, first.hint)
    return Analysis(project)


def open(folder: str | Path = ".") -> Analysis:  # noqa: A001 - `mien.open` reads as what it does
    """Open the project at or above a folder."""
    return Analysis(Project.open(Path(folder)))


def init(folder: str | Path, context: Context, name: str = "") -> Analysis:
    """Make a project folder."""
    return Analysis(Project.init(Path(folder), context, name))


def _top(row: Assessment) -> str:
    return max(row.posterior, key=lambda pair: pair[1])[0]


def _need(package: str, extra: str) -> None:
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise missing_extra(package, extra)
