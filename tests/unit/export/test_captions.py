"""WebVTT and RTTM: both parse back strictly, hostile texts stay texts, people's labels decide."""

import re

import pytest
from planted import SOUND, VIDEO, project

from mien.core import MienError, Span
from mien.export.selection.labelled import Label, Place, labels_of, put_labels
from mien.export.tables import export_tables

LATER = "2026-02-01T00:00:00.000+00:00"


def vtt_cues(text: str) -> list[tuple[int, int, str, str]]:
    """(start ms, end ms, id, text) by the letter of the W3C's grammar, or an assertion."""
    head, *blocks = text.removesuffix("\n\n").split("\n\n")
    assert head == "WEBVTT"
    cues = []
    for block in blocks:
        lines = block.split("\n")
        if lines[0].startswith("NOTE"):
            assert "-->" not in block
            continue
        found = re.fullmatch(r"(\d\d+):([0-5]\d):([0-5]\d)\.(\d{3}) --> (\d\d+):([0-5]\d):([0-5]\d)\.(\d{3})", lines[1])
        assert found, lines
        h, m, s, ms, h2, m2, s2, ms2 = map(int, found.groups())
        start, end = ((h * 60 + m) * 60 + s) * 1000 + ms, ((h2 * 60 + m2) * 60 + s2) * 1000 + ms2
        assert start < end
        assert len(lines) == 3
        assert "-->" not in lines[0] + lines[2]
        assert not re.search(r"<|&(?!amp;|lt;|gt;)", lines[2])
        cues.append((start, end, lines[0], lines[2]))
    assert [c[0] for c in cues] == sorted(c[0] for c in cues)
    return cues


def rttm(text: str) -> list[dict[str, str]]:
    """Rows by the ten fields of RT-09, or an assertion."""
    names = ("type", "file", "chnl", "tbeg", "tdur", "ortho", "stype", "name", "conf", "slat")
    rows = []
    for line in text.splitlines():
        fields = line.split(" ")
        assert len(fields) == 10
        row = dict(zip(names, fields, strict=True))
        assert row["type"] in ("SPEAKER", "NON-SPEECH")
        assert row["stype"] in (("<NA>",) if row["type"] == "SPEAKER" else ("noise", "music", "other"))
        assert float(row["tbeg"]) >= 0
        assert float(row["tdur"]) > 0
        rows.append(row)
    return rows


def test_claims_are_cues_on_the_clock_of_the_source(tmp_path):
    planted = project(tmp_path / "p")
    written = export_tables(planted, "webvtt", tmp_path / "out")
    cues = vtt_cues((tmp_path / "out" / "talk,_one.mp4.vtt").read_text(encoding="utf-8"))
    assert [(a, b) for a, b, *_ in cues] == [(0, 2000), (4000, 6000)]
    assert all("consistent with" in text for *_, text in cues)
    assert "Not known: body." in (tmp_path / "out" / "talk,_one.mp4.vtt").read_text().split("\n\n")[1]
    sounds = vtt_cues((tmp_path / "out" / "=cmd.wav.vtt").read_text(encoding="utf-8"))
    assert [(a, b) for a, b, *_ in sounds] == [(1000, 1940), (3000, 3500)]
    assert {f.name: f.rows for f in written.files}["talk,_one.mp4.vtt"] == 2
    planted.close()


def test_a_hostile_claim_cannot_end_its_cue_or_mark_anything_up(tmp_path):
    text = "one\n\n00:00:09.000 --> 00:00:10.000\n<b onclick=x>two</b> & NOTE & <c.loud>"
    planted = project(tmp_path / "p", claim=text)
    export_tables(planted, "webvtt", tmp_path / "out")
    path = tmp_path / "out" / "talk,_one.mp4.vtt"
    cues = vtt_cues(path.read_text(encoding="utf-8"))
    assert len(cues) == 2
    assert "--&gt; 00:00:10.000 &lt;b onclick=x&gt;two&lt;/b&gt; &amp; NOTE" in cues[0][3]
    webvtt = pytest.importorskip("webvtt", reason="webvtt-py is not installed")
    read = webvtt.read(str(path))
    assert [(c.start, c.end) for c in read] == [("00:00:00.000", "00:00:02.000"), ("00:00:04.000", "00:00:06.000")]
    planted.close()


def test_a_sentence_that_says_too_much_stops_the_export(tmp_path):
    planted = project(tmp_path / "p", claim="Face 1 is angry.")
    with pytest.raises(MienError, match=r"export\.wording"):
        export_tables(planted, "webvtt", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    planted.close()


def test_speech_and_other_vocal_sounds_are_apart_and_read_back(tmp_path):
    planted = project(tmp_path / "p")
    export_tables(planted, "rttm", tmp_path / "out")
    (speech,) = rttm((tmp_path / "out" / "speech.rttm").read_text())
    (burst,) = rttm((tmp_path / "out" / "non-speech.rttm").read_text())
    assert (speech["type"], speech["tbeg"], speech["tdur"], speech["name"]) == ("SPEAKER", "1.000", "0.940", "<NA>")
    assert (burst["type"], burst["tbeg"], burst["name"], burst["conf"]) == (
        "NON-SPEECH",
        "3.000",
        "vocal-burst",
        "0.800",
    )
    planted.close()


def test_a_persons_label_decides_in_captions_and_segments(tmp_path):
    planted = project(tmp_path / "p")
    sound = Place(SOUND, Span(1_000_000, 1_940_000), None)
    window = Place(VIDEO, Span(0, 2_000_000), (0.25, 0.25, 0.5, 0.75))
    said = [Label(sound, "vocal.kind", "voice", "A", LATER), Label(window, "state", "distress", "A & B", LATER)]
    put_labels(planted, labels_of(planted.store), said)
    export_tables(planted, "rttm", tmp_path / "r")
    assert (tmp_path / "r" / "speech.rttm").read_text() == ""
    assert [r["conf"] for r in rttm((tmp_path / "r" / "non-speech.rttm").read_text())] == ["<NA>", "0.800"]
    export_tables(planted, "webvtt", tmp_path / "v")
    cues = vtt_cues((tmp_path / "v" / "talk,_one.mp4.vtt").read_text(encoding="utf-8"))
    (told,) = [c for c in cues if "[label]" in c[3]]
    assert told[:2] == (0, 2000)
    assert told[3] == "[label] A &amp; B reads face 1 as: distress (the models: pleasure)"
    planted.close()
