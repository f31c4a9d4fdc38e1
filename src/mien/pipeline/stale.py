"""When a stage's result is still good: the key it is known by, and what a run would do with each stage of a clip."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mien.core import Clip, digest
from mien.pipeline.config import Config
from mien.pipeline.people import CLOSED, Cast
from mien.pipeline.plan import STAGES, Stage
from mien.policy import WAITING_CODE
from mien.store import StageRow

State = Literal["done", "to do", "waiting", "failed", "off"]
ABSENT = "absent"
_HELD: dict[str, State] = {"failed": "failed", WAITING_CODE: "waiting"}


def values_of(config: Config) -> dict[str, Any]:
    """What a stage's `params` may name: the sections of the configuration, and the keys of `analysis`."""
    sections = config.model_dump(mode="json")
    return sections | sections["analysis"]


def stage_key(
    stage: Stage,
    clip_id: str,
    keys: Mapping[str, str],
    states: Mapping[str, str],
    values: Mapping[str, Any],
    label: Callable[[str], str],
    who: Sequence[object] = (),
) -> str:
    """The key under which a stage's result on a clip is known.

    What it reads counts with its state, so that a stage whose input failed, or waited for a person, is done again once
    that input is there.

    Args:
        keys: of the stages it needs. states: of those that are settled; one that is absent here is expected to work.
        values: see `values_of`. label: slot → fingerprint of what fills it.
        who: what people said of who is who, as far as the stage reads it.
    """
    odd = {n: state for n in stage.needs if (state := states.get(n, "ok")) not in ("ok", "off")}
    read = [f"{keys[n]}:{odd[n]}" if n in odd else keys[n] for n in stage.needs]
    params = {name: values[name] for name in stage.params}
    labels = [label(slot) for slot in (*stage.slots, *stage.maybe)]
    return digest(stage.name, stage.version, params, clip_id, read, labels, *([list(who)] if who else []))


def states_of(
    clip: Clip | None,
    config: Config,
    applies: Callable[[Stage], bool],
    label: Callable[[str], str],
    held: Mapping[str, StageRow],
    values: Mapping[str, Any] | None = None,
    cast: Cast | None = None,
) -> dict[str, State]:
    """What a run would do with each stage of a clip: the runner's own rules, without doing anything. Pure.

    Args:
        clip: None for a stretch that is not cut yet.
        applies: whether a stage has anything to look at in the clip's source, with the slots that are on.
        label: slot → fingerprint of what fills it. held: the clip's ledger by stage.
        values: `values_of(config)`, where the caller has it for many clips.
        cast: who is in the clip; None: nobody said.
    """
    keys: dict[str, str] = {}
    after: dict[str, str] = {name: row.state for name, row in held.items()}
    found: dict[str, State] = {}
    values = values_of(config) if values is None else values
    cast = (CLOSED if config.context == "care" else Cast()) if cast is None else cast
    on = [s for s in STAGES if applies(s)]
    keys |= dict.fromkeys({s.name for s in STAGES} - {s.name for s in on}, ABSENT)
    for stage in sorted(on, key=lambda s: s.kind == "derived"):  # media stages first, each kind in its order
        key = stage_key(stage, clip.id if clip else "", keys, after, values, label, cast.key_of(stage.name))
        keys[stage.name] = key
        row = held.get(stage.name)
        if row is not None and row.key == key:
            found[stage.name] = _HELD.get(row.state, "done")
        elif stage.kind != "derived" and any(after.get(need) == "failed" for need in stage.needs):
            found[stage.name], after[stage.name] = "failed", "failed"
        elif stage.affect and not cast.allows(stage.name):
            found[stage.name], after[stage.name] = "waiting", WAITING_CODE
        else:
            found[stage.name], after[stage.name] = "to do", "ok"
    return {s.name: found.get(s.name, "off") for s in STAGES}
