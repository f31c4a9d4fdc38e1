"""Hugging Face datasets: one Parquet row per clip with its media inside, and image, video and audio folders beside.

Written with pyarrow alone; `datasets` finds its features in the schema's metadata and the configurations in README.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core import Assessment, MienError
from mien.export.selection.examples import Example, Soft
from mien.export.selection.folder import write_text
from mien.export.trainers import Job
from mien.export.vlm.book import Book, Rows, soft_row
from mien.export.vlm.media import Media, Wants
from mien.reason.training_text import LENGTHS
from mien.store.drawn import SPLITS

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

AT_ONCE = 16  # clips in a row group
FOLDERS = {"images": "imagefolder", "videos": "videofolder", "audio": "audiofolder"}
_NUMBERS = ("labelled", "ambiguity_nats", "conflict_nats", "vacuity", "abstained", "level")


def write(job: Job, folder: Path) -> Mapping[str, int]:
    """`data/SPLIT.parquet`, `images|videos|audio/SPLIT/metadata.jsonl` with their files, and `README.md`."""
    names = state_names(job)
    tables = _Tables(folder, names)
    with Book(job, folder, Wants(pictures=True)) as book, Rows(folder) as rows, tables:
        for ex, media, _ in book:
            row = _row(ex, media, names)
            tables.add(ex.split, row | _bytes(folder, media))
            plain = {k: v for k, v in row.items() if k != "split"}
            for name in media.files:
                kind, _, file = name.split("/", 2)
                rows.add(f"{kind}/{ex.split}/metadata.jsonl", {"file_name": file, **plain})
    counts = book.counts | rows.counts | tables.counts
    write_text(folder / "README.md", [_card(counts, names)])
    return counts


def state_names(job: Job) -> list[str]:
    """Every state that assessments or people name, in one order: what the positions of a distribution mean."""
    store = job.project.store
    _, one_each = store.query("SELECT MIN(id) FROM assessments WHERE posterior != '[]' GROUP BY adapter")
    held = [a for (name,) in one_each for a in store.all(Assessment, "id = ?", (name,))]
    said = {v.value for v, _ in job.scope.labels.history() if v.target == "state" and v.value}
    return sorted({name for a in held for name, _ in a.posterior} | said)


def _row(ex: Example, media: Media, names: list[str]) -> dict[str, Any]:
    texts = {f"reasoning_{n}": ex.targets[n].text if n in ex.targets else None for n in LENGTHS}
    return {
        "stem": ex.stem, "split": ex.split, "group": ex.group, "source": ex.rows.part.name,
        "start_us": ex.span.start_us, "end_us": ex.span.end_us, "fps": media.fps, **texts,
        "learn_reasoning": ex.barred("reasoning") is None,
        "people": [_person(ex, s, names) for s in ex.soft],
    }  # fmt: skip


def _person(ex: Example, s: Soft, names: list[str]) -> dict[str, Any]:
    told = soft_row(ex, s)
    states, people = dict(s.states), dict(s.people)
    if unknown := (set(states) | set(people)) - set(names):
        raise MienError(
            "export.mixed-states", f"states of another configuration: {', '.join(sorted(unknown))}", "mien run"
        )
    return {
        "who": s.who,
        "states": [round(states.get(n, 0.0), 6) for n in names] if states else [],
        "spread": [round(dict(s.spread).get(n, 0.0), 6) for n in names] if states else [],
        "people": [round(people.get(n, 0.0), 6) for n in names] if people else [],
        "credible": told["credible"],
        "learn_state": told["learn_state"],
        **{n: told[n] for n in _NUMBERS},
    }


def _bytes(folder: Path, media: Media) -> dict[str, Any]:
    def held(name: str | None) -> dict[str, Any] | None:
        return {"bytes": (folder / name).read_bytes(), "path": Path(name).name} if name else None

    return {"images": [held(n) for n in media.images], "video": held(media.video), "audio": held(media.audio)}


# ---------------------------------------------------------------- Parquet


def features(names: list[str]) -> dict[str, Any]:
    """What `datasets` reads the columns as. Positions of `states`, `spread` and `people` are the names of `state_names`
    (a ClassLabel), which the card lists as well."""

    def value(kind: str) -> dict[str, Any]:
        return {"dtype": kind, "_type": "Value"}

    def many(of: dict[str, Any]) -> dict[str, Any]:
        return {"feature": of, "_type": "List"}

    text, number, yes = value("string"), value("float32"), value("bool")
    person = {
        "who": text, "states": many(number), "spread": many(number), "people": many(number), "credible": many(text),
        "learn_state": yes, **dict.fromkeys(_NUMBERS, number),
    }  # fmt: skip
    return {
        "stem": text, "split": text, "group": text, "source": text, "start_us": value("int64"),
        "end_us": value("int64"), "fps": number, **{f"reasoning_{n}": text for n in LENGTHS}, "learn_reasoning": yes,
        "people": many(person), "state_names": many({"names": names, "_type": "ClassLabel"}),
        "images": many({"_type": "Image"}), "video": {"_type": "Video"}, "audio": {"_type": "Audio"},
    }  # fmt: skip


def _schema(names: list[str]) -> pa.Schema:
    import pyarrow as pa

    media = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = {"string": pa.string(), "float32": pa.float32(), "bool": pa.bool_(), "int64": pa.int64()}

    def of(feature: dict[str, Any]) -> pa.DataType:
        match feature.get("_type"):
            case "Value":
                return plain[feature["dtype"]]
            case "List":
                return pa.list_(of(feature["feature"]))
            case "ClassLabel":
                return pa.int64()
            case "Image" | "Video" | "Audio":
                return media
            case _:
                return pa.struct([(k, of(v)) for k, v in feature.items()])

    held = features(names)
    told = {"huggingface": json.dumps({"info": {"features": held}})}
    return pa.schema([(name, of(feature)) for name, feature in held.items()], metadata=told)


class _Tables:
    """One Parquet file per split, written in row groups."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self._folder, self._names = folder, names
        self._schema = _schema(names)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._waiting: dict[str, list[dict[str, Any]]] = {}
        self.counts: dict[str, int] = {}

    def add(self, split: str, row: dict[str, Any]) -> None:
        waiting = self._waiting.setdefault(split, [])
        waiting.append(row | {"state_names": list(range(len(self._names)))})
        name = f"data/{split}.parquet"
        self.counts[name] = self.counts.get(name, 0) + 1
        if len(waiting) == AT_ONCE:
            self._flush(split)

    def _flush(self, split: str) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if split not in self._writers:
            path = self._folder / "data" / f"{split}.parquet"
            path.parent.mkdir(exist_ok=True)
            self._writers[split] = pq.ParquetWriter(path, self._schema)
        if self._waiting[split]:
            self._writers[split].write_table(pa.Table.from_pylist(self._waiting[split], schema=self._schema))
            self._waiting[split] = []

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        for split in self._waiting:
            self._flush(split)
        for writer in self._writers.values():
            writer.close()


def _card(counts: Mapping[str, int], names: list[str]) -> str:
    """README.md with the configurations that `load_dataset(FOLDER, NAME)` finds."""
    lines = ["---", "configs:"]
    lines += ["- config_name: clips", "  default: true", "  data_files:"]
    for split in SPLITS:
        if f"data/{split}.parquet" in counts:
            lines += [f"  - split: {split}", f"    path: data/{split}.parquet"]
    lines += ["---", "", "# Clips with soft labels and audited reasoning", ""]
    lines += [f"Positions of `states`, `spread` and `people`: {', '.join(names)}.", ""]
    lines += [
        "Signals are consistent with states; nobody is said to be in one. Terms and what stayed behind: NOTICE.txt.",
        "",
    ]
    for folder, builder in FOLDERS.items():
        if any(name.startswith(f"{folder}/") for name in counts):
            lines.append(f'- `load_dataset("{builder}", data_dir="{folder}")`: one row per file')
    return "\n".join(lines) + "\n"
