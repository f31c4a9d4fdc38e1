"""Run by the peer test in a process of its own: what the published processor makes of a prompt with frames.

python qwen3vl_reference.py FOLDER GIVEN.npz ANSWER.npz, with torchvision (and, if wanted, another transformers) on
PYTHONPATH. torchvision's native operators are for detection networks; where its library cannot be loaded (a CUDA
build beside a CPU torch) they are declared, so that its Python half can be imported.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
from pathlib import Path

import numpy as np


def declare_operators() -> object:
    import torch

    spec = importlib.util.find_spec("torchvision")
    assert spec
    assert spec.origin
    home = Path(spec.origin).parent
    text = (home / "_meta_registrations.py").read_text()
    names = set(re.findall(r"torchvision::(\w+)", text)) | set(re.findall(r'@register_meta\("(\w+)"', text))
    try:
        torch.ops.load_library(str(home / "_C.so"))
    except (OSError, ImportError):
        library = torch.library.Library("torchvision", "DEF")
        for name in sorted(names):
            library.define(f"{name}(Tensor x) -> Tensor")
        return library
    return None


def main(folder: str, given: str, answer: str) -> None:
    held = declare_operators()  # must live as long as the process
    import transformers
    from transformers import AutoTokenizer, Qwen2VLImageProcessorFast, Qwen3VLProcessor, Qwen3VLVideoProcessor

    asked = np.load(given)
    template = json.loads((Path(folder) / "chat_template.json").read_text())["chat_template"]
    video = Qwen3VLVideoProcessor.from_pretrained(folder)
    image = Qwen2VLImageProcessorFast.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    processor = Qwen3VLProcessor(image, tokenizer, video, chat_template=template)
    kind = "image" if len(asked["pixels"]) == 1 else "video"
    turns = [{"role": "user", "content": [{"type": kind, kind: ""}, {"type": "text", "text": str(asked["text"])}]}]
    text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False, add_generation_prompt=True)
    size = {"shortest_edge": int(asked["low"]), "longest_edge": int(asked["high"])}
    planes = np.ascontiguousarray(asked["pixels"].transpose(0, 3, 1, 2))
    if kind == "image":
        said = processor(text=[text], images=[planes[0]], images_kwargs={"size": size}, return_tensors="pt")
    else:
        t_us = [int(t) for t in asked["t_us"]]
        metadata = {"fps": 1e6, "frames_indices": t_us, "total_num_frames": t_us[-1] + 1}
        how = {"size": size, "do_sample_frames": False, "video_metadata": [metadata]}
        if "cap_pixels_per_frame" in inspect.getsource(Qwen3VLVideoProcessor):
            how["cap_pixels_per_frame"] = False
        said = processor(text=[text], videos=[planes], videos_kwargs=how, return_tensors="pt")
    arrays = {name: np.asarray(value) for name, value in said.items() if hasattr(value, "numpy")}
    np.savez(answer, version=np.array(transformers.__version__), text=tokenizer.decode(said["input_ids"][0]), **arrays)
    del held


if __name__ == "__main__":
    main(*sys.argv[1:])
