"""One way to open a model of the transformers library: a local folder, safetensors alone, every key accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.core import MienError


def strict(cls: Any, folder: Path, dtype: str) -> Any:
    """A model of the class `cls`, every parameter of it and nothing else; no code of the folder is run.

    Raises:
        MienError: `weights.wrong-keys`, `weights.wrong-shape` (each with the first name), `weights.unreadable`.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    talk = logging.get_verbosity()
    logging.set_verbosity_error()  # what it would report is read below
    try:
        model, said = cls.from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are told, and are an error here
        )
    except Exception as error:
        raise MienError("weights.unreadable", f"{folder} cannot be loaded: {error}"[:400], "fetch it again") from error
    finally:
        logging.set_verbosity(talk)
    odd = sorted(m if isinstance(m, str) else m[0] for m in said["mismatched_keys"])
    for code, what, names in (
        ("weights.wrong-shape", "has another shape of", odd),
        ("weights.wrong-keys", "lacks", sorted(said["missing_keys"])),
        ("weights.wrong-keys", "also holds", sorted(said["unexpected_keys"])),
    ):
        if names:
            raise MienError(
                code,
                f"{folder.name} {what} {names[0]!r}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""),
                "it is a folder of another network, or not all of its files are there",
            )
    return model
