"""`fusion.toml`: what was learnt about fusion, as data. The keys of `[fusion]` in mien.toml, and a format number."""

from __future__ import annotations

import json
import tomllib
from typing import Any, Literal

from pydantic import ValidationError

from mien.core import MienError
from mien.fusion.config import FusionConfig

FILE = "fusion.toml"
FORMAT = 1


class FusionFile(FusionConfig):
    """The file's whole content."""

    format: Literal[1]


def parse(text: str) -> dict[str, Any]:
    """The `[fusion]` values that a fusion.toml sets, checked.

    Raises:
        MienError: `fusion.not-toml`, `fusion.unknown-format`, `fusion.invalid` (names the key).
    """
    try:
        held = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise MienError(
            "fusion.not-toml", f"{FILE} cannot be read: {error}", "mend it, or: mien train fusion"
        ) from None
    if held.get("format") != FORMAT:
        raise MienError(
            "fusion.unknown-format",
            f"{FILE} has format {held.get('format')!r}; this mien reads {FORMAT}",
            f"put 'format = {FORMAT}' first if it has none, else make it again: mien train fusion",
        )
    try:
        FusionFile.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        known = ", ".join(FusionConfig.model_fields)
        raise MienError("fusion.invalid", f"{FILE}: {key}: {first['msg']}", f"keys it may hold: {known}") from None
    return {key: value for key, value in held.items() if key != "format"}


def as_toml(config: FusionConfig) -> str:
    """The text of a fusion.toml: only what differs from the defaults, so that defaults may still improve."""
    plain, default = config.model_dump(mode="json"), FusionConfig().model_dump(mode="json")
    head = "# What `mien train fusion` learnt. Keys in mien.toml under [fusion] go before those here.\n"
    lines = [f"{head}format = {FORMAT}"]
    _table(lines, "", {k: _changed(v, default[k]) for k, v in plain.items() if v != default[k]})
    return "\n".join(lines) + "\n"


def _changed(value: Any, default: Any) -> Any:
    if isinstance(value, dict) and isinstance(default, dict):
        return {k: _changed(v, default.get(k)) for k, v in value.items() if k not in default or v != default[k]}
    return value


def _table(lines: list[str], name: str, values: dict[str, Any]) -> None:
    """Plain values first, then tables and lists of tables, as TOML demands. JSON's scalars and arrays are TOML's."""

    def tables(value: Any) -> bool:
        return isinstance(value, dict) or (isinstance(value, list) and bool(value) and isinstance(value[0], dict))

    for key, value in values.items():
        if value is not None and not tables(value):
            lines.append(f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}")
    for key, value in values.items():
        if tables(value):
            path = f"{name}.{_key(key)}" if name else _key(key)
            for one in value if isinstance(value, list) else [value]:
                lines.append(f"\n[[{path}]]" if isinstance(value, list) else f"\n[{path}]")
                _table(lines, path, one)


def _key(key: str) -> str:
    return key if key.replace("_", "").isascii() and key.replace("_", "").isalnum() else json.dumps(key)
