"""From a project's store to `ReportData`: reads records and curves, picks, gates and blurs the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import (
    VERSION,
    Assessment,
    Claim,
    Clip,
    Failure,
    MienError,
    Observation,
    Run,
    Signal,
    Source,
    Trace,
    Track,
)
from mien.export.report.data import (
    ClaimCheck,
    ClipView,
    Event,
    ModelView,
    Picture,
    Project,
    ReportData,
    SignalView,
    Waiting,
)
from mien.pipeline import Project as Opened
from mien.pipeline import Stack
from mien.pipeline.registering import left
from mien.pipeline.shown import stills
from mien.policy import WAITING_CODE, forbidden_words
from mien.reason import Ledger, audit, check, in_order, index, movement, opposing, predicate_of

PICTURES_PER_CLIP = 4
PICTURE_SIDE_PX = 480


def collect(project: Opened, *, pictures: bool = True, blur: bool = True) -> ReportData:
    """Everything the report shows. Pictures are shown only where the display rules pass each of them."""
    store = project.store
    stack = Stack(project.config)
    try:
        sources = store.all(Source)
        clips: list[ClipView] = []
        for source in sources:
            mine = sorted(store.all(Clip, "source_sha = ?", (source.sha256,)), key=lambda c: c.span)
            clips += [_clip(project, stack, source, clip, pictures, blur) for clip in mine]
        names = project.names()
        runs = tuple(sorted(store.all(Run), key=lambda r: r.id))
        waiting = {r.stage: r.note or "" for r in store.stages() if r.state == WAITING_CODE}
        return ReportData(
            Project(project.name, project.config.context, runs[0].started_utc if runs else "", VERSION),
            runs,
            tuple(sources),
            tuple(clips),
            tuple(_models(stack)),
            tuple(replace(f, unit=names.get(f.unit, f.unit)) for f in store.all(Failure)),
            tuple(Waiting(stage, note) for stage, note in sorted(waiting.items())),
            _notes(clips),
        )
    finally:
        stack.close()


def _clip(project: Opened, stack: Stack, source: Source, clip: Clip, pictures: bool, blur: bool) -> ClipView:
    store, where = project.store, ("clip_id = ?", (clip.id,))
    observations = store.all(Observation, *where)
    traces = [t for t in store.all(Trace, *where) if t.engine.startswith("ledger")]
    shown: tuple[Picture, ...] = ()
    withheld: str | None = "pictures were not asked for"
    if source.kind == "audio":
        withheld = None
    elif pictures:
        shown, withheld = _pictures(project, stack, source, clip, observations, blur)
    tracks, assessments = tuple(store.all(Track, *where)), tuple(store.all(Assessment, *where))
    trace = traces[0] if traces else None
    claims = tuple(in_order(store.all(Claim, "trace_id = ?", (trace.id,)))) if trace else ()
    checks: dict[str, ClaimCheck] = {}
    failed: tuple[str, ...] | None = None
    if trace:
        ledger = Ledger(clip, tracks, tuple(observations), assessments, trace.missing)
        failed = audit(ledger, trace, claims, forbidden=forbidden_words, deletions=False).failed
        checks = _checks(ledger, claims)
    return ClipView(
        clip,
        source,
        tracks,
        tuple(observations),
        tuple(_curve(project, s) for s in store.all(Signal, *where)),
        tuple(_events(observations)),
        tuple(sorted(assessments, key=lambda a: (a.span, a.track_id or ""))),
        trace,
        claims,
        shown,
        withheld,
        checks,
        failed,
    )


def _checks(ledger: Ledger, claims: tuple[Claim, ...]) -> dict[str, ClaimCheck]:
    """Each claim recomputed from the record, and the rows that speak against what it says."""
    held, found = index(ledger), dict[str, ClaimCheck]()
    for claim in claims:
        predicate = predicate_of(claim)
        if predicate is None:
            found[claim.id] = ClaimCheck("not checkable", "its predicate is outside the grammar")
            continue
        checked = check(predicate, held)
        against = tuple(dict.fromkeys(i for _, _, rows in opposing(predicate, ledger) for i in rows))
        own = tuple(i for i in against if i in claim.evidence_ids)
        found[claim.id] = ClaimCheck(checked.found, checked.why, against, own)
    return found


def _curve(project: Opened, signal: Signal) -> SignalView:
    table = project.store.table(signal.array)
    if table is None:
        raise MienError("store.array-damaged", f"the array {signal.array} is missing", "run 'mien doctor --repair'")
    value = table["value"].to_numpy().astype(np.float64)
    gap = (
        table["gap"].to_numpy(zero_copy_only=False).astype(bool) if "gap" in table.column_names else ~np.isfinite(value)
    )
    return SignalView(signal, table["t_us"].to_numpy(), value, table["sd"].to_numpy().astype(np.float64), gap)


def _events(observations: list[Observation]) -> list[Event]:
    found: list[Event] = []
    for o in observations:
        if o.target == "vocal.kind":
            kind = max(o.dist, key=lambda d: d[1])[0]
            text = "speech-like sound" if kind == "speech" else "vocal sound, not clearly speech"
            found.append(Event(o.id, "vocal", text, o.span))
        elif o.target == "presence":
            found.append(Event(o.id, "presence", "in view", o.span, o.track_id))
        elif text := movement(o):
            found.append(Event(o.id, "movement", text, o.span, o.track_id))
        elif o.target == "word":
            found.append(Event(o.id, "word", o.dist[0][0], o.span))
    return sorted(found, key=lambda e: (e.span, e.id))


def _models(stack: Stack) -> list[ModelView]:
    rows: list[ModelView] = []
    for slot in stack.slots():
        spec = stack.spec(slot)
        if spec.weights:
            weak = any(m.weak for m in spec.measured)
            rows.append(ModelView(spec.name, slot, stack.label(slot), spec.weights.licences, spec.measured, weak))
    return rows


def _notes(clips: list[ClipView]) -> tuple[str, ...]:
    missing = [m for c in clips if c.trace for m in c.trace.missing]
    return tuple(dict.fromkeys(missing))


# ---------------------------------------------------------------- pictures


def _pictures(
    project: Opened, stack: Stack, source: Source, clip: Clip, observations: list[Observation], blur: bool
) -> tuple[tuple[Picture, ...], str | None]:
    """Pictures of a clip, or the reason there are none. Each shown frame passes the gate itself, not only its clip."""
    found = stills(
        stack, project.config.context, source, clip, observations,
        count=PICTURES_PER_CLIP, side_px=PICTURE_SIDE_PX, blur=blur,
    )  # fmt: skip
    if found.frames is None:
        return (), found.why
    caption = "faces blurred" if found.blurred else ""
    times = found.frames.t_us.tolist()
    return tuple(Picture(t, _jpeg(image), caption) for t, image in zip(times, found.frames.pixels, strict=True)), None


def _jpeg(image: Any) -> bytes:
    import cv2

    ok, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 82])
    if not ok:
        raise MienError("report.no-jpeg", "a picture could not be encoded")
    return coded.tobytes()


def write(project: Opened, path: Path, *, pictures: bool = True, blur: bool = True) -> Path:
    """Render the report to a file.

    Raises:
        MienError: `weights.missing` when uPlot was never fetched; `report.not-writable`.
    """
    from mien.export.report.render import render
    from mien.models.weights import resolve, select

    (entry,) = select(["page.uplot"])
    files = resolve(entry.weights)
    js, css = (files[name].read_text(encoding="utf-8") for name in ("uPlot.iife.min.js", "uPlot.min.css"))
    html = render(collect(project, pictures=pictures, blur=blur), js, css)
    temporary = path.with_suffix(path.suffix + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise MienError(
            "report.not-writable", f"cannot write {path}: {error.strerror}", "choose another path: --out"
        ) from error
    left(project, "report", path, [s.sha256 for s in project.store.all(Source)])
    return path
