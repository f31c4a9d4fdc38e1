"""What a run would do, before it does it: stages, time, memory, models, missing weights, inputs that would be refused.

Nothing is decoded beyond the probe and nothing is written. Time comes from this project's own ledger (ms per second of
media of its past stages) where it has any, else from the figures of `python -m bench run`, and says which.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mien.core import Clip, Context, Licences, MienError, Source, clip_id, digest
from mien.media import Decoder, hash_file
from mien.models.weights import present
from mien.pipeline.config import Config
from mien.pipeline.people import Marks, now
from mien.pipeline.plan import STAGES, Stage, applies, cutting
from mien.pipeline.rates import Rates, Todo, predicted_mb, rates_of
from mien.pipeline.stack import Stack
from mien.pipeline.stale import State, states_of, values_of
from mien.policy import WAITING_MESSAGE
from mien.store import Store
from mien.store.forgotten import Forgotten

ORDER = ("to do", "failed", "waiting", "done", "off")  # the most urgent first
_RUNTIMES = {".tflite": ("ai_edge_litert", "litert")}  # file of a model → (package, extra) that it needs


@dataclass(frozen=True, slots=True)
class StageForecast:
    """One stage over all clips. `state`: the most urgent of its clips'; `clips`: state → number of clips.

    media_s: seconds of media to do; ms_per_s: of one such second, with its `basis`; None where there is nothing to do.
    """

    stage: str
    state: State
    clips: dict[State, int]
    media_s: float
    ms_per_s: float | None
    basis: str
    slots: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelForecast:
    """A model that the run would open. `missing_bytes`: size of its files that are not here yet; 0 when all are."""

    slot: str
    name: str
    licences: Licences | None
    missing_bytes: int
    missing_extra: str


@dataclass(frozen=True, slots=True)
class InputForecast:
    """One input. State `new`, `known` (registered before) or `rejected`, then with code, sentence and hint."""

    name: str
    state: Literal["new", "known", "rejected"]
    kind: str = ""
    duration_s: float = 0.0
    code: str = ""
    message: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """The whole forecast. `sources`: those with something to do; `clips_estimated`: some are not cut yet."""

    context: Context
    inputs: tuple[InputForecast, ...]
    sources: int
    clips: int
    clips_estimated: bool
    media_s: float
    stages: tuple[StageForecast, ...]
    models: tuple[ModelForecast, ...]
    predicted_s: float
    time_basis: str
    predicted_mb: float
    memory_basis: str
    waiting_for: str

    @property
    def ready(self) -> bool:
        """Whether the run could start: every model's weights and extras are here."""
        return not any(m.missing_bytes or m.missing_extra for m in self.models)


class _Unit(NamedTuple):
    """A clip, or a stretch that is not cut yet, and what each stage has to do there."""

    media_s: float
    states: dict[str, State]
    clips: int


class _Sum:
    """All units so far, as what a forecast needs of them: it grows with the stages, not with the clips."""

    def __init__(self) -> None:
        self.clips: dict[str, dict[State, int]] = {s.name: defaultdict(int) for s in STAGES}
        self.media_s: dict[str, float] = defaultdict(float)
        self.work: dict[tuple[str, ...], float] = defaultdict(float)
        """Stages that are to do together → seconds of media."""
        self.todo = 0

    def add(self, unit: _Unit) -> bool:
        """Whether there is something to do in the unit."""
        todo = tuple(name for name, state in unit.states.items() if state == "to do")
        for name, state in unit.states.items():
            self.clips[name][state] += unit.clips
        for name in todo:
            self.media_s[name] += unit.media_s
        if todo:
            self.work[todo] += unit.media_s
            self.todo += unit.clips
        return bool(todo)


def forecast(store: Store, config: Config, found: Iterable[Path | tuple[str, MienError]] = ()) -> Forecast:
    """What `run` would do with these inputs and everything registered.

    Args:
        found: what discovery found: media files, and (name, error) of what it refuses.

    Raises:
        MienError: `models.unknown`, `config.*` for a stack that cannot be.
    """
    stack = Stack(config)
    known = {s.sha256: s for s in store.all(Source)}
    inputs: list[InputForecast] = []
    fresh: dict[str, Source] = {}
    for entry in found:
        seen, source = _probed(entry, store, config, known, fresh)
        inputs.append(seen)
        if source is not None:
            fresh[source.sha256] = source
    total, values = _Sum(), values_of(config)
    marks = Marks(store, config.context, now())
    busy = 0
    estimated = False
    for source in (*known.values(), *fresh.values()):
        mine, guessed = _units(source, store, config, stack, values, marks)
        todo = sum(total.add(unit) for unit in mine) > 0
        busy += todo
        estimated |= guessed and todo
    rates = rates_of(store, config)
    work = [Todo(media_s, stages) for stages, media_s in total.work.items()]
    stages = tuple(_stage(stage, total, rates) for stage in STAGES)
    slots = {slot for s in stages if s.clips.get("to do") for slot in s.slots}
    waiting = any(s.clips.get("waiting") for s in stages)
    seconds, time_basis = rates.predict(work)
    peak, memory_basis = predicted_mb(slots, stack)
    idle = not work
    return Forecast(
        config.context,
        tuple(inputs),
        busy,
        total.todo,
        estimated,
        sum(total.work.values()),
        stages,
        tuple(_model(slot, stack) for slot in stack.slots()),
        0.0 if idle else seconds,
        "nothing to do" if idle else time_basis,
        0.0 if idle else peak,
        "nothing to do" if idle else memory_basis,
        WAITING_MESSAGE if waiting else "",
    )


# ---------------------------------------------------------------- inputs


def _probed(
    entry: Path | tuple[str, MienError],
    store: Store,
    config: Config,
    known: Mapping[str, Source],
    fresh: Mapping[str, Source],
) -> tuple[InputForecast, Source | None]:
    """How an input would end, and the source it would become where it is a new one."""
    if isinstance(entry, tuple):
        name, error = entry
        return InputForecast(name, "rejected", "", 0.0, error.code, error.message, error.hint), None
    try:
        sha = hash_file(entry)
        Forgotten(store.root).check(sha, entry.name)
        held = store.stage(sha, "register")
        if held and held.state == "failed" and held.key == digest("register", 1, sha, config.context):
            raise MienError(held.code or "media.unreadable", f"{entry.name} was refused before", "mien status says why")
        source = known.get(sha) or fresh.get(sha)
        if source is not None:
            return InputForecast(entry.name, "known", source.kind, source.duration_us / 1e6), None
        with Decoder(entry) as decoder:
            p = decoder.probe()
    except MienError as error:
        return InputForecast(entry.name, "rejected", "", 0.0, error.code, error.message, error.hint), None
    source = Source(
        sha, str(entry), p.kind, entry.stat().st_size, p.duration_us or 0, p.width_px, p.height_px, p.fps,
        p.audio_rate_hz, p.audio_channels, config.context,
    )  # fmt: skip
    return InputForecast(entry.name, "new", p.kind, source.duration_us / 1e6), source


# ---------------------------------------------------------------- what is stale


def _units(
    source: Source, store: Store, config: Config, stack: Stack, values: Mapping[str, Any], marks: Marks
) -> tuple[list[_Unit], bool]:
    """The clips of a source and what is left to do there; True when some of it is not cut yet."""
    on = partial(applies, source=source, has=stack.has)
    cutter, key, max_us = cutting(source, config.analysis.max_clip_s)
    held = store.stage(source.sha256, "clips")
    current = held is not None and held.key == key
    if current and held is not None and held.state != "ok":
        return [], False  # rejected for good: only a retry looks at it again
    clips = store.all(Clip, "source_sha = ?", (source.sha256,))
    if held is not None and not current:
        clips = []  # cut by another rule: all of it is done again
    clips = [c for c in clips if c.id == clip_id(source.sha256, c.span, cutter)]
    units = [
        _Unit(
            _media_s(c.span.duration_us, config),
            states_of(c, config, on, stack.label, {r.stage: r for r in store.stages_of(c.id)}, values, marks.cast(c)),
            1,
        )
        for c in clips
    ]
    rest_us = source.duration_us - sum(c.span.duration_us for c in clips)
    if current or (clips and rest_us <= 0):
        return units, False
    count = max(1, math.ceil(rest_us / max_us))
    states = states_of(None, config, on, stack.label, {}, values)
    return [*units, _Unit(_media_s(rest_us, config), states, count)], True


def _media_s(duration_us: int, config: Config) -> float:
    """Seconds of media; a still picture counts as the time between two analysed frames."""
    return max(duration_us / 1e6, 1 / config.analysis.fps)


# ---------------------------------------------------------------- telling


def _stage(stage: Stage, total: _Sum, rates: Rates) -> StageForecast:
    clips = total.clips[stage.name]
    state: State = min(clips, key=ORDER.index) if clips else "off"
    media_s = total.media_s[stage.name]
    rate = rates.stage(stage.name) if media_s else None
    return StageForecast(
        stage.name,
        state,
        dict(clips),
        round(media_s, 3),
        round(rate.ms_per_s, 3) if rate else None,
        rate.basis if rate else "",
        (*stage.slots, *stage.maybe),
    )


def _model(slot: str, stack: Stack) -> ModelForecast:
    spec = stack.spec(slot)
    weights = spec.weights
    missing = sum(a.bytes for a in weights.assets) if weights and not present(weights) else 0
    suffixes = {Path(name).suffix for name in weights.runtime} if weights else set[str]()
    extras = [extra for end, (package, extra) in _RUNTIMES.items() if end in suffixes and find_spec(package) is None]
    return ModelForecast(slot, spec.name, weights.licences if weights else None, missing, extras[0] if extras else "")


def discovered(inputs: Sequence[str | Path], config: Config) -> Iterator[Path | tuple[str, MienError]]:
    """Media files behind the inputs of a run, each once, and (name, error) of what discovery refuses.

    Archives are unpacked into a folder that is there only while this is iterated.
    """
    from mien.pipeline.inputs import Refused, Vault, discover

    seen: set[Path] = set()
    with tempfile.TemporaryDirectory(prefix="mien-plan-") as folder:
        for entry in discover(inputs, config.inputs, Vault(Path(folder), config.context)):
            if isinstance(entry, Refused):
                yield Path(entry.unit).name, entry.error
                continue
            yield from (path for path in entry.media if path not in seen)
            seen.update(entry.media)
            yield from ((Path(entry.item.origin).name, error) for error in entry.problems)
