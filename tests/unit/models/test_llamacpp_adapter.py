"""The real runtime on the real small model: a schema kept, greedy answers that repeat, troubles that are said."""

from __future__ import annotations

import socket
import sys
from urllib.parse import urlsplit

import numpy as np
import pytest

from mien.core import Ask, Asks, Device, Frames, Message, MienError, WeightFiles
from mien.models.language.llamacpp import SMOLLM2, LlamaCpp
from mien.models.weights import resolve

SCHEMA = {
    "type": "object",
    "properties": {"tone": {"enum": ["sad", "happy", None]}, "times": {"type": ["integer", "null"]}},
    "required": ["tone", "times"],
    "additionalProperties": False,
}
SAD = "Tom cried all night because his dog died. Is Tom sad or happy, and how many dogs died?"


def ask(text: str, **given) -> Ask:
    return Ask((Message("user", text),), **given)


def test_without_the_package_the_install_line_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(MienError) as caught:
        LlamaCpp.open(WeightFiles({}), LlamaCpp.Config(), Device())
    assert caught.value.code == "install.missing-extra"
    assert "mien[llamacpp]" in caught.value.hint


def test_what_is_no_model_is_said_to_be_none(tmp_path):
    pytest.importorskip("xllamacpp")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(64))
    with pytest.raises(MienError) as caught:
        LlamaCpp.open(WeightFiles({bad.name: bad}), LlamaCpp.Config(), Device())
    assert caught.value.code == "weights.unreadable"
    assert "bad.gguf" in caught.value.message


def test_no_cuda_no_fallback(tmp_path):
    xllamacpp = pytest.importorskip("xllamacpp")
    if any("CUDA" in str(d) for d in xllamacpp.get_device_info()):
        pytest.skip("this build has CUDA")
    with pytest.raises(MienError) as caught:
        LlamaCpp.open(WeightFiles({}), LlamaCpp.Config(), Device("cuda"))
    assert caught.value.code == "device.unavailable"


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("xllamacpp", reason="needs xllamacpp: pip install 'mien[llamacpp]'")
    try:
        files = resolve(SMOLLM2)
    except MienError:
        pytest.skip("needs its weights: mien models pull smollm2")
    opened = LlamaCpp.open(files, LlamaCpp.Config(context_tokens=512, repairs=0), Device(threads=1))
    yield opened
    opened.close()


@pytest.mark.peer
def test_a_real_model_keeps_to_the_schema_and_repeats_itself(model: LlamaCpp):
    questions = Asks((ask(SAD, schema=SCHEMA, max_tokens=64), ask("Name a colour.", max_tokens=4)))
    first = model.run(questions).rows
    assert [r.status for r in first] == ["ok", "truncated"]
    assert first[0].value["tone"] in ("sad", "happy", None)
    assert first[0].value.keys() == {"tone", "times"}
    assert first[1].reason == "language.cut"
    assert (first[0].input_tokens or 0) > 20
    assert (first[0].output_tokens or 0) > 5
    assert model.run(questions).rows == first


@pytest.mark.peer
def test_the_grammar_and_not_the_model_keeps_the_schema(model: LlamaCpp):
    """A schema that no sense leads to is kept all the same: the answer is what the grammar leaves."""
    odd = {"type": "object", "properties": {"x": {"enum": ["qzx-7"]}}, "required": ["x"], "additionalProperties": False}
    (reply,) = model.run(Asks((ask("How are you today?", schema=odd, max_tokens=32),))).rows
    assert reply.value == {"x": "qzx-7"}
    (free,) = model.run(Asks((ask("How are you today?", max_tokens=6),))).rows
    assert "qzx" not in free.text


@pytest.mark.peer
def test_troubles_of_one_question_are_its_own(model: LlamaCpp):
    picture = Message("user", "What?", Frames(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64)))
    rows = model.run(Asks((ask("x " * 2000), Ask((picture,)), ask("Hi.", max_tokens=3)))).rows
    assert [r.reason for r in rows] == ["language.too-long", "language.no-pictures", "language.cut"]


@pytest.mark.peer
def test_nobody_else_can_use_the_engine(model: LlamaCpp):
    """llama.cpp's engine listens on the loopback; without its key it answers nobody."""
    at = urlsplit(model._say._server.listening_address)  # pyright: ignore[reportFunctionMemberAccess]
    assert at.hostname == "127.0.0.1"
    for path in ("/v1/chat/completions", "/completion", "/slots", "/props"):
        with socket.create_connection(("127.0.0.1", at.port), timeout=10) as peer:
            peer.sendall(
                f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode()
            )
            head = peer.recv(64)
        assert head.split()[1] in (b"401", b"404"), (path, head)
