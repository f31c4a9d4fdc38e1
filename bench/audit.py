"""The audit itself: does it find planted errors, does it leave clean traces alone, do its figures need their ledger?

Traces are written by the `ledger` engine on invented evidence (200 clips) and, where they are there, on the demo's
footage and the videos of `../shared/data/video_faces`. Errors are planted by `mien.testing.planter`, which shares no
code with the audit. Intervals are 95 %, over clips (invented) or recordings (real).
"""

from __future__ import annotations

import csv
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.faces import DATA
from mien.core import Claim, Span, Trace
from mien.evaluate.audit import Audited, Figure, auroc_figure, clustered, figures, ledger_of, wilson
from mien.policy import forbidden_words
from mien.reason import CHECKS, Audit, Ledger, audit, reason
from mien.reason.grammar import RECORDING, parse, read
from mien.reason.paraphrase import faithful
from mien.reason.predicates import Predicate
from mien.testing.ledgers import Invented, invented, shuffled
from mien.testing.planter import GROSS, Subject, honest, off_by, plant

CLIPS = 200
PARTS = ("words",)
SIZES = (0.25, 0.5, 0.75, 1.25, 1.5, 2.0, 3.0)
PARAPHRASES = Path(__file__).with_name("paraphrases.csv")
FORM = ("sentence", "wording")  # they hold a trace against itself, not against the ledger


@dataclass(frozen=True, slots=True)
class Case:
    """One clip with its ledger and its clean trace."""

    source: str
    ledger: Ledger
    trace: Trace
    claims: list[Claim]
    made_of: Invented

    @property
    def subject(self) -> Subject:
        held = self.ledger
        return Subject(self.trace, tuple(self.claims), held.tracks, held.observations, held.assessments)

    def audit(self, trace: Trace, claims: list[Claim]) -> Audit:
        return audit(self.ledger, trace, claims, forbidden=forbidden_words, deletions=False)


def main(args: list[str]) -> list[str]:
    """`[CLIPS]`: how many are invented, default 200; `--invented` leaves the recordings out. `words`: rewrites of small
    models alone."""
    if args[:1] == ["words"]:
        return others_words()
    count = next((int(a) for a in args if a.isdigit()), CLIPS)
    cases = [_case(f"invented-{n}", invented(n, 1 + n % 3, 8 + n % 9)) for n in range(count)]
    real = [] if "--invented" in args else list(recordings())
    lines = [f"{len(cases)} invented clips" + (f" and {len(real)} of recordings" if real else "") + ".", ""]
    lines += clean(cases, "invented") + (clean(real, "recordings") if real else [])
    lines += ["", *gross(cases + real), "", *subtle(cases), "", *needed(cases), "", *speed(cases)]
    return lines


class Rewritten(NamedTuple):
    """A sentence in a model's words. same: whether, judged by hand, it says the predicate, all of it and no more."""

    text: str
    predicate: Predicate
    names: dict[str, str]
    same: bool
    group: str
    model: str


UNSEEN = "test7"
"""The rewrites that were looked at, and judged, only after the rules stood."""


def rewritten() -> Iterator[Rewritten]:
    """Rewrites by small models of sentences about invented clips, those left out that repeat the sentence."""
    with PARAPHRASES.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            said = parse(row["sentence"])
            assert said is not None, row
            held = said.values
            start = held.get("start_us", held.get("longest_start_us", 0))
            span = Span(start, held.get("end_us", held.get("longest_end_us", start + 1)))
            who = held.get("track", RECORDING)
            predicate = read(row["predicate"], span, None if who == RECORDING else "t", ())
            assert predicate is not None, row
            same = row["meaning"] == "same"
            yield Rewritten(row["rewritten"], predicate, {"t": who}, same, row["set"], row["model"])


def others_words() -> list[str]:
    """Rewrites of real small models, against a person's judgement."""
    lines = [
        "Sentences in the words of real small models, judged by hand one by one (intervals: Wilson, 95 %):",
        "",
        "| rewrites | say the same | of these refused | say something else | of these taken |",
        "|---|---|---|---|---|",
    ]
    rows = [(r, faithful(r.text, r.predicate, r.names)) for r in rewritten()]
    seen = [r for r in rows if r[0].group != UNSEEN]
    unseen = [r for r in rows if r[0].group == UNSEEN]
    parts = [("all seen while the rules were written", seen), ("all made and judged afterwards", unseen)]
    for model in sorted({r.model for r, _ in unseen}):
        parts.append((f"of these by {model}", [r for r in unseen if r[0].model == model]))
    for what, mine in parts:
        same, other = [t for r, t in mine if r.same], [t for r, t in mine if not r.same]
        if mine:
            wrong = f"{_of(same.count(False), len(same))} | {len(other)} | {_of(other.count(True), len(other))}"
            lines.append(f"| {len(mine)}, {what} | {len(same)} | {wrong} |")
    return lines


def _of(count: int, n: int) -> str:
    low, high = wilson(count / n, n) if n else (0.0, 1.0)
    return f"{count} [{100 * low:.1f}, {100 * high:.1f} %]"


def _case(source: str, made: Invented) -> Case:
    ledger = Ledger(made.clip, made.tracks, made.observations, made.assessments, made.missing)
    return Case(source, ledger, *reason(ledger), made)


def recordings() -> Iterator[Case]:
    """Clips of the demo and of the shared videos, each analysed with the default stack."""
    import mien
    from mien.models.weights import resolve, select
    from mien.testing.composite import LAUGHING_FROM_S, with_sound

    video, laugh = (resolve(select([f"sample.{n}"])[0].weights).only for n in ("demo-video", "demo-laugh"))
    with tempfile.TemporaryDirectory(prefix="mien-bench-") as folder:
        demo = with_sound(video, laugh, LAUGHING_FROM_S, Path(folder) / "demo.mp4")
        there = sorted(p for p in (DATA / "video_faces").glob("*") if p.suffix in (".mp4", ".mov", ".mkv", ".gif"))
        with mien.analyse(demo, *there) as found:
            store = found.project.store
            for trace in store.all(Trace):
                clip = next(c.clip for c in found.clips if c.id == trace.clip_id)
                ledger = ledger_of(store, clip, trace)
                claims = store.all(Claim, "trace_id = ?", (trace.id,))
                made = Invented(clip, ledger.tracks, ledger.observations, ledger.assessments, ledger.missing)
                yield Case(clip.source_sha, ledger, trace, claims, made)


def clean(cases: list[Case], what: str) -> list[str]:
    """The auditable share of clean traces, and what deletions do to them."""
    audits = [Audited(c.source, audit(c.ledger, c.trace, c.claims, forbidden=forbidden_words)) for c in cases]
    lines: list[str] = []
    for row in figures(audits):
        broken = {c: f for c, f in row.passed.items() if f.value < 1}
        checks = ", ".join(f"{c} {_share(f)}" for c, f in broken.items()) or "every hard check passes"
        moved = ", ".join(f"{name} {_num(f)}" for name, f in row.deletions.items())
        lines += [
            f"**{what}**, engine {row.engine}: auditable {_share(row.auditable)} of {row.auditable.n} traces from "
            f"{row.auditable.sources} source(s); {checks}. Deletions: {moved} (gap: comprehensiveness less placebo).",
            "",
        ]
    off = [(c.source, c.audit(*honest(c.subject, n))) for n, c in enumerate(cases)]
    alarms = clustered([float(not a.auditable) for _, a in off], [s for s, _ in off])
    return [
        *lines,
        f"False alarms on {what} where every number and end is up to 0.8 tolerances off: {_share(alarms)}.",
        "",
    ]


def gross(cases: list[Case]) -> list[str]:
    """One error per trace: AUROC of the number of findings, and which checks fail."""
    lines = [
        "| planted | traces | found | AUROC [95 %] | checks that fail, share of the planted |",
        "|---|---|---|---|---|",
    ]
    for error in GROSS:
        quiet: dict[str, list[float]] = {}
        loud: dict[str, list[float]] = {}
        failing: dict[str, int] = dict.fromkeys(CHECKS, 0)
        found = n = 0
        for seed, case in enumerate(cases):
            made = plant(error, case.subject, seed)
            if made is None:
                continue
            bad = case.audit(*made)
            loud.setdefault(case.source, []).append(len(bad.findings))
            quiet.setdefault(case.source, []).append(len(case.audit(case.trace, case.claims).findings))
            found, n = found + (not bad.auditable), n + 1
            for check in bad.failed:
                failing[check] += 1
        if not n:
            lines.append(f"| {error} | 0 | | | |")
            continue
        told = ", ".join(f"{c} {k / n:.2f}" for c, k in sorted(failing.items(), key=lambda f: -f[1]) if k)
        lines.append(f"| {error} | {n} | {found} | {_three(auroc_figure(quiet, loud))} | {told} |")
    return lines


def subtle(cases: list[Case]) -> list[str]:
    """One number or end off by a multiple of its tolerance; against the honest but inexact writer."""
    lines = [
        "One number or one end of a span off by a multiple of its tolerance, in sentence and notation alike; AUROC of "
        "the largest difference, against an honest writer whose every number and end is up to 0.8 tolerances off:",
        "",
        "| × tolerance | number: alarms | AUROC [95 %] | time: alarms | AUROC [95 %] |",
        "|---|---|---|---|---|",
    ]
    base: dict[str, list[float]] = {}
    for n, case in enumerate(cases):
        base.setdefault(case.source, []).append(case.audit(*honest(case.subject, 10_000 + n)).off)
    for size in SIZES:
        cells: list[str] = []
        for what in ("number", "time"):
            scores: dict[str, list[float]] = {}
            alarms: list[float] = []
            for n, case in enumerate(cases):
                made = off_by(case.subject, size, n, what)
                if made is not None:
                    found = case.audit(*made)
                    scores.setdefault(case.source, []).append(found.off)
                    alarms.append(float(not found.auditable))
            there = {s: base[s] for s in scores}
            cells.append(f"{sum(alarms) / len(alarms):.2f} | {_three(auroc_figure(there, scores))}")
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return lines


def needed(cases: list[Case]) -> list[str]:
    """Every figure that is said to hold a trace against its ledger must fall when the ledger is shuffled."""
    lines = [
        "Shuffled ledgers: the trace stays, each id holds the contents of another row, each assessment those of "
        "another clip's. Own less shuffled, over clips:",
        "",
        "| figure | own | shuffled | falls by [95 %] |",
        "|---|---|---|---|",
    ]
    pairs: list[tuple[str, Audit, Audit]] = []
    for n, case in enumerate(cases):
        other = shuffled(case.made_of, cases[(n + 1) % len(cases)].made_of, n)
        ledger = Ledger(other.clip, other.tracks, other.observations, other.assessments, other.missing)
        own = audit(case.ledger, case.trace, case.claims, forbidden=forbidden_words)
        pairs.append((case.source, own, audit(ledger, case.trace, case.claims, forbidden=forbidden_words)))
    values: dict[str, Callable[[Audit], float]] = {
        c: (lambda a, c=c: a.shares[c]) for c in CHECKS if c not in FORM
    }  # fmt: skip
    values["comprehensiveness"] = lambda a: a.moved.comprehensiveness if a.moved else float("nan")
    values["comprehensiveness less placebo"] = lambda a: (
        a.moved.comprehensiveness - a.moved.placebo if a.moved else float("nan")
    )
    values["sufficiency"] = lambda a: a.moved.sufficiency if a.moved else float("nan")
    for name, value in values.items():
        own, apart = [value(a) for _, a, _ in pairs], [value(b) for _, _, b in pairs]
        sources = [s for s, _, _ in pairs]
        fall = clustered([x - y for x, y in zip(own, apart, strict=True)], sources)
        means = (clustered(v, sources).value for v in (own, apart))
        lines.append(f"| {name} | {' | '.join(f'{m:.3f}' for m in means)} | {_num(fall)} |")
    return lines


def speed(cases: list[Case]) -> list[str]:
    """Processor time of the audit of a trace with about 30 claims, the best of five as `timeit` has it."""
    near = sorted(cases, key=lambda c: abs(len(c.claims) - 30))[:20]
    sizes = [len(c.claims) for c in near]
    lines: list[str] = []
    for words, deletions in (("without deletions", False), ("with deletions and placebos", True)):
        spent = [min(_timed(case, deletions) for _ in range(5)) for case in near]
        lines.append(
            f"{median(spent):.1f} ms of processor a trace of {min(sizes)}-{max(sizes)} claims, {words} (median of 20, "
            "best of five each)."
        )
    return lines


def _timed(case: Case, deletions: bool) -> float:
    start = time.process_time()
    audit(case.ledger, case.trace, case.claims, forbidden=forbidden_words, deletions=deletions)
    return 1e3 * (time.process_time() - start)


def _share(f: Figure) -> str:
    return f"{100 * f.value:.1f} % [{100 * f.low:.1f}, {100 * f.high:.1f}]"


def _num(f: Figure) -> str:
    return f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"


def _three(f: Figure) -> str:
    return f"{f.value:.3f} [{f.low:.3f}, {f.high:.3f}]"
