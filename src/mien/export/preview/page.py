"""`index.html` (no script, nothing from elsewhere) and `sheet.png` of what a trainer will be given."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from mien.core import US, MienError
from mien.export.preview.frames import png, sheet, strips
from mien.export.preview.talks import TALKS, told
from mien.export.selection.folder import staging, write_text
from mien.export.trainers import Job, Trainer

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ name }}: what will be trained</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><style>
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.25rem .8rem .25rem 0;text-align:left;vertical-align:top}
th{border-bottom:1px solid #bbb}.n{text-align:right}code{font-size:13px}img{display:block;max-width:100%}
.clip{border-top:1px solid #ddd;padding:1rem 0}
.strip{display:flex;gap:.5rem;overflow-x:auto}figure{margin:0;min-width:8rem;max-width:16rem}figcaption{font-size:12px}
.ask{font-weight:600;margin:.8rem 0 .2rem}.say{white-space:pre-wrap;margin:.2rem 0 .2rem 1rem}.mask{opacity:.75}
.out{opacity:.8}h3{margin:.2rem 0;font-size:1rem}meter{width:8rem;vertical-align:middle}
.note{background:#fff6dd;padding:.4rem .8rem}
@media(prefers-color-scheme:dark){body{background:#161616;color:#ddd}.note{background:#3a3114}}
</style></head><body>
<h1>{{ name }}: what will be trained</h1>
<p>{{ line }}. Nothing has been written for training yet.</p>
{% for w in seen.warnings %}<p class="note">{{ w }}</p>{% endfor %}
{% if seen.buckets is defined %}
<h2>Folders</h2><table id="buckets"><tr><th>folder<th>fps<th>frames<th>size<th class="n">files<th class="n">repeats
<th class="n">seconds</tr>
{% for b in seen.buckets %}<tr><td><code>{{ b.folder }}</code><td>{{ b.fps or "picture" }}<td>{{ b.frames }}
<td>{{ b.size_px[0] }}×{{ b.size_px[1] }}<td class="n">{{ b.files }}<td class="n">{{ b.repeats }}
<td class="n">{{ b.seconds }}</tr>{% endfor %}</table>
<h2>Clips ({{ seen.clips|length }} shown)</h2>
{% for c in seen.clips %}<div class="clip"><code>{{ c.file }}</code>
{% if c.picture %}<img alt="first, middle and last frame" src="data:image/png;base64,{{ c.picture }}">{% endif %}
{% if c.fails %}<p class="note">will be dropped: {{ c.fails }}</p>{% endif %}
<p>{{ "%.2f" % (c.from_us / us) }}–{{ "%.2f" % (c.to_us / us) }} s of its source; crop x
{{ "%.1f" % (100 * c.crop[0]) }}–{{ "%.1f" % (100 * c.crop[2]) }} %, y
{{ "%.1f" % (100 * c.crop[1]) }}–{{ "%.1f" % (100 * c.crop[3]) }} %</p>
<table><tr><th>caption as it is drawn</tr>{% for d in c.drawn %}<tr><td>{{ d or "(empty: dropped)" }}</tr>{% endfor %}
</table></div>{% endfor %}
<h2>Not in it</h2><table id="dropped"><tr><th>what<th>code<th>why</tr>
{% for d in seen.dropped %}<tr><td>{{ d.what }}<td><code>{{ d.code }}</code><td>{{ d.reason }}</tr>{% endfor %}
{% for w in withheld %}<tr><td>{{ w.what }}<td><code>{{ w.code }}</code><td>{{ w.reason }}</tr>{% endfor %}</table>
{% else %}
"""
_END = "{% endif %}</body></html>"


def write_preview(job: Job, trainer: Trainer, out: Path, *, force: bool = False) -> Path:
    """Write the page into a folder; its path. Pictures as they will be trained, and never of a project of care.

    Raises:
        MienError: `export.exists`, `export.not-writable`; of the trainer's plan.
    """
    from jinja2 import Environment

    look = getattr(trainer.preview, "seen", None)
    drawn = job.project.config.context != "care"
    found: dict[str, Any] = trainer.preview(job)
    pictures: list[Any] = []
    if drawn and look is not None:
        seen = look(job)
        for clip, strip in zip(found["clips"], strips(seen.shown, seen.target), strict=True):
            if isinstance(strip, MienError):
                clip |= {"picture": "", "fails": f"{strip.message} [{strip.code}]"}
                continue
            clip |= {"picture": base64.b64encode(png(strip)).decode(), "fails": ""}
            pictures.append(strip)
    wants = getattr(trainer.preview, "wants", None)
    clips = [] if wants is None else list(told(job, wants, drawn=drawn))
    text = (
        Environment(autoescape=True)
        .from_string(_PAGE + TALKS + _END)
        .render(name=trainer.name, line=trainer.line, seen=found, clips=clips, us=US, withheld=job.scope.withheld)
    )
    with staging(out, force=force) as draft:
        write_text(draft / "index.html", [text])
        if pictures:
            (draft / "sheet.png").write_bytes(png(sheet(pictures)))
    return out / "index.html"
