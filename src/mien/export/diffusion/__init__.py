"""Folders for trainers of models that make pictures and films: `TRAINERS`. Never from care.

What may enter: targets (rates, sizes), the plan of pieces, and one small file per trainer over the same files. What may
leave is decided in `selection`, pictures are made in `media.encoding`, captions in `captions`.
"""

from mien.export.diffusion import (
    ai_toolkit,
    diffusion_pipe,
    finetrainers,
    musubi,
    onetrainer,
    sd_scripts,
    seen,
    simpletuner,
)
from mien.export.trainers import Trainer

TRAINERS = (
    Trainer("musubi", "studio", "musubi-tuner: films in buckets, dataset.toml", musubi.write, seen.of(musubi.TARGETS)),
    Trainer(
        "sd-scripts", "studio", "kohya sd-scripts: the sharpest pictures, dataset.toml", sd_scripts.write,
        seen.of(sd_scripts.TARGETS),
    ),
    Trainer(
        "diffusion-pipe", "studio", "diffusion-pipe: films, several captions each in captions.json",
        diffusion_pipe.write, seen.of(diffusion_pipe.TARGETS, lists=True),
    ),
    Trainer(
        "ai-toolkit", "studio", "ai-toolkit: films or pictures, ai-toolkit.json", ai_toolkit.write,
        seen.of(ai_toolkit.TARGETS),
    ),
    Trainer(
        "simpletuner", "studio", "SimpleTuner: films or pictures, multidatabackend.json", simpletuner.write,
        seen.of(simpletuner.TARGETS),
    ),
    Trainer(
        "onetrainer", "studio", "OneTrainer: pictures, concepts.json", onetrainer.write, seen.of(onetrainer.TARGETS)
    ),
    Trainer(
        "finetrainers", "studio", "finetrainers: films, metadata.jsonl and training.json", finetrainers.write,
        seen.of(finetrainers.TARGETS, spare=finetrainers.SPARE),
    ),
    Trainer(
        "diffusers", "studio", "diffusers' scripts: pictures, an imagefolder", finetrainers.write_stills,
        seen.of(finetrainers.STILLS),
    ),
)  # fmt: skip

__all__ = ["TRAINERS"]
