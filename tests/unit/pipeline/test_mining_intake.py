"""What files say of training and mining is read on intake: real signed credentials, XMP, and what nobody could read."""

from __future__ import annotations

import datetime as dt
import io
import json
import wave
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.core import Attribute, Source
from mien.export.selection.people import mining_of
from mien.media import hash_file
from mien.pipeline.inputs import Inputs, Keeper, Pseudonyms, Vault, credentials, discover
from mien.pipeline.inputs.credentials import mining_attributes
from mien.policy.mining import permission
from mien.store import StageResult, Store

XMP = b'<x:xmpmeta><rdf:Description plus:DataMining="http://ns.useplus.org/ldf/vocab/%s"/></x:xmpmeta>'


def picture() -> np.ndarray:
    y, x = np.mgrid[0:96, 0:128]
    return np.stack([x * 2 % 256, y * 2 % 256, (x + y) % 256], axis=2).astype(np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, picture())[1].tobytes()


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(16_000) / 20) * 8000).astype("<i2").tobytes())
    return out.getvalue()


def film() -> bytes:
    import av

    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(), "bgr24")))
        container.mux(stream.encode())
    return out.getvalue()


@pytest.fixture(scope="module")
def sign():
    """A function that signs media with a certificate made here, and puts a training-and-mining assertion in."""
    c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed (extra c2pa)")
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(common: str) -> x509.Name:
        parts = ((NameOID.ORGANIZATION_NAME, "mien tests"), (NameOID.COMMON_NAME, common))
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])

    now = dt.datetime.now(dt.UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    certificates = []
    for i, subject in enumerate(("root", "leaf")):
        made = (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("root"))
            .public_key(keys[i].public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=i == 0, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(keys[i].public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(keys[0].public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(i == 1, False, False, False, False, i == 0, i == 0, False, False), critical=True
            )
        )  # fmt: skip
        if i == 1:
            made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
        certificates.append(made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pem = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=certificates[1] + certificates[0], private_key=pem, ta_url=None)

    def signed(path: Path, kind: str, body: bytes, label: str, entries: dict[str, object] | None) -> Path:
        source = "http://cv.iptc.org/newscodes/digitalsourcetype/algorithmicMedia"
        created = {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}
        assertions: list[dict[str, object]] = [{"label": "c2pa.actions", "data": created}]
        if entries is not None:
            assertions.append({"label": label, "data": {"entries": entries}})
        manifest = {"claim_generator_info": [{"name": "mien tests"}], "format": kind, "assertions": assertions}
        with c2pa.Signer.from_info(info) as signer, c2pa.Builder.from_json(json.dumps(manifest)) as builder:
            out = io.BytesIO()
            builder.sign(signer, kind, io.BytesIO(body), out)
        path.write_bytes(out.getvalue())
        return path

    return signed


def said(path: Path) -> dict[str, str]:
    return {a.key: a.value for a in mining_attributes("item", path)}


MEDIA = [
    (".jpg", "image/jpeg", lambda: encoded(".jpg")), (".png", "image/png", lambda: encoded(".png")),
    (".mp4", "video/mp4", film), (".wav", "audio/wav", sound),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "kind", "body"), MEDIA)
@pytest.mark.parametrize(
    ("label", "prefix"), [("cawg.training-mining", "cawg"), ("c2pa.training-mining", "c2pa")]
)  # fmt: skip
def test_signed_assertions_are_read_and_close(sign, tmp_path, suffix, kind, body, label, prefix):
    entries = {f"{prefix}.ai_training": {"use": "notAllowed"}, f"{prefix}.data_mining": {"use": "allowed"}}
    path = sign(tmp_path / f"x{suffix}", kind, body(), label, entries)
    assert said(path) == {"mining.ai_training": "notAllowed", "mining.data_mining": "allowed"}
    assert permission("x", said(path).items()).uses == {"view"}


def test_a_manifest_without_such_an_assertion_and_a_plain_file_say_nothing(sign, tmp_path):
    path = sign(tmp_path / "x.jpg", "image/jpeg", encoded(".jpg"), "", None)
    assert said(path) == {}
    for suffix, _, body in MEDIA:
        (tmp_path / f"plain{suffix}").write_bytes(body())
        assert said(tmp_path / f"plain{suffix}") == {}


def test_constrained_needs_terms_and_terms_need_a_reader(sign, tmp_path):
    bare = {"cawg.ai_training": {"use": "constrained"}}
    terms = {"cawg.ai_training": {"use": "constrained", "constraint_info": "write to me"}}
    a = sign(tmp_path / "a.jpg", "image/jpeg", encoded(".jpg"), "cawg.training-mining", bare)
    b = sign(tmp_path / "b.jpg", "image/jpeg", encoded(".jpg"), "cawg.training-mining", terms)
    assert permission("a", said(a).items()).uses == {"view"}
    assert said(b) == {"mining.ai_training": "constrained: write to me"}
    assert permission("b", said(b).items()).uses == {"view", "train", "share"}


@pytest.mark.parametrize(("suffix", "kind", "body"), MEDIA)
def test_without_the_reader_credentials_are_seen_and_stay_unpublished(
    sign, tmp_path, monkeypatch, suffix, kind, body
):  # fmt: skip
    entries = {"cawg.ai_training": {"use": "allowed"}}
    path = sign(tmp_path / f"x{suffix}", kind, body(), "cawg.training-mining", entries)
    monkeypatch.setattr(credentials.importlib.util, "find_spec", lambda name: None)
    assert "pip install" in said(path)["mining.unread"]
    assert permission("x", said(path).items()).uses == {"view", "train", "share"}


def test_damaged_credentials_stay_unpublished_and_a_changed_picture_keeps_its_refusal(sign, tmp_path):
    refusal = {"cawg.ai_generative_training": {"use": "notAllowed"}}
    path = sign(tmp_path / "x.jpg", "image/jpeg", encoded(".jpg"), "cawg.training-mining", refusal)
    body = path.read_bytes()
    path.write_bytes(body[:-40] + bytes(20) + body[-20:])  # the picture, so that its hash is wrong
    assert said(path) == {"mining.ai_generative_training": "notAllowed"}
    at = body.index(b"cawg.training-mining")
    path.write_bytes(body[: at - 60] + bytes(120) + body[at + 60 :])  # the manifest itself
    assert "publish" not in permission("x", said(path).items()).uses


@pytest.mark.parametrize(
    ("word", "found"),
    [(b"DMI-PROHIBITED", {"mining.data_mining": "notAllowed"}),
     (b"DMI-PROHIBITED-GENAIMLTRAINING", {"mining.ai_generative_training": "notAllowed"}),
     (b"DMI-PROHIBITED-SEECONSTRAINT", {"mining.data_mining": "constrained"}),
     (b"DMI-PROHIBITED-WHATEVERCOMES", {"mining.data_mining": "notAllowed"}),
     (b"DMI-ALLOWED", {}), (b"DMI-UNSPECIFIED", {})],
)  # fmt: skip
def test_xmp_is_read(tmp_path, word, found):
    (tmp_path / "x.png").write_bytes(encoded(".png") + XMP % word)
    assert said(tmp_path / "x.png") == found


def test_hostile_boxes_end_the_walk(tmp_path):
    for i, body in enumerate((
        b"\0\0\0\x18ftypmp42" + bytes(12) + b"\0\0\0\0uuid", b"\0\0\0\x08ftyp" + b"\0\0\0\x01uuid" + b"\xff" * 8,
        b"\0\0\0\x08ftyp" + b"\0\0\0\x03free" * 4, b"RIFF\xff\xff\xff\xffWAVEdata\xff\xff\xff\xff", b"RIFF", b"\xff",
    )):  # fmt: skip
        (tmp_path / f"{i}.mp4").write_bytes(body)
        assert said(tmp_path / f"{i}.mp4") == {}
    assert said(tmp_path / "absent.mp4") == {}


def test_intake_keeps_what_a_file_says_and_a_table_cannot_soften_it(sign, tmp_path):
    entries = {"cawg.ai_training": {"use": "notAllowed"}}
    path = sign(tmp_path / "x.wav", "audio/wav", sound(), "cawg.training-mining", entries)
    (tmp_path / "t.csv").write_text("path,mining.ai_training,mining.data_mining\nx.wav,allowed,notAllowed\n")

    def register(file: Path) -> str:
        sha = hash_file(file)
        source = Source(sha, str(file), "audio", 1, 1, None, None, None, 16_000, 1, "research")
        store.commit(StageResult(sha, "register", "k", [source]), run_id="r", at_utc="t")
        return sha

    (tmp_path / "p").mkdir()
    with Store(tmp_path / "p", write=True) as store:
        keeper = Keeper(store, Pseudonyms(tmp_path / "p"), register, None, run_id="r", at_utc="t")  # type: ignore
        keeper.keep(discover([tmp_path / "t.csv"], Inputs(), Vault(tmp_path / "p", "research")), [])
        held = {a.key: a.value for a in store.all(Attribute, "key LIKE 'mining.%'")}
        assert held == {"mining.ai_training": "notAllowed", "mining.data_mining": "notAllowed"}
        assert mining_of(store) == {hash_file(path): tuple(sorted(held.items()))}
