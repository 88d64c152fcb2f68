"""Writes tests/lora/layouts.json: the matrices of every architecture that transformers builds of a few numbers, by name.

Nothing is downloaded and no weight is made (the meta device). Needs torch (CPU) and transformers, which the tests do not:

    python -m venv /tmp/peft && /tmp/peft/bin/pip install torch peft safetensors
    /tmp/peft/bin/python scripts/build_lora_layouts.py

Every architecture is built twice where it can be: with a width of heads of its own, and without one.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "tests" / "lora" / "layouts.json"
SMALL: dict[str, Any] = {
    "vocab_size": 40, "hidden_size": 48, "intermediate_size": 56, "num_hidden_layers": 4, "num_attention_heads": 6,
    "num_key_value_heads": 2, "moe_intermediate_size": 14, "num_experts": 4, "num_local_experts": 4,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_topk": 2, "shared_expert_intermediate_size": 34,
    "shared_intermediate_size": 34, "n_shared_experts": 2, "num_shared_experts": 2, "q_lora_rank": 18,
    "kv_lora_rank": 22, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 6, "first_k_dense_replace": 1,
    "n_group": 1, "topk_group": 1, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 6,
    "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "hidden_size_per_layer_input": 9, "moe_num_experts": 4,
    "vocab_size_per_layer_input": 40, "moe_num_shared_experts": 2, "moe_k": 2, "moe_shared_expert_intermediate_size": 26,
    "n_embd": 48, "n_head": 6, "n_layer": 4, "n_positions": 64, "max_position_embeddings": 64, "num_kv_heads": 2,
    "ffn_hidden_size": 58, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
"""Numbers that tell apart what they stand for; of each architecture those that its configuration has."""
HEAD_DIM = 10
NEEDS_HEADS = ("hunyuan_v1_dense", "hunyuan_v1_moe")
"""What the library does not build without their width."""
LATENT = ("deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite")
"""What has no such width: there it is another name for that of the rotated part."""
PLAIN = (
    "llama", "mistral", "ministral3", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "olmo3", "granite",
    "smollm3", "cohere", "cohere2", "seed_oss", "exaone4", "hunyuan_v1_dense", "ernie4_5", "internlm3", "bitnet", "mllama",
    "stablelm", "phi3", "phi", "glm", "glm4", "arcee", "apertus", "nemotron", "starcoder2", "gpt2", "gpt_neox",
    "bloom", "mixtral", "qwen2_moe", "qwen3_moe", "glm4_moe", "minimax_m2", "gpt_oss", "ernie4_5_moe", "granitemoe",
    "cohere2_moe", "minimax_m3_vl_text", "olmoe", "phimoe", "hunyuan_v1_moe", "hy_v3", "solar_open", "laguna",
    "deepseek_v2", "deepseek_v3", "deepseek_v32", "glm_moe_dsa", "glm4_moe_lite", "qwen2_5_vl", "qwen3_vl",
    "qwen3_vl_moe", "glm4v", "glm4v_moe", "smolvlm", "idefics3", "llava", "llava_next", "mistral3", "exaone4_5",
)  # fmt: skip
FULL, WINDOW = "full_attention", "sliding_attention"
MORE: dict[str, dict[str, Any]] = {
    "afmoe": {"layer_types": [WINDOW, FULL] * 2},
    "exaone_moe": {"layer_types": [WINDOW, FULL] * 2},
    "mimo_v2_flash": {"layer_types": [WINDOW, FULL] * 2},
    "llama4_text": {"intermediate_size_mlp": 62, "interleave_moe_layer_step": 2},
    "lfm2": {"layer_types": ["conv", FULL] * 2, "block_auto_adjust_ff_dim": False},
    "lfm2_moe": {"layer_types": ["conv", FULL] * 2, "num_dense_layers": 1},
    "qwen3_next": {"layer_types": ["linear_attention", FULL] * 2},
    "qwen3_5_text": {"layer_types": ["linear_attention", FULL] * 2},
    "qwen3_5_moe_text": {"layer_types": ["linear_attention", FULL] * 2},
    "gemma4_text": {"layer_types": [WINDOW, FULL] * 2, "global_head_dim": 20, "num_global_key_value_heads": 1,
                    "num_kv_shared_layers": 0, "enable_moe_block": True, "attention_k_eq_v": True},
    "gemma4_unified_text": {"layer_types": [WINDOW, FULL] * 2, "global_head_dim": 20, "num_global_key_value_heads": 1,
                            "num_kv_shared_layers": 0},
    "gemma3n_text": {"layer_types": [WINDOW, FULL] * 2, "num_kv_shared_layers": 0},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2, "mamba_n_heads": 8, "mamba_d_head": 12,
                         "mamba_expand": 2},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8},
    "nemotron_h": {"layers_block_type": ["mamba", "moe", "attention", "mlp"], "mamba_num_heads": 8,
                   "mamba_head_dim": 8, "moe_shared_expert_intermediate_size": 26},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "expert_layer_offset": 0},
    "bert": {}, "xlm-roberta": {}, "modernbert": {},
}  # fmt: skip
"""What an architecture needs beside."""
NEW_FALCON = {"new_decoder_architecture": True}
FALCON: dict[str, dict[str, Any]] = {
    "falcon": {"multi_query": True, "new_decoder_architecture": False}, "falcon new": NEW_FALCON,
    "falcon old": {"multi_query": False, "new_decoder_architecture": False},
}  # fmt: skip
_BESIDE = re.compile(r"vision|visual|projector|connector|audio|\.position|embed_positions")


def build(out: Path = OUT) -> None:
    """The whole table, an architecture a line."""
    import torch
    import transformers

    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    rows = [{"transformers": transformers.__version__, "torch": torch.__version__}, *every()]
    out.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n", encoding="utf-8")


def every() -> list[dict[str, Any]]:
    """A row for each build: model_type, config, and inputs and outputs by module."""
    rows = []
    for kind in (*PLAIN, *MORE):
        ways = [{"head_dim": HEAD_DIM}] if kind not in LATENT else []
        for heads in [*ways, *([{}] if kind not in NEEDS_HEADS else [])]:
            rows += [row] if (row := _row(kind, MORE.get(kind, {}) | heads)) else []
    rows += [row for more in FALCON.values() if (row := _row("falcon", more))]
    return rows


def _row(kind: str, more: dict[str, Any]) -> dict[str, Any] | None:
    import torch
    import transformers
    from transformers import AutoConfig

    whole = AutoConfig.for_model(kind)
    has_text = "text_config" in (getattr(type(whole), "sub_configs", None) or {})
    text = type(whole.text_config) if has_text else type(whole)
    numbers = {
        key: value for key, value in SMALL.items() if key in text().to_dict() or key in text.attribute_map
    } | more
    config = type(whole)(text_config=text(**numbers).to_dict()) if has_text else text(**numbers)
    inner = {"model_type": text.model_type} | numbers
    document = {"model_type": kind, "text_config": inner} if has_text else inner
    loaders = transformers.AutoModelForCausalLM, transformers.AutoModelForImageTextToText, transformers.AutoModel
    with torch.device("meta"):
        for loader in loaders:
            if type(config) in loader._model_mapping:  # noqa: SLF001 - which of them builds it
                return {"model_type": kind, "config": document, "modules": _matrices(loader.from_config(config))}
    return None


def _matrices(model: Any) -> dict[str, list[int]]:
    """Inputs and outputs of the first module of every name and size; three numbers are a stack of experts."""
    seen, rows = set(), {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        if weight is not None and weight.dim() == 2 and not _BESIDE.search(name):
            shape = list(weight.shape)
            is_turned = "Embedding" not in type(module).__name__ and type(module).__name__ != "Conv1D"
            rows[name] = shape[::-1] if is_turned else shape
    for name, weight in model.named_parameters():
        if weight.dim() == 3 and "experts" in name:
            rows[name] = list(weight.shape)
    for name in list(rows):
        key = re.sub(r"\.\d+\.", ".N.", name), tuple(rows[name])
        if key in seen:
            del rows[name]
        seen.add(key)
    return rows


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
