"""docs/body.md says what the code does: its example runs, all columns and events are defined, defaults as named."""

import re
from pathlib import Path

from mien.policy import forbidden_words
from mien.signals.body import KINDS, NAMES, BodyConfig, InteractionConfig

TEXT = (Path(__file__).parents[3] / "docs" / "body.md").read_text(encoding="utf-8")


def test_the_example_runs_and_finds_what_it_planted(capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(compile(code, "docs/body.md", "exec"), {})  # noqa: S102 - this is the test
    assert capsys.readouterr().out.startswith("rocking 0:08")


def test_every_event_and_column_is_defined() -> None:
    assert [kind for kind in KINDS if f"| `{kind}` |" not in TEXT] == []
    assert [name for name in NAMES if f"`{name}`" not in TEXT] == []


def test_the_defaults_are_those_of_the_document() -> None:
    c, i = BodyConfig(), InteractionConfig()
    rocking, pacing, hands, blows = c.rocking, c.pacing, c.hands, c.striking
    for said in (
        f"≥ {rocking.periodic:.0%}".replace("%", " %"), f"{rocking.low_hz}-{rocking.high_hz:.0f} Hz",
        f"amplitude ≥ {rocking.amplitude}", f"≥ {pacing.reversals} turns", f"≥ {pacing.leg:.0f} body widths",
        f"within {hands.near} of an ear", f"for ≥ {hands.hold_s} s", f"within {hands.touch} of the other arm",
        f"≥ {blows.speed:.0f} trunk lengths/s", f"≥ {blows.stop:.0f} trunk lengths/s²",
        f"≤ {blows.left:.0%}".replace("%", " %"),
        f"≥ {c.reaching.extension} arm lengths", f"≤ {c.stillness.floor} trunk lengths/s",
        f"≥ {c.stillness.moved}", f"shorter than {c.points.hand_scale_px:.0f} px", f"≤ {i.near} heights",
        f"within {i.hand} trunk lengths", f"≥ {i.moved} trunk lengths", f"≤ {i.close} mean heights",
    ):  # fmt: skip
        assert said in TEXT, said


def test_the_document_keeps_to_observables() -> None:
    assert forbidden_words(TEXT) == []
