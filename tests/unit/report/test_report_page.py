"""The page as text: what it says, what it never holds, and that hostile input stays text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from report_makers import PRIOR, curve, dist, seconds
from sample import sample

from mien.core import Contribution, MienError
from mien.export.report import ClipView, Picture, Project, ReportData, render
from mien.export.report.words import outcome, reading, unsure

JS, CSS = "var uPlot = class {};", ".uplot{}"


class Page(HTMLParser):
    """Elements with their attributes, and all text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._in = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = tag if tag in self.raw else self._in
        if tag in self.raw:
            self.raw[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in = "" if tag == self._in else self._in

    def handle_data(self, data: str) -> None:
        if self._in:
            self.raw[self._in][-1] += data
        else:
            self.text += data + " "

    def all(self, tag: str, name: str) -> list[str]:
        return [a[name] or "" for t, a in self.elements if t == tag and name in a]


@pytest.fixture(scope="module")
def html() -> str:
    return render(sample(), JS, CSS)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_every_claim_can_be_read_and_links_to_its_own_evidence_without_script(html: str, page: Page) -> None:
    ids = page.all("tr", "id") + page.all("article", "id") + page.all("div", "id")
    for view in sample().clips:
        for claim in view.claims:
            assert claim.text in page.text
            block = html[html.index(f'id="{claim.id}"') :]
            block = block[: block.index("</li>")]
            linked = set(re.findall(r'data-ev="([^"]+)"', block))
            assert linked == set(claim.evidence_ids) - {"obs-gone"}
            assert all(href in ids for href in re.findall(r'href="#([^"]+)"', block))
    assert "obs-gone (not in this report)" in page.text


def test_no_two_elements_share_an_id(page: Page) -> None:
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_an_event_that_is_an_observation_has_one_row() -> None:
    data = sample(clips=1)
    view = data.clips[0]
    same = replace(view.events[0], id=view.observations[3].id)
    page = Page(render(replace(data, clips=(replace(view, events=(same,)),)), JS, CSS))
    assert page.all("tr", "data-ev").count(same.id) == 1


def test_a_page_asks_the_network_for_nothing_and_admits_only_its_own_scripts(html: str, page: Page) -> None:
    assert not re.search(r"""(src|href|action|data)\s*=\s*["']?(https?:)?//""", html)
    assert not [t for t, _ in page.elements if t in ("link", "iframe", "object", "embed", "base", "form")]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in page.all("img", "src"))
    assert all(href.startswith("#") for href in page.all("a", "href"))
    assert not [a for _, a in page.elements for name in a if name == "style" or name.startswith("on")]
    policy = page.all("meta", "content")[0]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    runnable = [page.raw["script"][i] for i in (1, 2)]  # the first is data
    for text in page.raw["style"] + runnable:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_hostile_names_and_labels_stay_text() -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\udcff\x07\u202e.mp4"
    data = sample(clips=1)
    view = data.clips[0]
    film = replace(data.sources[0], path="/films/" + evil)
    view = replace(
        view,
        source=film,
        clip=replace(view.clip, id=evil),
        tracks=tuple(replace(t, subject_id=evil, label=evil) for t in view.tracks),
        events=tuple(replace(e, kind=evil, text=evil, id=evil + str(i)) for i, e in enumerate(view.events)),
        claims=tuple(replace(c, text=evil, id=evil + c.id, evidence_ids=(evil + "0",)) for c in view.claims),
        pictures=tuple(replace(p, caption=evil) for p in view.pictures),
    )
    hostile = replace(
        data, project=replace(data.project, name=evil), sources=(film,), clips=(view,), notes=(evil,),
        failures=tuple(replace(f, message=evil, hint=evil, unit=evil) for f in data.failures),
    )  # fmt: skip
    html = render(hostile, JS, CSS)
    html.encode("utf-8")
    clean, dirty = Page(render(data, JS, CSS)), Page(html)
    assert [t for t, _ in dirty.elements].count("script") == [t for t, _ in clean.elements].count("script") == 3
    assert not [a for t, a in dirty.elements if t == "img" and a.get("src") == "x"]
    assert not [a for _, a in dirty.elements for name in a if name.startswith("on")]
    assert "alert(1)" in dirty.text
    (clip,) = json.loads(dirty.raw["script"][0])
    assert evil + "0" in clip["spans"]


def test_a_script_that_would_end_its_element_is_refused() -> None:
    with pytest.raises(MienError, match=r"report\.unsafe-asset"):
        render(sample(clips=1), "x = '</SCRIPT>'", CSS)


def test_line_ends_do_not_change_what_the_browser_hashes() -> None:
    page = Page(render(sample(clips=1), "a;\r\nb;\r", CSS))
    assert page.raw["script"][1] == "a;\nb;\n"


def test_a_care_report_holds_no_picture_and_says_who_it_waits_for() -> None:
    page = Page(render(sample("care", 1), JS, CSS))
    assert not page.all("img", "src")
    assert "Pictures are withheld" in page.text
    assert "Waiting for a person: affect" in page.text
    shown = sample(clips=1)
    with pytest.raises(MienError, match=r"report\.pictures-in-care"):
        replace(shown, project=replace(shown.project, context="care"))


def test_withheld_pictures_and_other_bytes_are_refused() -> None:
    view = sample(clips=1).clips[0]
    with pytest.raises(MienError, match=r"report\.withheld-pictures"):
        replace(view, withheld="explicit content")
    with pytest.raises(MienError, match=r"report\.not-jpeg"):
        Picture(0, b"<svg onload=alert(1)>", "")


def test_an_empty_project_renders() -> None:
    page = Page(render(ReportData(Project("empty", "studio", "2026-01-01", "0.1.0")), JS, CSS))
    assert "No source has been added" in page.text
    assert "Nothing was recorded as failed" in page.text


def test_a_clip_without_anything_measured_says_so() -> None:
    view = sample(clips=1).clips[0]
    data = replace(sample(clips=1), clips=(ClipView(view.clip, view.source),))
    page = Page(render(data, JS, CSS))
    assert "No signal was measured in this clip" in page.text
    assert "No claims were made" in page.text


def test_weak_signals_licences_failures_and_accuracy_are_shown(page: Page) -> None:
    for wanted in (
        "weak", "CCC 0.18", "accuracy not measured", "AffectNet: research only", "media.truncated",
        "not measured: face.not-found", "python -m bench voice", "may succeed when tried again",
    ):  # fmt: skip
        assert wanted in page.text


def test_the_numbers_of_an_assessment_are_the_records_numbers(html: str) -> None:
    a = sample(clips=1).clips[0].assessments[1]
    block = html[html.index(f'id="moment-{a.id}"') :]
    rows = re.search(r"<tbody>(.*?)</tbody>", block, re.S)
    assert rows
    for row in re.findall(r"<tr.*?</tr>", rows[1], re.S):
        state = re.findall(r'<th scope="row">(.*?)</th>', row)[0]
        numbers = [float(x) for x in re.findall(r"<span>([\d.]+)</span>", row)]
        parts = [dict(c.dist)[state] for c in a.contributions if c.dist]
        assert numbers == pytest.approx([dict(a.prior)[state], *parts, dict(a.posterior)[state]], abs=0.005)


def test_twenty_clips_of_a_minute_with_dense_curves_stay_below_ten_megabytes() -> None:
    data = sample(clips=1)
    view = data.clips[0]
    span = seconds(0, 60)
    dense = tuple(curve(view.clip.id, None, f"s{i}", "", span, 100, i) for i in range(16))
    clips = tuple(
        replace(
            view, clip=replace(view.clip, id=f"clip-{n}", span=span), signals=dense, claims=(), trace=None, pictures=()
        )
        for n in range(20)
    )
    assert len(render(replace(data, clips=clips), JS, CSS).encode()) < 10_000_000


# ---------------------------------------------------------------- words


def test_the_bar_sums_to_one_and_splits_what_is_not_missing() -> None:
    a = sample(clips=1).clips[0].assessments[1]
    parts = unsure(a)
    assert sum(parts) == pytest.approx(1)
    assert parts[2] == pytest.approx(a.vacuity)
    assert parts[0] / parts[1] == pytest.approx(a.ambiguity / a.conflict)
    lost = unsure(replace(a, ambiguity=float("nan"), conflict=float("nan"), vacuity=1.0))
    assert lost == (0, 0, 1, 0)


def test_the_reading_follows_the_sources_and_not_a_template() -> None:
    a = sample(clips=1).clips[0].assessments[1]
    assert reading(a)[0] == "Two sources disagree: face → pleasure, voice → distress."
    agreed = tuple(replace(c, dist=dist(0.8, 0.05, 0.05, 0.05, 0.05)) for c in a.contributions[:2])
    same = replace(a, contributions=agreed, conflict=0.0, reason="")
    assert reading(same)[0] == "The sources lean the same way: face → distress, voice → distress."
    alone = replace(a, contributions=a.contributions[:1], conflict=0.0, reason="")
    assert reading(alone)[0].startswith("One source only")
    none = replace(a, contributions=(Contribution("face", 0.0, (), (), (), "no face"),), conflict=0.0, reason="")
    assert reading(none)[0] == "No source had anything to say here."


def test_an_open_question_names_no_state_and_a_stated_one_never_says_is() -> None:
    held = sample(clips=1).clips[0].assessments
    assert outcome(held[1]) == "Left open: the sources disagree too much for one reading"
    assert outcome(held[0]) == "Signals consistent with pleasure (0.74)"
    assert outcome(replace(held[0], posterior=PRIOR)).startswith("Signals consistent with calm (0.30); also possible:")


def test_a_curve_that_does_not_fit_its_signal_is_refused() -> None:
    view = sample(clips=1).clips[0].signals[0]
    with pytest.raises(ValueError, match="value must have shape"):
        replace(view, value=view.value[:-1])
    with pytest.raises(ValueError, match="must rise"):
        replace(view, t_us=np.zeros_like(view.t_us))


def test_only_the_main_signals_stay_open_when_there_are_many() -> None:
    data = sample(clips=1)
    view = data.clips[0]
    span = view.clip.span
    names = ("valence", "pitch", "face.head_pitch", "face.jaw", "face.brow")
    many = replace(view, signals=tuple(curve(view.clip.id, None, n, "", span, 5, i) for i, n in enumerate(names)))
    html = render(replace(data, clips=(many,)), JS, CSS)
    assert "3 more signals" in html
    folded = html[html.index('<details class="more">') : html.index("</details>")]
    assert "Face · head pitch" in folded
    assert "Pitch (f0)" not in folded
