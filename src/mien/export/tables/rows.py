"""Rows of the long tables, one clip at a time, as Arrow record batches: the same for CSV and Parquet."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.core import Assessment, Attribute, MienError, Signal, Span, Track
from mien.core.records import Dist
from mien.export.selection.labelled import WHERE, Label, Place
from mien.export.selection.scope import ClipRows, Scope, items_of
from mien.export.tables.notice import Model
from mien.export.tables.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    import pyarrow as pa

Row = tuple[Any, ...]
PER_CLIP = ("clips", "tracks", "observations", "signals", "signal_list", "assessments", "claims")


def _licences(model: Model) -> tuple[str, str, str]:
    held = model.licences
    return held.code, held.weights, held.training_data


def of_clip(scope: Scope, rows: ClipRows) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(table, batch) of one clip; tables without rows give nothing."""
    makers: dict[str, Callable[[Scope, ClipRows], Iterator[Row]]] = {
        "clips": _clips, "tracks": _tracks, "observations": _observations, "signal_list": _signal_list,
        "assessments": _assessments, "claims": _claims,
    }  # fmt: skip
    for table, maker in makers.items():
        held = list(maker(scope, rows))
        if held:
            yield table, batch(table, held)
    for signal in rows.signals:
        yield "signals", _curve(scope, rows, signal)


def of_project(scope: Scope, models: list[Model]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """(table, batch) of what belongs to no single clip."""
    for table, held in (
        ("sources", list(_sources(scope))),
        ("items", [(i.id, Path(i.origin).name, i.row, " ".join(i.source_shas)) for i in items_of(scope)]),
        ("attributes", list(_attributes(scope))),
        ("labels", list(_labels(scope))),
        ("models", [(m.fingerprint, m.name, m.slot, m.weights_sha256, *_licences(m)) for m in models]),
    ):
        if held:
            yield table, batch(table, held)


def batch(table: str, rows: list[Row]) -> pa.RecordBatch:
    """Rows as a record batch of the table's schema. NaN becomes null: not measured."""
    import pyarrow as pa

    schema = arrow_schema(table)
    columns = zip(*rows, strict=True)
    arrays = [pa.array([_null(v) for v in c], f.type) for c, f in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _null(value: Any) -> Any:
    return None if value == "" or (isinstance(value, float) and math.isnan(value)) else value


# ---------------------------------------------------------------- per project


def _sources(scope: Scope) -> Iterator[Row]:
    for name, s in scope.sources.items():
        yield (
            *(name, s.sha256, s.kind, s.duration_us, s.width_px, s.height_px, s.fps, s.audio_rate_hz, s.coverage),
            *(s.state, s.context, s.licence, scope.asked.told(s)),
        )


def _attributes(scope: Scope) -> Iterator[Row]:
    for item in items_of(scope):
        for a in sorted(scope.project.store.all(Attribute, "item_id = ?", (item.id,)), key=lambda a: a.key):
            if a.key != "consent":  # words about a person; `sources` tells the scopes
                yield a.item_id, a.key, a.type, a.value


def _labels(scope: Scope) -> Iterator[Row]:
    names = {s.sha256: n for n, s in scope.sources.items()}
    for verdict, where in scope.labels.history():
        if verdict.target == WHERE or where is None or where.source_sha not in names:
            continue
        box = where.box or (None,) * 4
        newest = scope.labels.newest(verdict.key, verdict.target) == verdict
        yield (
            *(names[where.source_sha], where.span.start_us, where.span.end_us, *box),
            *(verdict.target, verdict.value, verdict.by, verdict.at_utc, newest),
        )


# ---------------------------------------------------------------- per clip


def _which(rows: ClipRows) -> Row:
    return rows.part.name, rows.part.clip.id


def _who(rows: ClipRows, track_id: str | None) -> Row:
    return track_id, rows.who.get(track_id or "")


def _label(scope: Scope, rows: ClipRows, span: Span, track_id: str | None, target: str) -> Row:
    found = label_for(scope, rows, span, track_id, target)
    return (found.value, found.by) if found else (None, None)


def label_for(scope: Scope, rows: ClipRows, span: Span, track_id: str | None, target: str) -> Label | None:
    """What a person said of a row, if anybody did."""
    return scope.labels.of(place_of(rows, span, track_id), target) if len(scope.labels) else None


def place_of(rows: ClipRows, span: Span, track_id: str | None) -> Place:
    """Where on the media a row lies."""
    box = next((t.geometry for t in rows.tracks if t.id == track_id), None)
    return Place(rows.part.source.sha256, span, box)


def _clips(_: Scope, rows: ClipRows) -> Iterator[Row]:
    c = rows.part.clip
    yield rows.part.name, c.id, c.source_sha, c.span.start_us, c.span.end_us, c.starts, c.ends, c.cutter


def subject_of(scope: Scope, rows: ClipRows, track: Track) -> str:
    """The pseudonym a person assigned to a track; `unassigned` where nobody did."""
    said = label_for(scope, rows, track.span, track.id, "subject") if track.kind != "object" else None
    return said.value if said else track.subject_id


def _tracks(scope: Scope, rows: ClipRows) -> Iterator[Row]:
    for t in rows.tracks:
        yield (
            *_which(rows),
            *_who(rows, t.id),
            *(t.kind, t.label, t.span.start_us, t.span.end_us, *t.geometry, t.frames, subject_of(scope, rows, t)),
            *_label(scope, rows, t.span, t.id, "object" if t.kind == "object" else "subject"),
        )


def top_of(dist: Dist) -> tuple[str | None, float | None]:
    """(likeliest label, its probability)."""
    return max(dist, key=lambda pair: pair[1]) if dist else (None, None)


def _told(pairs: Dist) -> str | None:
    return json.dumps(dict(pairs), ensure_ascii=False, separators=(",", ":")) if pairs else None


def _observations(scope: Scope, rows: ClipRows) -> Iterator[Row]:
    for o in rows.observations:
        yield (
            *(*_which(rows), o.id, *_who(rows, o.track_id), o.span.start_us, o.span.end_us, o.target),
            *(o.value, o.sd, o.unit, *top_of(o.dist), _told(o.dist), o.quality, o.n, o.reason),
            *_label(scope, rows, o.span, o.track_id, o.target),
            o.adapter,
        )


def _signal_list(_: Scope, rows: ClipRows) -> Iterator[Row]:
    for s in rows.signals:
        yield (
            *(*_which(rows), s.id, *_who(rows, s.track_id), s.name, s.unit, s.t0_us, s.step_us, s.n, s.coverage),
            *(s.weak, s.accuracy, s.adapter),
        )


def _curve(scope: Scope, rows: ClipRows, signal: Signal) -> pa.RecordBatch:
    """One signal's cells. Raises MienError `store.array-damaged` where its array is missing."""
    import pyarrow as pa

    held = scope.project.store.table(signal.array)
    if held is None:
        raise MienError("store.array-damaged", f"the array {signal.array} is missing", "run 'mien doctor --repair'")
    schema, n = arrow_schema("signals"), held.num_rows
    value, sd = (held[c].to_numpy().astype(np.float32) for c in ("value", "sd"))
    gap = held["gap"].to_numpy(zero_copy_only=False).astype(bool) if "gap" in held.column_names else np.isnan(value)
    which = (*_which(rows), *_who(rows, signal.track_id), signal.name)
    arrays = [
        *(pa.repeat(pa.scalar(v, pa.string()), n) for v in which),
        pa.array(held["t_us"].to_numpy()),
        pa.array(value, mask=np.isnan(value)),
        pa.array(sd, mask=np.isnan(sd)),
        pa.array(gap),
        *(pa.repeat(pa.scalar(v or None, pa.string()), n) for v in (signal.unit, signal.adapter)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _assessments(scope: Scope, rows: ClipRows) -> Iterator[Row]:
    for a in rows.assessments:
        state, p = top_of(a.posterior)
        weights = tuple((c.source, c.weight) for c in a.contributions)
        yield (
            *(*_which(rows), a.id, *_who(rows, a.track_id), a.span.start_us, a.span.end_us),
            *(None if a.abstained else state, p, _told(a.posterior), _told(weights)),
            *(a.ambiguity, a.conflict, a.vacuity, a.abstained, a.reason),
            *(" ".join(a.credible), a.level, _told(a.smoothed)),
            *_label(scope, rows, a.span, a.track_id, "state"),
            a.adapter,
        )


def state_of(a: Assessment) -> str:
    """The state an assessment leads with, or that it abstains."""
    return "abstained" if a.abstained else top_of(a.posterior)[0] or ""


def _claims(_: Scope, rows: ClipRows) -> Iterator[Row]:
    engine = rows.trace.engine if rows.trace else None
    for c in rows.claims:
        yield (
            *(*_which(rows), c.id, *_who(rows, c.track_id), c.span.start_us, c.span.end_us),
            *(c.kind, c.predicate, c.text, " ".join(c.evidence_ids), engine),
        )


__all__ = ["PER_CLIP", "TABLES", "label_for", "of_clip", "of_project", "place_of", "state_of", "subject_of", "top_of"]
