"""Models of language as narrator and for a blind opinion: how much of what they say can be audited.

Invented clips of one face, the same for all engines; every attempt is in the denominator. Beside the real small model
stand the `ledger` engine on the same clips and a scripted narrator that says what the ledger says: what the contract
lets through where the model is able.
"""

from __future__ import annotations

import json
import time

from mien.core import Asks, Device, MienError, Replies, Source, clock
from mien.evaluate.audit import Audited, audit_project, figures
from mien.models.language.llamacpp import SMOLLM2, LlamaCpp
from mien.models.language.reading import read
from mien.models.weights import resolve
from mien.pipeline import Project
from mien.pipeline.answers import attempts
from mien.pipeline.reasoning import Role, Terms, reason_clips
from mien.reason import CHECKS, Ledger, reason
from mien.testing.ledgers import Invented, invented

CLIPS, WINDOWS = 1, 3
ROLES: tuple[Role, ...] = ("narrator", "opinion")


def main(args: list[str]) -> list[str]:
    """`[CLIPS]`: how many, default 1."""
    count = next((int(a) for a in args if a.isdigit()), CLIPS)
    made = [invented(n, 1, WINDOWS) for n in range(count)]
    lines = [
        f"{count} invented clips of {WINDOWS} windows; one answer each, temperature 0, 400 tokens at most.", "",
        "| engine | role | attempts | auditable (95 %) | read / cut / other | claims | without a finding | s each |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    lines.append(_row("ledger", "narrator", [_project(m) for m in made], 0.0, "ledger@"))
    projects = [_project(m) for m in made]
    for m, project in zip(made, projects, strict=True):
        reason_clips(project, Terms("language.openai"), model=_Scripted(_ledger(m)))
    lines.append(_row("scripted: the ledger's own claims", "narrator", projects, 0.0))
    try:
        files = resolve(SMOLLM2)
    except MienError as error:
        return [*lines, "", f"SmolLM2 was not asked: {error.message}."]
    model = LlamaCpp.open(files, LlamaCpp.Config(context_tokens=8192, repairs=0), Device(threads=2))
    try:
        for role in ROLES:
            projects = [_project(m) for m in made]
            started = time.perf_counter()
            for project in projects:
                reason_clips(project, Terms("language.llamacpp", role, budget=600, max_tokens=400), model=model)
            each = (time.perf_counter() - started) / count
            lines.append(_row("SmolLM2-135M Q4_1, guided", role, projects, each))
    finally:
        model.close()
    return lines


def _project(made: Invented) -> Project:
    """A project in memory that holds the clip and the ledger engine's trace."""
    project = Project.in_memory("research")
    end = made.clip.span.end_us
    source = Source(made.clip.source_sha, "a.wav", "audio", 1, end, None, None, None, 16000, 1, "research")
    trace, claims = reason(_ledger(made))
    rows = [source, made.clip, *made.tracks, *made.observations, *made.assessments, trace, *claims]
    project.store.put(rows, unit=made.clip.id, stage="made")
    return project


def _ledger(made: Invented) -> Ledger:
    return Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)


class _Scripted:
    """A narrator that says what the ledger engine says, as predicates."""

    def __init__(self, ledger: Ledger) -> None:
        _, claims = reason(ledger)
        rows = [
            {
                "predicate": c.predicate, "who": ledger.names.get(c.track_id or "", "the recording"), "text": None,
                "from": clock(c.span.start_us), "to": clock(c.span.end_us), "cites": list(c.evidence_ids),
            }
            for c in claims
        ]  # fmt: skip
        first = next((i for i, c in enumerate(claims) if c.predicate.startswith("posterior.top")), -1)
        self._said = json.dumps({"claims": rows, "conclusion": first, "review": False, "review_why": ""})

    def run(self, batch: Asks) -> Replies:
        return Replies(tuple(read(ask, self._said) for ask in batch.rows))


def _row(name: str, role: str, projects: list[Project], each: float, prefix: str = "vlm") -> str:
    audits: list[Audited] = []
    for project in projects:
        audits += [a for a in audit_project(project.store) if a.audit.engine.startswith(prefix)]
    (figure,) = figures(audits)
    states = [a.status for p in projects for _, a in attempts(p.store)] or ["ok"] * len(audits)
    whole, cut = states.count("ok"), states.count("truncated")
    counts = f"{whole} / {cut} / {len(states) - whole - cut}"
    claims = sum(a.audit.claims for a in audits)
    wrong = sum(len({f.claim_id for f in a.audit.findings if f.claim_id}) for a in audits)
    value, low, high = (100 * v for v in (figure.auditable.value, figure.auditable.low, figure.auditable.high))
    share = f"{value:.0f} % ({low:.0f} … {high:.0f})"
    for project in projects:
        project.close()
    failing = [c for c in CHECKS if figure.passed[c].value < 1]
    said = f"; fails {', '.join(failing)}" if failing else ""
    return f"| {name} | {role} | {len(audits)} | {share}{said} | {counts} | {claims} | {claims - wrong} | {each:.0f} |"
