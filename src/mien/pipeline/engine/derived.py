"""The stages that need no media: made of what is stored of a clip, in the process that writes the ledger."""

from __future__ import annotations

from typing import Any

from mien.core import Clip, Track
from mien.core.records import Assessment, Observation
from mien.pipeline.config import Config
from mien.pipeline.people import Cast
from mien.pipeline.plan import Stage
from mien.pipeline.stack import Stack
from mien.pipeline.stages.assess import assess_stage
from mien.pipeline.stages.body import body_stage
from mien.pipeline.stages.derive import View, affect_stage, claims_stage, signals_stage
from mien.pipeline.stages.sources import sources_stage
from mien.policy import WAITING_CODE
from mien.store import Store

SILENT_DBFS = -90.0  # below the quantisation noise of 16 bits


def derived(
    stage: Stage, clip: Clip, store: Store, stack: Stack, config: Config, cast: Cast
) -> tuple[list[Any], dict[str, Any]]:
    """Records and tables of a derived stage, made of what is stored of the clip."""
    where = ("clip_id = ?", (clip.id,))
    view = View(
        clip,
        store.all(Track, *where),
        store.all(Observation, *where),
        store,
        stack,
        config,
    )
    match stage.name:
        case "signals":
            return signals_stage(view)
        case "body":
            return body_stage(view)
        case "sources":
            return sources_stage(view)
        case "affect":
            return affect_stage(view)
        case "assess":
            return assess_stage(view, cast)
        case _:
            return claims_stage(view, store.all(Assessment, *where), _missing(clip, store, cast))


def _missing(clip: Clip, store: Store, cast: Cast) -> tuple[str, ...]:
    """What the reader must know was not looked at, in words."""
    said: list[str] = []
    rows = {r.stage: r for r in store.stages_of(clip.id)}
    if any(r.state == WAITING_CODE for r in rows.values()):
        said.append("affect: no person is enrolled, so no affect model ran")
    elif cast.affect is not None and not cast.everybody:
        said.append("affect: people in view who are not enrolled were masked before any affect model")
    said += [f"{r.stage}: failed ({r.code})" for r in rows.values() if r.state == "failed"]
    if "sound" not in rows or rows["sound"].state == "off":
        said.append("sound: there is none, or it was not analysed")
    elif _silent(clip, store):
        said.append("sound: the sound track is digital silence")
    if "faces" not in rows or rows["faces"].state == "off":
        said.append("faces: there is no picture, or it was not analysed")
    if "body" not in rows or rows["body"].state == "off":
        said.append("body: posture and movement were not looked at")
    elif not store.all(Observation, "clip_id = ? AND target = 'body.motion_body'", (clip.id,)):
        said.append("body: too little of anybody was in view to measure posture or movement")
    return tuple(said)


def _silent(clip: Clip, store: Store) -> bool:
    held = store.table(f"sound/{clip.id}")
    return held is not None and held.num_rows > 0 and max(held["energy_dbfs"].to_pylist()) < SILENT_DBFS
