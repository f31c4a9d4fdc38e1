"""What the dataset files of four trainers may hold, written down from their sources: keys, types, choices.

The trainers themselves mostly take what they know and pass over the rest in silence, so that a misspelt key would train
on a default. Here an unknown key, a wrong type and a missing key are errors. Each model names the file and the commit
it was read from; `tests/peer/test_schema_sources.py` holds it to a checkout.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, RootModel, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Number = int | float


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


# -------------------------------- tdrussell/diffusion-pipe 8f83dbf2: utils/dataset.py (DirectoryDataset, Dataset)
# `size_buckets` stand in place of `resolutions`; neither shapes nor counts of frames are asked for then.

PIPE = ("diffusion-pipe", "8f83dbf25d03219df705570ec03e62be04bc402f", ("utils/dataset.py",))


class _PipeShared(Strict):
    """Keys of the top that a directory may set anew."""

    resolutions: list[Count] | list[tuple[Count, Count]] | None = None
    enable_ar_bucket: bool = False
    min_ar: Number | None = None
    max_ar: Number | None = None
    num_ar_buckets: Count | None = None
    ar_buckets: list[Number] | list[tuple[Count, Count]] | None = None
    size_buckets: list[tuple[Count, Count, Count]] | None = None
    frame_buckets: list[Count] | None = None
    cache_shuffle_num: int = 0
    cache_shuffle_delimiter: str = ", "
    caption_prefix: str = ""
    shuffle_tags: bool = False
    shuffle_metadata: bool = True
    skip_empty_caption: bool = True
    online_captions: bool = False
    num_repeats: Number = 1


class PipeDirectory(_PipeShared):
    path: str
    mask_path: str | None = None
    control_path: str | None = None
    default_mask_file: str | None = None


class Pipe(_PipeShared):
    directory: Annotated[list[PipeDirectory], Field(min_length=1)]
    subsample_ratio: Share | None = None

    @model_validator(mode="after")
    def _sized(self) -> Self:
        for d in self.directory:
            assert d.size_buckets or self.size_buckets or d.resolutions or self.resolutions, "no sizes"
        return self


# -------------------------------- ostris/ai-toolkit 27a03a91: toolkit/config_modules.py (DatasetConfig)
# The job around it: toolkit/job.py, extensions_built_in/sd_trainer/__init__.py, jobs/process/BaseTrainProcess.py.

TOOLKIT = (
    "ai-toolkit", "27a03a91f23eb1b757d5ec2e80ee3e129cfcc350",
    ("toolkit/config_modules.py", "toolkit/job.py", "extensions_built_in/sd_trainer/__init__.py",
     "jobs/process/BaseTrainProcess.py", "jobs/process/BaseSDTrainProcess.py", "jobs/BaseJob.py", "toolkit/config.py"),
)  # fmt: skip


class ToolkitDataset(Strict):
    folder_path: str
    dataset_path: str | None = None
    default_caption: str | None = None
    trigger_word: str | None = None
    caption_ext: Literal["txt", ".txt"] = ".txt"
    random_crop: bool = False
    random_scale: bool = False
    resolution: Count | list[Count] = 512
    scale: float = 1.0
    buckets: bool = True
    bucket_tolerance: int = 64
    is_reg: bool = False
    network_weight: float = 1.0
    token_dropout_rate: Share = 0.0
    caption_dropout_rate: Share = 0.0
    shuffle_tokens: bool = False
    keep_tokens: int = 0
    flip_x: bool = False
    flip_y: bool = False
    num_repeats: Count = 1
    cache_latents: bool = False
    cache_latents_to_disk: bool = False
    cache_text_embeddings: bool = False
    loss_multiplier: float = 1.0
    square_crop: bool = False
    num_frames: Count = 1
    shrink_video_to_frames: bool = True
    fps: Count = 24
    auto_frame_count: bool = False
    trim_auto_frame_count_tail: bool = True
    do_i2v: bool = False
    do_audio: bool = False
    audio_preserve_pitch: bool = False
    audio_normalize: bool = False

    @model_validator(mode="after")
    def _real_time(self) -> Self:
        assert self.num_frames == 1 or not self.shrink_video_to_frames, "frames would be thinned out: faster movement"
        assert self.buckets or self.num_frames == 1, "it refuses films without buckets"
        return self


class ToolkitProcess(Strict):
    type: Literal["sd_trainer"]
    training_folder: str
    datasets: Annotated[list[ToolkitDataset], Field(min_length=1)]


class ToolkitConfig(Strict):
    name: str
    process: Annotated[list[ToolkitProcess], Field(min_length=1, max_length=1)]


class Toolkit(Strict):
    job: Literal["extension"]
    config: ToolkitConfig


# -------------------------------- bghira/SimpleTuner bc8e6ab7: simpletuner/helpers/data_backend/config/*.py
# factory.py and dataset_types.py beside them; helpers/metadata/backends/base.py (buckets by resolution and frames).

_TUNER = "simpletuner/helpers/data_backend/"
TUNER = (
    "SimpleTuner", "bc8e6ab7738ce457a2ed8eb2d26cadd91c6442cb",
    (*(_TUNER + f for f in ("config/base.py", "config/image.py", "config/text_embed.py", "config/validators.py",
                            "factory.py", "dataset_types.py")), "simpletuner/helpers/metadata/backends/base.py"),
)  # fmt: skip


class TunerVideo(Strict):
    num_frames: Count
    min_frames: Count
    max_frames: Count | None = None
    is_i2v: bool
    bucket_strategy: Literal["aspect_ratio", "resolution_frames"] = "aspect_ratio"
    frame_interval: Count | None = None

    @model_validator(mode="after")
    def _enough(self) -> Self:
        assert self.min_frames >= self.num_frames, "video->min_frames must be at least video->num_frames"
        return self


class TunerAudio(Strict):
    auto_split: bool
    sample_rate: Count
    channels: Count
    allow_zero_audio: bool = False
    truncation_mode: Literal["beginning", "end", "random"] = "beginning"
    duration_interval: float = 3.0
    max_duration_seconds: float | None = None


class TunerMedia(Strict):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["local"]
    dataset_type: Literal["image", "video"]
    instance_data_dir: str
    caption_strategy: Literal["textfile", "filename", "instanceprompt"]
    disable_multiline_split: bool = False
    metadata_backend: Literal["discovery"]
    resolution: Number
    resolution_type: Literal["pixel", "area", "pixel_area"]
    crop: bool = False
    crop_aspect: Literal["square", "preserve", "random", "closest"] = "square"
    crop_style: Literal["random", "corner", "center", "centre", "face"] = "random"
    minimum_image_size: Number | None = None
    maximum_image_size: Number | None = None
    target_downsample_size: Number | None = None
    repeats: Annotated[int, Field(ge=0)] = 0
    probability: Share = 1.0
    cache_dir_vae: str
    disabled: bool = False
    video: TunerVideo | None = None
    audio: TunerAudio | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        assert (self.video is not None) == (self.dataset_type == "video"), "video settings of a set that has none"
        assert not self.maximum_image_size or self.target_downsample_size, "maximum_image_size alone"
        return self


class TunerText(Strict):
    id: Annotated[str, Field(min_length=1)]
    type: Literal["local"]
    dataset_type: Literal["text_embeds"]
    default: bool = False
    cache_dir: str
    caption_filter_list: list[str] = []


class Tuner(RootModel[list[TunerMedia | TunerText]]):
    model_config = ConfigDict(strict=True)

    @model_validator(mode="after")
    def _one_default(self) -> Self:
        texts = [b for b in self.root if isinstance(b, TunerText)]
        assert sum(t.default for t in texts) == 1, "one text backend is the default"
        assert len(texts) < len(self.root), "a set of pictures or films"
        assert len({b.id for b in self.root}) == len(self.root), "ids are there once"
        return self


# -------------------------------- Nerogar/OneTrainer 23df3832: modules/util/config/ConceptConfig.py, BaseConfig.py
# Version 1 has `validation_concept`; its migration makes `type` of it, so older and newer ones read it.

ONE = (
    "OneTrainer", "23df3832e8f213d64c337e39f9365ba46e99fed0",
    ("modules/util/config/ConceptConfig.py", "modules/util/config/BaseConfig.py",
     "modules/util/enum/BalancingStrategy.py"),
)  # fmt: skip


class OneImage(Strict):
    enable_crop_jitter: Literal[False]  # on by default
    enable_random_flip: bool = False
    enable_fixed_flip: bool = False
    enable_random_rotate: bool = False
    enable_random_brightness: bool = False
    enable_random_contrast: bool = False
    enable_random_saturation: bool = False
    enable_random_hue: bool = False
    enable_resolution_override: bool = False
    resolution_override: str = "512"


class OneText(Strict):
    prompt_source: Literal["sample", "concept", "filename"]
    prompt_path: str = ""
    enable_tag_shuffling: bool = False
    tag_delimiter: str = ","
    keep_tags_count: int = 1
    tag_dropout_enable: bool = False
    caps_randomize_enable: bool = False


class OneConcept(Strict):
    version: Literal[1] = Field(alias="__version")
    name: str
    path: str
    seed: int
    enabled: bool
    validation_concept: bool
    include_subdirectories: bool
    image_variations: Count
    text_variations: Count
    balancing: float
    balancing_strategy: Literal["REPEATS", "SAMPLES"]
    loss_weight: float
    image: OneImage
    text: OneText


class One(RootModel[Annotated[list[OneConcept], Field(min_length=1)]]):
    model_config = ConfigDict(strict=True)


SCHEMAS: dict[str, tuple[type[BaseModel], tuple[str, str, tuple[str, ...]], str]] = {
    "diffusion-pipe": (Pipe, PIPE, "dataset.toml"),
    "ai-toolkit": (Toolkit, TOOLKIT, "ai-toolkit.json"),
    "simpletuner": (Tuner, TUNER, "multidatabackend.json"),
    "onetrainer": (One, ONE, "concepts.json"),
}
"""Trainer → its model, where that was read (repository, commit, files), and the file of an export."""


def held(folder: Path, trainer: str) -> Any:
    """The dataset file of an export as plain values."""
    text = (folder / SCHEMAS[trainer][2]).read_text(encoding="utf-8")
    return tomllib.loads(text) if SCHEMAS[trainer][2].endswith(".toml") else json.loads(text)


def checked(trainer: str, values: Any) -> BaseModel:
    """Raises pydantic.ValidationError."""
    return SCHEMAS[trainer][0].model_validate_json(json.dumps(values), strict=True)


def keys(model: type[BaseModel]) -> set[str]:
    """All keys of a model and of those within it."""
    found: set[str] = set()
    pending: list[Any] = [model]
    seen: set[Any] = set()
    while pending:
        kind = pending.pop()
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            if kind in seen:
                continue
            seen.add(kind)
            for name, field in kind.model_fields.items():
                if name != "root":
                    found.add(field.alias or name)
                pending.append(field.annotation)
        else:
            pending += getattr(kind, "__args__", ())
    return found
