"""Annotating the items of a project with an instruct model: a stage on items, done once for each state of its input.

A result is known by what it was made of: the annotation's settings, the model's fingerprint, the texts it was shown. It
is committed with its item in one transaction, so that a kill loses at most the questions under way, and the next call
asks exactly those again.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mien.core import VERSION, Asks, Attribute, Device, Item, MienError, Run, Strict, digest, fingerprint
from mien.models.weights import effective, load_adapters, open_adapter, unknown
from mien.pipeline.config import Config
from mien.pipeline.engine.books import utc_now
from mien.pipeline.events import Event, Listener, silent
from mien.pipeline.inputs.keep import GONE, STAGE
from mien.pipeline.people import Marks, now
from mien.pipeline.project import Project
from mien.pipeline.stack import reach
from mien.policy import WAITING_CODE, WAITING_MESSAGE
from mien.reason.annotate import VERSION as PROMPTS
from mien.reason.annotate import Annotation, ask_of, attributes_of
from mien.store import StageResult, Store

AT_ONCE = 8  # questions of one call and one commit
PREFIX = "annotate."
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Annotating:
    """What one call did. states: items asked now, by ok, abstained, failed. before: results that stood already.

    without: items with no text to show. waiting: items that wait for a person. reasons: of failures, how often each.
    """

    states: dict[str, int] = field(default_factory=dict)
    before: int = 0
    without: int = 0
    waiting: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return self.states.get("failed", 0)


def annotate(
    project: Project, name: str, *, retry: bool = False, listener: Listener = silent, model: Any = None
) -> Annotating:
    """Bring the annotation `name` of `mien.toml` up to date for every item that has text.

    Args:
        retry: ask again where it failed before; without it a failure stands, as in `mien run`.
        model: an opened adapter, in place of the one that `mien.toml` names (its fingerprint still counts).

    Raises:
        MienError: `config.no-annotation`, `config.invalid`, `config.wrong-slot`, `models.unknown`,
            `annotate.key-taken`, `store.busy`, and what concerns the model and not one item (`egress.*` …).
    """
    spec = _spec(project.config, name)
    adapter, settings = questioned(project.config, spec.model)
    by = str(fingerprint(adapter, settings))
    store = Store(project.root, write=True) if project.root else project.store
    said = project.config.model_dump(mode="json")
    began = utc_now()
    run_id = store.next_run_id(began)
    run = Run(run_id, began, None, f"annotate {name}", VERSION, project.config.context, digest(said))
    opened = model
    try:
        work = _Work(store, project.config, name, spec, by, retry)
        store.put_config(run.config_sha256, json.dumps(said))
        store.put([run], unit=run.id, stage="run")
        weights = fingerprint(adapter, settings).weights_sha256
        store.put_adapter(by, adapter.name, adapter.slot, weights, json.dumps(settings.model_dump(mode="json")))
        done = 0
        for batch in work.batches():
            if opened is None:
                opened = open_adapter(adapter.name, settings, Device(threads=project.config.analysis.threads))
            replies = opened.run(Asks(tuple(ask_of(spec, texts) for _, texts, _ in batch))).rows
            store.commit_all(work.results(batch, replies), run_id=run.id, at_utc=utc_now())
            done += len(batch)
            listener(Event("stage", batch[-1][0].id, work.stage, text=f"{done} of {work.due}"))
        store.put([dataclasses.replace(run, finished_utc=utc_now())], unit=run.id, stage="run")
        return work.outcome()
    finally:
        if opened is not None and model is None:
            opened.close()
        if project.root:
            store.close()


class _Work:
    """Which items are due, and what their replies amount to."""

    def __init__(self, store: Store, config: Config, name: str, spec: Annotation, by: str, retry: bool) -> None:
        self._store, self._name, self._spec, self._by = store, name, spec, by
        self.stage = f"{PREFIX}{name}"
        self._states: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._before = self._without = self._waiting = 0
        settings = spec.model_dump(mode="json", exclude={"model"})
        gone = {row.unit for row in store.stages_in(STAGE, GONE)}
        if spec.affect and config.project.observables_only:
            raise MienError(
                "annotate.observables-only",
                f"{name} asks for affect, and this project is of observables only",
                f"leave [annotate.{name}] out, or affect = false where it asks for none",
            )
        marks = Marks(store, config.context, now()) if spec.affect else None
        prefix = f"{self.stage}."
        strange = (len(prefix), prefix, self.stage)
        for a in store.all(Attribute, "substr(key, 1, ?) = ? AND _stage <> ?", strange):
            message = f"the input has an attribute {a.key!r} of its own"
            raise MienError("annotate.key-taken", message, f"rename the column, or [annotate.{name}]")
        held: dict[str, dict[str, str]] = {}
        for a in store.all(Attribute):
            if a.type == "text" and not a.key.startswith(PREFIX) and (not spec.reads or a.key in spec.reads):
                held.setdefault(a.item_id, {})[a.key] = a.value
        self._due: list[tuple[Item, dict[str, str], str]] = []
        for item in store.all(Item):
            texts = {key: text for key, text in held.get(item.id, {}).items() if text.strip()}
            row = store.stage(item.id, self.stage)
            if item.id in gone:
                continue
            if not texts:
                self._without += 1
                if row is not None:
                    store.drop_stage(item.id, self.stage)
                continue
            waits = marks is not None and not marks.enrolled(item.subject_id)
            key = digest(self.stage, PROMPTS, settings, by, texts, waits)
            if row is not None and row.key == key and not (retry and row.state == "failed"):
                self._before += not waits
                self._waiting += waits
            elif waits:
                self._wait(item, key)
            else:
                self._due.append((item, texts, key))

    @property
    def due(self) -> int:
        return len(self._due)

    def batches(self) -> Iterator[list[tuple[Item, dict[str, str], str]]]:
        for at in range(0, len(self._due), AT_ONCE):
            yield self._due[at : at + AT_ONCE]

    def results(self, batch: list[tuple[Item, dict[str, str], str]], replies: Any) -> list[StageResult]:
        """One result for each item, in order."""
        made: list[StageResult] = []
        for (item, texts, key), reply in zip(batch, replies, strict=True):
            found = attributes_of(self._name, self._spec, item.id, texts, reply, self._by)
            code = found.reason.partition(":")[0] or None
            self._states[found.state] += 1
            if found.state == "failed" and code:
                self._reasons[code] += 1
            note = found.reason or None
            made.append(StageResult(item.id, self.stage, key, found.attributes, {}, found.state, code, note))
        return made

    def outcome(self) -> Annotating:
        return Annotating(dict(self._states), self._before, self._without, self._waiting, dict(self._reasons))

    def _wait(self, item: Item, key: str) -> None:
        result = StageResult(item.id, self.stage, key, state=WAITING_CODE, code=WAITING_CODE, note=WAITING_MESSAGE)
        self._store.commit(result, run_id="", at_utc=utc_now())
        self._waiting += 1


def _spec(config: Config, name: str) -> Annotation:
    if name not in config.annotate:
        known = ", ".join(config.annotate) or "none"
        raise MienError(
            "config.no-annotation",
            f"mien.toml has no [annotate.{name}] (it has: {known})",
            f'write into mien.toml:\n      [annotate.{name}]\n      model = "language.openai"  # or another that takes '
            f"text: mien models list\n      [annotate.{name}.fields]\n"
            '      mood = { type = "enum", choices = ["calm", "tense", "glad"] }',
        )
    if not _NAME.fullmatch(name):
        raise MienError("config.invalid", f"annotate.{name}: small letters, digits, _ and - only", "rename it")
    return config.annotate[name]


def questioned(config: Config, name: str) -> tuple[Any, Strict]:
    """Spec and settings of an adapter that answers questions.

    Raises:
        MienError: `models.unknown`, `config.wrong-slot`, `config.invalid`.
    """
    adapters = load_adapters()
    texts = [n for n, c in adapters.items() if c.spec.takes is Asks]
    if name not in adapters:
        raise unknown(name, texts)
    cls: Any = adapters[name]
    if cls.spec.takes is not Asks:
        raise MienError("config.wrong-slot", f"{name!r} answers no questions", f"one of: {', '.join(texts)}")
    try:
        settings = cls.Config(**{**config.adapters.get(name, {}), **reach(cls, config)})
    except ValueError as error:
        raise MienError("config.invalid", f"adapters.{name}: {error}", "see its keys in the docs") from error
    weights = cls.spec.weights
    return dataclasses.replace(cls.spec, weights=effective(weights) if weights else None), settings
