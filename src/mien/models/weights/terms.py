"""Licences that must be accepted: remembered per model and per text, in the cache folder and nowhere else."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from mien.core import MienError, Strict, Weights, digest
from mien.models.weights import cache


class Accepted(Strict):
    """Who accepted which terms of one model, and when. `text`: digest of the licences as they were shown."""

    accept: str
    text: str
    by: str
    at: str


class Book(Strict):
    """What `licences.json` holds, by model."""

    models: dict[str, Accepted] = Field(default_factory=dict)


def is_accepted(weights: Weights) -> bool:
    """Whether a model may be used: nothing to accept, or these very terms have been."""
    wanted = weights.licences.accept
    held = _book().models.get(weights.model)
    return not wanted or (held is not None and (held.accept, held.text) == (wanted, _text(weights)))


def accept(weights: Weights) -> None:
    """Remember that the user accepts the terms of a model, as they are now."""
    try:
        by = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        by = "unknown"
    now = datetime.now(UTC).isoformat(timespec="seconds")
    row = Accepted(accept=weights.licences.accept, text=_text(weights), by=by, at=now)
    book = Book(models=_book().models | {weights.model: row})
    cache.write_atomic(_file(), [book.model_dump_json(indent=1).encode()])


def require(weights: Weights) -> None:
    """Raises MienError `licence.not-accepted`, with the command that accepts, unless the terms have been."""
    if is_accepted(weights):
        return
    held = weights.licences
    how = "pull" if weights.assets else "add"
    file = "" if weights.assets else " FILE"
    raise MienError(
        "licence.not-accepted",
        f"{weights.model} has terms to accept ({held.accept}): {words(weights)}",
        f"mien models {how} {weights.model}{file} --accept-licence {held.accept}",
    )


def words(weights: Weights) -> str:
    """The three licences of a model in one line."""
    held = weights.licences
    return f"code {held.code}; weights {held.weights}; training data {held.training_data}"


def _text(weights: Weights) -> str:
    return digest(weights.model, sorted(asdict(weights.licences).items()))


def _file() -> Path:
    return cache.cache_dir() / "licences.json"


def _book() -> Book:
    try:
        return Book.model_validate_json(_file().read_bytes())
    except (OSError, ValueError):
        return Book()  # what cannot be read was not accepted
