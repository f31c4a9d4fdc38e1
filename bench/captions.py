"""Captions: the same content must give the same string. Pieces of real footage are encoded anew, scaled, cut 0.2 s
later and analysed by other workers; the partner in the same run is the usual way: means against fixed thresholds.

`python -m bench captions [FOLDER]`: FOLDER keeps the analysed projects, so that a second run only writes captions. The
strings of the demo go into docs/captions.md, too.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.captions_made import PIECE_S, SETS, VARIANTS, analysed
from mien.core import Span
from mien.export.captions import CaptionTerms, compose, describe, tokens, vocabulary
from mien.export.captions.measures import Measures, measures
from mien.export.captions.quantise import Tag, tag_of
from mien.export.selection.scope import ClipRows, Scope
from mien.signals.temporal import episodes

PAGE = Path(__file__).parents[1] / "docs" / "captions.md"
TERMS = CaptionTerms(source="derived", trigger="mien")  # pyright: ignore[reportCallIssue]


def demo(folder: Path) -> None:
    """The inputs of `mien demo moan-vs-groan`."""
    from mien.models.weights import resolve, select
    from mien.testing.composite import GROAN, contexts, lump, soundtrack

    video, archive = (resolve(e.weights).only for e in select(["sample.demo-video", "sample.demo-groan"]))
    contexts(video, soundtrack(*lump(archive, GROAN)), folder)


# ---------------------------------------------------------------- the two ways


def ours(scope: Scope, rows: ClipRows) -> str:
    return describe(rows, scope.project, TERMS).captions[0]


def usual(scope: Scope, rows: ClipRows) -> str:
    """The same words and edges by means against fixed thresholds: no dead zones, no past, no least coverage; a course
    wherever the range exceeds the smallest change, a trend wherever the ends differ by it."""
    found = measures(rows, scope.project, affect=True)
    tags = [t for rule in vocabulary().rules if not rule.weak and (t := _mean_tag(rule, found))]
    phrases = [t.phrase for t in tags]
    for c in vocabulary().courses:
        v = found.curves[c.axis].value
        known = np.flatnonzero(np.isfinite(v))
        if len(known) and np.ptp(v[known]) >= found.curves[c.axis].axis.least:
            at = int(np.nanargmax(v))
            phrases.append(c.onset if at == known[-1] else c.offset if at == known[0] else c.whole)
    for s in vocabulary().soft:
        v = found.curves[s.axis].value
        v = v[np.isfinite(v)]
        if len(v) and abs(change := v[-3:].mean() - v[:3].mean()) >= found.curves[s.axis].axis.least:
            phrases.append(s.rising if change > 0 else s.falling)
    return compose(phrases, TERMS)[0]


def _mean_tag(rule: Any, found: Measures) -> Tag | None:
    plain = replace(rule, dead=(0.0,) * len(rule.edges))
    if rule.axis in (*found.shares, "people"):
        return tag_of(plain, found)
    v = found.curves[rule.axis].value
    if not np.isfinite(v).any():
        return None
    word = rule.words[int(np.searchsorted(rule.edges, np.nanmean(v), side="right"))]
    return Tag(word, rule.name, rule.axis, float(np.nanmean(v)), "", False) if word else None


def captions(scope: Scope) -> dict[tuple[str, Span], tuple[str, str]]:
    return {(Path(r.part.source.path).name, r.part.clip.span): (ours(scope, r), usual(scope, r)) for r in scope.clips()}


def pairs(base: dict[Any, Any], other: dict[Any, Any], shift_us: int) -> Iterator[tuple[Any, Any, Any]]:
    """(clip, its captions, those of the clip of the variant with the same content): nine tenths of both in common."""
    for (name, span), said in base.items():
        for (also, its), theirs in other.items():
            moved = Span(its.start_us + shift_us, its.end_us + shift_us)
            if also == name and span.overlap_us(moved) >= 0.9 * max(span.duration_us, moved.duration_us):
                yield (name, span), said, theirs


def noise_lines(tries: int = 1000) -> Iterator[str]:
    """Share of pieces of noise in which an episode is found, for 20, 50 and 300 cells."""
    from scipy.signal import lfilter

    rng = np.random.default_rng(0)

    def red(phi: float) -> Any:
        return lambda n: np.asarray(lfilter([1], [1, -phi], rng.normal(size=n + 60)))[60:]

    kinds = {
        "normal": lambda n: rng.normal(size=n), "Laplace": lambda n: rng.laplace(size=n),
        "Student's t, 3": lambda n: rng.standard_t(3, size=n), "autoregressive 0.6": red(0.6),
        "autoregressive 0.9": red(0.9), "root of exponential": lambda n: np.sqrt(rng.exponential(size=n)),
        "exponential": lambda n: rng.exponential(size=n),
        "random walk (no noise around a level)": lambda n: np.cumsum(rng.normal(size=n)),
    }  # fmt: skip
    yield f"Episodes invented in planted noise, share of {tries} pieces each of 20, 50 and 300 cells:\n"
    yield "| noise | 20 | 50 | 300 |\n|---|---|---|---|"
    for name, make in kinds.items():
        rates = [
            np.mean([bool(episodes(np.arange(n) * 200_000, make(n))) for _ in range(tries)]) for n in (20, 50, 300)
        ]
        yield f"| {name} | " + " | ".join(f"{100 * r:.1f} %" for r in rates) + " |"
    yield "\nEpisodes planted in normal noise, rising and falling in 0.6 to 3 s each, share found (exactly one):\n"
    yield "| height, in sd of the noise | 6 s | 12 s | 20 s |\n|---|---|---|---|"
    for height in (8, 12, 16, 25):
        rates = [np.mean([_planted(rng, s, height) for _ in range(tries // 4)]) for s in (6.0, 12.0, 20.0)]
        yield f"| {height} | " + " | ".join(f"{100 * r:.0f} %" for r in rates) + " |"


def _planted(rng: np.random.Generator, seconds: float, height: float) -> bool:
    t = np.arange(0, seconds, 0.2)
    onset = rng.uniform(0.1, 0.4) * seconds
    peak = onset + min(3.0, rng.uniform(0.1, 0.25) * seconds)
    curve = np.interp(t, [onset, peak, peak + min(3.0, rng.uniform(0.1, 0.25) * seconds)], [0, height, 0])
    return len(episodes(np.round(t * 1e6).astype(np.int64), curve + rng.normal(size=len(t)))) == 1


def main(args: list[str]) -> list[str]:
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        root = Path(args[0]) if args else Path(made)
        for which in SETS:
            scopes = {name: analysed(root, name, which=which) for name in VARIANTS}
            lines += [*table({name: captions(scope) for name, scope in scopes.items()}, which), ""]
            for scope in scopes.values():
                scope.project.close()
        shown = analysed(root, "demo", demo)
        strings = ["| recording | caption | tokens, bound |", "|---|---|---|"]
        for r in shown.clips():
            said = describe(r, shown.project, TERMS).captions
            strings += [f"| {r.part.name} | `{c}` | {tokens(c)} |" for c in said]
        shown.project.close()
    put("strings", strings)
    put("words", list(words()))
    return [*lines, *noise_lines(), "", "Strings of the demo (trigger `mien`):\n", *strings]


def table(held: dict[str, dict[Any, tuple[str, str]]], which: str) -> Iterator[str]:
    base = held["base"]
    counts = [[len(both[k].split(", ")) - 1 for both in base.values()] for k in (0, 1)]
    settled = "" if which == "held out" else ", on which words, edges and rules were settled"
    different = [len({both[k] for both in base.values()}) for k in (0, 1)]
    yield (
        f"Pieces {which}{settled}: {len(base)} clips of {len({name for name, _ in base})} pieces of {PIECE_S:g} s. "
        f"Phrases a caption beside the trigger: mien {np.mean(counts[0]):.1f}, usual way {np.mean(counts[1]):.1f}; "
        f"different strings: mien {different[0]}, usual way {different[1]}.\n"
    )
    yield "| the same content | clips | same string: mien | usual way | phrases kept: mien | usual way |"
    yield "|---|---|---|---|---|---|"
    rows: list[tuple[str, str, tuple[float, ...]]] = []  # variant, piece, both strings the same, phrases kept
    for name in list(held)[1:]:
        for clip, a, b in pairs(base, held[name], round(VARIANTS[name][2] * 1e6)):
            same = float(a[0] == b[0]), float(a[1] == b[1])
            rows.append((name, clip[0], (*same, _alike(a[0], b[0]), _alike(a[1], b[1]))))
            if a[0] != b[0]:
                print(f"{name}: {clip[0]} {clip[1]}: {a[0]!r}, {b[0]!r}", file=sys.stderr)
        yield _row(name, [v for n, _, v in rows if n == name])
    seen = [r for r in rows if not VARIANTS[r[0]][3]]
    yield _row("all that is seen anew", [v for *_, v in seen])
    low, high = _interval([(piece, v[0] - v[1]) for _, piece, v in seen])
    own = _interval([(piece, v[0]) for _, piece, v in seen])
    yield (
        f"\nOver pieces seen anew, 95 % intervals (bootstrap of whole pieces): mien {own[0]:.3f} to {own[1]:.3f}; mien "
        f"less the usual way {low:+.3f} to {high:+.3f}."
    )


def _row(name: str, values: list[tuple[float, ...]]) -> str:
    return f"| {name} | {len(values)} | " + " | ".join(f"{v:.3f}" for v in np.mean(values, axis=0)) + " |"


def _interval(rows: list[tuple[str, float]]) -> tuple[float, float]:
    """95 % of means over pieces drawn anew, each with all that was made of it."""
    by: dict[str, list[float]] = {}
    for piece, value in rows:
        by.setdefault(piece, []).append(value)
    sums = np.array([(sum(v), len(v)) for v in by.values()])
    drawn = sums[np.random.default_rng(0).integers(0, len(sums), (10_000, len(sums)))].sum(axis=1)
    low, high = np.quantile(drawn[:, 0] / drawn[:, 1], (0.025, 0.975))
    return float(low), float(high)


def _alike(a: str, b: str) -> float:
    """Phrases in common ÷ phrases of either (Jaccard)."""
    left, right = set(a.split(", ")[1:]), set(b.split(", ")[1:])
    return len(left & right) / len(left | right) if left | right else 1.0


def words() -> Iterator[str]:
    """Every phrase of the vocabulary and what it stands for."""
    yield f"Version {vocabulary().version}.\n"
    yield "| bundle | words | stand for |\n|---|---|---|"
    told: dict[tuple[str, str, str], list[str]] = {}
    for w in vocabulary().words():
        told.setdefault((w.bundle, w.attribute, w.about), []).append(w.text)
    for (bundle, _, about), phrases in told.items():
        yield f"| {bundle} | {', '.join(f'`{p}`' for p in phrases)} | {about} |"


def put(name: str, lines: list[str]) -> None:
    """A block of the documentation."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = PAGE.read_text(encoding="utf-8").split(begin)
    PAGE.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{rest.split(end)[1]}", encoding="utf-8")
