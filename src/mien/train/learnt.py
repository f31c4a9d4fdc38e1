"""`fusion.toml` and its card: reading, writing, and what confirmations of people add to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.core import Dist, MienError
from mien.fusion import Confirmed, FusionConfig, Reliability, learned
from mien.fusion.conformal import replayed
from mien.train.fusion import Trained
from mien.train.votes import Rows, folds

LEAST_CONFIRMED = 20  # confirmations of everybody together before a source's reliability moves


@dataclass(frozen=True, slots=True)
class Confirmation:
    """A person's label met a source's own reading: `person` "" where nobody assigned one."""

    person: str
    source: str
    right: bool


def with_people(base: FusionConfig, found: Sequence[Confirmation], labels_sha256: str) -> FusionConfig:
    """The configuration with what confirmations say of each person and source; nothing else changes."""
    counts: dict[str, dict[str, Confirmed]] = {}
    population: dict[str, float] = {}
    for source in sorted({c.source for c in found}):
        mine = [c for c in found if c.source == source]
        if len(mine) >= LEAST_CONFIRMED and any(c.right for c in mine):
            population[source] = sum(c.right for c in mine) / len(mine)
        for person in sorted({c.person for c in mine} - {""}):
            theirs = [c.right for c in mine if c.person == person]
            counts.setdefault(person, {})[source] = Confirmed(windows=len(theirs), right=sum(theirs))
    rule = Reliability(population=population, strength=base.reliability.strength)
    made = base.made.model_copy(update={"labels_sha256": labels_sha256})
    return base.model_copy(update={"reliability": rule, "people": counts, "made": made})


@dataclass(frozen=True, slots=True)
class Named:
    """A window whose state a person named: what was said of it, and by which sources (`fusion.kind_of`)."""

    posterior: Dist
    label: str
    kind: str


def with_sets(base: FusionConfig, found: Sequence[Named]) -> FusionConfig:
    """The configuration with its conformal sets moved by confirmations, given in the order in which people made them.

    Windows of other states than today's, and labels that are none of them, move nothing.
    """
    if base.conformal is None:
        return base
    fits = [w for w in found if tuple(n for n, _ in w.posterior) == base.names and w.label in base.names]
    probs = np.array([[p for _, p in w.posterior] for w in fits], np.float64).reshape(len(fits), len(base.names))
    truth = [base.names.index(w.label) for w in fits]
    return base.model_copy(update={"conformal": replayed(base.conformal, probs, truth, [w.kind for w in fits])})


# ---------------------------------------------------------------- files


def held(path: Path) -> FusionConfig:
    """What a fusion.toml says; the defaults where there is none. Raises what `learned.parse` raises."""
    if not path.is_file():
        return FusionConfig()
    return FusionConfig(**learned.parse(path.read_bytes().decode(errors="replace")))


def card_of(path: Path) -> Path:
    """Where the card of a fusion.toml lies."""
    return path.with_name(f"{path.stem}-card.md")


def write(path: Path, config: FusionConfig, card: str = "") -> None:
    """Write fusion.toml, whole or not at all, and its card. Raises MienError `train.not-writable`."""
    files = {path: learned.as_toml(config)} | ({card_of(path): card} if card else {})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            draft = file.with_name(f".{file.name}.tmp")
            draft.write_text(text, encoding="utf-8")
            draft.replace(file)
    except OSError as error:
        raise MienError("train.not-writable", f"cannot write {path}: {error.strerror}", "--out FILE") from error


def card(trained: Trained, rows: Rows) -> str:
    """What was learnt, on whom, and how far it can be trusted: Markdown."""
    made, sets = trained.config.made, trained.config.conformal
    table = [
        "| way to join the sources | log-loss (95 % over people) | more than ours | ECE |",
        "|---|---|---|---|",
        *(
            f"| {x.name} | {x.log_loss:.3f} ({x.interval[0]:.3f} … {x.interval[1]:.3f}) | "
            f"{x.more_than_ours[0]:+.3f} … {x.more_than_ours[1]:+.3f} | {x.ece:.3f} |"
            for x in trained.lines
        ),
    ]
    promise = trained.note or "none"
    if sets:
        promise = (
            f"for a new person the set holds the label with {100 * sets.level:g} % "
            f"(proven: {100 * sets.floor:g} %, as scores are out of fold), over people, never for one given person"
        )
    return "\n".join(
        [
            "# Card: fusion",
            "",
            f"{made.rows} rows of {made.people} people; sources {', '.join(rows.sources)}; states "
            f"{', '.join(rows.states)}. Recipe: {trained.recipe.kind}, penalty {trained.recipe.penalty:g}.",
            "",
            f"Every row judged by what other people taught ({len(folds(rows.person))} folds over people):",
            "",
            *table,
            "",
            f"Conformal sets: {promise}.",
            "",
            "Labels say what people saw or heard, not what somebody felt. Other places, cameras and people are not "
            "covered by these figures.",
            f"Rows: SHA-256 {made.rows_sha256 or 'unknown'}.",
            "",
        ]
    )
