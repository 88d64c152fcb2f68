"""A tiny base of the Llama architecture with random weights, and adapters of it by peft, for ``real_vllm.py``.

Run by the Python of its environment, which has torch, transformers and peft; nothing is downloaded.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

TARGETS = ["q_proj", "v_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "one": {"r": 8},
    "two": {"r": 8},
    "rank16": {"r": 16},
    "rank24": {"r": 24},
    "pattern": {"r": 8, "rank_pattern": {"q_proj": 24}},
    "dora": {"r": 8, "use_dora": True},
    "bias": {"r": 8, "bias": "all"},
    "saved": {"r": 8, "modules_to_save": ["lm_head"]},
    "ranks": {"r": 8, "rank_pattern": {"q_proj": 12}, "alpha_pattern": {"v_proj": 4}},
    "embedding": {"r": 8, "target_modules": ["embed_tokens", "lm_head"]},
    "tokens": {"r": 8, "trainable_token_indices": [1, 2]},
    "replicated": {"r": 8, "layer_replication": [[0, 2], [1, 2]]},
    "alora": {"r": 8, "alora_invocation_tokens": [5, 6]},
    "lorabias": {"r": 8, "lora_bias": True},
    "orthogonal": {"r": 8, "init_lora_weights": "orthogonal"},
    "pissa": {"r": 8, "init_lora_weights": "pissa"},
    "olora": {"r": 8, "init_lora_weights": "olora"},
}
STATED: dict[str, dict[str, Any]] = {
    "corda": {"init_lora_weights": "corda"},
    "loftq": {"init_lora_weights": "loftq"},
    "eva": {"init_lora_weights": "eva"},
    "bdlora": {"use_bdlora": {"nblocks": 2}},
    "qalora": {"use_qalora": True},
}
"""Copies of the first one that say so: making them takes data or another library."""
LAST = "deep"
"""Pairs of a layer that the base does not have."""


def make_base(folder: Path) -> int:
    """A tokenizer of single bytes and a model that fits it; the size of its vocabulary."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=64, max_position_embeddings=8192, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    return len(words)


def make_adapters(root: Path, base: Path) -> None:
    """Each with weights of its own, some that only say so, three damaged ones, and the last."""
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file, save_file
    from transformers import LlamaForCausalLM

    for seed, (name, settings) in enumerate(ADAPTERS.items()):
        torch.manual_seed(seed)
        common = {"lora_alpha": 16, "target_modules": TARGETS, "task_type": "CAUSAL_LM", "init_lora_weights": False}
        model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)  # starts by the base's weights need that
        get_peft_model(model, LoraConfig(**{**common, **settings})).save_pretrained(root / name)
    for name, stated in STATED.items():
        shutil.copytree(root / "one", root / name)
        config = root / name / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | stated))
    for name in ("truncated", "noweights", "noconfig"):
        shutil.copytree(root / "one", root / name)
    weights = root / "truncated" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (root / "noweights" / "adapter_model.safetensors").unlink()
    (root / "noconfig" / "adapter_config.json").unlink()
    shutil.copytree(root / "one", root / LAST)
    tensors = load_file(root / LAST / "adapter_model.safetensors")
    deeper = {name.replace(".layers.1.", ".layers.7."): tensor.clone() for name, tensor in tensors.items()}
    save_file(tensors | deeper, root / LAST / "adapter_model.safetensors")


if __name__ == "__main__":
    here = Path(sys.argv[1])
    make_base(here / "base")
    make_adapters(here, here / "base")
