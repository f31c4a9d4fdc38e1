"""The adapter against a scripted server: what is sent, what each answer amounts to, and how each trouble ends."""

from __future__ import annotations

import base64
import email.utils
import json
import time
from typing import Any

import cv2
import numpy as np
import pytest

from mien.core import Ask, Asks, Device, Frames, Message, MienError, Reply, WeightFiles, fingerprint
from mien.models.language import openai
from mien.models.language.openai import EndpointConfig, OpenAI, OpenAIVision, times
from mien.policy.egress import EgressRules, EgressTerms
from mien.testing.chat_server import ChatServer, Turn, plain, say

SCHEMA = {
    "type": "object",
    "properties": {"tone": {"enum": ["calm", "upset", None]}},
    "required": ["tone"],
    "additionalProperties": False,
}
GOOD = '{"tone": "calm"}'


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The pauses between tries, not waited for."""
    said: list[float] = []
    monkeypatch.setattr(openai, "_sleep", said.append)
    return said


def config(server: ChatServer, /, **settings: Any) -> EndpointConfig:
    rules = EgressRules(EgressTerms(allow=(server.address,)), "care")
    return EndpointConfig(url=server.url, model="m", egress=rules, **{"server": "vllm", "timeout_s": 5, **settings})


def model(server: ChatServer, /, **settings: Any) -> OpenAI:
    return OpenAI.open(WeightFiles({}), config(server, **settings), Device())


def ask(text: str = "How is it?", **given: Any) -> Ask:
    return Ask((Message("system", "Be brief."), Message("user", text)), **given)


def one(script, question: Ask | None = None, **settings: Any) -> tuple[Reply, ChatServer]:
    with ChatServer(script) as server:
        (reply,) = model(server, **settings).run(Asks((question or ask(),))).rows
    return reply, server


# ---------------------------------------------------------------- what is sent


def test_a_plain_question_and_its_answer():
    reply, server = one([say("Fine.")], ask(max_tokens=40, temperature=0.3, seed=7))
    assert reply == Reply("Fine.", "ok", input_tokens=11, output_tokens=7)
    (sent,) = server.asked
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "How is it?"}]
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("m", 40, 0.3, 7)
    assert sent["stream"] is False
    assert "response_format" not in sent


def test_a_schema_is_sent_and_held_to():
    reply, server = one([say(GOOD)], ask(schema=SCHEMA))
    assert reply.value == {"tone": "calm"}
    assert server.asked[0]["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": SCHEMA},
    }
    reply, server = one([say(f"```json\n{GOOD}\n```")], ask(schema=SCHEMA), structured="prompt")
    assert reply.value == {"tone": "calm"}
    assert "response_format" not in server.asked[0]
    assert json.dumps(SCHEMA) in server.asked[0]["messages"][-1]["content"]


@pytest.mark.parametrize(
    ("server", "think", "key", "value"),
    [
        ("vllm", True, "chat_template_kwargs", {"enable_thinking": True}),
        ("sglang", False, "chat_template_kwargs", {"enable_thinking": False}),
        ("llamacpp", False, "chat_template_kwargs", {"enable_thinking": False}),
        ("ollama", False, "reasoning_effort", "none"),
    ],
)
def test_each_server_is_told_in_its_own_way_whether_to_think(server: str, think: bool, key: str, value: object):
    reply, asked = one([say("A.", reasoning="Hm." if think else None)], ask(think=think), server=server)
    assert reply.status == "ok"
    assert asked.asked[0][key] == value


def test_a_server_of_no_kind_gets_nothing_that_is_not_of_the_protocol():
    _, server = one([say("A.")], ask(schema=None), server="openai")
    assert set(server.asked[0]) == {"model", "messages", "max_tokens", "temperature", "seed", "stream"}


def video(n: int, step_us: int = 500_000, t0_us: int = 3_000_000) -> Frames:
    pixels = np.zeros((n, 48, 64, 3), np.uint8)
    pixels[..., 0] = 200  # red, so that a swap of channels shows
    pixels[..., 2] = 40
    return Frames(pixels, t0_us + step_us * np.arange(n, dtype=np.int64))


def pictures(parts: list[dict[str, Any]]) -> list[np.ndarray]:
    urls = [p["image_url"]["url"] for p in parts if p["type"] == "image_url"]
    data = [np.frombuffer(base64.b64decode(u.partition(",")[2]), np.uint8) for u in urls]
    return [cv2.imdecode(d, cv2.IMREAD_COLOR)[..., ::-1] for d in data]


@pytest.mark.parametrize("kind", ["jpeg", "png"])
def test_frames_are_pictures_after_their_true_times(kind: str):
    question = Ask((Message("user", "What happens?", video(3, 250_000)),))
    _, server = one([say("A.")], question, pictures=kind)
    parts = server.asked[0]["messages"][0]["content"]
    assert [p["type"] for p in parts] == ["text", "image_url"] * 3 + ["text"]
    assert [p["text"] for p in parts if p["type"] == "text"] == [
        "<3.00 seconds>",
        "<3.25 seconds>",
        "<3.50 seconds>",
        "What happens?",
    ]
    assert all(p["image_url"]["url"].startswith(f"data:image/{kind};base64,") for p in parts if "image_url" in p)
    for picture in pictures(parts):
        assert np.abs(picture.astype(int) - video(1).pixels[0]).max() <= (6 if kind == "jpeg" else 0)


def test_times_are_true_to_a_millisecond_and_no_longer_than_that_takes():
    assert times(video(2)) == ["<3.0 seconds>", "<3.5 seconds>"]
    assert times(video(3, 40_000)) == ["<3.00 seconds>", "<3.04 seconds>", "<3.08 seconds>"]
    assert times(video(2, 33_367))[1] == "<3.033 seconds>"


def test_a_single_frame_is_a_picture_without_a_time():
    _, server = one([say("A.")], Ask((Message("user", "What?", video(1)),)))
    assert [p["type"] for p in server.asked[0]["messages"][0]["content"]] == ["image_url", "text"]


def test_a_video_of_vllm_keeps_uneven_times():
    frames = Frames(video(3).pixels, np.array([3_000_000, 3_040_000, 5_500_000], np.int64))
    _, server = one([say("A.")], Ask((Message("user", "What?", frames),)), video="native")
    sent = server.asked[0]
    url = sent["messages"][0]["content"][0]["video_url"]["url"]
    assert url.startswith("data:video/jpeg;base64,")
    assert url.count(",") == 3
    clock = sent["media_io_kwargs"]["video"]
    assert [i / clock["fps"] for i in clock["frames_indices"]] == [3.0, 3.04, 5.5]
    assert clock["total_num_frames"] > clock["frames_indices"][-1]
    assert (clock["num_frames"], clock["do_sample_frames"]) == (-1, False)
    _, other = one([say("A.")], Ask((Message("user", "What?", frames),)), video="native", server="sglang")
    assert "media_io_kwargs" not in other.asked[0]


# ---------------------------------------------------------------- thinking


@pytest.mark.parametrize("turn", [
    say("A.", reasoning="Hm."),
    say("A.", reasoning="Hm.", key="reasoning"),
    say("<think>\nHm.\n</think>\n\nA."),
    say("Hm.\n</think>\n\nA."),
])  # fmt: skip
def test_thinking_is_kept_apart_however_it_comes(turn: Turn):
    reply, _ = one([turn], ask(think=True))
    assert (reply.text, reply.thinking, reply.status, reply.tries) == ("A.", "Hm.", "ok", 1)


@pytest.mark.parametrize("cut", [
    say("<think>\nHm, well", finish="length"),
    say("", reasoning="Hm, well", finish="length"),
    say(None, reasoning="Hm, well", finish="length"),
])  # fmt: skip
@pytest.mark.parametrize(("server", "echo"), [("vllm", False), ("sglang", False), ("llamacpp", True)])
def test_a_thought_that_ran_out_is_closed_and_gone_on_from(cut: Turn, server: str, echo: bool):
    begun = "<think>\nHm, well\n</think>\n\n"
    script = [cut, say(begun + GOOD if echo else GOOD)]
    reply, asked = one(script, ask(think=True, schema=SCHEMA, max_tokens=100, think_tokens=60), server=server)
    assert (reply.status, reply.reason, reply.value) == ("ok", "language.forced-answer", {"tone": "calm"})
    assert (reply.thinking, reply.tries, reply.output_tokens) == ("Hm, well", 2, 14)
    first, second = asked.asked
    assert first["max_tokens"] == 60
    assert second["max_tokens"] == 256
    assert second["messages"][-1] == {"role": "assistant", "content": begun}
    assert second.get("continue_final_message", False) == (server != "llamacpp")
    assert second.get("add_generation_prompt", True) == (server != "vllm")


def test_where_the_server_cannot_go_on_it_is_asked_again_without_thinking():
    for settings, script in (
        ({"server": "ollama"}, [say(None, reasoning="Hm", finish="length"), say("A.")]),
        ({"server": "vllm"}, [say(None, reasoning="Hm", finish="length"), plain("{}", 400), say("A.")]),
    ):
        reply, server = one(script, ask(think=True), **settings)
        assert (reply.text, reply.status, reply.reason) == ("A.", "ok", "language.forced-answer")
        assert (reply.thinking, reply.tries) == ("Hm", len(script))
        assert server.asked[-1]["messages"][-1]["content"].endswith("without thinking first.")


def test_a_thought_without_end_stays_truncated():
    reply, _ = one([say("<think>\nHm", finish="length")], ask(think=True), server="ollama")
    assert (reply.status, reply.reason) == ("truncated", "language.no-answer")
    assert reply.value is None
    reply, _ = one([say("And so", finish="length")], ask())
    assert (reply.status, reply.reason, reply.tries) == ("truncated", "language.cut", 1)
    reply, _ = one([say(None, reasoning="Hm", finish="stop"), plain("{}", 400), plain("{}", 400)], ask(think=True))
    assert (reply.status, reply.thinking, reply.tries) == ("truncated", "Hm", 3)


# ---------------------------------------------------------------- troubles


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_what_may_pass_is_tried_again_with_growing_pauses(status: int, waits: list[float]):
    reply, server = one([plain("{}", status), plain("{}", status), say("A.")])
    assert (reply.text, reply.tries, waits) == ("A.", 3, [0.5, 1.0])
    assert len(server.asked) == 3
    waits.clear()
    reply, server = one([plain("{}", status)], tries=2)
    assert (reply.status, reply.reason, reply.tries) == ("failed", f"language.http-{status}", 2)
    assert len(server.asked) == 2
    assert waits == [0.5]


def test_retry_after_is_kept_to_and_a_long_one_is_not_waited_for(waits: list[float]):
    reply, _ = one([plain("{}", 429, Retry_After="7"), say("A.")])
    assert (reply.text, waits) == ("A.", [7.0])
    waits.clear()
    date = email.utils.formatdate(time.time() + 12, usegmt=True)
    one([plain("{}", 503, Retry_After=date), say("A.")])
    assert 9 < waits[0] <= 12
    waits.clear()
    reply, server = one([plain("{}", 429, Retry_After="3600"), say("A.")])
    assert (reply.reason, reply.tries, waits, len(server.asked)) == ("language.http-429", 1, [], 1)
    one([plain("{}", 429, Retry_After="soon"), say("A.")])
    assert waits == [0.5]


@pytest.mark.parametrize(
    "turn", [Turn(wait_s=5), Turn(200, {"Content-Type": "application/json"}, b" " * 200, drip_s=1)]
)
def test_silence_and_slow_streams_time_out(turn: Turn, waits: list[float]):
    started = time.monotonic()
    reply, server = one([turn], timeout_s=0.3, tries=2)
    assert (reply.status, reply.reason, reply.tries) == ("failed", "egress.timeout", 2)
    assert time.monotonic() - started < 3
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("turn", "reason"),
    [
        (plain('{"choices": [{"mess'), "language.bad-body: not JSON"),
        (plain('{"choices": []}'), "language.bad-body: no chat completion"),
        (plain('{"error": {"message": "overloaded"}}'), "language.bad-body: no chat completion"),
        (plain("[1]"), "language.bad-body: no chat completion"),
        (plain('{"choices": [{"message": {"content": 3}}]}'), "language.bad-body: no text"),
        (plain("[" * 100_000), "language.bad-body: not JSON"),
        (plain("<html>Sign in</html>", kind="text/html"), "language.wrong-type: text/html"),
        (plain("data: {}", kind="text/event-stream"), "language.wrong-type: text/event-stream"),
        (plain('{"error":"too long"}', 400), 'language.http-400: {"error":"too long"}'),
        (plain("<html>", 413, "text/html"), "language.http-413: text/html"),
        (Turn(302, {"Location": "http://169.254.169.254/"}), "egress.redirect"),
        (plain("x" * 5000), "egress.too-large"),
        (Turn(200, {}, b"{", length=900), "egress.bad-answer"),
    ],
)
def test_each_trouble_ends_in_a_reply_with_its_reason(turn: Turn, reason: str, waits: list[float]):
    reply, server = one([turn], max_bytes=4096 if reason == "egress.too-large" else 1 << 20)
    assert (reply.status, reply.text, reply.tries) == ("failed", "", 1)
    assert reply.reason == reason
    assert len(server.asked) == 1
    assert waits == []


def test_a_refusal_is_one():
    for turn in (say(None, refusal="I cannot."), say("", finish="content_filter")):
        reply, _ = one([turn])
        assert (reply.status, reply.reason) == ("refused", "language.refused")


def test_an_answer_not_of_the_schema_is_mended_and_no_more_often_than_allowed():
    reply, server = one([say('{"tone": "jolly"}'), say(GOOD)], ask(schema=SCHEMA))
    assert (reply.value, reply.tries, reply.output_tokens) == ({"tone": "calm"}, 2, 14)
    turns = server.asked[1]["messages"]
    assert [t["role"] for t in turns] == ["system", "user", "assistant", "user"]
    assert turns[2]["content"] == '{"tone": "jolly"}'
    assert "tone" in turns[3]["content"]
    for repairs in (0, 1, 2):
        reply, server = one([say("no JSON")], ask(schema=SCHEMA), repairs=repairs)
        assert (reply.status, reply.reason) == ("invalid", "language.not-json")
        assert len(server.asked) == reply.tries == 1 + repairs


def test_a_schema_that_fails_to_be_mended_keeps_what_was_said(waits: list[float]):
    reply, _ = one([say('{"tone": 1}'), plain("{}", 400)], ask(schema=SCHEMA))
    assert (reply.status, reply.text, reply.tries) == ("invalid", '{"tone": 1}', 2)


def test_one_bad_row_leaves_the_others_alone_and_order_is_kept():
    def script(body: dict[str, Any]) -> Turn:
        text = body["messages"][-1]["content"]
        time.sleep(0.05 if text == "0" else 0)
        return plain("{", 200) if text == "3" else say(f"re {text}")

    with ChatServer(script) as server:
        rows = model(server, parallel=4).run(Asks(tuple(ask(str(i)) for i in range(8)))).rows
    assert [r.text for r in rows] == ["re 0", "re 1", "re 2", "", *(f"re {i}" for i in range(4, 8))]
    assert [r.status for r in rows].count("failed") == 1


# ---------------------------------------------------------------- what concerns every question


def code(call) -> MienError:
    with pytest.raises(MienError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("status", "wanted"), [(401, "language.unauthorised"), (403, "language.unauthorised"), (404, "language.not-found")]
)
def test_what_would_fail_for_all_is_an_error(status: int, wanted: str):
    error = code(lambda: one([plain("{}", status)]))
    assert error.code == wanted
    assert error.hint


def test_a_bad_schema_and_missing_settings_are_errors():
    assert code(lambda: one([say("A.")], ask(schema={"type": "blah"}))).code == "language.bad-schema"
    assert code(lambda: OpenAI.open(WeightFiles({}), EndpointConfig(), Device())).code == "config.no-endpoint"


def test_an_endpoint_that_is_not_named_is_refused_before_anything_is_sent():
    with ChatServer([say("A.")]) as server:
        for rules in (EgressRules(EgressTerms(), "studio"), None):
            unnamed = config(server).model_copy(update={"egress": rules})
            assert code(lambda u=unnamed: OpenAI.open(WeightFiles({}), u, Device())).code == "egress.refused"
        assert server.asked == []


def test_in_care_a_far_endpoint_is_refused_for_all_rows_at_once():
    rules = EgressRules(EgressTerms(allow=("llm.example.org:443",)), "care")
    settings = EndpointConfig(url="https://llm.example.org/v1", model="m", tries=1, egress=rules)
    far = OpenAI.open(WeightFiles({}), settings, Device())
    far._say._egress._resolve = lambda *_: ["93.184.216.34"]  # pyright: ignore[reportFunctionMemberAccess]
    assert code(lambda: far.run(Asks((ask(),)))).code == "egress.care-refused"


def test_the_key_comes_from_the_environment_and_shows_nowhere(monkeypatch, caplog):
    monkeypatch.setenv("MIEN_TEST_KEY", "sk-very-secret")
    with ChatServer([say("A."), plain('{"error": "bad key sk-very-secret"}', 400)]) as server:
        held = config(server, key_env="MIEN_TEST_KEY")
        opened = OpenAI.open(WeightFiles({}), held, Device())
        opened.run(Asks((ask(),)))
        assert server.headers[0]["authorization"] == "Bearer sk-very-secret"
        (reply,) = opened.run(Asks((ask(),))).rows
    assert "sk-very-secret" not in reply.reason + repr(held) + caplog.text + str(fingerprint(opened.spec, held))
    for value in ("", "two words", "line\nend"):
        monkeypatch.setenv("MIEN_TEST_KEY", value)
        error = code(lambda: OpenAI.open(WeightFiles({}), held, Device()))
        assert error.code == "config.no-key"
        assert not value or value not in str(error)
    with pytest.raises(ValueError, match="NAME") as wrong:
        EndpointConfig(key_env="sk-very-secret")
    assert "sk-very-secret" not in str(wrong.value)


def test_what_changes_no_answer_changes_no_fingerprint():
    spec = OpenAI.spec
    base = EndpointConfig(url="http://127.0.0.1:1/v1", model="m")
    same = base.model_copy(update={"tries": 5, "timeout_s": 9.0, "key_env": "K", "egress": None})
    other = base.model_copy(update={"model": "n"})
    assert fingerprint(spec, base) == fingerprint(spec, same) != fingerprint(spec, other)
    assert OpenAIVision.spec.slot == "vlm"
