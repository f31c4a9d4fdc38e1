"""`mien demo moan-vs-groan`: one ambiguous sound, three pictures, and none.

Stored answers of the real run for what must be quick, the real files for what is laid under what, the whole command as
a slow test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from mien.cli.app import app
from mien.cli.demo import at_sound, row
from mien.core import US, Assessment, MienError, Span
from mien.fusion import FusionConfig, SourceEvidence, assess
from mien.media import Decoder
from mien.policy import forbidden_words
from mien.testing import composite

FLAT = (1 / 3, 1 / 3, 1 / 3)
HEARD = SourceEvidence("voice", (0.449, 0.416, 0.135), FLAT, 0.57)
SEEN = {
    "crying": SourceEvidence("face", (0.569, 0.001, 0.430), FLAT, 0.757),
    "calm": SourceEvidence("face", (0.272, 0.086, 0.642), FLAT, 0.764),
    "laughing": SourceEvidence("face", (0.001, 0.914, 0.085), FLAT, 0.776),
}


def assessment(*sources: SourceEvidence) -> Assessment:
    a = assess(FusionConfig(), sources)
    return Assessment(
        "a", "c", None, Span(2 * US, 4 * US), a.prior, a.posterior, a.contributions, a.ambiguity, a.conflict, a.vacuity,
        a.abstained, a.reason, "fusion",
    )  # fmt: skip


def rows(heard: SourceEvidence | None, seen: dict[str, SourceEvidence]):
    voice = [heard] if heard else []
    return {name: row(name, assessment(face, *voice)) for name, face in seen.items()} | {
        composite.ALONE: row(composite.ALONE, assessment(*voice))
    }


def leading(made) -> str:
    return max(made.posterior, key=lambda pair: pair[1])[0]


def test_the_context_decides_what_the_same_voice_is_taken_for_and_without_one_it_stays_open():
    made = rows(HEARD, SEEN)
    for one in made.values():
        assert [p for _, p in one.voice] == pytest.approx(HEARD.dist, abs=1e-6)
        assert forbidden_words(one.verdict) == []
    assert leading(made["crying"]) == "distress"
    assert leading(made["laughing"]) == "pleasure"
    assert made["crying"].verdict.startswith("signals consistent with distress")
    assert made["sound-alone"].abstained
    assert made["sound-alone"].verdict.startswith("stays uncertain: ")
    assert made["sound-alone"].picture_adds == ()


def test_contexts_that_are_swapped_swap_the_posteriors():
    swapped = {**SEEN, "crying": SEEN["laughing"], "laughing": SEEN["crying"]}
    before, after = rows(HEARD, SEEN), rows(HEARD, swapped)
    for one, other in (("crying", "laughing"), ("laughing", "crying"), ("calm", "calm")):
        assert after[one].posterior == before[other].posterior
    assert after["sound-alone"].posterior == before["sound-alone"].posterior


def test_silence_adds_nothing():
    made = rows(None, SEEN)
    for name, face in SEEN.items():
        assert made[name].voice == ()
        assert made[name].voice_weight == 0
        assert made[name].posterior == assessment(face).posterior
    assert made["sound-alone"].posterior == made["sound-alone"].prior


def test_a_voice_that_contradicts_the_picture_is_a_conflict_and_both_readings_are_told():
    made = row("laughing", assessment(SEEN["laughing"], SourceEvidence("voice", (0.9, 0.05, 0.05), FLAT, 0.57)))
    assert made.abstained
    assert made.verdict.startswith("stays uncertain: ")
    assert "face → pleasure" in made.verdict
    assert "voice → distress" in made.verdict


def test_the_moment_is_that_of_the_sound_and_of_the_heaviest_evidence():
    early = assessment(SEEN["calm"])
    at = [assessment(HEARD.weighing(0.1)), assessment(SEEN["crying"], HEARD)]
    assert at_sound([*at]) is at[1]
    with pytest.raises(MienError, match=r"demo\.not-assessed"):
        at_sound([Assessment(*("a", "c", None, Span(0, 2 * US)), *(getattr(early, f) for f in early.__slots__[4:]))])


@pytest.fixture(scope="session")
def groan():
    from mien.models.weights import resolve, select

    return composite.lump(resolve(select(["sample.demo-groan"])[0].weights).only, composite.GROAN)


def test_all_four_files_hold_the_same_samples_and_three_different_pictures(demo_video, groan, tmp_path):
    track = composite.soundtrack(*groan)
    files = composite.contexts(demo_video, track, tmp_path)
    assert list(files) == ["crying", "calm", "laughing", "sound-alone"]
    whole = Span(0, round(composite.CONTEXT_S * US))
    stills = {}
    for name, path in files.items():
        with Decoder(path) as decoder:
            probe = decoder.probe()
            assert probe.duration_us == pytest.approx(whole.duration_us, abs=50_000)
            heard = decoder.sound(whole)
            if name != composite.ALONE:
                stills[name] = decoder.stills([US], 160).pixels[0].astype(float)
        assert heard.t0_us == 0
        np.testing.assert_array_equal(np.round(heard.samples * 2**15), track)
    first = round(composite.SOUND_AT_S * 16_000)
    assert not track[:first].any()
    assert np.abs(track).max() == composite.PEAK
    assert min(np.abs(stills[a] - stills[b]).mean() for a, b in (("crying", "calm"), ("calm", "laughing"))) > 1


def test_by_itself_the_sound_stays_open_in_the_real_pipeline(demo_video, groan, tmp_path):
    import mien

    files = composite.contexts(demo_video, composite.soundtrack(*groan), tmp_path, {})
    with mien.analyse(files[composite.ALONE]) as found:
        made = row(composite.ALONE, at_sound(found.clips[0].assessments))
    said = dict(made.voice)
    assert abs(said["distress"] - said["pleasure"]) < 0.25
    assert made.abstained
    assert made.verdict.startswith("stays uncertain: ")


def test_an_archive_without_the_sound_says_so(tmp_path):
    path = tmp_path / "empty.wad"
    path.write_bytes(b"PWAD" + (0).to_bytes(4, "little") + (12).to_bytes(4, "little"))
    with pytest.raises(MienError, match=r"media\.no-lump"):
        composite.lump(path, "DSGROAN")


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "kept").write_text("mine")
    done = CliRunner().invoke(app, ["demo", "moan-vs-groan", "--keep", str(tmp_path)])
    assert done.exit_code == 2
    assert "project.exists" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


@pytest.mark.slow
def test_the_whole_command_on_real_media(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mien", "demo", "moan-vs-groan", "--keep", str(tmp_path / "demo"), "--json"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told = json.loads(done.stdout)
    made = {r["context"]: r for r in told["contexts"]}
    voices = np.array([[p for _, p in r["voice"]] for r in made.values()])
    assert voices.shape == (4, 3)
    assert np.abs(voices - voices[0]).max() < 1e-6
    posterior = {name: dict(r["posterior"]) for name, r in made.items()}
    assert posterior["crying"]["distress"] > posterior["sound-alone"]["distress"] > posterior["laughing"]["distress"]
    assert posterior["laughing"]["pleasure"] > posterior["sound-alone"]["pleasure"] > posterior["crying"]["pleasure"]
    assert posterior["calm"]["calm"] > posterior["sound-alone"]["calm"]
    assert made["sound-alone"]["abstained"]
    assert made["sound-alone"]["verdict"].startswith("stays uncertain: ")
    assert [forbidden_words(r["verdict"]) for r in made.values()] == [[]] * 4
    assert "One sound, 4 contexts" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_swapped_pictures_and_a_silent_track_in_the_real_pipeline(demo_video, groan, tmp_path):
    import mien

    swapped = {"crying": composite.CONTEXTS_FROM_S["laughing"], "laughing": composite.CONTEXTS_FROM_S["crying"]}
    track = composite.soundtrack(*groan)
    made = {}
    for kind, heard in (("voice", track), ("silence", np.zeros_like(track))):
        files = composite.contexts(demo_video, heard, tmp_path / kind, swapped)
        with mien.analyse(files["crying"], files["laughing"]) as found:
            for clip in found.clips:
                name = Path(clip.source.path).stem
                made[kind, name] = row(name, at_sound(clip.assessments))
    assert leading(made["voice", "crying"]) == "pleasure"  # the file named crying shows laughing
    assert dict(made["voice", "laughing"].posterior)["distress"] > dict(made["voice", "crying"].posterior)["distress"]
    assert made["silence", "crying"].voice == made["silence", "laughing"].voice == ()
