"""Any causal model in the published layout: a small one with seeded weights, held to transformers' own forward pass."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mien.core import Ask, Asks, Device, Frames, Message, MienError, WeightFiles
from mien.models.language.local import Transformers
from mien.models.weights.folders import index

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A published folder in small: a Llama of two layers over a byte-level tokenizer."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("text") / "model"
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|im_start|>", "<|im_end|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        [], tokenizers.trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    )
    tokens = transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, chat_template=TEMPLATE, **dict.fromkeys(("eos_token", "pad_token"), "<|im_end|>")
    )
    tokens.save_pretrained(path)
    torch.manual_seed(3)
    config = transformers.LlamaConfig(
        vocab_size=len(tokens), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, eos_token_id=tokens.eos_token_id, bos_token_id=None,
        initializer_range=0.4,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(path)
    return path


def opened(folder: Path, at: Path) -> Transformers:
    record = at / "folder.json"
    record.write_bytes(index(folder))
    return Transformers.open(WeightFiles({"folder.json": record}), Transformers.Config(), Device())


def ask(text: str, **given) -> Ask:
    return Ask((Message("user", text),), **{"max_tokens": 12, **given})


def test_greedy_answers_are_the_argmax_of_the_reference_and_repeat(folder: Path, tmp_path: Path):
    import torch
    import transformers

    model = opened(folder, tmp_path)
    first = model.run(Asks((ask("How is it?"), ask("And now?")))).rows
    assert model.run(Asks((ask("And now?"), ask("How is it?")))).rows == first[::-1]
    tokens = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    prompt = "<|im_start|>user\nHow is it?<|im_end|>\n<|im_start|>assistant\n"
    ids = tokens(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
    n = ids.shape[1]
    with torch.inference_mode():
        for _ in range(12):
            step = reference(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, step.reshape(1, 1)], 1)
            if int(step) == tokens.eos_token_id:
                break
    said = [t for t in ids[0, n:].tolist() if t != tokens.eos_token_id]
    assert first[0].text == tokens.decode(said).strip()
    assert first[0].input_tokens == n
    assert first[0].status == ("truncated" if len(said) == 12 else "ok")
    model.close()


def test_sampling_follows_the_questions_seed_and_leaves_the_global_one_alone(folder: Path, tmp_path: Path):
    import torch

    model = opened(folder, tmp_path)
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    hot = [model.run(Asks((ask("How?", temperature=1.5, seed=s),))).rows[0].text for s in (1, 1, 2)]
    assert hot[0] == hot[1] != hot[2]
    assert torch.equal(before, torch.random.get_rng_state())


def test_troubles_of_one_question_are_its_own(folder: Path, tmp_path: Path):
    model = opened(folder, tmp_path)
    picture = Message("user", "What?", Frames(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64)))
    rows = model.run(Asks((ask("x" * 400), Ask((picture,)), ask("Hi.", schema={"type": "object"})))).rows
    assert [r.reason for r in rows[:2]] == ["language.too-long", "language.no-pictures"]
    assert rows[2].status in ("invalid", "truncated")
    assert rows[2].value is None


def test_another_network_and_a_base_model_are_refused(folder: Path, tmp_path: Path):
    import shutil

    from safetensors.torch import load_file, save_file

    lacking = shutil.copytree(folder, tmp_path / "lacking")
    held = load_file(folder / "model.safetensors")
    held.pop("model.layers.1.mlp.up_proj.weight")
    save_file(held, lacking / "model.safetensors", {"format": "pt"})
    with pytest.raises(MienError) as caught:
        opened(lacking, tmp_path)
    assert caught.value.code == "weights.wrong-keys"
    assert "model.layers.1.mlp.up_proj.weight" in caught.value.message

    base = shutil.copytree(folder, tmp_path / "base")
    (base / "chat_template.jinja").unlink(missing_ok=True)
    settings = json.loads((base / "tokenizer_config.json").read_text())
    settings.pop("chat_template", None)
    (base / "tokenizer_config.json").write_text(json.dumps(settings))
    with pytest.raises(MienError) as caught:
        opened(base, tmp_path)
    assert caught.value.code == "weights.no-chat-template"


def test_no_code_of_a_repository_is_run(folder: Path, tmp_path: Path):
    """A folder whose configuration asks for its own code is refused, and the code beside it stays unread."""
    import shutil

    own = shutil.copytree(folder, tmp_path / "own")
    marker = tmp_path / "ran"
    (own / "modeling_own.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    settings = json.loads((own / "config.json").read_text())
    settings |= {
        "model_type": "own",
        "auto_map": {k: f"modeling_own.{k}" for k in ("AutoConfig", "AutoModelForCausalLM")},
    }
    (own / "config.json").write_text(json.dumps(settings))
    with pytest.raises(MienError) as caught:
        opened(own, tmp_path)
    assert caught.value.code == "weights.unreadable"
    assert not marker.exists()
