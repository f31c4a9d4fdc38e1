"""Reading releases: closed by default, checked as it is read, nothing that was revoked, no torch."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from releasing import ORDER, published

import mien
from mien.core import MienError
from mien.export import release
from mien.policy import EXPLICIT_LIMIT
from mien.store import released
from mien.store.revocation import Revocations, Revoked, read, root_key, source_key, subject_key, write
from mien.store.sealing import MANIFEST, Sealed, check, seal, walk


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    root = tmp_path_factory.mktemp("load") / "p"
    held = published(root, subject="P-07")
    folder = release.build(held, ORDER).folder
    held.close()
    return folder


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Path(shutil.copytree(original, tmp_path / "releases" / "faces-1.0.0"))


def resealed(folder, change=None, told=None):
    """Write into a release by hand, as somebody who knows the format would."""
    lines = [json.loads(line) for line in (folder / released.EXAMPLES).read_text().splitlines()]
    if change:
        change(lines)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / released.EXAMPLES).write_text(text)
    held = {**json.loads((folder / MANIFEST).read_text()), **(told or {})}
    files = [
        Sealed(p, s.st_size, hashlib.sha256((folder / p).read_bytes()).hexdigest())
        for p, s in walk(folder) if p != MANIFEST
    ]  # fmt: skip
    (folder / MANIFEST).write_bytes(seal(held, files, None)[0])
    assert check(folder)[1] == []
    return folder


def test_examples_come_by_number_and_as_a_stream(folder):
    by_number = mien.load_release(folder)
    stream = mien.load_release(folder, streaming=True, split="train")
    assert len(by_number) == 2
    assert list(stream) == list(by_number) == by_number[:]
    assert by_number[-1] == by_number[1]
    with pytest.raises(IndexError):
        by_number[2]
    assert sum(by_number[0].states[0]["posterior"].values()) == pytest.approx(1)
    assert by_number[0].texts[0]["text"].startswith("Between 0:00")
    assert mien.load_release(folder, verify=True).skipped == {}
    with pytest.raises(MienError, match=r"release\.unknown-split"):
        mien.load_release(folder, split="dev")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"gate": {"decision": "passed", "explicit": 0.9}}, "gate.quarantined"),
        ({"gate": {"decision": "passed", "explicit": None}}, "gate.not-run"),
        ({"gate": {"decision": "passed", "explicit": float("nan")}}, "gate.not-run"),
        ({"gate": {"decision": "passed", "explicit": True}}, "gate.not-run"),
        ({"gate": {"decision": "refused", "explicit": 0.0}}, "gate.unknown"),
        ({"gate": None}, "gate.unknown"),
        ({"kind": "audio", "gate": {"decision": "passed", "explicit": 0.9}}, "gate.quarantined"),
        ({"kind": "other"}, "gate.unknown"),
        ({"context": "care"}, "context.mixed"),
        ({"context": "studio"}, "context.mixed"),
        ({"consent": "not-stated"}, "consent.not-stated"),
        ({"consent": "refused"}, "consent.not-stated"),
        ({"subjects": [7]}, "gate.unknown"),
    ],
)
def test_a_canary_that_somebody_wrote_in_by_hand_is_not_handed_out(folder, change, code):
    def plant(lines):
        lines.append(lines[0] | {"id": "canary"} | change)
        lines.append({"id": "no-gate-at-all", "split": "train"})

    held = mien.load_release(resealed(folder, plant))
    assert [e.id for e in held if e.id in ("canary", "no-gate-at-all")] == []
    assert held.skipped == ({code: 2} if code == "gate.unknown" else {code: 1, "gate.unknown": 1})
    stream = mien.load_release(folder, streaming=True)
    assert "canary" not in {e.id for e in stream}
    assert dict(stream.skipped) == held.skipped


def test_a_care_recording_in_a_studio_release_is_not_handed_out(folder):
    def plant(lines):
        for line in lines:
            line["context"] = "studio"
        lines[0]["context"] = "care"

    held = mien.load_release(resealed(folder, plant, {"context": "studio", "use": "share"}))
    assert held.skipped == {"context.mixed": 1}
    assert len(held) == 1


def test_the_limit_is_that_of_the_policy():
    assert released.EXPLICIT_LIMIT == EXPLICIT_LIMIT


@pytest.mark.parametrize("where", ["inside", "beside", "config", "given"])
def test_a_revoked_release_is_not_loaded_wherever_the_list_lies(folder, tmp_path, where):
    manifest, _ = check(folder)
    places = {
        "inside": folder,
        "beside": folder.parent,
        "config": tmp_path / "config" / "mien",
        "given": tmp_path / "x",
    }
    listed = places[where] / "revoked.json"
    by_root = Revocations({"renamed-9.9.9": Revoked(root_key(manifest.root), "withdrawn", "2026-02-01", "faces-1.0.1")})
    write(listed, by_root)
    given = [listed] if where == "given" else []
    with pytest.raises(MienError, match=r"release\.revoked.*\n.*faces-1\.0\.1"):
        mien.load_release(folder, revocations=given)
    assert check(folder)[1] == []  # still whole: revoked is not broken
    listed.write_text("{}")
    with pytest.raises(MienError, match=r"release\.revocation-unreadable"):
        mien.load_release(folder, revocations=given)
    listed.unlink()
    assert len(mien.load_release(folder)) == 2
    with pytest.raises(MienError, match=r"release\.revocation-unreadable"):
        mien.load_release(folder, revocations=tmp_path / "typo.json")


def test_withdrawn_sources_and_people_are_skipped_and_counted(folder):
    for listed in (
        Revocations(sources=frozenset({"a" * 64})),
        Revocations(sources=frozenset({source_key("a" * 64)})),
        Revocations(subjects=frozenset({"P-07"})),
        Revocations(subjects=frozenset({subject_key("P-07")})),
    ):
        write(folder.parent / "revoked.json", listed)
        held = mien.load_release(folder)
        assert (len(held), held.skipped) == (0, {"release.withdrawn": 2})
    write(folder.parent / "revoked.json", Revocations(subjects=frozenset({"P-08"})))
    assert len(mien.load_release(folder)) == 2


def test_what_is_read_is_checked(folder):
    (folder / "examples.jsonl").write_bytes((folder / "examples.jsonl").read_bytes().replace(b"pleasure", b"distress"))
    with pytest.raises(MienError, match=r"release\.changed"):
        mien.load_release(folder)
    told = folder / "README.md"
    told.write_text("short")
    with pytest.raises(MienError, match=r"release\.changed: README|release\.changed. README"):
        mien.load_release(folder, streaming=True)


def test_media_are_checked_when_they_are_opened(folder):
    (folder / "frames").mkdir()
    (folder / "frames" / "x.png").write_bytes(b"picture")

    def plant(lines):
        lines[0]["media"] = ["frames/x.png", "../outside.png"]

    (medium,) = mien.load_release(resealed(folder, plant))[0].media
    assert (medium.trainer, medium.read(), medium.path.name) == ("frames", b"picture", "x.png")
    (folder / "frames" / "x.png").write_bytes(b"PICTURE")
    for opened in (medium.read, lambda: medium.path):
        with pytest.raises(MienError, match=r"release\.changed"):
            opened()
    with pytest.raises(MienError, match=r"release\.changed"):
        mien.load_release(folder, verify=True)


def test_a_key_that_must_have_signed_it(folder):
    with pytest.raises(MienError, match=r"release\.unsigned"):
        mien.load_release(folder, key="00" * 32)


def test_torch_takes_it_as_it_is_and_is_not_imported(folder):
    code = (
        "import sys, mien; held = mien.load_release(sys.argv[1]).to_torch()\n"
        "assert len(held) == 2 and held[1]['split'] == 'train'\n"
        "assert not {'torch', 'datasets', 'pandas', 'cryptography'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)
    torch_data = pytest.importorskip("torch.utils.data", reason="needs torch")
    loader = torch_data.DataLoader(mien.load_release(folder).to_torch(), batch_size=2, collate_fn=list)
    ((a, b),) = list(loader)
    assert [a["id"], b["id"]] == [e.id for e in mien.load_release(folder)]


def test_datasets_takes_it(folder):
    pytest.importorskip("datasets", reason="needs the extra datasets")
    table = mien.load_release(folder).to_datasets()
    assert table["id"] == [e.id for e in mien.load_release(folder)]
    assert json.loads(table[0]["states"])[0]["posterior"]["pleasure"] == 0.7


def test_lists_only_ever_add(tmp_path):
    one, two = tmp_path / "a.json", tmp_path / "b.json"
    write(one, Revocations(sources=frozenset("x"), releases={"a-1.0.0": Revoked("0", "why", "t")}))
    write(two, Revocations(sources=frozenset("y"), subjects=frozenset("s")))
    assert read([one, two, tmp_path / "none.json"]) == read([two, one])
    assert json.loads(one.read_text()) == {
        "version": 2, "at_utc": "", "withdrawn": [], "sources": ["x"],
        "releases": {"a-1.0.0": {"root_sha256": "0", "reason": "why", "at_utc": "t"}},
    }  # fmt: skip
