"""`python -m bench NAME [args]`: runs bench/NAME.py's `main(args) -> list[str]` and records its lines."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import bench
from bench.record import record

HELPERS = (  # modules that measure nothing
    *("captions_made", "cues_other", "onecall", "record", "scale_made", "scale_page"),
    *("release_made", "seeded", "table", "__main__"),
)


def main() -> int:
    names = sorted(m.name for m in pkgutil.iter_modules(bench.__path__) if m.name not in HELPERS)
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print("usage: python -m bench NAME [args]\n" + "\n".join(f"  {n}" for n in names), file=sys.stderr)
        return 2
    name, args = sys.argv[1], sys.argv[2:]
    module = importlib.import_module(f"bench.{name}")
    lines = module.main(args)
    part = args[0] if args and args[0] in getattr(module, "PARTS", ()) else ""
    record(f"{name} {part}".strip(), "python -m bench " + " ".join([name, *args]), lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())
