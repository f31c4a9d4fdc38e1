"""What an export would hold, without decoding or writing anything: clips, questions, labels, masks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from mien.export.selection.examples import examples
from mien.export.trainers import Job
from mien.export.vlm.media import Wants
from mien.export.vlm.talks import talks
from mien.store.drawn import SPLITS

SHOWN = 3  # clips told in full


def of(wants: Wants) -> Callable[[Job], dict[str, Any]]:
    """The preview of a trainer that takes these media; a page asks it for them."""

    def shown(job: Job) -> dict[str, Any]:
        return preview(job)

    shown.wants = wants  # type: ignore[attr-defined]
    return shown


def preview(job: Job) -> dict[str, Any]:
    """Counts per split and kind, mean label distribution per split, masks by code, and the first clips in full."""
    clips: Counter[str] = Counter()
    groups: dict[str, set[str]] = defaultdict(set)
    asked: Counter[str] = Counter()
    masks: Counter[str] = Counter()
    mass: dict[str, Counter[str]] = defaultdict(Counter)
    shown: list[dict[str, Any]] = []
    for ex in examples(job.scope, job.splits):
        clips[ex.split] += 1
        groups[ex.split].add(ex.group)
        masks.update(f"{m.what}: {m.code}" for m in ex.masks)
        said = list(talks(ex, job.terms.length))
        for talk in said:
            asked[talk.kind] += 1
            if talk.kind == "state":
                mass[ex.split][talk.answer] += talk.weight  # pyright: ignore[reportArgumentType]
        if len(shown) < SHOWN:
            text = next((t.answer for t in said if t.kind == "reasoning"), None)
            states = [{"who": s.who, "states": dict(s.states), "people": dict(s.people)} for s in ex.soft]
            shown.append({"stem": ex.stem, "source": ex.rows.part.name, "text": text, "people": states})
    return {
        "splits": {s: {"clips": clips[s], "groups": len(groups[s])} for s in SPLITS},
        "talks": dict(sorted(asked.items())),
        "labels": {s: {n: round(w, 3) for n, w in sorted(m.items())} for s, m in sorted(mass.items())},
        "masked": dict(sorted(masks.items())),
        "withheld": [{"what": w.what, "code": w.code, "reason": w.reason} for w in job.scope.withheld],
        "first": shown,
    }
