"""`mien reason`: a model of language explains clips, or says blindly what it makes of them."""

from __future__ import annotations

import contextlib
from typing import Annotated, Any, Literal

import typer

from mien.cli.talk import State, errors, give, say, table

SEEN = "seen by the model, not measured"


def reason(
    clips: Annotated[list[str] | None, typer.Argument(metavar="[CLIP]...", help="Ids of clips; none: all.")] = None,
    engine: Annotated[str, typer.Option(metavar="ADAPTER", help="What answers: vlm.qwen3vl, language.openai …")] = "",
    role: Annotated[
        Literal["narrator", "opinion"],
        typer.Option(help="narrator: explains what was measured. opinion: sees no posterior, answers with shares."),
    ] = "narrator",
    samples: Annotated[int, typer.Option(help="Answers per clip; several show how stable they are.")] = 1,
    temperature: Annotated[float | None, typer.Option(help="Default: 0 for one sample, 0.6 for several.")] = None,
    think: Annotated[bool, typer.Option("--think", help="Let a thinking model think first.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Of one answer.")] = 2048,
    pictures: Annotated[
        int | None, typer.Option(help="Pictures per clip, of those that passed the gate. Default: 8 for a vlm, else 0.")
    ] = None,
    show_faces: Annotated[bool, typer.Option("--show-faces", help="Do not blur faces (never in care).")] = False,
    budget: Annotated[int, typer.Option(help="Tokens of evidence in a question.")] = 3000,
    retry: Annotated[bool, typer.Option("--retry", help="Ask again where an answer could not be read.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the questions and ask nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Ask a model of language about clips. It changes no number; what it says is audited: mien audit."""
    from mien.cli.progress import listening
    from mien.core import MienError
    from mien.pipeline import Project
    from mien.pipeline.events import silent
    from mien.pipeline.reasoning import Terms, questions, reason_clips

    if not engine:
        hint = "mien reason --engine language.openai (those that answer questions: mien models list)"
        raise MienError("config.no-engine", "say which adapter is to answer: --engine ADAPTER", hint)
    terms = Terms(engine, role, samples, temperature, think, max_tokens, pictures, show_faces, budget)
    project = Project.open(State.folder)
    try:
        with errors(), contextlib.ExitStack() as watching:
            if dry_run:
                _questions(list(questions(project, terms, clips or ())), as_json)
                return
            listener = silent if as_json else watching.enter_context(listening(False))
            done = reason_clips(project, terms, clips or (), retry=retry, listener=listener)
            found = [_clip(project, clip, done.engine) for clip in _clips(project, clips or (), done.engine)]
    finally:
        project.close()
    if as_json:
        give({"engine": done.engine, "before": done.before, "waiting": done.waiting, "clips": found})
    else:
        for one in found:
            _tell(one)
        asked = sum(map(len, done.asked.values()))
        say(f"{asked} answer(s); {done.before} clip(s) stood already, {done.waiting} waiting for a person")
        say("how far they hold: mien audit")
    failed = any(a.status != "ok" for many in done.asked.values() for a in many)
    raise SystemExit(1 if failed else 0)


def _questions(asked: list[Any], as_json: bool) -> None:
    if as_json:
        give(
            [
                {
                    "clip": one.clip.id,
                    "messages": [
                        {"role": m.role, "text": m.text, "frames_us": m.frames.t_us.tolist() if m.frames else []}
                        for m in one.ask.messages
                    ],
                    "schema": one.ask.schema,
                    "no_pictures": one.no_pictures,
                }
                for one in asked
            ]
        )
        return
    for one in asked:
        say(f"{one.clip.id}: {one.no_pictures or 'with pictures'}")
        for m in one.ask.messages:
            shown = f" ({len(m.frames)} picture(s))" if m.frames else ""
            print(f"--- {m.role}{shown}\n{m.text}\n")


def _clips(project: Any, wanted: Any, engine: str) -> list[str]:
    from mien.pipeline.answers import attempts

    held = dict.fromkeys(clip for clip, a in attempts(project.store) if a.engine == engine)
    return [c for c in held if not wanted or any(c.startswith(w) for w in wanted)]


def _clip(project: Any, clip_id: str, engine: str) -> dict[str, Any]:
    """What an engine said of one clip, with its audit."""
    from mien.core import Assessment, Claim, Trace
    from mien.evaluate.audit import audit_project
    from mien.pipeline.answers import attempts, both_ways, needs_review, opinions
    from mien.reason.vlm import is_blind, stability

    store = project.store
    mine = [a for _, a in attempts(store, clip_id) if a.engine == engine]
    traces = {t.id: t for t in store.all(Trace, "clip_id = ? AND engine = ?", (clip_id, engine))}
    claims = {i: store.all(Claim, "trace_id = ?", (i,)) for i in traces}
    audits = {i: a.audit for i in traces for a in audit_project(store, i)}
    review, why = needs_review(store, project.config.context, clip_id)
    out: dict[str, Any] = {
        "clip": clip_id, "engine": engine, "review": review, "review_why": why,
        "attempts": [
            {"sample": a.sample, "status": a.status, "reason": a.reason, "tries": a.tries, "errors": a.errors,
             "auditable": a.trace_id in audits and audits[a.trace_id].auditable,
             "fails": audits[a.trace_id].failed if a.trace_id in audits else (a.status,),
             "conclusion": traces[a.trace_id].conclusion if a.trace_id in traces else None,
             "claims": _claims(claims.get(a.trace_id, []), audits.get(a.trace_id)),
             "remarks": [{"t_us": r.t_us, "text": r.text, "mark": SEEN} for r in a.remarks]}
            for a in mine
        ],
        "stability": stability([_sample(a, traces, claims) for a in mine]),
    }  # fmt: skip
    if is_blind(engine):
        said = opinions(store, clip_id, engine)
        rows = store.all(Assessment, "clip_id = ?", (clip_id,))
        out["both_ways"] = [both_ways(project.config.fusion, a, said) for a in sorted(rows, key=lambda a: a.span)]
    return out


def _sample(attempt: Any, traces: dict[str, Any], claims: dict[str, Any]) -> Any:
    held = traces.get(attempt.trace_id)
    return None if held is None else (held.conclusion, claims[held.id])


def _claims(claims: list[Any], audit: Any) -> list[dict[str, Any]]:
    """Each claim with what the audit found wrong with it."""
    wrong: dict[str, list[str]] = {}
    for finding in audit.findings if audit else ():
        wrong.setdefault(finding.claim_id, []).append(f"{finding.check}: {finding.why}")
    return [{"id": c.id, "kind": c.kind, "text": c.text, "evidence": c.evidence_ids, "wrong": wrong.get(c.id, [])}
            for c in claims]  # fmt: skip


def _tell(one: dict[str, Any]) -> None:
    from mien.core import clock

    say(f"{one['clip']} by {one['engine']}")
    for a in one["attempts"]:
        how = "auditable" if a["auditable"] else f"fails {', '.join(a['fails'])}"
        say(f"  sample {a['sample']}: {a['status']}{' (' + a['reason'] + ')' if a['reason'] else ''}, {how}")
        if a["conclusion"] and a["auditable"]:
            print(a["conclusion"])
        for claim in a["claims"]:
            if not claim["wrong"]:
                print(f"  {claim['text']} [{', '.join(claim['evidence'])}]")
        wrong = sum(bool(c["wrong"]) for c in a["claims"])
        if wrong:
            say(f"  {wrong} claim(s) do not hold and are not shown: --json, or mien audit")
        for r in a["remarks"]:
            print(f"  {clock(r['t_us'])} {r['text']} ({SEEN})")
    if len(one["attempts"]) > 1:
        s = one["stability"]
        say(f"  {s.samples} samples: claims alike {s.claims:.2f}, conclusions alike {s.conclusions:.2f}")
    if "both_ways" in one:
        rows = [[str(b.span), _shares(b.without), _shares(b.opinion), f"{b.weight:.2f}", _shares(b.with_opinion)]
                for b in one["both_ways"]]  # fmt: skip
        table(["window", "without", "opinion", "λ", "with"], rows)
    if one["review"]:
        say(f"  a person should look: {'; '.join(one['review_why'])}")


def _shares(dist: Any) -> str:
    return ", ".join(f"{s} {p:.2f}" for s, p in dist) or "none"
