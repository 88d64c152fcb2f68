"""Writes tests/lora/peft: adapters as the real peft library saves them, of a model of a few thousand weights.

Needs torch (CPU), transformers, peft and safetensors, which the tests do not:

    python -m venv /tmp/peft && /tmp/peft/bin/pip install torch peft safetensors
    /tmp/peft/bin/python scripts/build_lora_fixtures.py

``versions.json`` beside the adapters says what wrote them. The files change with every run (weights are random).
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

OUT = Path(__file__).parent.parent / "tests" / "lora" / "peft"
BASE = "acme/tiny-llama"
SHAPE = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
ATTENTION = ["q_proj", "v_proj"]
ADAPTERS = {
    "plain": {"target_modules": ATTENTION},
    "all-linear": {"target_modules": "all-linear"},
    "pattern": {"target_modules": r".*\.(q|k)_proj"},
    "dora": {"target_modules": ATTENTION, "use_dora": True},
    "rslora": {"target_modules": ATTENTION, "use_rslora": True},
    "bias": {"target_modules": ATTENTION, "bias": "lora_only"},
    "lora-bias": {"target_modules": ["v_proj"], "lora_bias": True},
    "saved-head": {"target_modules": ATTENTION, "modules_to_save": ["lm_head"]},
    "rank-pattern": {"target_modules": ATTENTION, "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
    "alpha-pattern": {"target_modules": ATTENTION, "alpha_pattern": {"v_proj": 4}},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
    "one-layer": {"target_modules": ATTENTION, "layers_to_transform": [1], "layers_pattern": "layers"},
    "excluded": {"target_modules": "all-linear", "exclude_modules": ["gate_proj"]},
    "tokens": {"target_modules": ["q_proj"], "trainable_token_indices": [1, 2]},
}
BF16 = {"target_modules": ATTENTION}
EXPERTS = {"target_parameters": ["mlp.experts.gate_up_proj"]}
BOTH_STACKS = {"target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]}
REPLICATED = {"layer_replication": [[0, 2], [1, 2]]}


def build(out: Path = OUT) -> None:
    """Everything, into a fresh folder."""
    import peft
    import safetensors
    import torch
    import transformers

    torch.manual_seed(7)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    versions = {each.__name__: each.__version__ for each in (peft, safetensors, torch, transformers)}
    (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    llama = transformers.LlamaConfig(**SHAPE, attention_bias=True)
    llama.save_pretrained(out / "base")
    for name, settings in ADAPTERS.items():
        _save(transformers.LlamaForCausalLM(llama), out / name, **settings)
    _save(transformers.LlamaForCausalLM(llama).to(torch.bfloat16), out / "bf16", autocast=False, **BF16)
    gpt2 = transformers.GPT2Config(n_embd=16, n_layer=2, n_head=4, vocab_size=32, n_positions=64)
    _save(transformers.GPT2LMHeadModel(gpt2), out / "fan-in-fan-out", target_modules=["c_attn"], fan_in_fan_out=True)
    mixture = transformers.Qwen3MoeConfig(
        **SHAPE, moe_intermediate_size=8, num_experts=4, num_experts_per_tok=2, head_dim=4
    )
    _save(transformers.Qwen3MoeForCausalLM(mixture), out / "experts", r=2, target_modules=["q_proj"], **EXPERTS)
    _stacked(transformers.LlamaForCausalLM(llama), out / "renamed")
    phi = transformers.Phi3Config(**SHAPE, pad_token_id=0)
    _save(transformers.Phi3ForCausalLM(phi), out / "fused", target_modules=["qkv_proj", "gate_up_proj"])
    neox = {key: value for key, value in SHAPE.items() if key != "num_key_value_heads"}
    fused = ["query_key_value", "dense_h_to_4h"]
    model = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**neox))
    _save(model, out / "query-key-value", target_modules=fused)
    _save(transformers.Qwen3MoeForCausalLM(mixture), out / "both-stacks", r=2, target_modules=[], **BOTH_STACKS)
    _save(transformers.LlamaForCausalLM(llama), out / "replicated", target_modules=["q_proj"], **REPLICATED)
    resized = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SHAPE, tie_word_embeddings=False))
    resized.resize_token_embeddings(36)
    _save(resized, out / "more-tokens", embeddings=True, target_modules=["q_proj"])


def _save(
    model: object, folder: Path, *, r: int = 4, autocast: bool = True, embeddings: bool = False, **settings: object
) -> None:
    from peft import LoraConfig, get_peft_model

    model.name_or_path = model.config._name_or_path = BASE  # noqa: SLF001
    config = LoraConfig(r=r, lora_alpha=2 * r, task_type="CAUSAL_LM", **settings)
    adapted = get_peft_model(model, config, autocast_adapter_dtype=autocast)
    with tempfile.TemporaryDirectory() as made:
        adapted.save_pretrained(made, save_embedding_layers=embeddings)
        folder.mkdir()
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(Path(made) / file, folder / file)


def _stacked(model: object, folder: Path) -> None:
    """A second adapter of one model: peft saves it under a folder of its own, without its name in the tensors."""
    from peft import LoraConfig, get_peft_model

    model.name_or_path = model.config._name_or_path = BASE  # noqa: SLF001
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules=ATTENTION, task_type="CAUSAL_LM"))
    adapted.add_adapter("second", LoraConfig(r=8, lora_alpha=8, target_modules=["o_proj"], task_type="CAUSAL_LM"))
    with tempfile.TemporaryDirectory() as made:
        adapted.save_pretrained(made, selected_adapters=["second"])
        folder.mkdir()
        for file in ("adapter_config.json", "adapter_model.safetensors"):
            shutil.copyfile(Path(made) / "second" / file, folder / file)


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
