"""A seeded Qwen3-VL of a few thousand parameters in the layout of the published folders: shards with an index,
config.json, a byte-level BPE with the published control tokens, processor configurations, a chat template.

The published vocabulary and weights are not needed; the keys, files, token names and message format are theirs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CONTROL = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
    "<|box_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>")  # in the vocabulary, but not "special"
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+"
TEMPLATE = """\
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for part in message.content %}
            {%- if part.type == 'image' and message.role == 'user' %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif part.type == 'video' and message.role == 'user' %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in part %}
                {{- part.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}OPEN
{%- endif %}
"""
OPENS = "\n    {{- '<think>\\n' }}"
SIGHT: dict[str, Any] = {
    "patch_size": 16, "temporal_patch_size": 2, "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip


def build(folder: Path, *, thinking: bool = True, seed: int = 0) -> Path:
    """Write the folder; the same seed gives the same weights."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    folder.mkdir(parents=True, exist_ok=True)
    ids = _tokenizer(folder)
    held = _config(ids)
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(**held)).float()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.15)
    model.save_pretrained(folder, max_shard_size="150KB")
    (folder / "config.json").write_text(json.dumps(held))
    (folder / "generation_config.json").write_text(
        json.dumps({
            "do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 20, "pad_token_id": ids["<|endoftext|>"],
            "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        })
    )  # fmt: skip
    video = {"size": {"longest_edge": 25165824, "shortest_edge": 4096}, "video_processor_type": "Qwen3VLVideoProcessor"}
    image = {
        "size": {"longest_edge": 16777216, "shortest_edge": 65536},
        "image_processor_type": "Qwen2VLImageProcessorFast",
        "processor_class": "Qwen3VLProcessor",
    }
    (folder / "video_preprocessor_config.json").write_text(json.dumps(SIGHT | video))
    (folder / "preprocessor_config.json").write_text(json.dumps(SIGHT | image))
    template = TEMPLATE.replace("OPEN", OPENS if thinking else "")
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    return folder


def _config(ids: dict[str, int]) -> dict[str, Any]:
    text = {
        "model_type": "qwen3_vl_text", "vocab_size": len(ids), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
        "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "rope_theta": 5000000,
        "rope_scaling": {"mrope_interleaved": True, "mrope_section": [2, 1, 1], "rope_type": "default"},
        "tie_word_embeddings": False,
    }  # fmt: skip
    vision = {
        "model_type": "qwen3_vl", "depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4,
        "in_channels": 3, "patch_size": 16, "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1],
    }  # fmt: skip
    return {
        "architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": False,
        "text_config": text, "vision_config": vision, "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"], "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
    }  # fmt: skip


def _tokenizer(folder: Path) -> dict[str, int]:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), behavior="isolated")
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    text = ["user system assistant seconds describe what the person does in the picture", "the hand is raised"] * 3
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in MARKS])
    tokenizer.save(str(folder / "tokenizer.json"))
    held = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(held["vocab"]))
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in held["merges"])
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(pairs) + "\n")
    ids = tokenizer.get_vocab()
    added = {
        str(ids[t]): {
            "content": t, "special": t in CONTROL, "lstrip": False, "rstrip": False, "normalized": False,
            "single_word": False,
        }
        for t in (*CONTROL, *MARKS)
    }  # fmt: skip
    said = {
        "tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>", "bos_token": None, "unk_token": None, "model_max_length": 262144,
        "add_prefix_space": False, "clean_up_tokenization_spaces": False, "errors": "replace",
        "additional_special_tokens": list(CONTROL[1:]),
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    return ids
