"""`[inputs]` of mien.toml: which column says what. Columns without a role become attributes as they are."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from mien.core import MienError, Strict

SETTINGS = ("place", "activity", "light", "noise", "sensory_load")


class SettingColumns(Strict):
    """Columns that say where and how a source was made."""

    place: str | None = Field(None, description="column of the place")
    activity: str | None = Field(None, description="column of the activity")
    light: str | None = Field(None, description="column of the light")
    noise: str | None = Field(None, description="column of the noise")
    sensory_load: str | None = Field(None, description="column of the sensory load")


class Columns(Strict):
    """Roles of columns, by column name."""

    id: str | None = Field(None, description="column that names a row for good; else its media, else its number")
    media: tuple[str, ...] = Field((), description="columns of paths; empty: columns whose values end like media")
    subject: str | None = Field(None, description="column of the person; only a salted code of its value is kept")
    licence: str | None = Field(None, description="column of the source's licence")
    consent: str | None = Field(None, description="column of the consent")
    labels: tuple[str, ...] = Field((), description="columns of labels that people gave")
    setting: SettingColumns = SettingColumns()  # pyright: ignore[reportCallIssue]
    ignore: tuple[str, ...] = Field((), description="columns that are not read at all")

    @model_validator(mode="before")
    @classmethod
    def _dotted(cls, values: Any) -> Any:
        """`"setting.place" = "room"` says the same as `setting.place = "room"`."""
        if not isinstance(values, dict):
            return values
        out = {k: v for k, v in values.items() if not str(k).startswith("setting.")}
        dotted = {str(k).removeprefix("setting."): v for k, v in values.items() if str(k).startswith("setting.")}
        return out | {"setting": {**out.get("setting", {}), **dotted}} if dotted else out

    @field_validator("media", "labels", "ignore", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if self.subject and self.subject in (self.id, *self.labels, *self.media):
            raise ValueError(f"column {self.subject!r} is the subject, whose value is not kept: it can be nothing else")
        return self

    def roles(self) -> Iterator[tuple[str, str]]:
        """(role, column) of every column that is named."""
        for role in ("id", "subject", "licence", "consent"):
            if column := getattr(self, role):
                yield role, column
        for role in ("media", "labels", "ignore"):
            yield from ((role, column) for column in getattr(self, role))
        for name in SETTINGS:
            if column := getattr(self.setting, name):
                yield f"setting.{name}", column

    def check(self, held: Iterable[str], name: str) -> None:
        """Raise `input.no-column` unless the table has every column that is named here."""
        columns = list(held)
        for role, column in self.roles():
            if column not in columns:
                near = difflib.get_close_matches(column, columns, 1, 0.5)
                meant = f"did you mean {near[0]!r}?" if near else f"its columns: {', '.join(columns[:20])}."
                raise MienError(
                    "input.no-column",
                    f"{name} has no column {column!r}, which [inputs] names as {role}",
                    f'{meant} A table with columns of its own: [inputs.tables."{name}"]',
                )


class Inputs(Strict):
    """How inputs are read. `tables` holds other columns for tables of a name or pattern (`"faces-*.csv"`)."""

    columns: Columns = Columns()  # pyright: ignore[reportCallIssue]
    tables: dict[str, Columns] = Field(default={}, description="columns of the tables with this name or pattern")

    def of(self, name: str) -> Columns:
        return next((c for pattern, c in self.tables.items() if fnmatch(name, pattern)), self.columns)
