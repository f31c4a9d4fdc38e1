"""Captions: the same content must give the same string. Pieces of real footage are encoded anew, scaled, cut 0.2 s
later and analysed by other workers; the partner in the same run is the usual way: means against fixed thresholds.

`python -m bench captions [FOLDER]`: FOLDER keeps the analysed projects, so that a second run only writes captions. The
strings of the demo go into docs/captions.md, too.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from mien.core import Span
from mien.export.captions import CaptionTerms, compose, describe, tokens, vocabulary
from mien.export.captions.measures import Measures, measures
from mien.export.captions.quantise import Tag, tag_of
from mien.export.selection.scope import ClipRows, Scope, scope_of
from mien.signals.temporal import episodes

PIECE_S, SHIFT_S = 4.0, 0.2
RATE = 48_000
PAGE = Path(__file__).parents[1] / "docs" / "captions.md"
BEGIN, END = "<!-- strings: begin -->", "<!-- strings: end -->"
TERMS = CaptionTerms(source="derived", trigger="mien")  # pyright: ignore[reportCallIssue]
VARIANTS = {
    "base": (18, 1.0, 0.0, {}),
    "encoded anew, crf 30": (30, 1.0, 0.0, {}),
    "scaled by 0.75": (18, 0.75, 0.0, {}),
    "cut 0.2 s later": (18, 1.0, SHIFT_S, {}),
    "two worker processes": (18, 1.0, 0.0, {"run": {"runner": "process", "workers": 2}}),
}
"""Name → crf, scale, seconds that both borders move, settings of the run."""


def footage(held_out: bool) -> list[tuple[Path, tuple[float, ...]]]:
    """Real files and where their pieces begin, in s. Words and edges were settled on those that are not held out."""
    from mien.models.weights import resolve, select

    (entry,) = select(["sample.demo-video"])
    demo = resolve(entry.weights).only
    shared = Path(os.environ.get("MIEN_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    faces, walks = shared / "video_faces", shared / "tracking"
    talk, street, yard = (
        faces / "short_hamilton_clip.mp4",
        walks / "one-by-one-person-detection.mp4",
        walks / "vtest.avi",
    )
    if held_out:
        held = [
            (demo, (1.5, 4.5, 7.5, 10.5)),
            (talk, (1.5, 4.5)),
            (faces / "classroom.gif", (0.0,)),
            (faces / "face-demographics-walking.gif", (0.0,)),
            (faces / "no_face.mp4", (0.0,)),
            (street, (17.0, 42.0, 67.0, 92.0, 120.0)),
            (yard, (10.0, 30.0, 50.0, 70.0)),
        ]
    else:
        held = [
            (demo, (0.0, 3.0, 6.0, 9.0, 12.0)),
            (talk, (0.0, 3.0, 5.5)),
            (faces / "single_face.mp4", (0.0,)),
            (faces / "face_noface.mov", (0.0, 2.0)),
            *((faces / f"{name}.mkv", (0.0,)) for name in ("hungry", "no", "sorry")),
            (street, (5.0, 30.0, 55.0, 80.0, 105.0)),
            (yard, (0.0, 20.0, 40.0, 60.0)),
        ]
    return [(path, starts) for path, starts in held if path.is_file()]


def piece(path: Path, start_s: float, crf: int, scale: float, out: Path) -> None:
    """`PIECE_S` of a file from `start_s` on, encoded anew, its sound as PCM."""
    import av

    with av.open(str(path)) as source, av.open(str(out), "w") as target:
        seen = source.streams.video[0]
        rate = Fraction(seen.average_rate or 25).limit_denominator(1001)
        picture: Any = target.add_stream("libx264", rate=rate, options={"crf": str(crf), "preset": "veryfast"})
        picture.width, picture.height = (int(side * scale) // 2 * 2 for side in (seen.width, seen.height))
        picture.pix_fmt = "yuv420p"
        audio: Any = target.add_stream("pcm_s16le", rate=RATE, layout="mono") if source.streams.audio else None
        first = None
        for frame in source.decode(seen):
            t = float(frame.time or 0.0) - start_s
            if t >= PIECE_S:
                break
            if t >= 0:
                first = t if first is None else first
                shown = frame.reformat(picture.width, picture.height, "yuv420p")
                shown.time_base = Fraction(1, 90_000)
                shown.pts = round((t - first) * 90_000)
                target.mux(picture.encode(shown))
        target.mux(picture.encode(None))
        if audio is not None:
            samples = _sound(path)[round(start_s * RATE) : round((start_s + PIECE_S) * RATE)]
            heard = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = RATE, 0, Fraction(1, RATE)
            target.mux(audio.encode(heard))
            target.mux(audio.encode(None))


def _sound(path: Path) -> np.ndarray[Any, Any]:
    import av

    with av.open(str(path)) as file:
        resampler = av.AudioResampler("s16", "mono", RATE)
        parts = [f.to_ndarray()[0] for frame in file.decode(audio=0) for f in resampler.resample(frame)]
    return np.concatenate(parts)


def analysed(root: Path, name: str, inputs: Any = None, held_out: bool = False) -> Scope:
    """What may leave of the project of one variant; made where it is not there yet."""
    from mien.pipeline import Project

    crf, scale, shift_s, flags = VARIANTS.get(name, (0, 0.0, 0.0, {}))
    folder = root / (name.replace(" ", "-").replace(",", "") + "-held-out" * held_out)
    if not (folder / "project" / "mien.toml").is_file():
        (folder / "in").mkdir(parents=True, exist_ok=True)
        for path, starts in [] if inputs else footage(held_out):
            for start in starts:
                piece(path, start + shift_s, crf, scale, folder / "in" / f"{path.stem}-{start:g}.mkv")
        if inputs:
            inputs(folder / "in")
        Project.init(folder / "project", "research", "captions").close()
        project = Project.open(folder / "project", flags)
        outcome = project.run([folder / "in"])
        project.close()
        print(name, outcome.done, "stages,", outcome.failed, "failed", file=sys.stderr)
    return scope_of(Project.open(folder / "project"))


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
    return {(r.part.name, r.part.clip.span): (ours(scope, r), usual(scope, r)) for r in scope.clips()}


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


def main(args: list[str]) -> list[str]:
    lines: list[str] = []
    with tempfile.TemporaryDirectory() as made:
        root = Path(args[0]) if args else Path(made)
        for held_out in (True, False):
            scopes = {name: analysed(root, name, held_out=held_out) for name in VARIANTS}
            lines += [*table({name: captions(scope) for name, scope in scopes.items()}, held_out), ""]
            for scope in scopes.values():
                scope.project.close()
        shown = analysed(root, "demo", demo)
        strings = ["| recording | caption | tokens, bound |", "|---|---|---|"]
        for r in shown.clips():
            said = describe(r, shown.project, TERMS).captions
            strings += [f"| {r.part.name} | `{c}` | {tokens(c)} |" for c in said]
        shown.project.close()
    put(strings)
    return [*lines, *noise_lines(), "", "Strings of the demo (trigger `mien`):\n", *strings]


def table(held: dict[str, dict[Any, tuple[str, str]]], held_out: bool) -> Iterator[str]:
    base = held["base"]
    counts = [[len(both[k].split(", ")) - 1 for both in base.values()] for k in (0, 1)]
    which = "held out" if held_out else "on which words and edges were settled"
    different = [len({both[k] for both in base.values()}) for k in (0, 1)]
    yield (
        f"Pieces {which}: {len(base)} clips of {len({name for name, _ in base})} pieces of {PIECE_S:g} s. Phrases per "
        f"caption beside the trigger: mien {np.mean(counts[0]):.1f}, usual way {np.mean(counts[1]):.1f}; different "
        f"strings: mien {different[0]}, usual way {different[1]}.\n"
    )
    yield "| the same content | clips | same string: mien | usual way | phrases kept: mien | usual way |"
    yield "|---|---|---|---|---|---|"
    total = np.zeros(5)
    for name in list(held)[1:]:
        row = np.zeros(5)
        for clip, a, b in pairs(base, held[name], round(VARIANTS[name][2] * 1e6)):
            row += [1, a[0] == b[0], a[1] == b[1], _alike(a[0], b[0]), _alike(a[1], b[1])]
            if a[0] != b[0]:
                print(f"{name}: {clip[0]} {clip[1]}: {a[0]!r}, {b[0]!r}", file=sys.stderr)
        total += row
        yield f"| {name} | {row[0]:.0f} | " + " | ".join(f"{v / row[0]:.3f}" for v in row[1:]) + " |"
    yield f"| all | {total[0]:.0f} | " + " | ".join(f"{v / total[0]:.3f}" for v in total[1:]) + " |"


def _alike(a: str, b: str) -> float:
    """Phrases in common ÷ phrases of either (Jaccard)."""
    left, right = set(a.split(", ")[1:]), set(b.split(", ")[1:])
    return len(left & right) / len(left | right) if left | right else 1.0


def put(strings: list[str]) -> None:
    """The strings of the demo, in the documentation."""
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + "\n\n" + "\n".join(strings) + "\n\n" + END + after, encoding="utf-8")
