"""What a model of language wrote becomes a reply: thinking apart, schema held, a half answer never taken for whole."""

import pytest

from mien.core import Ask, Message, MienError
from mien.models.language.reading import check_schema, read, split

SCHEMA = {
    "type": "object",
    "properties": {"mood": {"enum": ["calm", "tense"]}, "p": {"type": "number", "minimum": 0, "maximum": 1}},
    "required": ["mood", "p"],
    "additionalProperties": False,
}


def ask(**given: object) -> Ask:
    return Ask((Message("user", "how?"),), **given)  # pyright: ignore[reportArgumentType]


def test_thinking_is_split_at_the_last_close_and_a_missing_one_is_truncation():
    assert split("<think>a</think>b</think> c", True) == ("a</think>b", "c")
    assert split("a</think>\n\nc", True) == ("a", "c"), "templates write the opening tag into the prompt"
    assert split("still thinking", True) is None
    assert split("<think>still thinking", False) is None
    assert split("plain", False) == ("", "plain")
    reply = read(ask(think=True), "still thinking")
    assert (reply.status, reply.reason, reply.text) == ("truncated", "language.no-answer", "")
    assert reply.thinking == "still thinking"


def test_an_answer_in_the_thinking_is_no_answer():
    reply = read(ask(think=True, schema=SCHEMA), '<think>{"mood": "calm", "p": 0.5}')
    assert reply.status == "truncated"
    assert reply.value is None


def test_cut_answers_are_not_taken_even_where_they_parse():
    reply = read(ask(schema=SCHEMA), '{"mood": "calm", "p": 0.5}', cut=True)
    assert (reply.status, reply.value) == ("truncated", None)


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('{"mood": "calm", "p": 0.5}', "ok"),
        ('```json\n{"mood": "calm", "p": 0.5}\n```', "ok"),
        ('{"mood": "angry", "p": 0.5}', "invalid"),
        ('{"mood": "calm", "p": NaN}', "invalid"),
        ('{"mood": "calm"}', "invalid"),
        ('Sure! {"mood": "calm", "p": 0.5}', "invalid"),
        ("", "invalid"),
    ],
)
def test_schema_is_held(text: str, status: str):
    reply = read(ask(schema=SCHEMA), text, output_tokens=7)
    assert reply.status == status
    assert (reply.value is None) == (status != "ok")
    assert reply.output_tokens == 7


def test_a_schema_that_is_none_is_said():
    check_schema(SCHEMA)
    with pytest.raises(MienError, match="language.bad-schema"):
        check_schema({"type": "nonsense"})
