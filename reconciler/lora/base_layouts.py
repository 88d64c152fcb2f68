"""What the matrices of an architecture are called, and how wide they are by the numbers of its ``config.json``.

A width is written as the library computes it: numbers of the configuration by name, multiplied, added, and ``|``
between what is possible where layers of one model differ. What has no row here stays unknown, and is never guessed.

Source:
    transformers 5.23.0: every row is compared with the model that it builds (tests/lora/layouts.json, written by
    scripts/build_lora_layouts.py); names of experts one by one as transformers 4 has them, and as the GGUF converter of
    llama.cpp b10434 reads them; llama.cpp's ``conversion`` for the names of architectures in GGUF.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Rows = dict[str, tuple[str, str]]
Heads = Literal["stated", "divided", "shared"]

_HIDDEN, _FEED, _EXPERT = "hidden_size", "intermediate_size", "moe_intermediate_size"
_WIDE, _NARROW = "num_attention_heads*head_dim", "num_key_value_heads*head_dim"
_OUTER: Rows = {"embed_tokens": ("vocab_size", _HIDDEN), "lm_head": (_HIDDEN, "vocab_size")}


@dataclass(frozen=True, slots=True)
class Layout:
    """One architecture."""

    rows: Mapping[str, tuple[str, str]] = field(hash=False)
    """Inputs and outputs by the module's path in its layer (experts by ``*``), or outside of layers."""
    heads: Heads = "stated"
    """How wide a head is where nothing states it: not known, or ``hidden_size`` by their number; ``shared``: always
    that, whatever is stated."""
    expert: str | None = None
    """The number that an expert is wide."""
    gguf: tuple[str, ...] = ()
    """``general.architecture`` of its files; empty: not known."""

    def stack(self, path: str) -> tuple[tuple[str, str], ...]:
        """What a stack of experts may be wide, each way round, for libraries disagree; empty: none is at this path."""
        if self.expert is None or not any(name.startswith(f"{path}.*.") for name in self.rows):
            return ()
        ways = ((_HIDDEN, f"2*{self.expert}"), (_HIDDEN, self.expert), (self.expert, _HIDDEN))
        return (*ways, (f"2*{self.expert}", _HIDDEN))


def _attention(part: str = "self_attn", *, out: str = "o_proj", wide: str = _WIDE, narrow: str = _NARROW) -> Rows:
    names = (f"{part}.{each}" for each in ("q_proj", "k_proj", "v_proj", out))
    return dict(zip(names, ((_HIDDEN, wide), (_HIDDEN, narrow), (_HIDDEN, narrow), (wide, _HIDDEN)), strict=True))


def _gated(part: str, width: str) -> Rows:
    return {f"{part}.gate_proj": (_HIDDEN, width), **_up_down(part, width)}


def _up_down(part: str, width: str, up: str = "up_proj", down: str = "down_proj") -> Rows:
    return {f"{part}.{up}": (_HIDDEN, width), f"{part}.{down}": (width, _HIDDEN)}


def _three(part: str, width: str) -> Rows:
    """Gate, down and up under their short names."""
    return {f"{part}.w1": (_HIDDEN, width), f"{part}.w2": (width, _HIDDEN), f"{part}.w3": (_HIDDEN, width)}


def _experts(part: str, width: str = _EXPERT) -> Rows:
    return _gated(f"{part}.experts.*", width)


def _latent() -> Rows:
    """Multi-head latent attention."""
    heads = "num_attention_heads"
    return {
        "self_attn.q_proj": (_HIDDEN, f"{heads}*qk_nope_head_dim+{heads}*qk_rope_head_dim"),
        "self_attn.q_a_proj": (_HIDDEN, "q_lora_rank"),
        "self_attn.q_b_proj": ("q_lora_rank", f"{heads}*qk_nope_head_dim+{heads}*qk_rope_head_dim"),
        "self_attn.kv_a_proj_with_mqa": (_HIDDEN, "kv_lora_rank+qk_rope_head_dim"),
        "self_attn.kv_b_proj": ("kv_lora_rank", f"{heads}*qk_nope_head_dim+{heads}*v_head_dim"),
        "self_attn.o_proj": (f"{heads}*v_head_dim", _HIDDEN),
    }


def _linear(*, is_fused: bool) -> Rows:
    """Linear attention of the Qwen models beside their gated full attention."""
    keys = "2*linear_num_key_heads*linear_key_head_dim"
    values, heads = "linear_num_value_heads*linear_value_head_dim", "linear_num_value_heads"
    fused = {
        "linear_attn.in_proj_qkvz": (_HIDDEN, f"{keys}+2*{values}"),
        "linear_attn.in_proj_ba": (_HIDDEN, f"2*{heads}"),
    }
    apart = {
        "linear_attn.in_proj_qkv": (_HIDDEN, f"{keys}+{values}"), "linear_attn.in_proj_z": (_HIDDEN, values),
        "linear_attn.in_proj_b": (_HIDDEN, heads), "linear_attn.in_proj_a": (_HIDDEN, heads),
    }  # fmt: skip
    gate = {"self_attn.q_proj": (_HIDDEN, f"2*{_WIDE}")}
    return {**_attention(), **gate, **(fused if is_fused else apart), "linear_attn.out_proj": (values, _HIDDEN)}


_PLAIN: Rows = {**_OUTER, **_attention(), **_gated("mlp", _FEED)}
_FUSED_MLP: Rows = {"mlp.gate_up_proj": (_HIDDEN, f"2*{_FEED}"), "mlp.down_proj": (_FEED, _HIDDEN)}
_UNGATED: Rows = {**_OUTER, **_attention(), **_up_down("mlp", _FEED)}
_MIXED: Rows = {**_OUTER, **_attention(), **_experts("mlp")}
_DENSE_FIRST: Rows = {**_MIXED, **_gated("mlp", _FEED)}
_SHARED: Rows = _gated("mlp.shared_experts", f"n_shared_experts*{_EXPERT}")
_DEEPSEEK: Rows = {**_OUTER, **_latent(), **_gated("mlp", _FEED), **_experts("mlp"), **_SHARED}
_SHARED_EXPERT: Rows = {
    **_gated("mlp.shared_expert", "shared_expert_intermediate_size"),
    "mlp.shared_expert_gate": (_HIDDEN, "1"),
}
_WIDE_EXPERTS: Rows = {**_OUTER, **_attention(), **_experts("mlp", _FEED)}
_MAMBA_FEED: Rows = _gated("feed_forward", _FEED)
_NUMBER_OF_SHARED = f"num_shared_experts*{_EXPERT}"
_GLOBAL = "num_attention_heads*global_head_dim"
_GEMMA_KEYS = f"{_NARROW}|num_key_value_heads*global_head_dim|num_global_key_value_heads*global_head_dim"
_GEMMA_4: Rows = {
    **_OUTER, **_attention(wide=f"{_WIDE}|{_GLOBAL}", narrow=_GEMMA_KEYS),
    **_gated("mlp", f"{_FEED}|2*{_FEED}"), **_gated("experts.*", _EXPERT),
    "per_layer_input_gate": (_HIDDEN, "hidden_size_per_layer_input"),
    "per_layer_projection": ("hidden_size_per_layer_input", _HIDDEN),
}  # fmt: skip
_MIMO: Rows = {
    **_OUTER, **_gated("mlp", _FEED), **_experts("mlp"),
    "self_attn.q_proj": (_HIDDEN, f"{_WIDE}|swa_num_attention_heads*swa_head_dim"),
    "self_attn.o_proj": ("num_attention_heads*v_head_dim|swa_num_attention_heads*swa_v_head_dim", _HIDDEN),
}  # fmt: skip
_GPT: Rows = {
    "wte": ("vocab_size", "n_embd"), "lm_head": ("n_embd", "vocab_size"), "attn.c_attn": ("n_embd", "3*n_embd"),
    "attn.c_proj": ("n_embd", "n_embd"), "mlp.c_fc": ("n_embd", "n_inner|4*n_embd"),
    "mlp.c_proj": ("n_inner|4*n_embd", "n_embd"),
}  # fmt: skip
_QUERY_KEY_VALUE: Rows = {
    "attention.query_key_value": (_HIDDEN, "3*hidden_size"), "attention.dense": (_HIDDEN, _HIDDEN),
    **_up_down("mlp", _FEED, "dense_h_to_4h", "dense_4h_to_h"), "embed_in": ("vocab_size", _HIDDEN),
    "embed_out": (_HIDDEN, "vocab_size"), "lm_head": (_HIDDEN, "vocab_size"),
}  # fmt: skip
_BLOOM: Rows = {
    "self_attention.query_key_value": (_HIDDEN, "3*hidden_size"), "self_attention.dense": (_HIDDEN, _HIDDEN),
    **_up_down("mlp", "4*hidden_size", "dense_h_to_4h", "dense_4h_to_h"), "word_embeddings": ("vocab_size", _HIDDEN),
    "lm_head": (_HIDDEN, "vocab_size"),
}  # fmt: skip
_FALCON: Rows = {
    **_BLOOM, **_up_down("mlp", "ffn_hidden_size|4*hidden_size", "dense_h_to_4h", "dense_4h_to_h"),
    "self_attention.query_key_value": (
        _HIDDEN, "3*hidden_size|hidden_size+2*head_dim|num_attention_heads*head_dim+2*num_kv_heads*head_dim"
    ),
}  # fmt: skip
"""One for all heads, one key and value for all, or some: the flags that tell are left aside."""
_ENCODER: Rows = {
    **{f"attention.self.{each}": (_HIDDEN, _HIDDEN) for each in ("query", "key", "value")},
    "attention.output.dense": (_HIDDEN, _HIDDEN), "intermediate.dense": (_HIDDEN, _FEED),
    "output.dense": (_FEED, _HIDDEN),
}  # fmt: skip


def _layout(rows: Rows, *gguf: str, heads: Heads = "stated") -> Layout:
    return Layout(rows, heads, gguf=gguf)


def _dividing(rows: Rows, *gguf: str) -> Layout:
    return Layout(rows, "divided", gguf=gguf)


def _mixture(rows: Rows, *gguf: str, heads: Heads = "stated", expert: str = _EXPERT) -> Layout:
    return Layout(rows, heads, expert, gguf)


LAYOUTS: dict[str, Layout] = {
    "llama": _dividing(_PLAIN, "llama"),
    "mistral": _dividing(_PLAIN, "llama", "mistral3"),
    "ministral3": _layout(_PLAIN, "mistral3", "llama"),
    "qwen2": _dividing(_PLAIN, "qwen2"),
    "qwen2_5_vl_text": _layout(_PLAIN, "qwen2vl", heads="shared"),
    "qwen3": _layout(_PLAIN, "qwen3"),
    "qwen3_vl_text": _layout(_PLAIN, "qwen3vl"),
    "gemma": _layout(_PLAIN, "gemma"),
    "gemma2": _layout(_PLAIN, "gemma2"),
    "gemma3_text": _layout(_PLAIN, "gemma3", "gemma-embedding"),
    "olmo2": _dividing(_PLAIN, "olmo2"),
    "olmo3": _dividing(_PLAIN, "olmo2"),
    "granite": _dividing(_PLAIN, "granite"),
    "smollm3": _dividing(_PLAIN, "smollm3"),
    "cohere": _dividing(_PLAIN, "command-r"),
    "cohere2": _dividing(_PLAIN, "cohere2"),
    "seed_oss": _layout(_PLAIN, "seed_oss"),
    "exaone4": _dividing(_PLAIN, "exaone4"),
    "hunyuan_v1_dense": _layout(_PLAIN, "hunyuan-dense"),
    "ernie4_5": _layout(_PLAIN, "ernie4_5"),
    "internlm3": _layout(_PLAIN, "llama"),
    "bitnet": _dividing(_PLAIN, "bitnet"),
    "stablelm": _layout(_PLAIN, "stablelm", heads="shared"),
    "mllama_text_model": _layout({**_attention(), **_attention("cross_attn"), **_gated("mlp", _FEED)}, heads="shared"),
    "phi3": _dividing(
        {**_OUTER, **_FUSED_MLP, "self_attn.qkv_proj": (_HIDDEN, f"{_WIDE}+2*{_NARROW}"),
         "self_attn.o_proj": (_WIDE, _HIDDEN)}, "phi3"
    ),
    "glm": _layout({**_OUTER, **_attention(), **_FUSED_MLP}, "chatglm"),
    "glm4": _layout({**_OUTER, **_attention(), **_FUSED_MLP}, "glm4"),
    "glm4v_text": _layout({**_OUTER, **_attention(), **_FUSED_MLP}, "glm4", heads="shared"),
    "arcee": _dividing(_UNGATED, "arcee"),
    "apertus": _dividing(_UNGATED, "apertus"),
    "nemotron": _dividing(_UNGATED, "nemotron"),
    "starcoder2": _dividing({**_OUTER, **_attention(), **_up_down("mlp", _FEED, "c_fc", "c_proj")}, "starcoder2"),
    "phi": _dividing({**_OUTER, **_attention(out="dense"), **_up_down("mlp", _FEED, "fc1", "fc2")}, "phi2"),
    "gpt2": _layout(_GPT, "gpt2"),
    "gpt_neox": _layout(_QUERY_KEY_VALUE, "gptneox"),
    "bloom": _layout(_BLOOM, "bloom"),
    "falcon": _layout(_FALCON, "falcon", heads="shared"),
    "lfm2": _dividing(
        {**_OUTER, **_attention(out="out_proj"), "conv.in_proj": (_HIDDEN, "3*hidden_size"),
         "conv.out_proj": (_HIDDEN, _HIDDEN)}, "lfm2"
    ),
    "falcon_h1": _dividing({**_OUTER, **_attention(), **_MAMBA_FEED}, "falcon-h1"),
    "gemma3n_text": _layout(
        {**_PLAIN, "per_layer_input_gate": _GEMMA_4["per_layer_input_gate"],
         "per_layer_projection": _GEMMA_4["per_layer_projection"]}, "gemma3n"
    ),
    "gemma4_text": _mixture(_GEMMA_4, "gemma4"),
    "gemma4_unified_text": _layout(_GEMMA_4, "gemma4"),
    "qwen3_5_text": _layout({**_OUTER, **_linear(is_fused=False), **_gated("mlp", _FEED)}, "qwen35"),
    # mixtures
    "mixtral": _mixture(
        {**_WIDE_EXPERTS, **_three("block_sparse_moe.experts.*", _FEED)}, "llama", heads="divided", expert=_FEED
    ),
    "qwen2_moe": _mixture({**_DENSE_FIRST, **_SHARED_EXPERT}, "qwen2moe", heads="divided"),
    "qwen3_moe": _mixture(_DENSE_FIRST, "qwen3moe", heads="divided"),
    "qwen3_vl_moe_text": _mixture(_DENSE_FIRST, "qwen3vlmoe", heads="divided"),
    "qwen3_next": _mixture(
        {**_OUTER, **_linear(is_fused=True), **_gated("mlp", _FEED), **_experts("mlp"), **_SHARED_EXPERT}, "qwen3next"
    ),
    "qwen3_5_moe_text": _mixture(
        {**_OUTER, **_linear(is_fused=False), **_experts("mlp"), **_SHARED_EXPERT}, "qwen35moe"
    ),
    "glm4_moe": _mixture({**_DENSE_FIRST, **_SHARED}, "glm4moe", heads="divided"),
    "glm4v_moe_text": _mixture({**_DENSE_FIRST, **_SHARED}, "glm4moe", heads="divided"),
    "solar_open": _mixture({**_DENSE_FIRST, **_SHARED}, "glm4moe"),
    "minimax_m2": _mixture(
        {**_WIDE_EXPERTS, **_three("block_sparse_moe.experts.*", _FEED)}, "minimax-m2", expert=_FEED
    ),
    "minimax_m3_vl_text": _mixture(
        {**_WIDE_EXPERTS, "mlp.shared_experts.gate_up_proj": (_HIDDEN, "2*shared_intermediate_size"),
         "mlp.shared_experts.down_proj": ("shared_intermediate_size", _HIDDEN)}, expert=_FEED
    ),
    "afmoe": _mixture(
        {**_DENSE_FIRST, **_gated("mlp.shared_experts", _NUMBER_OF_SHARED), "self_attn.gate_proj": (_HIDDEN, _WIDE)},
        "afmoe",
    ),
    "gpt_oss": _mixture(_WIDE_EXPERTS, "gpt-oss", expert=_FEED),
    "ernie4_5_moe": _mixture(
        {**_DENSE_FIRST, **_gated("mlp.shared_experts", f"moe_num_shared_experts*{_EXPERT}")}, "ernie4_5-moe",
        heads="divided",
    ),
    "granitemoe": _mixture(
        {**_OUTER, **_attention(), **_experts("block_sparse_moe", _FEED)}, "granitemoe", heads="divided", expert=_FEED
    ),
    "granitemoehybrid": _mixture(
        {**_OUTER, **_attention(), **_experts("block_sparse_moe", _FEED),
         "shared_mlp.input_linear": (_HIDDEN, "2*shared_intermediate_size"),
         "shared_mlp.output_linear": ("shared_intermediate_size", _HIDDEN)}, heads="divided", expert=_FEED
    ),
    "cohere2_moe": _mixture(
        {**_WIDE_EXPERTS, **_gated("mlp.shared_experts", f"num_shared_experts*{_FEED}")}, "cohere2moe", expert=_FEED
    ),
    "exaone_moe": _mixture(
        {**_DENSE_FIRST, **_gated("mlp.shared_experts", _NUMBER_OF_SHARED)}, "exaone-moe", heads="divided"
    ),
    "olmoe": _mixture(_WIDE_EXPERTS, "olmoe", heads="divided", expert=_FEED),
    "phimoe": _mixture(
        {**_WIDE_EXPERTS, **_three("block_sparse_moe.experts.*", _FEED)}, "phimoe", heads="divided", expert=_FEED
    ),
    "hunyuan_v1_moe": _mixture({**_WIDE_EXPERTS, **_gated("mlp.shared_mlp", _FEED)}, "hunyuan-moe", expert=_FEED),
    "hy_v3": _mixture({**_DENSE_FIRST, **_gated("mlp.shared_experts", _NUMBER_OF_SHARED)}, "hy_v3"),
    "laguna": _mixture(
        {**_OUTER, **_gated("mlp", _FEED), **_experts("mlp"),
         **_gated("mlp.shared_experts", "shared_expert_intermediate_size")}, "laguna"
    ),
    "llama4_text": _mixture(
        {**_OUTER, **_attention(), **_gated("feed_forward", "intermediate_size_mlp"),
         **_experts("feed_forward", _FEED), **_gated("feed_forward.shared_expert", _FEED)}, "llama4", expert=_FEED
    ),
    "mimo_v2_flash": _mixture(_MIMO, "mimo2"),
    "lfm2_moe": _mixture(
        {**_OUTER, **_attention(out="out_proj"), "conv.in_proj": (_HIDDEN, "3*hidden_size"),
         "conv.out_proj": (_HIDDEN, _HIDDEN), **_three("feed_forward", _FEED),
         **_three("feed_forward.experts.*", _EXPERT)}, "lfm2moe", heads="divided"
    ),
    "jamba": _mixture(
        {**_OUTER, **_attention(), **_MAMBA_FEED, **_experts("feed_forward", _FEED)}, "jamba", heads="divided",
        expert=_FEED,
    ),
    "nemotron_h": _mixture(
        {**_attention("mixer"), **_up_down("mixer", _FEED), "embeddings": ("vocab_size", _HIDDEN),
         "lm_head": (_HIDDEN, "vocab_size"), **_up_down("mixer.experts.*", _EXPERT),
         **_up_down("mixer.shared_experts", "moe_shared_expert_intermediate_size")}, "nemotron_h", "nemotron_h_moe"
    ),
    "deepseek_v2": _mixture(_DEEPSEEK, "deepseek2"),
    "deepseek_v3": _mixture(_DEEPSEEK, "deepseek2"),
    "deepseek_v32": _mixture(_DEEPSEEK, "deepseek32"),
    "glm_moe_dsa": _mixture(_DEEPSEEK, "glm-dsa"),
    "glm4_moe_lite": _mixture(_DEEPSEEK, "deepseek2"),
    # encoders
    "bert": _layout(_ENCODER, "bert"),
    "xlm-roberta": _layout(_ENCODER, "bert"),
    "modernbert": _layout(
        {"attn.Wqkv": (_HIDDEN, "3*hidden_size"), "attn.Wo": (_HIDDEN, _HIDDEN), "mlp.Wi": (_HIDDEN, f"2*{_FEED}"),
         "mlp.Wo": (_FEED, _HIDDEN)}, "modern-bert"
    ),
}  # fmt: skip
"""By ``model_type`` of what reads and writes text."""
NUMBERS = frozenset(
    name
    for layout in LAYOUTS.values()
    for widths in layout.rows.values()
    for name in re.findall(r"[a-z]\w*", " ".join(widths))
)
"""Every number that a width is made of."""
TEXT_PARTS = {
    "gemma3": "gemma3_text", "gemma3n": "gemma3n_text", "gemma4": "gemma4_text",
    "gemma4_unified": "gemma4_unified_text", "gemma-embedding": "gemma3_text", "mistral3": "mistral",
    "qwen2_5_vl": "qwen2_5_vl_text", "qwen3_vl": "qwen3_vl_text", "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text", "qwen3_5_moe": "qwen3_5_moe_text",
    "glm4v": "glm4v_text", "glm4v_moe": "glm4v_moe_text", "llama4": "llama4_text", "lfm2_vl": "lfm2",
    "smolvlm": "llama", "idefics3": "llama", "mllama": "mllama_text_model", "minimax_m3_vl": "minimax_m3_vl_text",
    "exaone4_5": "exaone4",
}  # fmt: skip
"""The layout of the part that reads and writes text, where the whole model's type stands for it."""
_OF_ANOTHER = "transformers does not build it: nothing to compare a layout with"
UNLISTED = {
    **dict.fromkeys((
        "bailing_moe", "deepseek_vl_v2", "exaone", "jina_embeddings_v5", "kimi_k2", "kimi_k3", "kimi_vl",
        "llama_bidirec", "mimo", "mimo_v2", "minicpm", "minicpmv", "minimax_m1", "moondream1", "nemotron-nas",
        "nomic-bert-moe", "phi3_v", "phi4mm", "step_robotics",
    ), _OF_ANOTHER),
    **dict.fromkeys((
        "bailing_hybrid", "deepseek_v4", "diffusion_gemma", "glm5_next", "kimi_k25", "kimi_linear", "minicpmv4_6",
        "molmo2", "qwen4_exp", "step3p5", "step3p7",
    ), "its layers differ in ways that its numbers do not tell"),
    **dict.fromkeys(("cohere2_vision", "internvl", "llava", "llava_next"), "it is built around any of several models"),
    "nomic_bert": "its modules are not those of the library",
}  # fmt: skip
"""Why an architecture that the catalogue has is not listed."""
