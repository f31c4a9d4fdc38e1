"""Folders: sidecars, imagefolders, classes and splits, what is left out; archives that are sound, and hostile ones."""

import gzip
import io
import json
import os
import tarfile
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.pipeline.inputs import Entry, Inputs, Refused, Vault, archives, discover

DATA = b"not decoded here"


@pytest.fixture
def vault(tmp_path):
    (tmp_path / "project").mkdir()
    return Vault(tmp_path / "project", "research")


def found(path, vault=None, **columns):
    inputs = Inputs.model_validate({"columns": columns})
    return list(discover([path], inputs, vault or Vault(None, "research")))


def items(path, vault=None, **columns):
    return [e for e in found(path, vault, **columns) if isinstance(e, Entry)]


def codes(path, vault=None):
    return [e.error.code for e in found(path, vault) if isinstance(e, Refused)]


def attributes(entry):
    return {a.key: (a.type, a.value) for a in entry.attributes}


def lay(root, *names, data=DATA):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


# ------------------------------------------------------------ folders


def test_a_folder_gives_its_files_in_name_order_and_leaves_out_what_is_hidden_or_ours(tmp_path):
    root = lay(tmp_path / "in", "b.mp4", "a/c.wav", ".hidden.mp4", ".git/x.mp4", "ü ñ.jpg", "notes.pdf")
    lay(root / "p", "mien.toml", "mien.db", "arrays/x.parquet", "media/ab/x.mp4", "report.html", "own.mp4")
    os.mkfifo(root / "pipe.mp4")
    (root / "linked").symlink_to(tmp_path)
    names = [os.path.relpath(e.media[0], root) for e in items(root)]
    assert names == ["a/c.wav", "b.mp4", "notes.pdf", "p/own.mp4", "pipe.mp4", "ü ñ.jpg"]
    assert codes(root) == ["input.link"]
    assert items(root) == items(root)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert codes(empty) == ["input.empty-folder"]
    odd = os.fsdecode(os.fsencode(lay(tmp_path / "odd", "ok.mp4")) + b"/\xff.mp4")
    with open(odd, "wb"):
        pass
    assert codes(tmp_path / "odd") == ["input.bad-path"]
    assert len(items(tmp_path / "odd")) == 1


def test_sidecars_are_attributes_of_their_medium(tmp_path):
    root = lay(tmp_path / "in", "a.mp4", "b.mp4", "c.wav", "d.jpg", "e.jpg")
    (root / "a.txt").write_text("a woman laughs\n")
    (root / "a.json").write_text(
        '{"age": 31, "person_id": "Anna", "setting": {"place": "kitchen"}, "day": "2024-01-02"}'
    )
    (root / "b.mp4.txt").write_text("\ufeffblurred", encoding="utf-8")
    (root / "c.json").write_text("{broken")
    (root / "d.jsonl").write_text('{"x": 1.5}\n')
    (root / "e.jsonl").write_text('{"x": 1}\n{"x": 2}\n')
    (root / "alone.txt").write_text("a text of its own")
    (root / "alone.json").write_text('{"x": 1}')
    held = {os.path.basename(e.item.origin): e for e in items(root)}
    assert set(held) == {"a.mp4", "b.mp4", "c.wav", "d.jpg", "e.jpg", "alone.txt"}
    assert attributes(held["a.mp4"]) == {
        "text": ("text", "a woman laughs"),
        "age": ("int", "31"),
        "setting.place": ("text", "kitchen"),
        "day": ("time", "2024-01-02"),
    }
    assert held["a.mp4"].subject == "Anna"
    assert attributes(held["b.mp4"]) == {"text": ("text", "blurred")}
    assert attributes(held["d.jpg"]) == {"x": ("float", "1.5")}
    assert [p.code for n in ("c.wav", "e.jpg") for p in held[n].problems] == ["input.bad-json"] * 2
    assert [len(held[n].media) for n in ("c.wav", "alone.txt")] == [1, 0]
    assert attributes(held["alone.txt"]) == {"text": ("text", "a text of its own")}
    assert codes(root) == ["input.bad-json"]  # alone.json is neither a sidecar nor a table
    assert attributes(items(root / "a.mp4")[0])["text"] == ("text", "a woman laughs")


@pytest.mark.parametrize("end", ["csv", "jsonl", "parquet"])
def test_an_imagefolder_with_metadata(tmp_path, end):
    root = lay(tmp_path / "in", "train/1.png", "train/2.png", "train/sub/3.png", "test/4.png")
    rows = [{"file_name": "1.png", "caption": "one"}, {"file_name": "sub/3.png", "caption": "three"}]
    path = root / "train" / f"metadata.{end}"
    if end == "csv":
        path.write_text("file_name,caption\n1.png,one\nsub/3.png,three\n")
    elif end == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    held = {os.path.relpath(e.media[0], root): attributes(e) for e in items(root)}
    train, test = ("text", "train"), ("text", "test")
    assert held == {
        "train/1.png": {"caption": ("text", "one"), "split": train},
        "train/sub/3.png": {"caption": ("text", "three"), "split": train},
        "train/2.png": {"split": train},
        "test/4.png": {"split": test},
    }
    assert len(items(root)) == 4


def test_two_media_columns_by_name_and_a_list_of_files(tmp_path):
    root = lay(tmp_path / "in", "i.bin", "d.bin")
    (root / "metadata.jsonl").write_text(
        '{"left_file_name": "i.png", "right_file_name": "d.png", "n": 1}\n{"file_names": ["x.png", "y.png"]}\n'
    )
    first, second = (e for e in items(root) if e.item.row)
    assert [m.name for m in first.media] == ["i.png", "d.png"]
    assert [m.name for m in second.media] == ["x.png", "y.png"]


def test_folders_are_classes_where_all_media_lie_in_folders(tmp_path):
    root = lay(tmp_path / "in", "cry/1.wav", "laugh/2.wav", "laugh/3.wav")
    assert [attributes(e)["label"][1] for e in items(root)] == ["cry", "laugh", "laugh"]
    split = lay(tmp_path / "split", "train/cry/1.wav", "train/laugh/2.wav", "val/cry/3.wav", "val/laugh/4.wav")
    assert [tuple(v for _, v in attributes(e).values()) for e in items(split)] == [
        ("train", "cry"), ("train", "laugh"), ("validation", "cry"), ("validation", "laugh"),
    ]  # fmt: skip
    lay(root, "loose.wav")
    assert all(attributes(e) == {} for e in items(root))
    assert all(attributes(e) == {} for e in items(lay(tmp_path / "one", "only/1.wav")))


def test_a_table_met_in_a_folder_counts_only_if_it_names_media(tmp_path):
    root = lay(tmp_path / "in", "a.jpg", "b.jpg")
    (root / "rows.csv").write_text("path,mood\na.jpg,glad\n")
    (root / "numbers.csv").write_text("x,y\n1,2\n")
    held = items(root)
    assert [e.item.row for e in held] == ["a.jpg", ""]
    assert codes(root) == ["input.table-not-read"]
    assert len(items(root / "numbers.csv")) == 1


# ------------------------------------------------------------ archives


def tar(path, members, mode="w"):
    with tarfile.open(path, mode) as out:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            out.addfile(info, io.BytesIO(data))
    return path


SAMPLES = [
    ("a/0001.jpg", b"picture"),
    ("a/0001.json", b'{"age": 3, "person_id": "Anna"}'),
    ("a/0001.cls", b"7"),
    ("a/0001.caption.txt", b"a boy"),
    ("a/0002.wav", b"sound"),
    ("a/0002.png", b"picture"),
    ("a/0002.txt", b"two media"),
    ("a/0002.npy", b"numbers"),
    ("b/0001.txt", b"words alone"),
]


@pytest.mark.parametrize("end", ["tar", "tar.gz"])
def test_a_shard_gives_samples_and_its_media_lie_under_their_hash(tmp_path, vault, end):
    import hashlib

    path = tar(tmp_path / f"s.{end}", SAMPLES, "w:gz" if end.endswith("gz") else "w")
    one, two, three = items(path, vault)
    assert [e.item.row for e in (one, two, three)] == ["a/0001", "a/0002", "b/0001"]
    assert attributes(one) == {"age": ("int", "3"), "label": ("int", "7"), "caption": ("text", "a boy")}
    assert one.subject == "Anna"
    assert [m.suffix for m in two.media] == [".wav", ".jpg"]  # the bytes of its picture were met as .jpg before
    assert three.media == ()
    kept = {p for p in (tmp_path / "project" / "media").rglob("*") if p.is_file()}
    assert kept == {*one.media, *two.media}
    for path_ in kept:
        assert path_.stem == hashlib.sha256(path_.read_bytes()).hexdigest()
    assert len(kept) == 2  # the same picture in two samples is one file
    assert codes(path, vault) == ["input.unknown-type"]
    assert items(path, vault) == [one, two, three]


def test_parquet_with_media_inside(tmp_path, vault):
    path = tmp_path / "t.parquet"
    rows = [
        {"image": {"bytes": b"picture", "path": "x.png"}, "label": 1},
        {"image": {"bytes": b"other", "path": None}, "label": 2},
        {"image": {"bytes": None, "path": "beside.png"}, "label": 3},
        {"image": None, "label": 4},
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({"image": pa.array([r["image"] for r in rows], kind), "label": [r["label"] for r in rows]})
    pq.write_table(table.append_column("raw", pa.array([b"x"] * 4, pa.binary())), path)
    held = items(path, vault)
    assert [attributes(e) for e in held] == [{"label": ("int", str(n))} for n in (1, 2, 3, 4)]
    assert [m.read_bytes() for e in held[:2] for m in e.media] == [b"picture", b"other"]
    assert held[2].media == (tmp_path / "beside.png",)
    assert held[3].media == ()
    assert codes(path, vault) == ["input.unknown-type"]
    assert codes(path) == ["input.no-project"]


def test_care_keeps_no_copies(tmp_path):
    (tmp_path / "care").mkdir()
    vault = Vault(tmp_path / "care", "care")
    path = tmp_path / "t.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array([{"bytes": b"x", "path": "x.png"}], kind)}), path)
    for given in (path, tar(tmp_path / "s.tar", SAMPLES)):
        assert found(given, vault)[0].error.code == "input.care-no-copies"  # pyright: ignore[reportAttributeAccessIssue]
        assert items(given, vault) == []
    assert list((tmp_path / "care").rglob("*")) == []


def special(name, kind, link=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "traversal": [tarfile.TarInfo("../../out.jpg")],
    "inner traversal": [tarfile.TarInfo("a/../../out.jpg")],
    "absolute": [tarfile.TarInfo("/tmp/out.jpg")],  # noqa: S108 - the attack
    "backslash": [tarfile.TarInfo("..\\out.jpg")],
    "drive": [tarfile.TarInfo("C:out.jpg")],
    "symlink": [special("x.jpg", tarfile.SYMTYPE, "/etc/passwd")],
    "hardlink": [special("x.jpg", tarfile.LNKTYPE, "../../etc/passwd")],
    "device": [special("x.jpg", tarfile.CHRTYPE)],
    "block device": [special("x.jpg", tarfile.BLKTYPE)],
    "fifo": [special("x.jpg", tarfile.FIFOTYPE)],
    "control characters": [tarfile.TarInfo("a\x1b[2J.jpg")],
    "direction override": [tarfile.TarInfo("a\u202egpj.jpg")],
    "long name": [tarfile.TarInfo("a" * 5000 + ".jpg")],
    "archive within": [tarfile.TarInfo("x.tar.gz")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_member_is_refused_and_nothing_lies_outside(tmp_path, vault, name):
    before = set(tmp_path.rglob("*"))
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as out:
        for info in HOSTILE[name]:
            info.size = 0 if info.type != tarfile.REGTYPE else 4
            out.addfile(info, io.BytesIO(b"evil") if info.size else None)
        good = tarfile.TarInfo("good.jpg")
        good.size = 4
        out.addfile(good, io.BytesIO(b"good"))
    assert codes(path, vault) == ["input.archive-unsafe"]
    (entry,) = items(path, vault)
    assert entry.media[0].read_bytes() == b"good"
    made = {p for p in tmp_path.rglob("*") if p.is_file()} - before - {path}
    assert made == {entry.media[0]}


def test_many_hostile_members_end_the_reading(tmp_path, vault):
    path = tar(tmp_path / "s.tar", [(f"../{i}.jpg", b"") for i in range(500)])
    assert len(codes(path, vault)) == archives.MAX_REFUSED + 1


def crowded(path, members):
    block = tarfile.TarInfo("x.npy").tobuf()
    with path.open("wb") as out:
        for _ in range(members):
            out.write(block)
        out.write(bytes(1024))
    return path


def test_a_hundred_thousand_members_take_seconds(tmp_path, vault):
    path = crowded(tmp_path / "s.tar", archives.MAX_MEMBERS + 1)
    started = time.process_time()
    assert codes(path, vault) == ["input.archive-bomb", "input.unknown-type"]
    assert time.process_time() - started < 30


def test_members_are_not_remembered(tmp_path, vault):
    path = crowded(tmp_path / "s.tar", 5000)
    codes(crowded(tmp_path / "warm.tar", 10), vault)
    tracemalloc.start()
    assert codes(path, vault) == ["input.unknown-type"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1e6  # 5,000 members of tarfile are 6 MB


def test_a_gzip_bomb_is_seen_while_it_unfolds(tmp_path, vault, monkeypatch):
    monkeypatch.setattr(archives, "RATIO_FROM_BYTES", 4 << 20)
    path = tmp_path / "s.tar.gz"
    for name in ("x.jpg", "x.npy"):  # read, and skipped over
        info = tarfile.TarInfo(name)
        info.size = 64 << 20
        with gzip.open(path, "wb") as out:
            out.write(info.tobuf())
            for _ in range(64):
                out.write(bytes(1 << 20))
            out.write(bytes(1024))
        assert path.stat().st_size < 1 << 20
        assert "input.archive-bomb" in codes(path, vault)
        assert not [p for p in (tmp_path / "project").rglob("*") if p.is_file()]


def test_a_header_that_claims_gigabytes_is_not_read(tmp_path, vault):
    path = tmp_path / "s.tar"
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, 7 << 30
    path.write_bytes(info.tobuf() + bytes(4096))
    assert codes(path, vault) == ["input.archive-bomb"]
    info.size = 1024
    path.write_bytes(info.tobuf() + b"9999999999 path=x\n".ljust(1024, b"\0"))
    assert codes(path, vault) == ["input.damaged"]
    path.write_bytes(b"".join(special("pax", tarfile.XHDTYPE).tobuf() for _ in range(5000)) + bytes(1024))
    assert codes(path, vault) == ["input.damaged"]


@pytest.mark.parametrize("end", ["tar", "tar.gz"])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.7])
def test_a_torn_or_false_archive_has_a_code(tmp_path, vault, end, keep):
    path = tar(tmp_path / f"s.{end}", [("1.jpg", os.urandom(40_000)), ("2.jpg", b"2")], "w:gz" if "gz" in end else "w")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    assert "input.damaged" in codes(path, vault)
    assert not [p for p in (tmp_path / "project").rglob("*.jpg") if p.stat().st_size not in (1, 40_000)]
    path.write_bytes(os.urandom(5000))
    assert codes(path, vault) == ["input.damaged"]


def test_a_key_that_comes_again_is_told(tmp_path, vault):
    path = tar(tmp_path / "s.tar", [("a.jpg", b"1"), ("b.jpg", b"2"), ("a.txt", b"late")])
    assert codes(path, vault) == ["input.duplicate-id"]
    broken = tar(tmp_path / "b.tar", [("a.jpg", b"1"), ("a.json", b"{"), ("b.txt", b"\xff"), ("b.jpg", b"2")])
    assert [[p.code for p in e.problems] for e in items(broken, vault)] == [["input.bad-json"], ["input.not-utf8"]]
    assert [len(e.media) for e in items(broken, vault)] == [1, 1]
