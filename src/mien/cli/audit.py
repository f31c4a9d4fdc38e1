"""`mien audit`: are the claims grounded in their evidence, and does what they cite decide?"""

from __future__ import annotations

import math
from typing import Annotated, Any

import typer

from mien.cli.talk import State, errors, give, say, table

NOTE = "grounded in sensor readings and relevant to the decision: that does not make a reading right"


def audit(
    trace: Annotated[str | None, typer.Argument(metavar="[TRACE]", help="One trace by its id; else all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Recompute every claim from its ledger: auditable share per engine, and the traces that fail, with the reason."""
    from mien.core import MienError
    from mien.evaluate.audit import audit_project, figures, queue
    from mien.pipeline import Project

    project = Project.open(State.folder)
    try:
        with errors():
            found = list(audit_project(project.store, trace or ""))
            if not found:
                raise MienError(
                    "show.unknown" if trace else "audit.nothing",
                    f"no trace has the id {trace!r}" if trace else "there are no claims to audit",
                    'ids: mien query "SELECT id FROM traces"' if trace else "make some with: mien run VIDEO",
                )
    finally:
        project.close()
    failed = queue(found)
    if as_json:
        give({"engines": figures(found), "queue": failed, "traces": [a.audit for a in found] if trace else []})
    else:
        for row in figures(found):
            _engine(row)
        for one in found if trace else ():
            _one(one.audit)
        for one in failed:
            say(f"to look at: {one.trace_id or one.clip_id} fails {', '.join(one.failed)}")
            for finding in one.findings[:5]:
                say(f"  {finding.check}: {finding.claim_id or 'the trace'}: {finding.why}")
            if len(one.findings) > 5:
                say(f"  … {len(one.findings) - 5} more: mien audit {one.trace_id} --json")
        say(NOTE)
    raise SystemExit(1 if failed else 0)


def _engine(row: Any) -> None:
    say(f"engine {row.engine}: " + ", ".join(f"{n} {status}" for status, n in sorted(row.statuses.items())))
    shown = {"auditable": row.auditable} | row.passed
    lines = [[name, *_share(f), f.n, f.sources] for name, f in shown.items()]
    table(["share of attempts", "%", "95 %", "attempts", "sources"], lines, right=(1, 2, 3, 4))
    moved = [[name, *_number(f), f.n, f.sources] for name, f in row.deletions.items()]
    table(["fall of p on deletion", "mean", "95 %", "traces", "sources"], moved, right=(1, 2, 3, 4))


def _one(audit: Any) -> None:
    lines = [[name, "nothing to check" if math.isnan(v) else f"{v:.3f}"] for name, v in audit.shares.items()]
    table(["check", "share"], lines, right=(1,))


def _share(f: Any) -> tuple[str, str]:
    return f"{100 * f.value:.1f}", _between(100 * f.low, 100 * f.high, 1)


def _number(f: Any) -> tuple[str, str]:
    return ("" if math.isnan(f.value) else f"{f.value:.3f}"), _between(f.low, f.high, 3)


def _between(low: float, high: float, digits: int) -> str:
    return "one source" if math.isnan(low) else f"{low:.{digits}f} to {high:.{digits}f}"
