"""docs/reasoning.md says what the code does: its example runs, every check and every notation is named."""

import re
from pathlib import Path

from mien.policy import forbidden_words
from mien.reason import CHECKS
from mien.reason.predicates import PREDICATES
from mien.reason.vocabulary import INTENTS, TIME_US, TOLERANCES

TEXT = (Path(__file__).parents[3] / "docs" / "reasoning.md").read_text(encoding="utf-8")


def test_the_example_runs(capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(compile(code, "docs/reasoning.md", "exec"), {})  # noqa: S102 - this is the test
    assert capsys.readouterr().out.startswith("True")


def test_every_check_and_every_predicate_is_named() -> None:
    assert [c for c in CHECKS if f"**{c}**" not in TEXT] == []
    for kind in PREDICATES:
        begins = re.split(r"[({ ]", kind.notation)[0]
        assert begins in TEXT or not begins, kind
    assert all(room in TEXT for room in ("body.…", "interaction.…"))
    assert all(target.startswith(("body.", "interaction.")) for target in INTENTS)


def test_tolerances_are_those_of_the_document_and_its_words_are_careful() -> None:
    assert f"Times may be off by {TIME_US / 1e6} s, probabilities by {TOLERANCES['p']}" in TEXT
    assert forbidden_words(TEXT) == []
