"""`mien.toml`: context, stack, analysis, fusion. Flag > environment > file > `fusion.toml` > default;
every value knows its origin."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from mien.core import Context, MienError, Strict
from mien.fusion import FusionConfig, learned
from mien.pipeline.inputs.mapping import Inputs
from mien.policy import MISSING_CONTEXT
from mien.policy.egress import EgressTerms
from mien.policy.identity import IdentityTerms
from mien.policy.uses import PolicyTerms
from mien.reason.annotate import Annotation
from mien.reason.captions import CaptionTerms
from mien.signals.body import BodyConfig, InteractionConfig

FILE = "mien.toml"


class Analysis(Strict):
    """How media is read."""

    fps: Annotated[float, Gt(0), Le(60)] = Field(5.0, description="analysed frames per second of media")
    objects_every: Annotated[int, Ge(1), Le(25)] = Field(
        2, description="people and objects are looked for on every n-th frame at most"
    )
    calm_every: Annotated[int, Ge(1), Le(8)] = Field(
        4, description="faces, people and objects on every n-th frame where nothing changes; 1: never fewer"
    )
    max_side_px: Annotated[int, Ge(160), Le(4096)] = Field(1280, description="frames are downscaled to this long side")
    max_clip_s: Annotated[float, Ge(2), Le(600)] = Field(60.0, description="longer takes are split where it is quiet")
    max_people: Annotated[int, Ge(1), Le(100)] = Field(6, description="bodies measured per frame, largest first")
    window_s: Annotated[float, Ge(0.5), Le(30)] = Field(2.0, description="span of one observation and assessment")
    threads: Annotated[int, Ge(1), Le(64)] = Field(2, description="frames analysed side by side")
    hwaccel: Literal["off", "auto", "cuda", "vaapi", "videotoolbox", "qsv"] = Field(
        "off", description="device that decodes pictures; auto: one that is there, else none"
    )
    device: Literal["cpu", "cuda"] = Field("cpu", description="where models run; what cannot run there says so")


class Stack(Strict):
    """Which adapter fills each slot; "off" leaves the slot out."""

    objects: str = Field("object.nanodet", description="people and objects")
    pose: str = Field("pose.movenet", description="body points of people")
    faces: str = Field("face.centerface", description="face boxes")
    identity: str = Field("identity.faceres", description="rejoins face tracks, only where [identity] enables it")
    landmarks: str = Field("landmarks.facemesh", description="face landmarks, for geometry")
    expression: str = Field("expression.faceapi", description="7-class facial expression")
    explicit: str = Field("explicit.opennsfw", description="explicit-content gate")
    age: str = Field("age.ageandgender", description="age interval for display and export rules only")
    actions: str = Field("off", description="what happens in windows of 2 s (action.videomae)")
    scene: str = Field("scene.nanodet", description="what the whole picture looks like, for copies and outliers")
    vad: str = Field("vad.silero", description="speech probability")
    pitch: str = Field("pitch.swiftf0", description="f0 and voicing")
    voice_embedding: str = Field("voice.whisper", description="sound embedding, in memory only")
    voice_affect: str = Field("voice.state", description="vocal affect head")
    voice_arousal: str = Field("voice.arousal", description="vocal arousal head")
    voice_cues: str = Field("voice.cues", description="which prompted expression a vocal sound is like")
    sound_events: str = Field("off", description="what is heard, by AudioSet's classes (events.yamnet, events.panns)")
    voice_descriptors: str = Field("off", description="another package's descriptors (voice.egemaps, voice.praat)")
    words: str = Field("off", description="words with times (words.whisper: English only; personal data)")


class Opinions(Strict):
    """Further models in a slot that run side by side with the stack's and are pooled with it."""

    expression: tuple[str, ...] = Field(
        ("expression.minixception",), description="adapters of the slot, or geometry (a rule over the landmarks)"
    )


class Body(Strict):
    """What counts as a pose event or an interaction: every threshold (docs/body.md)."""

    events: BodyConfig = BodyConfig()
    interaction: InteractionConfig = InteractionConfig()


class Running(Strict):
    """Who does the work; changes no result."""

    runner: Literal["auto", "inline", "process", "ray"] = Field(
        "auto", description="this process, or one per core where there is enough to do; ray: where Ray places workers"
    )
    order: Literal["auto", "clip", "stage"] = Field(
        "auto", description="all models on one clip, or one model on all clips where memory is short"
    )
    together: Annotated[int, Ge(0), Le(64)] = Field(
        0, description="clips whose batches a model gets as one; 0: 8 on a card, else 1"
    )
    workers: Annotated[int, Ge(0), Le(256)] = Field(0, description="processes; 0: by cores, cards and memory")
    spool_mb: Annotated[int, Ge(0), Le(1 << 20)] = Field(
        2048, description="decoded frames that may wait on disk in nameless files; 0: decode twice, keep none"
    )
    ray_address: str = Field("", description="host:port of a Ray cluster; empty: Ray on this machine, for the run")
    media_root: str = Field("", description="folder whose media Ray's workers on other machines fetch from media_url")
    media_url: str = Field("", description="where they find it: file:///…, s3://…, gs://…, https://… (docs/scale.md)")


class History(Strict):
    """What is kept of results that later runs replaced (decision 0014)."""

    runs: Annotated[int, Ge(0), Le(1000)] = Field(3, description="runs whose replaced results are kept, for mien diff")


class SplitTerms(Strict):
    """How what is exported for training is split, by groups that share no person and no material."""

    validation: Annotated[float, Ge(0), Le(0.5)] = Field(0.1, description="share of the groups for validation")
    test: Annotated[float, Ge(0), Lt(0.5)] = Field(0.1, description="share of the groups for the test")
    salt: Annotated[str, MaxLen(64)] = Field("", description="another salt draws other splits; keep it once drawn")


class Project(Strict):
    context: Context = Field(description="care, research or studio")
    name: str = Field("", description="shown in reports; the folder's name if empty")
    observables_only: bool = Field(
        False, description="no model of affect runs and no word for a feeling is said: movement, sound, geometry remain"
    )
    place: Literal["other", "workplace", "education"] = Field("other", description="where people are recorded")
    basis: Literal["", "medical", "safety"] = Field(
        "", description="why affect may be inferred at work or in education (EU AI Act Art. 5(1)(f))"
    )
    approver: str = Field("", description="who answers for that basis")

    @model_validator(mode="after")
    def _lawful(self) -> Self:
        if self.place != "other" and not self.observables_only and not (self.basis and self.approver.strip()):
            raise ValueError(
                f"inferring emotions in {self.place} is prohibited but for medical or safety reasons (EU AI Act Art. "
                "5(1)(f)): set observables_only = true, or record basis and approver"
            )
        return self


class Config(BaseSettings):
    """Everything that decides a result, and how long replaced ones are kept."""

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix="MIEN_", env_nested_delimiter="__")

    project: Project
    analysis: Analysis = Analysis()  # pyright: ignore[reportCallIssue]
    stack: Stack = Stack()  # pyright: ignore[reportCallIssue]
    adapters: dict[str, dict[str, bool | int | float | str]] = Field({}, description="settings per adapter name")
    fusion: FusionConfig = FusionConfig()
    body: Body = Body()
    identity: IdentityTerms = IdentityTerms()  # pyright: ignore[reportCallIssue]
    opinions: Opinions = Opinions()  # pyright: ignore[reportCallIssue]
    inputs: Inputs = Inputs()
    annotate: dict[str, Annotation] = Field({}, description="fields that an instruct model fills, by name")
    run: Running = Running()  # pyright: ignore[reportCallIssue]
    history: History = History()  # pyright: ignore[reportCallIssue]
    egress: EgressTerms = EgressTerms()  # pyright: ignore[reportCallIssue]
    captions: CaptionTerms = CaptionTerms()  # pyright: ignore[reportCallIssue]
    splits: SplitTerms = SplitTerms()  # pyright: ignore[reportCallIssue]
    policy: PolicyTerms = PolicyTerms()  # pyright: ignore[reportCallIssue]

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # The file and the flags arrive together through `load`, already ordered; the environment is merged there too.
        return (init_settings,)

    @property
    def context(self) -> Context:
        return self.project.context


Origin = Literal["flag", "environment", "file", "fusion.toml", "default"]


def load(root: Path | None, flags: dict[str, Any] | None = None) -> tuple[Config, dict[str, Origin]]:
    """Read the configuration of a project and where each value came from (dotted key → origin).

    Raises:
        MienError: `config.no-context`, `config.invalid` (names the key), `config.not-toml`, `fusion.not-toml`,
            `fusion.unknown-format`, `fusion.invalid`.
    """
    file: dict[str, Any] = {}
    learnt: dict[str, Any] = {}
    if root is not None:
        if (root / learned.FILE).is_file():
            learnt = {"fusion": learned.parse((root / learned.FILE).read_bytes().decode(errors="replace"))}
        try:
            file = tomllib.loads((root / FILE).read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise MienError("config.not-toml", f"{FILE} cannot be read: {error}", f"mend {FILE}") from error
    environment = EnvSettingsSource(Config, env_prefix="MIEN_", env_nested_delimiter="__")()
    merged: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    layers: tuple[tuple[Origin, dict[str, Any]], ...] = (
        ("fusion.toml", learnt),
        ("file", file),
        ("environment", environment),
        ("flag", flags or {}),
    )
    for origin, layer in layers:
        _merge(merged, layer, origin, origins, "")
    if "context" not in merged.get("project", {}):
        raise MienError("config.no-context", MISSING_CONTEXT, "mien init DIR --context care|research|studio")
    try:
        config = Config(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise MienError(
            "config.invalid",
            f"{key}: {first['msg']} (got {first.get('input')!r})",
            "see every key with: mien config show",
        ) from error
    return config, {key: origins.get(key, "default") for key in flatten(config.model_dump(mode="json"))}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values by dotted key."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            out |= flatten(value, f"{name}.")
        else:
            out[name] = value
    return out


def _merge(
    into: dict[str, Any], layer: dict[str, Any], origin: Origin, origins: dict[str, Origin], prefix: str
) -> None:
    for key, value in layer.items():
        if isinstance(value, dict):
            held = into.setdefault(key, {})
            if isinstance(held, dict):
                _merge(held, value, origin, origins, f"{prefix}{key}.")
                continue
        into[key] = value
        origins[f"{prefix}{key}"] = origin


def starter(context: Context, name: str) -> str:
    """The `mien.toml` that `mien init` writes."""
    return (
        "# mien project. Every key and its default: mien config show\n\n"
        f'[project]\ncontext = "{context}"\nname = {_quoted(name)}\n\n'
        "[analysis]\n# fps = 5.0           # analysed frames per second of media\n"
        "# window_s = 2.0      # span of one observation and assessment\n\n"
        '[stack]\n# expression = "off"  # leave a slot out, or name another adapter (mien models list)\n'
    )


def _quoted(text: str) -> str:
    import json

    return json.dumps(text, ensure_ascii=False)


def find_root(start: Path) -> Path:
    """The project folder at or above `start`; `project.not-found` otherwise."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if (folder / FILE).is_file():
            return folder
    raise MienError(
        "project.not-found",
        f"there is no mien project at or above {start.name or start}",
        "mien init DIR --context care|research|studio, then: mien -C DIR run VIDEO",
    )
