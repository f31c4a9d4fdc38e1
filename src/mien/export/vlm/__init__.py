"""Folders for trainers of models that look, listen and say what they see: pictures and sound with traceable text.

What may enter: one small file per family of formats over the same examples (`export.selection.examples`). Pixels and
sound are made by `media`, questions and answers by `talks`, and what is told beside them by `book`.
"""

from collections.abc import Mapping
from pathlib import Path

from mien.export.trainers import Job, Trainer
from mien.export.vlm.media import ALL, SILENT, STILLS
from mien.export.vlm.preview import of


def _hf(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import hf

    return hf.write(job, folder)


def _trl(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import messages

    return messages.write_trl(job, folder)


def _swift(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import messages

    return messages.write_swift(job, folder)


def _axolotl(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import messages

    return messages.write_axolotl(job, folder)


def _llama_factory(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import sharegpt

    return sharegpt.write_llama_factory(job, folder)


def _qwen(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import sharegpt

    return sharegpt.write_qwen(job, folder)


def _webdataset(job: Job, folder: Path) -> Mapping[str, int]:
    from mien.export.vlm import shards

    return shards.write(job, folder)


TRAINERS: tuple[Trainer, ...] = (
    Trainer(
        "hf", "care", "Hugging Face datasets: Parquet with media, and image, video and audio folders", _hf, of(ALL)
    ),
    Trainer("trl", "care", "TRL: messages with pictures", _trl, of(STILLS)),
    Trainer("ms-swift", "care", "ms-swift: messages with video, sound and a loss scale per answer", _swift, of(ALL)),
    Trainer("llama-factory", "care", "LLaMA-Factory: ShareGPT and dataset_info.json", _llama_factory, of(ALL)),
    Trainer("qwen-vl", "care", "Qwen-VL's finetuning: conversations and entries for data_dict", _qwen, of(SILENT)),
    Trainer("axolotl", "care", "axolotl: messages of typed parts", _axolotl, of(ALL)),
    Trainer("webdataset", "care", "WebDataset: tar shards with an index", _webdataset, of(ALL)),
)
