"""The report in a real browser (headless Chromium): charts are drawn, claims light exactly their evidence.

The page is opened with a deep link and the resulting document is read back, so that what is asserted is what the
page's own script did. Skipped where no Chromium is installed or uPlot was never fetched (`mien models pull`).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from mien.core import MienError
from mien.export.report import ReportData, render

sys.path.append(str(Path(__file__).parents[1] / "unit" / "report"))
from sample import sample  # pyright: ignore[reportMissingImports]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
# The page runs on virtual time: its timers and observers have fired when the document is read.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
    "--virtual-time-budget=5000", "--window-size=1280,9000",
)  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """The document after the script ran, and what the console said."""

    dom: str
    console: list[str]

    def tags(self, css: str) -> list[str]:
        return [t for t in re.findall(r"<[a-z][^>]*>", self.dom) if re.search(rf'class="[^"]*\b{css}\b', t)]

    def evidence(self, css: str, tag: str) -> set[str]:
        found = [re.search(r'data-ev="([^"]*)"', t) for t in self.tags(css) if t.startswith(f"<{tag} ")]
        return {m[1] for m in found if m}


@pytest.fixture(scope="module")
def uplot() -> tuple[str, str]:
    from mien.models.weights import resolve
    from mien.models.weights.extras import UPLOT

    try:
        files = resolve(UPLOT)
    except MienError as error:
        pytest.skip(f"uPlot is not here: {error.message} ({error.hint})")
    return files["uPlot.iife.min.js"].read_text("utf-8"), files["uPlot.min.css"].read_text("utf-8")


@pytest.fixture(scope="module")
def data() -> ReportData:
    return sample()


@pytest.fixture(scope="module")
def page(data: ReportData, uplot: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(data, *uplot), encoding="utf-8")
    return path


def visit(page: Path, fragment: str, profile: Path) -> Seen:
    assert CHROMIUM is not None
    done = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri() + fragment],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def test_a_deep_link_to_a_claim_lights_exactly_its_evidence(data: ReportData, page: Path, tmp_path: Path) -> None:
    view = data.clips[0]
    rows = {o.id for o in view.observations} | {e.id for e in view.events}
    seen_sets = []
    for n, claim in enumerate((view.claims[1], view.claims[3])):
        seen = visit(page, f"#{claim.id}", tmp_path / str(n))
        assert seen.console == []
        wanted = set(claim.evidence_ids) & rows
        assert wanted
        assert seen.evidence("is-cited", "tr") == wanted
        assert seen.evidence("hl", "div") == set(claim.evidence_ids)
        assert wanted <= seen.evidence("is-cited", "svg")
        pressed = re.findall(r'<button[^>]*id="([^"]+)"[^>]*aria-pressed="true"', seen.dom)
        assert pressed == [claim.id]
        seen_sets.append(wanted)
    assert seen_sets[0].isdisjoint(seen_sets[1])


def test_a_claim_about_the_second_person_shows_that_person(data: ReportData, page: Path, tmp_path: Path) -> None:
    view = data.clips[0]
    claim, second = view.claims[5], view.tracks[1].id
    seen = visit(page, f"#{claim.id}", tmp_path)
    panels = [t for t in seen.tags("panel") if t.startswith("<div")]
    hidden = {re.findall(r'data-track="([^"]*)"', t)[0] for t in panels if " hidden" in t}
    assert hidden & {t.id for t in view.tracks} == {view.tracks[0].id}
    assert f'data-person="{second}" aria-pressed="true"' in seen.dom


def test_evidence_leads_back_to_the_claims_that_cite_it(data: ReportData, page: Path, tmp_path: Path) -> None:
    view = data.clips[0]
    cited = view.claims[0].evidence_ids[1]  # the pitch rise, cited by two claims
    seen = visit(page, f"#ev-{cited}", tmp_path)
    assert seen.evidence("is-cited", "tr") == {cited}
    assert len(seen.tags("is-citing")) == sum(cited in c.evidence_ids for c in view.claims) == 2


def test_without_a_link_charts_are_drawn_and_nothing_is_lit(data: ReportData, page: Path, tmp_path: Path) -> None:
    seen = visit(page, "", tmp_path)
    assert seen.console == []
    # Each clip opens with the person of its first moment; panels of the other person are not drawn yet.
    shown = [s for c in data.clips for s in c.signals if s.signal.track_id in (None, c.tracks[0].id)]
    assert seen.dom.count("<canvas") == len(shown)
    assert seen.tags("is-cited") == []
    assert seen.tags("hl") == []
    moments = [t for t in seen.tags("moment") if t.startswith("<article") and " hidden" not in t]
    assert len(moments) == len(data.clips)


def test_without_script_everything_is_readable(data: ReportData, page: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare.html"
    blocked = re.sub(r"script-src [^\"]*", "script-src 'none'", page.read_text("utf-8"), count=1)
    bare.write_text(blocked, encoding="utf-8")
    seen = visit(bare, "", tmp_path / "profile")
    assert "<canvas" not in seen.dom
    moments = [t for t in seen.tags("moment") if t.startswith("<article")]
    assert len(moments) == sum(len(c.assessments) for c in data.clips)
    assert not [t for t in moments if " hidden" in t]
    assert all(claim.text in seen.dom for claim in data.clips[0].claims)


def test_a_script_that_is_not_ours_does_not_run(page: Path, tmp_path: Path) -> None:
    spoilt = tmp_path / "spoilt.html"
    text = page.read_text("utf-8").replace("</main>", "<script>document.title='owned'</script></main>")
    spoilt.write_text(text, encoding="utf-8")
    seen = visit(spoilt, "", tmp_path / "profile")
    assert "<title>owned</title>" not in seen.dom
    assert any("Content Security Policy" in line for line in seen.console)


def test_a_claim_opens_the_assessment_of_its_time_and_person(data: ReportData, page: Path, tmp_path: Path) -> None:
    view = data.clips[0]
    claim, own = view.claims[3], view.assessments[4]  # rocking at 28 s; it cites no assessment
    assert own.id not in claim.evidence_ids
    seen = visit(page, f"#{claim.id}", tmp_path)
    moments = [t for t in seen.tags("moment") if t.startswith("<article") and " hidden" not in t]
    assert f'id="moment-{own.id}"' in moments[0]
