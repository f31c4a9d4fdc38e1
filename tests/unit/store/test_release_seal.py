"""The seal: every changed bit, every file too much or too few, and names that mean other files are found."""

import hashlib
import json
import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.store.sealing import (
    MANIFEST,
    ROOT_DOMAIN,
    SIGNATURE,
    Sealed,
    bad_path,
    canonical,
    check,
    file_sha256,
    fingerprint,
    merkle_root,
    seal,
    signature,
    walk,
)

PAYLOAD = {
    "README.md": b"# a release\n",
    "examples.jsonl": b'{"id": "clip-1"}\n',
    "tables/clips.parquet": bytes(range(60)),
    "a/é.txt": b"",
}
TOLD = {
    "format": "mien.release", "format_version": 1, "name": "faces", "version": "1.0.0", "mien": "0", "use": "publish",
    "context": "research", "about": {"licence": "CC-BY-4.0"},
}  # fmt: skip


def sealed(folder, payload=None, key=None, told=None):
    files = []
    for path, raw in (payload if payload is not None else PAYLOAD).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(raw)
        files.append(Sealed(path, len(raw), hashlib.sha256(raw).hexdigest()))
    public = key.public_key().public_bytes_raw() if key else None
    raw, root = seal(told or TOLD, files, fingerprint(public) if public else None)
    (folder / MANIFEST).write_bytes(raw)
    if key:
        made = key.sign(ROOT_DOMAIN + bytes.fromhex(root))
        (folder / SIGNATURE).write_bytes(signature(public, root, made))
    return root


def codes(folder, key=None):
    return {f.code for f in check(folder, key)[1]}


@pytest.fixture(scope="module")
def keys():
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="needs the extra release")
    return [ed25519.Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2)]


@pytest.fixture(scope="module")
def signed(tmp_path_factory, keys):
    folder = tmp_path_factory.mktemp("signed") / "faces-1.0.0"
    folder.mkdir()
    sealed(folder, key=keys[0])
    return folder


def test_the_root_is_the_tree_hash_of_rfc_6962():
    """Roots of the standard's reference implementation over its eight test leaves (Certificate Transparency)."""
    leaves = [bytes.fromhex(x) for x in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
    )]  # fmt: skip
    assert merkle_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert merkle_root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(leaves[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle_root(leaves).hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


@given(st.permutations(list(PAYLOAD.items())))
@settings(max_examples=10)
def test_the_order_of_files_changes_nothing(items):
    files = [Sealed(p, len(r), hashlib.sha256(r).hexdigest()) for p, r in items]
    again = [Sealed(p, len(r), hashlib.sha256(r).hexdigest()) for p, r in PAYLOAD.items()]
    assert seal(TOLD, files, None) == seal(TOLD, again, None)


@given(st.data())
@settings(max_examples=100)
def test_a_flipped_bit_anywhere_is_found(signed, data):
    path = data.draw(st.sampled_from(sorted(p for p, s in walk(signed) if s.st_size)))
    held = (signed / path).read_bytes()
    bit = data.draw(st.integers(0, 8 * len(held) - 1))
    changed = bytearray(held)
    changed[bit // 8] ^= 1 << bit % 8
    (signed / path).write_bytes(bytes(changed))
    try:
        assert check(signed)[1]
    finally:
        (signed / path).write_bytes(held)
    assert check(signed)[1] == []


def test_every_bit_of_manifest_and_signature_of_a_small_release_counts(tmp_path, keys):
    sealed(tmp_path, {"examples.jsonl": b""}, keys[0])
    for name in (MANIFEST, SIGNATURE):
        held = (tmp_path / name).read_bytes()
        for byte in range(len(held)):
            changed = bytearray(held)
            changed[byte] ^= 1 << byte % 8
            (tmp_path / name).write_bytes(bytes(changed))
            assert check(tmp_path)[1], (name, byte)
        (tmp_path / name).write_bytes(held)


def test_what_is_missing_extra_a_link_or_unsigned_is_named(signed, tmp_path, keys):
    def copy(name):
        return shutil.copytree(signed, tmp_path / name)

    assert codes(copy("whole"), keys[0].public_key().public_bytes_raw()) == set()
    assert codes(tmp_path / "whole", keys[1].public_key().public_bytes_raw()) == {"release.other-key"}
    (copy("gone") / "README.md").unlink()
    assert codes(tmp_path / "gone") == {"release.missing-file"}
    (copy("more") / "tables" / "x.mp4").write_bytes(b"canary")
    assert codes(tmp_path / "more") == {"release.extra-file"}
    linked = copy("linked")
    (linked / "README.md").unlink()
    (linked / "README.md").symlink_to(signed / "README.md")
    assert "release.link" in codes(linked)
    os.symlink(signed, copy("folder") / "away")
    assert {"release.link", "release.extra-file"} <= codes(tmp_path / "folder")
    (copy("stripped") / SIGNATURE).unlink()
    assert codes(tmp_path / "stripped") == {"release.unsigned"}
    (copy("bare") / MANIFEST).unlink()
    assert codes(tmp_path / "bare") == {"release.no-manifest"}
    (copy("case") / "readme.md").write_bytes(b"# a release\n")
    assert {"release.case-collision", "release.extra-file"} <= codes(tmp_path / "case")


def test_a_new_seal_over_changed_files_does_not_pass_for_the_old_signer(signed, tmp_path, keys):
    forged = shutil.copytree(signed, tmp_path / "forged")
    sealed(forged, PAYLOAD | {"README.md": b"# forged\n"}, keys[1])
    assert codes(forged) == set()  # whole in itself: only the key tells
    assert codes(forged, keys[0].public_key().public_bytes_raw()) == {"release.other-key"}
    shutil.copy(signed / SIGNATURE, forged / SIGNATURE)
    assert "release.signature" in codes(forged)


@pytest.mark.parametrize(
    "path",
    ["../x", "/x", "a/../../x", "a//b", "./a", "a\\b", "c:x", "a/", "nul.txt", "a ", "a\n", "e\u0301", "", MANIFEST,
     "revoked.json"],
)  # fmt: skip
def test_names_that_lead_elsewhere_are_refused(path, tmp_path):
    if path not in (MANIFEST, "revoked.json"):
        assert bad_path(path)
    (tmp_path / MANIFEST).write_bytes(seal(TOLD, [Sealed(path, 1, "0" * 64)], None)[0])
    assert "release.bad-path" in codes(tmp_path)


def test_two_names_for_one_file_are_refused(tmp_path):
    sealed(tmp_path, {"a.txt": b"1", "A.txt": b"2"})
    assert codes(tmp_path) == {"release.case-collision"}


@pytest.mark.parametrize(
    "change",
    [{"files": "none"}, {"extra": 1}, {"format_version": 2}, {"context": "anything"}, {"about": []}, {"use": "view"}],
)
def test_manifests_of_another_schema_are_refused(change, tmp_path):
    sealed(tmp_path)
    told = json.loads((tmp_path / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_bytes(canonical(told | change))
    assert codes(tmp_path) == {"release.bad-manifest"}


@pytest.mark.parametrize("raw", [b"", b"{", b"[" * 100_000, b"\xff", b"null", b'{"a": NaN}', b'{"a":1,"a":1}'])
def test_bytes_that_are_no_manifest_are_refused_in_words(raw, tmp_path):
    (tmp_path / MANIFEST).write_bytes(raw)
    assert codes(tmp_path) == {"release.bad-manifest"}


def test_digests_are_of_bytes(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert file_sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
