"""fusion.toml: written and read back the same, strict, and part of what decides a result."""

import pytest

from mien.core import MienError
from mien.fusion import Calibration, Confirmed, ConformalSets, FusionConfig, Made, Prototype, Reliability
from mien.fusion.learned import as_toml, parse
from mien.pipeline.config import load
from mien.pipeline.stages.assess import fingerprint

LEARNT = FusionConfig(
    states=(Prototype(name='tense "up"', valence=-0.5, arousal=0.4), Prototype(name="calm", valence=0, arousal=-0.2)),
    prior=(0.25, 0.75),
    calibration={"voice": Calibration.of_temperature(2, 1.7), "a b": Calibration.of_temperature(2, 0.9)},
    conformal=ConformalSets(level=0.9, people=12, threshold=0.93, by_type={"cry": 0.99}),
    reliability=Reliability(population={"face": 0.7}),
    people={"P.01": {"face": Confirmed(windows=9, right=4)}},
    made=Made(rows=100, people=12, rows_sha256="ab"),
)  # fmt: skip


def test_what_is_written_is_read_back():
    assert FusionConfig(**parse(as_toml(LEARNT))) == LEARNT
    assert parse(as_toml(FusionConfig())) == {}


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("format = 1\nwieghts = 1\n", "fusion.invalid", "wieghts"),
        ("format = 1\n[weights]\nfce = 1\n", "fusion.invalid", "weights.fce"),
        ("format = 2\n", "fusion.unknown-format", "format 2"),
        ("prior = [0.5, 0.5]\n", "fusion.unknown-format", "None"),
        ("format = = 1", "fusion.not-toml", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused_with_a_hint(text, code, words):
    with pytest.raises(MienError, match=words) as caught:
        parse(text)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_project_reads_it_below_mien_toml_and_the_fingerprint_changes(tmp_path):
    (tmp_path / "mien.toml").write_text('[project]\ncontext = "research"\n[fusion.gate]\nleast = 0.3\n')
    before, _ = load(tmp_path)
    (tmp_path / "fusion.toml").write_text("format = 1\n[weights]\nvoice = 0.4\n[gate]\nleast = 0.1\nlow = 0.5\n")
    after, origins = load(tmp_path)
    assert (after.fusion.weights.voice, origins["fusion.weights.voice"]) == (0.4, "fusion.toml")
    assert (after.fusion.gate.least, origins["fusion.gate.least"]) == (0.3, "file")
    assert (after.fusion.gate.low, after.fusion.gate.high) == (0.5, before.fusion.gate.high)
    assert fingerprint(before.fusion) != fingerprint(after.fusion)
    assert fingerprint(before.fusion) == fingerprint(FusionConfig(gate=before.fusion.gate))
    (tmp_path / "fusion.toml").write_text("format = 1\nnonsense = 1\n")
    with pytest.raises(MienError, match="nonsense"):
        load(tmp_path)
