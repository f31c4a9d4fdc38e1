"""`mien diff`: two runs, or two models over the same media, side by side."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table
from mien.core import MienError

FEW = 8  # confusions and bins that are printed; --json has all
_CLASSES = ("agreement", "kappa", "divergence")
_VALUES = ("bias", "sd", "lower", "upper", "ccc", "pearson")
_STATES = ("lead_changed", "abstention_changed", "conflict_a", "conflict_b")


def diff(
    sides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[A B [INPUT]...]",
            help="Two runs: number, id, project folder, or FOLDER@RUN. With --slot: two models, then files (none: the "
            "project's own media). Nothing: list the runs.",
        ),
    ] = None,
    slot: Annotated[
        str | None, typer.Option("--slot", help="Compare two models of this slot, run in memory; nothing is kept.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same in both.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Compare two runs or two models: settings, agreement, calibration where labels exist, cost."""
    from mien.evaluate.comparing import compare
    from mien.evaluate.sides import runs_of
    from mien.pipeline import Project

    with contextlib.ExitStack() as closing, errors():
        here = None
        try:
            here = Project.open(State.folder)
        except MienError as error:
            if error.code != "project.not-found" or slot or not sides:
                raise
        else:
            closing.callback(here.close)
        if not sides and here is not None:
            _listed(runs_of(here), as_json)
            return
        a, b = _sides(here, sides or [], slot, as_json)
        closing.callback(a.project.close)
        closing.callback(b.project.close)
        projects = [p for p in (here, a.project, b.project) if p is not None]
        found = compare(a, b, _truth(projects))
    if as_json:
        give(found)
    else:
        _tell(found, everything)


def _sides(here: Any, words: list[str], slot: str | None, as_json: bool) -> tuple[Any, Any]:
    from mien.cli.progress import listening
    from mien.evaluate.sides import model_sides, pick

    if len(words) < 2 or (len(words) > 2 and not slot):
        how = "mien diff --slot SLOT MODEL MODEL [FILES]" if slot else "mien diff A B; mien diff alone lists the runs"
        raise MienError("diff.needs-two", f"two are compared, but got {len(words)}", how)
    if not slot:
        return pick(words[0], here), pick(words[1], here)
    with contextlib.nullcontext() if as_json else listening(False) as listener:
        more = {"listener": listener} if listener else {}
        a, b = model_sides(here, slot, words[:2], [Path(w) for w in words[2:]], **more)
    return a, b


def _truth(projects: list[Any]) -> Any:
    """What people said of a place, in any of these projects; None where nobody said anything."""
    from mien.export.selection.labelled import Place, labels_of

    held = [labels for p in projects if len(labels := labels_of(p.store))]

    def said(sha: str, span: Any, box: Any, target: str) -> str | None:
        found = (labels.of(Place(sha, span, box), target) for labels in held)
        return next((label.value for label in found if label), None)

    return said if held else None


# ---------------------------------------------------------------- telling


def _listed(runs: list[Any], as_json: bool) -> None:
    if as_json:
        give([{"number": r.number, "readable": r.readable, "results": r.results, **_run(r.run)} for r in runs])
        return
    rows = [
        [r.number, r.run.started_utc[:19], r.run.command, "" if r.run.finished_utc else "interrupted", r.results,
         "yes" if r.readable else "replaced, kept no more"]
        for r in runs
    ]  # fmt: skip
    table(["run", "started (UTC)", "command", "", "results now", "can be compared"], rows, right=(0, 4))
    say(
        "compare two: mien diff 1 2" if len(runs) > 1 else "there is nothing to compare yet: change mien.toml, mien run"
    )


def _run(run: Any) -> dict[str, Any]:
    from mien.cli.talk import plain

    return plain(run)


def _tell(found: Any, everything: bool) -> None:
    say(f"A: {found.a}   B: {found.b}   (differences are B - A)")
    say(f"{found.sources} source(s) in both, {found.only_a} only in A, {found.only_b} only in B")
    if found.config:
        table(["setting", "A", "B"], [[k, _said(x), _said(y)] for k, x, y in found.config])
    else:
        say("no setting differs, as far as settings were kept")
    for stage, a, b in found.adapters:
        print(f"{stage}, answered in A by {', '.join(a) or 'nothing'}")
        print(f"{' ' * len(stage)}              B by {', '.join(b) or 'nothing'}")
    differing = [r for r in found.rows if everything or r.changed or r.only_a or r.only_b]
    _rows(differing)
    for row in differing:
        _classes(row)
        _calibration(row)
    same = Counter(r.slot for r in found.rows if r not in differing)
    if same:
        say("the same in both: " + ", ".join(f"{slot} ({n})" for slot, n in same.items()) + " (targets; --all)")
    words = sorted({r.clusters for r in differing if r.clusters})
    if words:
        say(f"95 % intervals over: {'; '.join(words)}" if any("no" not in w for w in words) else "; ".join(words))
    cost = [[c.stage, c.ms_per_s_a, c.ms_per_s_b, _ratio(c), c.clips_a, c.clips_b, c.same] for c in found.cost]
    headers = ["stage", "ms per s, A", "B", "B ÷ A", "clips A", "B", "same result"]
    table(headers, cost, right=(1, 2, 3, 4, 5, 6))
    for m in found.models:
        print(f"{m.slot}: A {', '.join(m.a) or 'off'} ({_mb(m.bytes_a)})")
        print(f"{' ' * len(m.slot)}  B {', '.join(m.b) or 'off'} ({_mb(m.bytes_b)})")
    for note in found.notes:
        say(f"note: {note}")
    if found.in_memory:
        say("note: the model that ran first also paid for what both load once; costs mean little over a few seconds")


def _rows(rows: Any) -> None:
    presence = [
        [f"{r.slot}: {r.target}", r.matched, r.changed, r.only_a, r.only_b, r.f1, _unmeasured(r), _estimate(r, "iou")]
        for r in rows
    ]
    headers = ["slot: target", "matched", "changed", "only A", "B", "F1", "no answer A/B", "IoU"]
    if rows:
        table(headers, presence, right=(1, 2, 3, 4, 5, 6, 7))
    for names, title in (
        (_CLASSES, "classes: same leading class, Cohen's κ, Jensen-Shannon divergence in nats"),
        (_VALUES, "values: B - A, its sd, limits of agreement, concordance (ccc), Pearson's r"),
        (_STATES, "assessments: share whose leading state or abstention changed; share in conflict"),
    ):
        of = [r for r in rows if names[0] in r.measures]
        if of:
            print(title)
            cells = [[f"{r.target} ({r.unit})" if r.unit else r.target, *(_estimate(r, n) for n in names)] for r in of]
            table(["target", *(n.replace("_", " ") for n in names)], cells)


def _classes(row: Any) -> None:
    apart = [c for c in row.confusion if c[0] != c[1]]
    if apart:
        said = ", ".join(f"{a} → {b} {n}" for a, b, n in apart[:FEW])
        print(f"{row.target}, leading class in A → in B: {said}{' …' if len(apart) > FEW else ''}")


def _calibration(row: Any) -> None:
    held = row.calibration
    if held is None:
        return
    unknown = f", {held.unknown} more have a label that one side does not know" if held.unknown else ""
    print(f"{row.target} against {held.rows} label(s){unknown} (intervals: {row.clusters})")
    table(
        ["measure", "A", "B", "B - A"],
        [[n, *(_number(side[n]) for side in (held.a, held.b, held.difference))] for n in held.a],
    )
    if held.reliability:
        rows = [
            [f"{i / 10:.1f}-{(i + 1) / 10:.1f}", *(v for bin_ in pair for v in _bin(bin_))]
            for i, pair in enumerate(zip(*held.reliability, strict=True))
            if any(bin_.rows for bin_ in pair)
        ]
        table(["says", "n A", "said A", "right A", "n B", "said B", "right B"], rows, right=(1, 2, 3, 4, 5, 6))


def _bin(held: Any) -> list[Any]:
    return [held.rows, held.confidence, held.accuracy] if held.rows else [0, None, None]


def _estimate(row: Any, name: str) -> str:
    return _number(row.measures[name]) if name in row.measures else ""


def _number(held: Any) -> str:
    if math.isnan(held.value):
        return "-"
    return f"{held.value:.3g}" + ("" if held.low is None else f" [{held.low:.3g}, {held.high:.3g}]")


def _unmeasured(row: Any) -> str:
    return f"{row.unmeasured_a}/{row.unmeasured_b}" if row.unmeasured_a or row.unmeasured_b else ""


def _ratio(cost: Any) -> float | None:
    return cost.ms_per_s_b / cost.ms_per_s_a if cost.ms_per_s_a and cost.ms_per_s_b is not None else None


def _mb(size: int | None) -> str:
    return "size not known" if size is None else f"{size / 1e6:.1f} MB"


def _said(value: Any) -> str:
    return "(not there)" if value is None else str(value)
