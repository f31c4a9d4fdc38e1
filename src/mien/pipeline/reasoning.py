"""Asking a model of language about a project's clips: as narrator, or for a blind opinion.

A clip's answers are one stage's result of their own (`reason.narrator.…`, `reason.opinion.…`): traces, claims, and a
table of attempts. No other record is touched, whatever an answer says; opinions are kept in that table and reach no
assessment. Endpoints, keys and addresses follow the same rules as `mien annotate`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mien.core import (
    VERSION,
    Ask,
    Asks,
    Assessment,
    Attribute,
    Clip,
    Device,
    Item,
    MienError,
    Observation,
    Reply,
    Run,
    Source,
    Trace,
    Track,
    digest,
    fingerprint,
)
from mien.models.weights import open_adapter
from mien.pipeline.annotate import PREFIX, questioned
from mien.pipeline.answers import Attempt, Opened, attempts_table, engine_of, stage_of
from mien.pipeline.engine.books import utc_now
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project
from mien.pipeline.shown import stills
from mien.pipeline.stack import Stack
from mien.policy import emotion_words, forbidden_words
from mien.reason import Ledger
from mien.reason.vlm import VERSION as PROMPTS
from mien.reason.vlm import Shown, narration, narrator_ask, opinion, opinion_ask, repair_of
from mien.store import StageResult, Store

Role = Literal["narrator", "opinion"]
SIDE_PX = 480
PICTURES = 8  # for adapters of the slot vlm, where nobody says how many


@dataclass(frozen=True, slots=True)
class Terms:
    """How clips are asked about. pictures: at most so many per clip, None: `PICTURES` where the adapter is of the slot
    vlm, else none. temperature None: 0 for one sample, else 0.6. budget: tokens of the evidence."""

    adapter: str
    role: Role = "narrator"
    samples: int = 1
    temperature: float | None = None
    think: bool = False
    max_tokens: int = 2048
    pictures: int | None = None
    show_faces: bool = False
    budget: int = 3000

    def __post_init__(self) -> None:
        if self.samples < 1 or (self.pictures or 0) < 0 or self.budget < 200 or self.max_tokens < 16:
            raise MienError(
                "config.invalid",
                "samples must be 1 or more, pictures 0 or more, budget 200 or more, max-tokens 16 or more",
                "see: mien reason --help",
            )

    @property
    def heat(self) -> float:
        return self.temperature if self.temperature is not None else 0.0 if self.samples == 1 else 0.6


@dataclass(frozen=True, slots=True)
class Asked:
    """One clip: the ledger as it stood, the question, and why there are no pictures in it."""

    clip: Clip
    ledger: Ledger
    ask: Ask
    observables_only: bool
    no_pictures: str | None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What one call did. asked: attempts of each clip that was asked about now; before: clips whose answers stood
    already; waiting: clips that wait for a person."""

    engine: str
    asked: dict[str, tuple[Attempt, ...]]
    before: int = 0
    waiting: int = 0


def questions(project: Project, terms: Terms, clips: Sequence[str] = ()) -> Iterator[Asked]:
    """The question about each clip; nothing is sent. `clips`: ids, or their beginnings; empty: all.

    Raises:
        MienError: `show.unknown`, `models.unknown`, `config.*`.
    """
    adapter, _ = questioned(project.config, terms.adapter)
    yield from _questions(project, terms, clips, adapter.slot)


def _questions(project: Project, terms: Terms, clips: Sequence[str], slot: str) -> Iterator[Asked]:
    count = terms.pictures if terms.pictures is not None else PICTURES if slot == "vlm" else 0
    stack = Stack(project.config) if count else None
    try:
        for clip in _chosen(project.store, clips):
            yield _asked(project, terms, clip, stack, count)
    finally:
        if stack is not None:
            stack.close()


def reason_clips(
    project: Project,
    terms: Terms,
    clips: Sequence[str] = (),
    *,
    retry: bool = False,
    listener: Listener = silent,
    model: Any = None,
) -> Reasoning:
    """Ask about clips whose answers are missing, or were made of something else.

    Args:
        retry: ask again where an attempt gave no trace. model: an opened adapter in place of the one named (whose
            fingerprint still counts).

    Raises:
        MienError: as `questions`; `store.busy`; `reason.nothing` without clips; `egress.*` and what else concerns the
            model and not one question.
    """
    adapter, settings = questioned(project.config, terms.adapter)
    held = fingerprint(adapter, settings)
    engine = engine_of(terms.role, str(held))
    store = Store(project.root, write=True) if project.root else project.store
    said = project.config.model_dump(mode="json")
    now, context = utc_now(), project.config.context
    run = Run(store.next_run_id(now), now, None, f"reason {terms.role}", VERSION, context, digest(said))
    device = Device(threads=project.config.analysis.threads)
    opened = Opened(model, lambda: open_adapter(adapter.name, settings, device))
    done: dict[str, tuple[Attempt, ...]] = {}
    before = waiting = 0
    try:
        store.put_config(run.config_sha256, json.dumps(said))
        store.put([run], unit=run.id, stage="run")
        store.put_adapter(
            str(held), adapter.name, adapter.slot, held.weights_sha256, json.dumps(settings.model_dump(mode="json"))
        )
        stage = stage_of(engine)
        for one in _questions(project, terms, clips, adapter.slot):
            if terms.role == "opinion" and one.observables_only:
                waiting += 1
                continue
            row, key = store.stage(one.clip.id, stage), _key(terms, one, str(held))
            if row is not None and row.key == key and not (retry and row.code):
                before += 1
                continue
            attempts, records = _answers(project, terms, one, engine, opened)
            bad = [a.status for a in attempts if a.status != "ok"]
            note = f"{len(attempts) - len(bad)} of {len(attempts)} answers could be read"
            table = {f"{stage}/{one.clip.id}": attempts_table(attempts)}
            result = StageResult(one.clip.id, stage, key, records, table, code=bad[0] if bad else None, note=note)
            store.commit(result, run_id=run.id, at_utc=utc_now())
            done[one.clip.id] = attempts
            listener(Event("stage", one.clip.id, stage, text=note))
        store.put([dataclasses.replace(run, finished_utc=utc_now())], unit=run.id, stage="run")
        return Reasoning(engine, done, before, waiting)
    finally:
        opened.close()
        if project.root:
            store.close()


def _chosen(store: Store, wanted: Sequence[str]) -> list[Clip]:
    clips = sorted(store.all(Clip), key=lambda c: (c.source_sha, c.span))
    for name in wanted:
        if sum(c.id.startswith(name) for c in clips) != 1:
            raise MienError(
                "show.unknown",
                f"no clip, or more than one, has the id {name!r}",
                'ids: mien query "SELECT id FROM clips"',
            )
    if not clips:
        raise MienError("reason.nothing", "there is no clip to ask about", "make some: mien run VIDEO")
    return [c for c in clips if not wanted or any(c.id.startswith(name) for name in wanted)]


def _asked(project: Project, terms: Terms, clip: Clip, stack: Stack | None, count: int) -> Asked:
    store, where = project.store, ("clip_id = ?", (clip.id,))
    rows = tuple(store.all(Observation, *where))
    missing = next((t.missing for t in store.all(Trace, *where) if t.engine.startswith("ledger")), ())
    ledger = Ledger(clip, tuple(store.all(Track, *where)), rows, tuple(store.all(Assessment, *where)), missing)
    context = project.config.context
    # The frames show everybody.
    only = project.config.project.observables_only or not Marks(store, context, now()).cast(clip).everybody
    frames, why = None, "none were asked for"
    (source,) = store.all(Source, "sha256 = ?", (clip.source_sha,))
    if stack is not None and source.kind == "audio":
        why = "there is no picture"
    elif stack is not None:
        show = {"count": count, "side_px": SIDE_PX, "blur": not (terms.show_faces and context != "care")}
        found = stills(stack, context, source, clip, rows, **show)
        frames, why = found.frames, found.why
    how = {"think": terms.think, "max_tokens": terms.max_tokens, "temperature": terms.heat}
    if terms.role == "opinion":
        ask = opinion_ask(ledger, project.config.fusion.names, Shown(frames=frames), budget=terms.budget, **how)
    else:
        shown = Shown(_given(store, clip), frames)
        ask = narrator_ask(ledger, shown, budget=terms.budget, observables_only=only, **how)
    return Asked(clip, ledger, ask, only, why)


def _given(store: Store, clip: Clip) -> dict[str, tuple[str, ...]]:
    """What came with the recording: names of files and columns of text. Untrusted, all of it."""
    items = [i for i in store.all(Item) if clip.source_sha in i.source_shas]
    held = {"file": tuple(dict.fromkeys(i.origin.rpartition("/")[2] for i in items))}
    for a in (a for i in items for a in store.all(Attribute, "item_id = ?", (i.id,))):
        if a.type == "text" and not a.key.startswith(PREFIX):
            held[f"column {a.key}"] = (*held.get(f"column {a.key}", ()), a.value)
    return {name: texts for name, texts in held.items() if texts}


def _key(terms: Terms, one: Asked, by: str) -> str:
    """What an answer was made of."""
    frames = [m.frames.t_us.tolist() for m in one.ask.messages if m.frames is not None]
    texts = [(m.role, m.text) for m in one.ask.messages]
    how = dataclasses.asdict(terms) | {"adapter": by}
    return digest("reason", PROMPTS, how, texts, frames, [a.id for a in one.ledger.assessments])


def _answers(
    project: Project, terms: Terms, one: Asked, engine: str, opened: Opened
) -> tuple[tuple[Attempt, ...], list[Any]]:
    """The attempts at one clip and the records they give."""
    asks = tuple(dataclasses.replace(one.ask, seed=i) for i in range(terms.samples))
    replies: list[Reply] = list(opened.model.run(Asks(asks)).rows)
    found = [_read(project, terms, one, engine, r, i) for i, r in enumerate(replies)]
    again = [i for i, f in enumerate(found) if f.errors and replies[i].status == "ok"]
    if again:
        mended = opened.model.run(Asks(tuple(repair_of(asks[i], replies[i], found[i].errors) for i in again))).rows
        for i, reply in zip(again, mended, strict=True):
            better = _read(project, terms, one, engine, reply, i)
            tries = replies[i].tries + reply.tries
            if better.status == "ok" and len(better.errors) <= len(found[i].errors):
                found[i], replies[i] = better, reply
            replies[i] = dataclasses.replace(replies[i], tries=tries)
    records = [record for f in found if f.trace for record in (f.trace, *f.claims)]
    return tuple(Attempt.of(i, engine, r, f) for i, (r, f) in enumerate(zip(replies, found, strict=True))), records


def _read(project: Project, terms: Terms, one: Asked, engine: str, reply: Reply, sample: int) -> Any:
    if terms.role == "opinion":
        return opinion(one.ledger, project.config.fusion.names, reply, engine, sample)
    withheld = emotion_words if one.observables_only else (lambda _: ())
    return narration(
        one.ledger, reply, engine, sample,
        observables_only=one.observables_only, withheld=withheld, forbidden=forbidden_words,
    )  # fmt: skip
