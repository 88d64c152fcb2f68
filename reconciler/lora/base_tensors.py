"""A module of the library and the tensor of a GGUF file that holds the same matrix, by their names.

Only what keeps its width on the way is here: what a converter splits or joins has no one tensor.

Source:
    gguf 0.19.0 ``tensor_mapping.py``: every row is looked up there in tests/lora/test_base_shapes.py.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterator

OUTER = {
    "embed_tokens": "token_embd", "wte": "token_embd", "embed_in": "token_embd", "word_embeddings": "token_embd",
    "embeddings": "token_embd", "lm_head": "output", "embed_out": "output",
}  # fmt: skip
"""Outside of layers."""
_QUERIES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v"}
_GATED = {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
_SHORT = {"w1": "ffn_gate", "w2": "ffn_down", "w3": "ffn_up"}
_BESIDE = ("mlp.shared_expert", "mlp.shared_experts", "mlp.shared_mlp")


def _under(part: str, names: dict[str, str], suffix: str = "") -> dict[str, str]:
    return {f"{part}.{name}": f"{tensor}{suffix}" for name, tensor in names.items()}


IN_LAYER = {
    **_under("self_attn", _QUERIES | {"o_proj": "attn_output", "qkv_proj": "attn_qkv"}),
    **_under("mlp", _GATED),
    **_under("feed_forward", _GATED | _SHORT),
    "mlp.gate_up_proj": "ffn_up", "self_attn.dense": "attn_output", "self_attn.out_proj": "attn_output",
    "mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "attention.query_key_value": "attn_qkv",
    "attention.dense": "attn_output", "self_attention.query_key_value": "attn_qkv",
    "self_attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down",
    **_under("mlp.experts.*", _GATED, "_exps"),
    **_under("block_sparse_moe.experts.*", _SHORT, "_exps"),
    **{key: name for part in _BESIDE for key, name in _under(part, _GATED, "_shexp").items()},
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_b_proj": "attn_q_b", "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_b_proj": "attn_kv_b", "linear_attn.in_proj_qkv": "attn_qkv", "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.out_proj": "ssm_out", "conv.in_proj": "shortconv.in_proj", "conv.out_proj": "shortconv.out_proj",
    **_under("mixer", _QUERIES | {"o_proj": "attn_output", "up_proj": "ffn_up", "down_proj": "ffn_down"}),
    "attention.self.query": "attn_q", "attention.self.key": "attn_k", "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output", "intermediate.dense": "ffn_up", "output.dense": "ffn_down",
    "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj",
}  # fmt: skip
"""Inside of one, experts by ``*``."""
STACK = "ffn_up_exps"
"""What tells how wide the experts of a layer are."""
_BLOCK = re.compile(r"blk\.(\d{1,6})\.([\w.]+)\.weight")


def tensor_of(path: str, layer: int | None) -> str | None:
    """The tensor of a module that is named by its path in its layer, or outside of layers; None: none is known.

    >>> tensor_of("self_attn.q_proj", 3), tensor_of("embed_tokens", None)
    ('blk.3.attn_q.weight', 'token_embd.weight')
    """
    name = OUTER.get(path) if layer is None else IN_LAYER.get(path)
    if name is None:
        return None
    return f"{name}.weight" if layer is None else f"blk.{layer}.{name}.weight"


def module_of(tensor: str, known: Container[str]) -> str | None:
    """The module that a tensor was made of, of those that an architecture has; None: none of them."""
    return next((name for name in _modules_of(tensor) if name in known), None)


def _modules_of(tensor: str) -> Iterator[str]:
    block = _BLOCK.fullmatch(tensor)
    names, wanted = (IN_LAYER, block[2]) if block else (OUTER, tensor.removesuffix(".weight"))
    return (name for name, each in names.items() if each == wanted)
