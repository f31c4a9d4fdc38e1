"""How commands talk: data on stdout, talk on stderr, one way to print errors, `--json` for machines."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from mien.core import MienError, Span

WRONG_CALLS = ("config", "project", "query", "show", "input", "install", "models", "diff", "profile")


class State:
    """What the global options said."""

    folder: Path = Path()
    log_json: bool = False


def say(text: str = "") -> None:
    """Talk to the person (stderr)."""
    print(text, file=sys.stderr)


def give(data: Any) -> None:
    """One JSON document on stdout; NaN becomes null."""
    print(json.dumps(plain(data), ensure_ascii=False, indent=2))


def plain(value: Any) -> Any:
    """Records, spans and paths as JSON values."""
    if isinstance(value, Span):
        return {"start_us": value.start_us, "end_us": value.end_us}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def stop(error: MienError) -> NoReturn:
    """Print an expected error and leave with 2 for a wrong call, 1 for work that failed."""
    if State.log_json:
        say(json.dumps({"event": "error", "code": error.code, "message": error.message, "hint": error.hint}))
    else:
        say(f"error: {error}")
    raise SystemExit(2 if error.code.split(".")[0] in WRONG_CALLS else 1)


@contextmanager
def errors() -> Iterator[None]:
    """No traceback for a user's mistake."""
    try:
        yield
    except MienError as error:
        stop(error)
    except KeyboardInterrupt:
        say("\nstopped; the project is consistent. Go on with: mien run")
        raise SystemExit(130) from None


def table(headers: list[str], rows: list[list[Any]], right: tuple[int, ...] = ()) -> None:
    """A plain table on stdout."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        made.add_column(header, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        made.add_row(*("" if cell is None else _cell(cell) for cell in row))
    Console(file=sys.stdout, soft_wrap=False, highlight=False, markup=False).print(made)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
