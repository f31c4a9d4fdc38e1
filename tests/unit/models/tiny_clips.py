"""A seeded VideoMAE or TimeSformer of a few thousand parameters in the layout of the published folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

LABELS = ("abseiling", "clapping", "laughing", "waving hand", "yawning")


def build(folder: Path, kind: str = "videomae", *, old: bool = False, seed: int = 0) -> Path:
    """old: preprocessor_config.json as the first published folders have it (one number for edge and crop)."""
    import torch
    from transformers import AutoModelForVideoClassification, TimesformerConfig, VideoMAEConfig

    shared: dict[str, Any] = {
        "image_size": 32, "patch_size": 16, "num_frames": 8, "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 64, "id2label": dict(enumerate(LABELS)),
    }  # fmt: skip
    config = VideoMAEConfig(**shared) if kind == "videomae" else TimesformerConfig(**shared)
    torch.manual_seed(seed)
    model = AutoModelForVideoClassification.from_config(config).float()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.2)
    model.save_pretrained(folder)
    how: dict[str, Any] = {
        "do_resize": True, "do_center_crop": True, "do_normalize": True, "resample": 2,
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    if old:
        how |= {"size": 32, "feature_extractor_type": "VideoMAEFeatureExtractor"}
    else:
        how |= {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}, "do_rescale": True}
        how |= {"rescale_factor": 1 / 255, "image_processor_type": "VideoMAEImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(how))
    return folder
