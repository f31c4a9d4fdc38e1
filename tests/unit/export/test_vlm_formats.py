"""Folders for trainers: schemas written from the trainers' sources, soft labels, masks, evidence, the same bytes, and
nothing of what must stay behind."""

import collections
import hashlib
import io
import json
import re
import tarfile
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from learnable import SECONDS, project, sha_of

from mien.core import MienError, Observation, Source, Span, Subject, Track
from mien.export.selection.examples import examples, soft_labels, unnamed
from mien.export.selection.folder import MANIFEST
from mien.export.selection.labelled import Label, Place, labels_of, put_labels
from mien.export.selection.scope import scope_of
from mien.export.selection.together import splits_of
from mien.export.trainers import Terms, export_for, job_of, trainer
from mien.export.vlm.talks import Talk, repeated
from mien.store import Store

FORMATS = ("hf", "trl", "ms-swift", "llama-factory", "qwen-vl", "axolotl", "webdataset")
TELLING = ("examples.jsonl", "evidence.jsonl", "dropped.jsonl", "export.json", "NOTICE.txt")


def jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def name_of(held, seed: int) -> str:
    return f"recording-{sha_of(held.root, seed)[:12]}"


def files(folder: Path) -> dict[str, str]:
    held = [p for p in folder.rglob("*") if p.is_file()]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in held}


def everything(folder: Path) -> bytes:
    """All bytes and all names; tar members are stored as they are."""
    return b"\n".join(
        p.relative_to(folder).as_posix().encode() + p.read_bytes() for p in folder.rglob("*") if p.is_file()
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    held = project(tmp_path_factory.mktemp("learnable") / "p", (1, 2))
    yield held
    held.close()


@pytest.fixture(scope="module")
def out(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    for name in FORMATS:
        export_for(made, name, folder / name)
    return folder


def rows_of(folder: Path, ending: str) -> list[dict]:
    found = []
    for split in ("train", "validation", "test"):
        path = folder / f"{split}{ending}"
        if path.exists():
            found += json.loads(path.read_text()) if ending == ".json" else jsonl(path)
    assert found
    return found


# ---------------------------------------------------------------- schemas, from the trainers' documents and sources


def test_every_folder_says_what_it_is_and_names_nobody(made, out):
    for name in FORMATS:
        held = json.loads((out / name / MANIFEST).read_text())
        assert {f["name"] for f in held["files"]} == set(files(out / name)) - {MANIFEST}
        assert held["trainer"] == name
        text = everything(out / name)
        assert b"Anna" not in text
        assert str(made.root).encode() not in text
        assert b"Lavf" not in text, "an encoder's version"
        assert (out / name / "NOTICE.txt").is_file()


def test_media_are_there_as_often_as_placeholders_and_paths_are_relative(out):
    for name, ending in (("ms-swift", ".jsonl"), ("llama-factory", ".json")):
        for row in rows_of(out / name, ending):
            first = row["messages"][0]["content"] if name == "ms-swift" else row["conversations"][0]["value"]
            for kind in ("image", "video", "audio"):
                assert first.count(f"<{kind}>") == len(row[f"{kind}s"])
                assert all((out / name / p).is_file() and not Path(p).is_absolute() for p in row[f"{kind}s"])
            assert row["videos"]
    for row in rows_of(out / "qwen-vl", ".json"):
        assert set(row) == {"id", "video", "conversations"}
        assert row["conversations"][0]["value"].count("<video>") == 1
        assert (out / "qwen-vl" / row["video"]).is_file()
    for row in rows_of(out / "trl", ".jsonl"):
        assert len(row["images"]) == 4
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
        assert "<image>" not in row["messages"][0]["content"], "TRL puts them in itself"
    for row in rows_of(out / "axolotl", ".jsonl"):
        assert [p["type"] for p in row["messages"][0]["content"]] == ["video", "text"]
        assert (out / "axolotl" / row["messages"][0]["content"][0]["path"]).is_file()


def test_conversations_have_the_keys_that_trainers_read(out):
    for row in rows_of(out / "ms-swift", ".jsonl"):
        assert set(row) == {"messages", "images", "videos", "audios", "stem", "kind"}
        for i, turn in enumerate(row["messages"]):
            assert turn["role"] == ("assistant" if i % 2 else "user")
            assert set(turn) == ({"role", "content", "loss", "loss_scale"} if i % 2 else {"role", "content"})
        assert any(t.get("loss") for t in row["messages"]), "a row without loss teaches nothing"
    info = json.loads((out / "llama-factory" / "dataset_info.json").read_text())
    for name, entry in info.items():
        assert entry["formatting"] == "sharegpt"
        assert entry["columns"]["messages"] == "conversations"
        assert (out / "llama-factory" / entry["file_name"]).is_file()
        assert name == f"mien_{entry['file_name'].removesuffix('.json')}"
    for row in rows_of(out / "llama-factory", ".json"):
        assert [t["from"] for t in row["conversations"]] == ["human", "gpt"]
    for entry in json.loads((out / "qwen-vl" / "data_dict.json").read_text()).values():
        assert set(entry) == {"annotation_path", "data_path"}


def test_reasoning_walks_in_thought_and_every_sentence_leads_to_a_claim_and_its_rows(made, out):
    known = {o.id for o in made.store.all(Observation)} | {
        r[0] for r in made.store.query("SELECT id FROM assessments")[1]
    }
    claims = {r[0]: r[1] for r in made.store.query("SELECT id, text FROM claims")[1]}
    folder = out / "trl"
    texts = {r["stem"]: r["messages"][1]["content"] for r in rows_of(folder, ".jsonl") if r["kind"] == "reasoning"}
    assert len(texts) == 2
    evidence = jsonl(folder / "evidence.jsonl")
    assert {e["stem"] for e in evidence} == set(texts)
    for e in evidence:
        assert texts[e["stem"]][e["start"] : e["end"]] == claims[e["claim_id"]]
        assert known.issuperset(e["evidence_ids"])
    assert all(t.startswith("<think>\n") and "</think>" in t for t in texts.values())


def test_lengths_differ_and_nest(made, tmp_path):
    size = []
    for length in ("short", "medium", "long"):
        export_for(made, "trl", tmp_path / length, Terms.model_validate({"length": length}))
        size.append(
            sum(
                len(r["messages"][1]["content"])
                for r in rows_of(tmp_path / length, ".jsonl")
                if r["kind"] == "reasoning"
            )
        )
    assert size[0] < size[1] < size[2]


def test_pixels_and_sound_are_those_of_the_clip(out):
    for row in jsonl(out / "hf" / "examples.jsonl"):
        assert len(row["images"]) == 4
        for path, t_us in zip(row["images"], row["image_times_us"], strict=True):
            picture = cv2.imread(str(out / "hf" / path))
            assert picture.shape == (64, 96, 3)
            bright = np.flatnonzero(picture.mean(axis=(0, 2)) > 180)
            assert abs(bright.min() - t_us / 1e5) <= 1.5, "the bar moves one pixel per frame"
            assert b"Exif" not in (out / "hf" / path).read_bytes()
        with av.open(str(out / "hf" / row["video"])) as video:
            assert sum(1 for _ in video.decode(video=0)) == int(SECONDS * row["fps"])
            assert video.streams.audio
            assert not set(video.metadata) - {"major_brand", "minor_version", "compatible_brands"}


def test_parquet_holds_distributions_with_their_names_and_the_media_itself(out):
    tables = [pq.read_table(p) for p in sorted((out / "hf" / "data").glob("*.parquet"))]
    held = json.loads(tables[0].schema.metadata[b"huggingface"])["info"]["features"]
    names = held["state_names"]["feature"]["names"]
    assert names == ["calm", "distress", "pleasure"]
    told = {r["stem"]: r for r in jsonl(out / "hf" / "examples.jsonl")}
    for row in [r for t in tables for r in t.to_pylist()]:
        assert [i["bytes"][:2] for i in row["images"]] == [b"\xff\xd8"] * 4
        assert row["video"]["bytes"] == (out / "hf" / told[row["stem"]]["video"]).read_bytes()
        assert row["audio"]["bytes"][:4] == b"RIFF"
        for person, other in zip(row["people"], told[row["stem"]]["people"], strict=True):
            assert sum(person["states"]) == pytest.approx(1, abs=1e-4)
            for name, p in zip(names, person["states"], strict=True):
                assert p == pytest.approx(other["states"][name], abs=1e-5)


def test_shards_hold_samples_in_one_piece_without_owner_or_time(out):
    folder = out / "webdataset"
    index = json.loads((folder / "index.json").read_text())
    assert index["wids_version"] == 1
    seen = 0
    for shard in index["shardlist"]:
        with tarfile.open(folder / shard["url"]) as tar:
            keys = [m.name.split(".", 1) for m in tar.getmembers()]
            assert all(m.mtime == 0 and m.uid == 0 and not m.uname for m in tar.getmembers())
            stems = list(dict.fromkeys(k for k, _ in keys))
            assert [k for k, _ in keys] == sorted((k for k, _ in keys), key=stems.index), "a sample lies in one piece"
            assert {e for _, e in keys} == {"json", "txt", "0.jpg", "1.jpg", "2.jpg", "3.jpg", "mp4", "wav"}
            assert len(stems) == shard["nsamples"]
            row = json.load(io.TextIOWrapper(tar.extractfile(f"{stems[0]}.json")))
            assert {"people", "masks", "conversations"} <= set(row)
            seen += len(stems)
    assert seen == 2
    assert not (folder / "videos").exists()


# ---------------------------------------------------------------- soft labels and masks


def test_soft_labels_are_means_by_duration_and_peoples_labels_lie_beside(tmp_path):
    held = project(tmp_path / "p", (1,))
    (track, *_) = held.store.all(Track)
    place = Place(sha_of(held.root, 1), Span(0, 4_000_000), track.geometry)
    put_labels(held, labels_of(held.store), [Label(place, "state", "calm", "A", "2026-02-01T00:00:00.000+00:00")])
    scope = scope_of(held)
    (rows,) = list(scope.clips())
    for soft in soft_labels(scope, rows):
        mine = [a for a in rows.assessments if a.track_id == soft.track_id]
        total = sum(a.span.duration_us for a in mine)
        for name, p in soft.states:
            values = [(a.span.duration_us / total, dict(a.smoothed or a.posterior)[name]) for a in mine]
            assert p == pytest.approx(sum(w * v for w, v in values))
            spread = sum(w * (v - p) ** 2 for w, v in values) ** 0.5
            assert dict(soft.spread)[name] == pytest.approx(spread)
        if soft.track_id == track.id:
            assert soft.people == (("calm", 1.0),)
            assert soft.labelled == pytest.approx(0.5)
        else:
            assert soft.people == ()
    held.close()


def test_what_was_not_decided_is_masked_unless_a_person_decided(tmp_path):
    held = project(tmp_path / "p", (1,))
    with Store(held.root, write=True) as store:
        store._db.execute("UPDATE assessments SET abstained = 1")
        store._db.commit()
    first = held.store.all(Track)[0]
    place = Place(sha_of(held.root, 1), Span(0, 8_000_000), first.geometry)
    put_labels(held, labels_of(held.store), [Label(place, "state", "calm", "A", "2026-02-01T00:00:00.000+00:00")])
    scope = scope_of(held)
    (ex,) = list(examples(scope, splits_of(held, scope)))
    codes = {s.who: m.code if (m := ex.barred("state", s.who)) else None for s in ex.soft}
    labelled = next(s.who for s in ex.soft if s.track_id == first.id)
    assert codes.pop(labelled) is None
    assert set(codes.values()) == {"state.abstained"}
    export_for(held, "ms-swift", tmp_path / "out")
    turns = [t for r in rows_of(tmp_path / "out", ".jsonl") for t in r["messages"] if t["role"] == "assistant"]
    assert {t["content"] for t in turns if t["loss"] and t["content"] in ("calm", "distress", "pleasure")} == {"calm"}
    assert "state.abstained" in {r["code"] for r in jsonl(tmp_path / "out" / "dropped.jsonl")}
    held.close()


def test_a_trace_that_fails_its_audit_is_no_text_to_learn_from(tmp_path):
    held = project(tmp_path / "p", (1, 2))
    with Store(held.root, write=True) as store:
        (victim,) = store.query(
            "SELECT id FROM claims WHERE kind = 'inference' AND text LIKE '%consistent%' ORDER BY id LIMIT 1"
        )[1]
        store._db.execute(
            "UPDATE claims SET text = replace(text, 'consistent', 'surely consistent') WHERE id = ?", victim
        )
        store._db.commit()
    export_for(held, "trl", tmp_path / "out")
    rows = rows_of(tmp_path / "out", ".jsonl")
    assert len({r["stem"] for r in rows if r["kind"] == "reasoning"}) == 1
    assert "surely" not in everything(tmp_path / "out").decode(errors="ignore")
    assert "reason.not-auditable" in {r["code"] for r in jsonl(tmp_path / "out" / "dropped.jsonl")}
    held.close()


def test_copies_follow_the_weights_by_less_than_one_row():
    held = [Talk("state", "face 1", "q", n, w) for n, w in (("a", 0.62), ("b", 0.28), ("c", 0.1))]
    found = collections.Counter(t.answer for t in repeated(held, 5))
    assert sum(found.values()) == 5
    assert all(abs(found[t.answer] - 5 * t.weight) < 1 for t in held)


def test_loss_scales_of_one_question_are_its_distribution(out):
    told = {r["stem"]: r for r in jsonl(out / "ms-swift" / "examples.jsonl")}
    sums = collections.defaultdict(float)
    for row in rows_of(out / "ms-swift", ".jsonl"):
        if row["kind"] == "state":
            sums[row["stem"], row["messages"][0]["content"]] += row["messages"][1]["loss_scale"]
    assert sums
    assert all(s == pytest.approx(1, abs=1e-5) for s in sums.values())
    assert {stem for stem, _ in sums} <= set(told)


# ---------------------------------------------------------------- what must stay behind


def test_only_canaries_and_somebody_who_refused_leave_nothing_to_learn(tmp_path):
    """One clip the scripted gate calls explicit, one with an apparent minor beside, one of care in a research project,
    one with somebody who refused; the fifth may leave. Every format: test_canaries_everywhere."""
    name = "ms-swift"
    scripted = {
        "explicit": {1: 0.9, 2: 0.9},
        "age": {2: 12.0},
        "source": {3: {"context": "care"}},
        "subject": {4: "P-07"},
    }
    for seeds in ((1, 2, 3, 4), (1, 2, 3, 4, 5)):
        root = tmp_path / f"p{len(seeds)}"
        held = project(root, seeds, **scripted)
        with Store(held.root, write=True) as store:
            store.put([Subject("P-07", "withdrawn")], unit="P-07", stage="enrol")
        out = tmp_path / f"out{len(seeds)}"
        if 5 not in seeds:
            with pytest.raises(MienError, match=r"export\.nothing-learnable"):
                export_for(held, name, out)
            assert not out.exists()
            assert list(tmp_path.glob(".out*")) == []
        else:
            written = export_for(held, name, out)
            assert [r["source"] for r in jsonl(out / "examples.jsonl")] == [name_of(held, 5)]
            assert {w.code for w in written.withheld} >= {"gate.quarantined", "gate.permanent", "context.mixed"}
            assert b"P-07" not in everything(out)
        held.close()


def test_a_file_that_was_exchanged_after_the_analysis_does_not_leave(tmp_path):
    held = project(tmp_path / "p", (1, 2))
    one, two = (Path(s.path) for s in sorted(held.store.all(Source), key=lambda s: s.path))
    kept = name_of(held, 2)
    one.write_bytes(two.read_bytes())
    written = export_for(held, "trl", tmp_path / "out")
    assert [d.code for d in written.dropped] == ["media.changed"]
    assert {r["source"] for r in jsonl(tmp_path / "out" / "examples.jsonl")} == {kept}
    held.close()


def test_somebody_who_does_not_agree_to_training_takes_the_pixels_along(tmp_path):
    held = project(tmp_path / "p", (1, 2), subject={1: "P-07", 2: ""})
    with Store(held.root, write=True) as store:
        store.put([Subject("P-07", "analyse, export")], unit="P-07", stage="enrol")
    written = export_for(held, "trl", tmp_path / "out")
    assert [r["source"] for r in jsonl(tmp_path / "out" / "examples.jsonl")] == [name_of(held, 2)]
    assert [d.code for d in written.dropped] == ["consent.no-train"]
    assert b"P-07" not in everything(tmp_path / "out")
    held.close()


def test_names_of_files_and_people_are_told_nowhere(tmp_path):
    held = project(tmp_path / "p", (1, 2), subject={1: "P-07", 2: ""}, explicit={2: 0.9, 1: 0.01})
    scope = unnamed(scope_of(held))
    assert all("Anna" not in p.name for p in scope.parts)
    assert [w.what.startswith(f"{name_of(held, 2)} ") for w in scope.withheld] == [True]
    held.close()


# ---------------------------------------------------------------- whole, the same, findable


def test_the_same_bytes_again_and_in_another_order_of_insertion(made, out, tmp_path):
    other = project(tmp_path / "p", (2, 1))
    for name in ("hf", "llama-factory", "webdataset"):
        export_for(other, name, tmp_path / name)
        assert files(tmp_path / name) == files(out / name), name
    other.close()


def test_a_preview_writes_nothing_and_agrees_with_the_export(made, out):
    before = files(made.root)
    seen = trainer("trl").preview(job_of(made, "trl", keep=False))
    assert files(made.root) == before
    clips = collections.Counter(r["split"] for r in jsonl(out / "trl" / "examples.jsonl"))
    assert {s: v["clips"] for s, v in seen["splits"].items() if v["clips"]} == clips
    assert seen["talks"]["reasoning"] == 2


def test_unknown_trainers_are_met_with_the_nearest_name(made, tmp_path):
    with pytest.raises(MienError, match="did you mean 'llama-factory'"):
        export_for(made, "lamafactory", tmp_path / "x")
    assert re.match(r"\w", trainer("hf").line)


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left")])
def test_an_end_half_way_leaves_nothing(made, tmp_path, monkeypatch, failure):
    from mien.export.vlm import media

    def fails(*_: object) -> None:
        raise failure

    monkeypatch.setattr(media, "_wave", fails)
    with pytest.raises((KeyboardInterrupt, MienError)):
        export_for(made, "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
