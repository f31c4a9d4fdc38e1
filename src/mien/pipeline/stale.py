"""Which stages of a clip a run would do: the runner's rules as a pure function over the ledger."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from mien.core import Clip, digest
from mien.pipeline.config import Config
from mien.pipeline.plan import STAGES, Stage
from mien.policy import WAITING_CODE, affect_allowed
from mien.store import StageRow

State = Literal["done", "to do", "waiting", "failed", "off"]
ABSENT = "absent"
_HELD: dict[str, State] = {"failed": "failed", WAITING_CODE: "waiting"}


def states_of(
    clip: Clip | None,
    config: Config,
    applies: Callable[[Stage], bool],
    label: Callable[[str], str],
    held: Mapping[str, StageRow],
) -> dict[str, State]:
    """What a run would do with each stage of a clip: the runner's own rules, without doing anything. Pure.

    Args:
        clip: None for a stretch that is not cut yet.
        applies: whether a stage has anything to look at in the clip's source, with the slots that are on.
        label: slot → fingerprint of what fills it. held: the clip's ledger by stage.
    """
    keys: dict[str, str] = {}
    after: dict[str, str] = {name: row.state for name, row in held.items()}
    found: dict[str, State] = {}
    sections = config.model_dump(mode="json")
    values = sections | sections["analysis"]
    on = [s for s in STAGES if applies(s)]
    keys |= {s.name: ABSENT for s in STAGES if s not in on}
    for stage in sorted(on, key=lambda s: s.kind == "derived"):  # media stages first, each kind in its order
        read = [keys[n] if after.get(n, "ok") in ("ok", "off") else f"{keys[n]}:{after[n]}" for n in stage.needs]
        params = {name: values[name] for name in stage.params}
        adapters = [label(slot) for slot in stage.slots]
        key = digest(stage.name, stage.version, params, clip.id if clip else "", read, adapters)
        keys[stage.name] = key
        row = held.get(stage.name)
        if row is not None and row.key == key:
            found[stage.name] = _HELD.get(row.state, "done")
        elif stage.affect and not affect_allowed(config.context, subject_enrolled=False):
            found[stage.name], after[stage.name] = "waiting", WAITING_CODE
        else:
            found[stage.name], after[stage.name] = "to do", "ok"
    return {s.name: found.get(s.name, "off") for s in STAGES}
