"""The card of a release (README.md) and its words, from the record alone; nothing is claimed that was not counted."""

from __future__ import annotations

from typing import Any

from mien.core import VERSION
from mien.export.release.plots import bars

STATES, LENGTHS = "plots/states.svg", "plots/lengths.svg"
_FOR = {"publish": "for the public", "share": "to share with another team, not to publish"}
MISUSE = (
    "Telling what a single person feels; signals are consistent with states, nobody is said to be in one.",
    "Emotion recognition at work or in education.",
    "Recognising or finding people.",
    "Any decision on a person without people who answer for it.",
)


def words(about: dict[str, Any]) -> dict[str, Any]:
    """Texts of card and `croissant.json`, by what they tell."""
    figures, splits = about["figures"], about["figures"]["splits"]
    clips = sum(s["clips"] for s in splits.values())
    windows = sum(s["windows"] for s in splits.values())
    abstained = sum(s["abstained"] for s in splits.values())
    conflicting = sum(s["conflicting"] for s in splits.values())
    labelled = sum(s["labels_of_people"] for s in splits.values())
    seconds = sum(s["seconds"] for s in splits.values())
    coverage = figures["least_coverage"]
    return {
        "description": (
            f"{clips} clip(s), {seconds:.1f} s, of {figures['sources']} recording(s), with distributions over states, "
            "their uncertainty and the evidence behind them."
        ),
        "biases": [
            f"{figures['sources']} recording(s) and {figures['subjects']} assigned person(s): what is rare among "
            "them is rare here. Ages, skin tones, cultures and disabilities were not counted; no balance is claimed.",
            "Models learnt mostly from acted expressions, and are worse on people unlike those (see their cards).",
        ],
        "limitations": [
            f"Labels are answers of models, with their errors; {labelled} value(s) were said by people.",
            f"Fusion abstained on {abstained} of {windows} window(s); sources conflicted on {conflicting}.",
            *([f"The least decoded share of a recording is {coverage:.2f}."] if coverage is not None else []),
            "What was not measured is empty, never 0.",
        ],
        "uses": [f"Training and testing of: {', '.join(about['trainers']) or 'models on the tables and examples'}."],
        "misuse": list(MISUSE),
        "personal": [
            "Recordings of people. "
            + ", ".join(f"consent {k}: {n} recording(s)" for k, n in figures["consent"].items())
            + ". No face or voice embedding is in it; people are named by keys made of pseudonyms.",
            "States of mind are sensitive: handle them as health data where they could reveal health.",
        ],
        "collection": (
            f"Chosen from a project of context {about['context']} by its policy for {about['use']}: consent, licence, "
            "context and the gates for explicit content and apparent minors were asked of every clip; "
            f"{about['withheld']} were left out."
        ),
        "annotations": [
            "Models answer over windows; answers are calibrated and pooled, with ambiguity, conflict and vacuity.",
            "People's labels replace nothing: they stand beside.",
        ],
        "preprocessing": ["Clips are cut at shots and quiet places; frames and sound lie on one clock in µs."],
        "maintenance": "Withdrawals are published as revoked.json; the loader skips what it names. Successors say what "
        "changed as counts.",
    }


def plots(about: dict[str, Any]) -> dict[str, str]:
    """The plots, by path."""
    splits = about["figures"]["splits"]
    lengths = about["lengths"]
    states = {s: {k: float(n) for k, n in told["states"].items()} for s, told in splits.items()}
    ordered = sorted({k for held in states.values() for k in held})
    return {
        STATES: bars(
            "Windows by the state their signals are consistent with",
            "windows",
            {s: {k: held.get(k, 0.0) for k in ordered} for s, held in states.items()},
        ),
        LENGTHS: bars("Clips by length", "clips", lengths),
    }


def card(about: dict[str, Any]) -> str:
    """README.md with the header that the Hub reads."""
    told, figures = words(about), about["figures"]
    clips = sum(s["clips"] for s in figures["splits"].values())
    lines = [
        "---",
        f"pretty_name: {about['name']} {about['version']}",
        *_licence(about["licence"]),
        "tags: [mien, croissant, affect, soft-labels]",
        f"size_categories: [{_size(clips)}]",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: all",
        "    path: examples.jsonl",
        "---",
        "",
        f"# {about['name']} {about['version']}",
        "",
        told["description"],
        "",
        f"Made with mien {VERSION} {_FOR[about['use']]}" + (f", {about['date']}." if about["date"] else "."),
        "Check it: `mien release verify FOLDER`. Load it: `mien.load_release(FOLDER, split=...)`.",
        "",
        "## What is in it",
        "",
        "| split | clips | seconds | groups | windows | abstained | sources conflict | labels of people |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {s} | {t['clips']} | {t['seconds']:.1f} | {t['groups']} | {t['windows']} | {t['abstained']} | "
            f"{t['conflicting']} | {t['labels_of_people']} |"
            for s, t in figures["splits"].items()
        ),
        "",
        "| where | what |",
        "|---|---|",
        "| `examples.jsonl` | one clip a line: split, posteriors per track and window, labels, sentences, files |",
        *(f"| `{name}/` | for the trainer {name} |" for name in about["trainers"]),
        *(["| `tables/` | long tables (Parquet) |"] if about["tables"] else []),
        "| `croissant.json`, `LICENCES.txt`, `MANIFEST.json` | description for machines, terms, every file's digest |",
        "",
        f"![States per split]({STATES})",
        f"![Lengths of clips]({LENGTHS})",
        "",
        "## Recordings and consent",
        "",
        *(f"- licence {k}: {n} recording(s)" for k, n in figures["licences_of_sources"].items()),
        *(f"- consent {k}: {n} recording(s)" for k, n in figures["consent"].items()),
        f"- {about['withheld']} clip(s), recording(s) or model(s) were left out by policy (LICENCES.txt)",
        "",
        *_section("Meant for", told["uses"]),
        *_section("Not meant for", told["misuse"]),
        *_section("Known limits", told["limitations"]),
        *_section("Biases", told["biases"]),
        *_section("Personal and sensitive", told["personal"]),
        "## Models",
        "",
        "| model | does | code | weights | training data |",
        "|---|---|---|---|---|",
        *(
            f"| {m['name']} | {m['slot']} | {m['code']} | {m['weights']} | {m['training_data']} |"
            for m in about["models"]
        ),
        "",
        *_after(about["after"]),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def _section(title: str, sentences: list[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {s}" for s in sentences), ""]


def _after(after: dict[str, Any] | None) -> list[str]:
    if after is None:
        return []
    if after["kept"] is None:
        return ["## What changed", "", f"Takes the place of {after['label']}, which was revoked and removed."]
    return [
        "## What changed",
        "",
        f"Takes the place of {after['label']}: {after['removed']} example(s) removed, {after['added']} added, "
        f"{after['kept']} kept.",
    ]


def _licence(licence: str) -> list[str]:
    """The Hub's own ids are SPDX in lower case; anything else is `other` with a name."""
    plain = licence.lower()
    if plain.startswith(("cc-by", "cc0", "apache-", "mit", "odc-by", "odbl", "cdla-")):
        return [f"license: {plain}"]
    return ["license: other", f"license_name: {plain or 'not-stated'}", "license_link: LICENCES.txt"]


def _size(n: int) -> str:
    for most, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if n < most:
            return name
    return "n>1M"
