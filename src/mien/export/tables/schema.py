"""The long tables: one Arrow schema each, with units and schema version in the field metadata, for CSV and Parquet."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1


class Column(NamedTuple):
    """One column. `says`: its meaning, for people; kept in the field metadata and in `columns.csv`."""

    name: str
    kind: Literal["text", "int", "float", "float32", "flag"]
    unit: str
    says: str


_WHICH = (
    Column("source", "text", "", "file name of the source; with the beginning of its sha256 where two share a name"),
    Column("clip_id", "text", "", "clip"),
)
_WHO = (
    Column("track_id", "text", "", "track within the clip; empty: the whole recording"),
    Column("who", "text", "", "the track's name within its clip, as claims use it"),
)
_SPAN = (
    Column("start_us", "int", "us", "start on the source's clock"),
    Column("end_us", "int", "us", "end, exclusive"),
)
_LABEL = (
    Column("label", "text", "", "what a person said instead, if anybody did"),
    Column("label_by", "text", "", "who said so"),
)
_ADAPTER = (Column("adapter", "text", "", "model or rule that answered: name@version+weights.settings"),)

TABLES: dict[str, tuple[Column, ...]] = {
    "sources": (
        Column("source", "text", "", "file name; with the beginning of its sha256 where two share a name"),
        Column("sha256", "text", "", "of the file"),
        Column("kind", "text", "", "video, audio or image"),
        Column("duration_us", "int", "us", "decoded duration"),
        Column("width_px", "int", "px", "of the upright picture"),
        Column("height_px", "int", "px", "of the upright picture"),
        Column("fps", "float", "1/s", "nominal frame rate"),
        Column("audio_rate_hz", "int", "Hz", "sampling rate"),
        Column("coverage", "float", "0..1", "decoded span ÷ claimed span"),
        Column("state", "text", "", "ok or degraded"),
        Column("context", "text", "", "care, research or studio"),
        Column("licence", "text", "", "of the recording; empty: not stated"),
        Column("consent", "text", "", "scopes of the people in it and their end, or `in words`; empty: not stated"),
    ),
    "clips": (
        *_WHICH,
        Column("sha256", "text", "", "of the source"),
        *_SPAN,
        Column("starts", "text", "", "why it starts here"),
        Column("ends", "text", "", "why it ends here"),
        Column("cutter", "text", "", "what cut it"),
    ),
    "tracks": (
        *_WHICH,
        *_WHO,
        Column("kind", "text", "", "person, face or object"),
        Column("class", "text", "", "class of the detector"),
        *_SPAN,
        *(Column(n, "float", "share of the frame", "median box") for n in ("x1", "y1", "x2", "y2")),
        Column("frames", "int", "frames", "analysed frames it was seen in"),
        Column("subject", "text", "", "pseudonym a person assigned, or unassigned"),
        *_LABEL,
    ),
    "observations": (
        *_WHICH,
        Column("observation_id", "text", "", "cited by claims"),
        *_WHO,
        *_SPAN,
        Column("target", "text", "", "what was observed"),
        Column("value", "float", "as unit", "empty: not measured, or a distribution"),
        Column("sd", "float", "as unit", "standard deviation; empty where the model gives none"),
        Column("unit", "text", "", "of value and sd"),
        Column("top", "text", "", "likeliest label of a distribution"),
        Column("top_p", "float", "0..1", "its probability"),
        Column("dist", "text", "", "the distribution as JSON: label → probability"),
        Column("quality", "float", "0..1", "of what was looked at"),
        Column("n", "int", "", "frames or cells pooled"),
        Column("reason", "text", "", "why nothing was measured"),
        *_LABEL,
        *_ADAPTER,
    ),
    "signals": (
        *_WHICH,
        *_WHO,
        Column("name", "text", "", "signal"),
        Column("t_us", "int", "us", "start of the cell on the source's clock"),
        Column("value", "float32", "as unit", "empty: not measured"),
        Column("sd", "float32", "as unit", "standard deviation; empty where there is none"),
        Column("gap", "flag", "", "true: nothing was seen here, the value is predicted or empty"),
        Column("unit", "text", "", "of value and sd"),
        *_ADAPTER,
    ),
    "signal_list": (
        *_WHICH,
        Column("signal_id", "text", "", "signal"),
        *_WHO,
        Column("name", "text", "", "signal"),
        Column("unit", "text", "", "of its values"),
        Column("t0_us", "int", "us", "first cell"),
        Column("step_us", "int", "us", "length of a cell"),
        Column("n", "int", "", "cells"),
        Column("coverage", "float", "0..1", "share of the cells that were measured"),
        Column("weak", "flag", "", "true: measured accuracy is too low to lean on"),
        Column("accuracy", "text", "", "what was measured of the model behind it"),
        *_ADAPTER,
    ),
    "assessments": (
        *_WHICH,
        Column("assessment_id", "text", "", "fusion's answer for one window"),
        *_WHO,
        *_SPAN,
        Column("state", "text", "", "state the signals are consistent with; empty: abstained"),
        Column("p", "float", "0..1", "posterior of the likeliest state, also where it abstains"),
        Column("posterior", "text", "", "as JSON: state → probability"),
        Column("weights", "text", "", "as JSON: source → weight"),
        Column("ambiguity", "float", "nats", "entropy within and between the sources"),
        Column("conflict", "float", "nats", "divergence between the sources"),
        Column("vacuity", "float", "0..1", "share of the evidence that is missing"),
        Column("abstained", "flag", "", "true: no state is given"),
        Column("reason", "text", "", "why it abstains"),
        Column("credible", "text", "", "conformal set of states, likeliest first; empty: none was calibrated"),
        Column("level", "float", "0..1", "coverage the set was calibrated to, over people"),
        Column("smoothed", "text", "", "as JSON: state → probability given all windows of the track"),
        *_LABEL,
        *_ADAPTER,
    ),
    "claims": (
        *_WHICH,
        Column("claim_id", "text", "", "one sentence of reasoning"),
        *_WHO,
        *_SPAN,
        Column("kind", "text", "", "observation, inference, alternative, uncertainty or recommendation"),
        Column("predicate", "text", "", "what an audit recomputes"),
        Column("text", "text", "", "the sentence: signals are consistent with states, nobody is anything"),
        Column("evidence", "text", "", "ids of the observations it stands on"),
        Column("engine", "text", "", "what wrote it"),
    ),
    "items": (
        Column("item_id", "text", "", "one row of the input"),
        Column("name", "text", "", "file it came from, without its folder"),
        Column("row", "text", "", "its name within a table or archive"),
        Column("sha256", "text", "", "of its sources, separated by spaces"),
    ),
    "attributes": (
        Column("item_id", "text", "", "item"),
        Column("key", "text", "", "key"),
        Column("type", "text", "", "text, int, float, bool or time"),
        Column("value", "text", "", "as text"),
    ),
    "labels": (
        Column("source", "text", "", "file name"),
        *_SPAN,
        *(Column(n, "float", "share of the frame", "box") for n in ("x1", "y1", "x2", "y2")),
        Column("target", "text", "", "what was labelled"),
        Column("value", "text", "", "empty: withdrawn"),
        Column("by", "text", "", "who"),
        Column("at_utc", "text", "", "when; the newest counts"),
        Column("in_force", "flag", "", "true: no newer one of the same place and target"),
    ),
    "models": (
        Column("adapter", "text", "", "fingerprint that rows carry"),
        Column("name", "text", "", "adapter"),
        Column("slot", "text", "", "what it does"),
        Column("weights_sha256", "text", "", "digest of its weights"),
        Column("licence_code", "text", "", "of the code"),
        Column("licence_weights", "text", "", "of the weights"),
        Column("licence_training_data", "text", "", "of the data it was trained on"),
    ),
}


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table: `unit` and `says` per field, `schema_version` and `table` for the whole."""
    import pyarrow as pa

    kinds = {
        "text": pa.string(), "int": pa.int64(), "float": pa.float64(), "float32": pa.float32(), "flag": pa.bool_(),
    }  # fmt: skip
    fields = [pa.field(c.name, kinds[c.kind], metadata={"unit": c.unit, "says": c.says}) for c in TABLES[table]]
    return pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION), "table": table})
