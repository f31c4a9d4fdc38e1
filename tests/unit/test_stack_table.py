"""docs/stack.md says what the code says, and `bench stack` switches what it claims to switch."""

import re
from pathlib import Path

import pytest

from bench import table
from bench.stack import Configuration, carried, configurations, untouched
from mien.models.weights import load_adapters
from mien.pipeline.config import Stack as Slots
from mien.pipeline.config import load
from mien.pipeline.stack import Stack

RESULTS = """# Measured figures

## run

| face.centerface | 9.9 | not this one |

## stack

2026-01-02 · a machine · `python -m bench stack`

| stack | 640×360: × real time | ms per s against default | peak MB |
|---|---|---|---|
| without pose | 3.10 | -60 | 900 |

| model | processor ms | a call is |
|---|---|---|
| face.centerface | 20.2 | one frame of 640×360 px |
| voice.state | 0.012 | one vector |
| expression.facex | not measured: models.missing-extra | one face |

## voice

| vad.silero | 1.0 | not this one |
"""


def without_ms(page: str) -> str:
    """The page without what depends on a machine: the last cell of the table of models, and its source."""
    head, models, rest = re.split(r"^## (?:Models|Weights and licences)\n", page, flags=re.M)
    rows = [re.sub(r"[^|]*\|$", "|", line) for line in models.splitlines() if not line.startswith("ms: ")]
    return "\n".join([head, *rows, rest])


def row(page: str, model: str) -> list[str]:
    (line,) = [line for line in page.splitlines() if re.match(rf"\| \w+ \| `{re.escape(model)}` \|", line)]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_the_page_is_that_of_the_code():
    held = table.PAGE.read_text(encoding="utf-8")
    assert without_ms(held) == without_ms(table.page(table.Costs())), "make it again: python -m bench.table"


def test_every_model_is_there_with_its_licences_and_errors():
    page = table.page(table.Costs())
    for name, cls in load_adapters().items():
        assert len(row(page, name)) == 6
        assert all(measured.figure in page for measured in cls.spec.measured)
        if cls.spec.weights:
            held = cls.spec.weights.licences
            assert f"| {held.code} | {held.weights} | {held.training_data} |" in page
    weak = [m for cls in load_adapters().values() for m in cls.spec.measured if m.weak]
    assert page.count("| **weak** |") == len(weak) > 0


def test_defaults_are_those_of_the_configuration(monkeypatch):
    page = table.page(table.Costs())
    assert [row(page, f"expression.{n}")[2] for n in ("faceapi", "minixception", "facex")] == ["yes", "pooled", "off"]
    other = untouched().model_copy(update={"stack": Slots.model_validate({"pose": "pose.blazepose"})})
    before = [row(page, n)[2] for n in ("pose.movenet", "pose.blazepose")]
    monkeypatch.setattr(table, "untouched", lambda: other)
    page = table.page(table.Costs())
    assert [row(page, n)[2] for n in ("pose.movenet", "pose.blazepose")] == before[::-1] == ["off", "yes"]


def test_shapes_come_from_the_docstrings():
    page = table.page(table.Costs())
    assert row(page, "landmarks.facemesh")[3:5] == [
        "frames with face boxes",
        "points `[n 468 3]` px of the frame, score 0..1 `[n]`",
    ]
    assert row(page, "pose.movenet-thunder")[3:5] == row(page, "pose.movenet")[3:5]
    assert "- `Sound`: samples float32 `[s]` mono 16 kHz" in page


def test_costs_are_those_of_the_newest_bench_and_of_nothing_else():
    found = table.costs(RESULTS)
    assert found.said == "2026-01-02 · a machine · `python -m bench stack`"
    assert found.ms == {
        "face.centerface": "20.2 (one frame of 640×360 px)",
        "voice.state": "0.012 (one vector)",
    }
    page = table.page(found)
    assert row(page, "face.centerface")[5] == "20.2 (one frame of 640×360 px)"
    assert row(page, "vad.silero")[5] == row(page, "expression.facex")[5] == "not measured"
    assert without_ms(page) == without_ms(table.page(table.Costs()))
    assert table.costs("# Measured figures\n") == table.Costs()


def _models(env: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    for key, value in env.items():
        monkeypatch.setenv(key, value)
    config, _ = load(None, {"project": {"context": "research"}})
    stack = Stack(config)
    used = {(slot, stack.spec(slot).name) for slot in stack.slots()}
    return used | {("geometry", n) for n in config.opinions.expression if n == "geometry"}


@pytest.mark.parametrize("configuration", configurations(), ids=lambda c: c.name)
def test_a_configuration_changes_what_its_name_says(configuration: Configuration, monkeypatch):
    before = _models({}, monkeypatch)
    after = _models(configuration.env, monkeypatch)
    gone, new = (before - after, after - before)
    name = configuration.name
    if name == "default":
        assert not gone
        assert not new
    elif name.startswith("without "):
        assert not new
        named = set(name.removeprefix("without ").split(", "))
        assert named <= {slot.split("/")[0] for slot, _ in gone} <= named
    elif name.startswith("with "):
        assert not gone
        assert {model for _, model in new} == {name.removeprefix("with ")}
    elif name.endswith(" alone"):
        assert not new
        assert {slot.split("/")[0] for slot, _ in gone} == {name.split(".")[0]}
    else:
        other, _, held = name.partition(" for ")
        assert ({m for _, m in new}, {m for _, m in gone}) == ({other}, {held})


def test_every_slot_and_every_model_has_its_turn():
    names = [c.name for c in configurations()]
    told = " ".join(names)
    on = Stack(untouched())
    for slot in on.slots():
        assert "/" in slot or re.search(rf"without [\w, ]*\b{slot}\b", told), slot
    for name, cls in load_adapters().items():
        if (
            name in carried()
            and cls.spec.slot in Slots.model_fields
            and name not in {on.spec(s).name for s in on.slots()}
        ):
            assert any(name in n for n in names), name
    assert len(names) == len(set(names))


def test_the_sound_of_the_bench_holds_speech_and_laughter(tmp_path: Path, demo_speech, demo_laugh):
    from bench.stack import spoken
    from mien.core import Span
    from mien.media import Decoder

    with Decoder(spoken(tmp_path / "sound.wav")) as decoder:
        heard = decoder.sound(Span(0, 18_000_000)).samples
    loud = [float(abs(heard[16_000 * a : 16_000 * b]).max()) for a, b in ((0, 9), (11, 14), (15, 18))]
    assert min(loud) > 0.05
    assert float(abs(heard[16_000 * 10 + 8000 : 16_000 * 11 - 800]).max()) < 0.01
