"""What a model that looks and listens will be taught: pictures of each clip, questions and answers, masks."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mien.core import MienError
from mien.export.intact import Intact
from mien.export.selection.examples import Example, Soft, examples
from mien.export.trainers import Job
from mien.export.vlm.book import closed
from mien.export.vlm.media import STILLS, Cutter, Wants
from mien.export.vlm.talks import asked, talks

MOST = 24  # clips that are shown one by one; all are counted

TALKS = """
<h2>Splits</h2><table id="splits"><tr><th>split<th class="n">clips<th class="n">groups<th>labels (sum of weights)</tr>
{% for name, s in seen.splits.items() %}<tr><td>{{ name }}<td class="n">{{ s.clips }}<td class="n">{{ s.groups }}
<td>{% for n, w in seen.labels.get(name, {}).items() %}{{ n }} {{ w }}{{ ", " if not loop.last }}{% endfor %}</tr>
{% endfor %}</table>
<h2>Clips ({{ clips|length }} shown)</h2>
{% for c in clips %}<div class="clip{{ " out" if c.why }}"><h3><code>{{ c.stem }}</code> · {{ c.split }}</h3>
<p>{{ c.source }}, {{ "%.2f" % (c.from_us / us) }}–{{ "%.2f" % (c.to_us / us) }} s · group <code>{{ c.group }}</code>
{{ "· people in it are covered" if c.covered }}</p>
{% if c.why %}<p class="note">not learnt: {{ c.why }}</p>{% endif %}
{% if c.pictures %}<div class="strip">{% for p in c.pictures %}<figure>
<img alt="picture {{ loop.index }}" src="data:image/jpeg;base64,{{ p.data }}">
<figcaption>{{ "%.2f" % (p.t_us / us) }} s</figcaption></figure>{% endfor %}</div>
{% elif c.unseen %}<p class="note">{{ c.unseen }}</p>{% endif %}
{% for t in c.talks %}<div class="talk"><p class="ask">{{ t.question }}</p>
{% for a in t.answers %}<p class="say">{% if t.kind == "state" %}<meter min="0" max="1" value="{{ a.weight }}"></meter>
{{ "%.0f" % (100 * a.weight) }} % <b>{{ a.text }}</b> ({{ a.by }}){% else %}{{ a.text }}{% endif %}</p>{% endfor %}
</div>{% endfor %}
{% for m in c.masked %}<p class="mask">masked: {{ m.what }}{{ " of " ~ m.who if m.who }}
<code>{{ m.code }}</code> {{ m.reason }}{% if m.question %}<br><s>{{ m.question }}</s>{% endif %}</p>{% endfor %}
{% if c.people %}<table class="soft"><tr><th>whose<th>states: mean ± sd over time<th>people say<th class="n">ambiguity
<th class="n">conflict<th class="n">abstained</tr>{% for s in c.people %}<tr><td>{{ s.who or "the recording" }}
<td>{% for n, p, sd in s.states %}{{ n }} {{ "%.2f" % p }} ± {{ "%.2f" % sd }}{{ ", " if not loop.last }}{% endfor %}
<td>{% for n, p in s.said %}{{ n }} {{ "%.2f" % p }}{{ ", " if not loop.last }}{% endfor %}
<td class="n">{{ s.ambiguity }}<td class="n">{{ s.conflict }}<td class="n">{{ s.abstained }}</tr>{% endfor %}</table>
{% endif %}</div>{% endfor %}
<h2>Not in it</h2><table id="dropped"><tr><th>what<th>code<th>why</tr>
{% for w in withheld %}<tr><td>{{ w.what }}<td><code>{{ w.code }}</code><td>{{ w.reason }}</tr>{% endfor %}</table>
"""


def told(job: Job, wants: Wants, *, drawn: bool) -> Iterator[dict[str, Any]]:
    """The first clips as plain values. drawn: with their pictures (JPEG, base64), cut and covered as an export does.

    A clip that will not be learnt has `why` and no picture.
    """
    intact = Intact()
    with Cutter(job.terms) as cutter, TemporaryDirectory() as scratch:
        for n, ex in enumerate(examples(job.scope, job.splits)):
            if n == MOST:
                return
            said = list(talks(ex, job.terms.length))
            mask = closed(ex, said, wants)
            row = _row(ex) | {"why": f"{mask.reason} [{mask.code}]" if mask else "", "pictures": [], "unseen": ""}
            questions = dict.fromkeys((t.kind, t.question) for t in said)
            row["talks"] = [] if mask else [
                {"kind": kind, "question": question, "answers": [
                    {"text": t.answer, "weight": t.weight, "by": t.by} for t in said if t.question == question
                ]} for kind, question in questions
            ]  # fmt: skip
            if not mask and not drawn:
                row["unseen"] = "no pictures are shown of care recordings"
            elif not mask and ex.rows.part.source.kind != "audio":
                try:
                    if wrong := intact.wrong(ex.rows.part.source):
                        raise wrong
                    row["pictures"] = _pictures(ex, cutter, Path(scratch))
                except MienError as error:
                    cutter.close()
                    message = error.message.replace(Path(ex.rows.part.source.path).name, "the recording")
                    row |= {"why": f"{message} [{error.code}]", "talks": []}
            yield row


def _pictures(ex: Example, cutter: Cutter, scratch: Path) -> list[dict[str, Any]]:
    media = cutter.write(ex, scratch, STILLS)
    made: list[dict[str, Any]] = []
    for name, t_us in zip(media.images, media.times_us, strict=True):
        made.append({"data": base64.b64encode((scratch / name).read_bytes()).decode(), "t_us": t_us})
        (scratch / name).unlink()
    return made


def _row(ex: Example) -> dict[str, Any]:
    asks = {s.who: asked(s) for s in ex.soft if s.states or s.people}
    return {
        "stem": ex.stem, "split": ex.split, "group": ex.group, "source": ex.rows.part.name,
        "from_us": ex.span.start_us, "to_us": ex.span.end_us, "covered": bool(ex.covered),
        "masked": [
            {"what": m.what, "who": m.who, "code": m.code, "reason": m.reason,
             "question": asks.get(m.who, "") if m.what == "state" else ""}
            for m in ex.masks
        ],
        "people": [_soft(s) for s in ex.soft],
    }  # fmt: skip


def _soft(s: Soft) -> dict[str, Any]:
    spread = dict(s.spread)
    return {
        "who": s.who,
        "states": [(n, p, spread.get(n, 0.0)) for n, p in s.states],
        "said": list(s.people),
        "ambiguity": _figure(s.ambiguity),
        "conflict": _figure(s.conflict),
        "abstained": _figure(s.abstained),
    }


def _figure(value: float) -> str:
    return "not measured" if value != value else f"{value:.2f}"  # noqa: PLR0124 - NaN
