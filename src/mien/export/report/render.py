"""The report: a pure function from `ReportData` to one self-contained HTML page that asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from mien.core import US, MienError, Source, clock
from mien.export.report import words
from mien.export.report.contexts import same_sounds
from mien.export.report.curves import points_each
from mien.export.report.data import ReportData
from mien.export.report.page import clip_page, dom, shift, short_path
from mien.export.report.views import ClipPage, Moment

if TYPE_CHECKING:
    from jinja2 import Environment

# C0 controls are not allowed in HTML; U+2028/9 end a line in scripts.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u2028\u2029]")


@dataclass(frozen=True, slots=True)
class KeyMoment:
    page: ClipPage
    moment: Moment


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("mien.export.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    env.filters |= {
        "number": words.number, "percent": words.percent, "signed": words.signed, "nats": words.nats,
        "abstention": words.abstention, "clock": clock, "between": words.between, "basename": short_path,
        "said": words.said, "readings": words.readings,
    }  # fmt: skip
    env.globals |= {"checks": words.CHECKS, "audits": words.AUDITS}
    return env


def _printable(value: object) -> object:
    """Text of any origin as HTML can hold it: no control characters, no lone surrogates of undecodable file names."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return "" if value is None else value
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value.encode("utf-8", "replace").decode())


def render(data: ReportData, uplot_js: str, uplot_css: str) -> str:
    """The whole report as one HTML document.

    Args:
        data: everything on the page; pictures in it have already passed the display gate.
        uplot_js: text of `uPlot.iife.min.js`, version 1.6.
        uplot_css: text of `uPlot.min.css`, same version.

    Returns:
        HTML without any external reference. Its Content-Security-Policy admits, by SHA-256, exactly the styles and
        scripts written here, and images only as `data:`. Without JavaScript all text, numbers and links remain.

    Raises:
        MienError: `report.unsafe-asset` when a style or script could end its own element.
    """
    from markupsafe import Markup

    env = _environment()
    limit = points_each(sum(len(c.signals) for c in data.clips))
    pages = [clip_page(view, number, limit) for number, view in enumerate(data.clips, 1)]
    styles = [_asset(uplot_css, "style"), _asset(_text(env, "report.css"), "style")]
    scripts = [_asset(uplot_js, "script"), _asset(_text(env, "charts.js") + _text(env, "links.js"), "script")]
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src {' '.join(map(_hash, styles))}; script-src {' '.join(map(_hash, scripts))}"
    )
    badge, care = words.CONTEXTS[data.project.context]
    return env.get_template("report.html").render(
        data=data,
        pages=pages,
        counts=_counts(data),
        moments=_key_moments(pages),
        same=same_sounds(pages),
        trouble=[s for s in data.sources if s.state != "ok"],
        badge=badge,
        care=care,
        covered=_covered(data),
        policy=Markup(policy),  # noqa: S704  (made of constants and base64)
        styles=[Markup(s) for s in styles],  # noqa: S704  (hashed, and cannot end its element)
        scripts=[Markup(s) for s in scripts],  # noqa: S704
        payload=Markup(_json([page.payload for page in pages])),  # noqa: S704  (`<` escaped)
        dom=dom,
    )


def _text(env: Environment, name: str) -> str:
    loader = env.loader
    assert loader is not None  # noqa: S101  (set three lines above; for the type checker)
    return loader.get_source(env, name)[0]


def _asset(text: str, element: str) -> str:
    """Text for a `<style>` or `<script>`, as a browser will hash it (line ends are LF after parsing)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    if f"</{element}" in text.lower() or "<!--" in text:
        raise MienError("report.unsafe-asset", f"a {element} of the report would end its own element", "check uPlot")
    return text


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON that no HTML parser can mistake for markup: ASCII only, `<`, `>` and `&` as escapes."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _counts(data: ReportData) -> list[tuple[str, str, str]]:
    """The overview's figures: (name, figure, remark)."""
    seconds = sum(c.clip.span.duration_us for c in data.clips) / US
    assessed = [a for c in data.clips for a in c.assessments]
    left_open = sum(a.abstained for a in assessed)
    kinds = Counter(t.kind for c in data.clips for t in c.tracks)
    tracks = ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in sorted(kinds.items()))
    claims = [c for view in data.clips for c in view.claims]
    bare = sum(not c.evidence_ids for c in claims)
    standing = f"{bare} without evidence" if bare else "each with its evidence" if claims else ""
    audited = [view.failed for view in data.clips if view.failed is not None]
    if audited:
        standing += f"; {sum(not failed for failed in audited)} of {len(audited)} traces pass the audit"
    rows = [
        ("Sources", str(len(data.sources)), ""),
        ("Clips", str(len(data.clips)), clock(round(seconds * US))[:-3] + " min in all"),
        ("Tracks", str(kinds.total()), tracks),
        ("Observations", f"{sum(len(c.observations) for c in data.clips):,}".replace(",", " "), ""),
        ("Assessments", str(len(assessed)), f"{left_open} left open" if left_open else ""),
        ("Claims", str(len(claims)), standing),
    ]
    if data.failures:
        rows.append(("Failures", str(len(data.failures)), "see what could not be analysed"))
    if data.waiting:
        rows.append(("Waiting", str(len(data.waiting)), "for a person"))
    return rows


def _covered(data: ReportData) -> list[tuple[Source, int]]:
    return [(s, sum(c.clip.source_sha == s.sha256 for c in data.clips)) for s in data.sources]


def _key_moments(pages: list[ClipPage]) -> list[KeyMoment]:
    """At most six moments of the project, in their order: the sharpest conflicts and the furthest moves."""

    def weight(item: KeyMoment) -> float:
        a = item.moment.assessment
        return max(words.unsure(a)[1], 0.0 if a.abstained else shift(a))

    found = [KeyMoment(page, m) for page in pages for m in page.moments if m.key is not None]
    chosen = sorted(found, key=weight, reverse=True)[:6]
    return sorted(chosen, key=lambda item: (item.page.number, item.moment.assessment.span))
