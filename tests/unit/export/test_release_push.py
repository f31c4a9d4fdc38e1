"""Handing on and taking back: checks before a byte leaves, a dry run by default, signed ends, and the commands."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import learnable
import pytest
from releasing import AGREED, ORDER, published
from typer.testing import CliRunner

from mien.core import MienError
from mien.export import release
from mien.export.selection.scope import scope_of
from mien.policy.egress import EgressTerms
from mien.store.sealing import MANIFEST, SIGNATURE, check

NOWHERE = EgressTerms()
HUB = EgressTerms(allow=("huggingface.co:443",))


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    pytest.importorskip("cryptography", reason="needs the extra release")
    path = tmp_path_factory.mktemp("keys") / "release.key"
    release.new_key(path)
    return path


@pytest.fixture(scope="module")
def original(tmp_path_factory, key):
    held = published(tmp_path_factory.mktemp("push") / "p")
    made = {
        use: release.build(held, release.Order(use, "1.0.0", licence=licence, use=use, key=key)).folder
        for use, licence in (("publish", "CC-BY-4.0"), ("share", ""))
    }
    made["no-licence"] = release.build(held, release.Order("bare", "1.0.0")).folder
    held.close()
    return made


@pytest.fixture
def folder(original, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Path(shutil.copytree(original["publish"], tmp_path / "releases" / "publish-1.0.0"))


class Hub:
    """What stands at the seam where `huggingface_hub` would send: it takes what the patterns let through."""

    def __init__(self):
        self.sent = {}

    def upload_folder(self, *, repo_id, repo_type, folder_path, allow_patterns, commit_message):
        from huggingface_hub.utils import filter_repo_objects  # the client's own choice of files

        every = [str(p.relative_to(folder_path)) for p in Path(folder_path).rglob("*") if p.is_file()]
        chosen = filter_repo_objects(every, allow_patterns=allow_patterns)
        self.sent = dict.fromkeys(chosen, (repo_id, repo_type))


def test_nothing_leaves_unless_somebody_says_so(folder, tmp_path):
    told = release.push(folder, str(tmp_path / "there"), egress=NOWHERE)
    assert not told.sent
    assert not (tmp_path / "there").exists()
    assert {MANIFEST, SIGNATURE, "README.md"} <= set(told.files)


def test_a_folder_gets_a_whole_copy_once(folder, tmp_path):
    (folder / "revoked.json.bak").touch()
    with pytest.raises(MienError, match=r"release\.extra-file"):
        release.push(folder, str(tmp_path / "there"), egress=NOWHERE, send=True)
    (folder / "revoked.json.bak").unlink()
    for to in (str(tmp_path / "there"), f"file://{tmp_path}/url"):
        assert release.push(folder, to, egress=NOWHERE, send=True).sent
        copy = Path(to.removeprefix("file://")) / "publish-1.0.0"
        assert check(copy)[1] == []
        with pytest.raises(MienError, match=r"release\.target-exists"):
            release.push(folder, to, egress=NOWHERE, send=True)


def test_fsspec_gets_every_file_and_the_manifest_last(folder, monkeypatch):
    fsspec = pytest.importorskip("fsspec", reason="needs the extra release")
    memory, order = fsspec.filesystem("memory"), []
    kind = type(memory)
    real = kind.put_file
    monkeypatch.setattr(kind, "put_file", lambda self, a, b, **k: (order.append(b), real(self, a, b, **k)))
    done = release.push(folder, "memory://bucket", egress=NOWHERE, send=True)
    assert order[-1].endswith(MANIFEST)
    for path in done.files:
        there = memory.cat_file(f"/bucket/publish-1.0.0/{path}")
        assert hashlib.sha256(there).digest() == hashlib.sha256((folder / path).read_bytes()).digest()
    memory.rm("/bucket", recursive=True)


def test_the_hub_gets_what_is_listed_where_the_list_of_endpoints_names_it(folder):
    pytest.importorskip("huggingface_hub", reason="needs the extra release")
    hub = Hub()
    with pytest.raises(MienError, match=r"egress\.refused"):
        release.push(folder, "hf://team/faces", egress=NOWHERE, send=True, hub=hub)
    release.push(folder, "hf://team/faces", egress=HUB, hub=hub)
    assert hub.sent == {}
    done = release.push(folder, "hf://team/faces", egress=HUB, send=True, hub=hub)
    assert set(hub.sent) == set(done.files)
    assert set(hub.sent.values()) == {("team/faces", "dataset")}


@pytest.mark.parametrize("to", ["http://x/y", "ftp://h/x", "hf://one", "file://host/x", "s3://a:b@c/d", "x://"])
def test_places_that_are_none(folder, to):
    with pytest.raises(MienError, match=r"release\.target-unknown"):
        release.push(folder, to, egress=HUB, send=True)


def test_what_may_not_be_public_never_leaves_for_the_hub(original, tmp_path):
    hub = Hub()
    for use, code in (("share", "release.not-public"), ("no-licence", "release.no-licence")):
        with pytest.raises(MienError) as stopped:
            release.push(original[use], "hf://team/faces", egress=HUB, send=True, hub=hub)
        assert stopped.value.code == code
    care = published(tmp_path / "c", "care", subject="P-07")
    inside = release.build(care, release.Order("ward", "1.0.0", use="share")).folder
    for to in (str(tmp_path / "there"), "hf://team/faces", "memory://x"):
        with pytest.raises(MienError, match=r"release\.care"):
            release.push(inside, to, egress=HUB, send=True, hub=hub)
    assert not (tmp_path / "there").exists()
    assert hub.sent == {}
    care.close()


def test_changed_or_foreign_releases_are_not_pushed(folder, tmp_path):
    (folder / "README.md").write_text("other")
    with pytest.raises(MienError, match=r"release\.changed"):
        release.push(folder, str(tmp_path / "there"), egress=NOWHERE, send=True)


def test_a_revocation_is_signed_binds_and_names_the_successor(folder, key, tmp_path):
    import mien

    with pytest.raises(MienError, match=r"release\.key-missing"):
        release.revoke(folder, "a recording was withdrawn")
    other = tmp_path / "other.key"
    release.new_key(other)
    with pytest.raises(MienError, match=r"release\.other-key"):
        release.revoke(folder, "a recording was withdrawn", key=other)
    with pytest.raises(MienError, match=r"release\.no-reason"):
        release.revoke(folder, " ", key=key)
    listed = release.revoke(folder, "a recording was withdrawn", key=key, successor="publish-1.0.1")
    public = release.public_key(str(key.with_suffix(".pub")))
    assert release.list_findings(folder, public) == []
    for act in (mien.load_release, lambda f: release.push(f, str(tmp_path / "there"), egress=NOWHERE, send=True)):
        with pytest.raises(MienError, match=r"release\.revoked.*withdrawn"):
            act(folder)
    listed.write_bytes(listed.read_bytes().replace(b"was withdrawn", b"was WITHDRAWN"))
    assert release.list_findings(folder, public)
    with pytest.raises(MienError, match=r"release\.revoked"):  # whoever wrote it: revoking is the safe side
        mien.load_release(folder)


def test_keys_are_their_owners_alone(tmp_path, key):
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(MienError, match=r"release\.key-exists"):
        release.new_key(key)
    bad = tmp_path / "open.key"
    shutil.copyfile(key, bad)
    bad.chmod(0o644)
    with pytest.raises(MienError, match=r"release\.key-open"):
        release.open_key(bad)
    bad.chmod(0o600)
    bad.write_text("no key")
    with pytest.raises(MienError, match=r"release\.key-unreadable"):
        release.open_key(bad)
    assert "release" not in str(release.default_key().parent.name) or release.default_key().is_absolute()


def test_the_commands(tmp_path, monkeypatch):
    from mien.cli.app import app

    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    root, runner = tmp_path / "p", CliRunner()
    published(root).close()

    def run(*words, code=0):
        done = runner.invoke(app, ["-C", str(root), "release", *map(str, words)])
        assert done.exit_code == code, (words, done.output, done.exception)
        return done

    where = tmp_path / "k.key"
    assert run("key", where).stdout.strip() == str(where)
    built = run("build", "faces", "1.0.0", "--licence", "CC-BY-4.0", "--sign", where, "--json")
    told = json.loads(built.stdout)
    folder, public = told["folder"], where.with_suffix(".pub")
    assert run("verify", folder, "--key", public).stdout.strip() == told["root"]
    run("build", "faces", "1.0.0", "--licence", "CC-BY-4.0", code=1)
    listed = run("push", folder, tmp_path / "there").stdout.split()
    assert MANIFEST in listed
    assert not (tmp_path / "there").exists()
    run("push", folder, tmp_path / "there", "--yes", "--dry-run")
    assert not (tmp_path / "there").exists()
    run("push", folder, tmp_path / "there", "--yes")
    run("verify", tmp_path / "there" / "faces-1.0.0")
    (tmp_path / "there" / "faces-1.0.0" / "README.md").write_text("x")
    found = json.loads(run("verify", tmp_path / "there" / "faces-1.0.0", "--json", code=1).stdout)
    assert [f["code"] for f in found["findings"]] == ["release.changed"]
    run("revoke", folder, "--why", "a recording was withdrawn", "--sign", where)
    assert "revoked" in run("verify", folder, code=1).output
    after = run("build", "faces", "1.0.1", "--licence", "CC-BY-4.0", "--after", folder)
    assert "faces-1.0.1" in after.stdout


def test_copies_are_registered_and_get_the_list(tmp_path):
    """Pushed by the command: the project knows where it went; `revoke --copies` and `forget` write the list there."""
    import mien
    from mien.cli.app import app
    from mien.pipeline.enrolling import add, assign
    from mien.pipeline.forgetting import forget

    def said(*given):
        done = CliRunner().invoke(app, ["-C", str(tmp_path / "p"), *map(str, given), "--json"])
        return json.loads(done.stdout) if done.stdout else done.output

    held = published(tmp_path / "p")
    add(held, "P-07")
    first = release.build(held, ORDER).folder
    other = release.build(held, replace(ORDER, name="other")).folder
    for folder, to in ((first, "one"), (first, "two"), (other, "one")):
        said("release", "push", folder, tmp_path / to, "--yes")
    copies = [tmp_path / "one" / first.name, tmp_path / "two" / first.name]
    paths = {r.path for r in held.store.registered() if r.kind == "release"}
    assert {str(c) for c in copies} <= paths
    assert len(mien.load_release(copies[0])) == 2
    told = said("release", "revoke", first, "--why", "a mistake", "--copies")
    assert set(told["copies"]) == {str(c / "revoked.json") for c in copies}
    for copy in copies:
        assert check(copy)[1] == []  # the list is outside of the seal
        with pytest.raises(MienError, match=r"release\.revoked"):
            mien.load_release(copy)
        text = (copy / "revoked.json").read_text()
        assert "other-1.0.0" not in text  # what concerns it, and nothing else
    assert len(mien.load_release(tmp_path / "one" / other.name)) == 2
    assign(held, "P-07", "talk, one.mp4", "C1")
    receipt = forget(held, "P-07")
    assert str(tmp_path / "one" / other.name) in receipt.outside
    with pytest.raises(MienError, match=r"release\.revoked"):
        mien.load_release(tmp_path / "one" / other.name)
    assert first.name not in (tmp_path / "one" / other.name / "revoked.json").read_text()
    held.close()


def test_an_export_for_a_trainer_is_parted_as_a_release_is(tmp_path):
    """One way for both: the same recordings in parts of the same names."""
    from mien.export.trainers import export_apart, export_for

    root = tmp_path / "p"
    terms = {1: {"licence": "CC-BY-SA-4.0"}, 2: {"licence": "GPL-3.0-only"}}
    held = learnable.project(root, (1, 2), source={n: AGREED | t for n, t in terms.items()})
    with pytest.raises(MienError, match=r"licence\.mixed.*\n.*--split-by-licence"):
        export_for(held, "trl", tmp_path / "whole", use="publish")
    assert not (tmp_path / "whole").exists()
    parts = export_apart(held, "trl", tmp_path / "set", use="publish")
    built = release.build_apart(held, replace(ORDER, name="set", tables=False, licence=""), tmp_path / "releases")
    assert [p.out.name for p in parts] == [b.folder.name.removesuffix("-1.0.0") for b in built]
    assert len(parts) == 2
    shas = [{s["sha256"] for s in json.loads((p.out / "export.json").read_text())["sources"]} for p in parts]
    assert sorted(map(sorted, shas)) == sorted([learnable.sha_of(root, n)] for n in terms)
    paths = {r.path: set(r.sources) for r in held.store.registered() if r.kind == "export"}
    assert [paths[str(p.out)] for p in parts] == shas
    assert [n for n, _ in scope_of(held, split=True).named_groups("team")] == [
        "team"
    ]  # to share, they may stay together
    held.close()
