"""Writes tests/lora/mlx: adapters as the real mlx_lm saves them, of models of a few thousand weights.

Needs mlx and mlx-lm, which run on the CPU of any Linux too and which the tests do not need:

    python -m venv /tmp/mlx && /tmp/mlx/bin/pip install "mlx[cpu]" mlx-lm
    /tmp/mlx/bin/python scripts/build_mlx_fixtures.py

``versions.json`` beside the adapters says what wrote them.
"""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

OUT = Path(__file__).parent.parent / "tests" / "lora" / "mlx"
BASE = "acme/tiny-llama"
SHAPE = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 32, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
}  # fmt: skip
MIXTURE = {
    "model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
    "mlp_only_layers": [], "moe_intermediate_size": 8, "head_dim": 4, "max_position_embeddings": 64,
    "tie_word_embeddings": False, "norm_topk_prob": True,
}  # fmt: skip
ATTENTION = ["self_attn.q_proj", "self_attn.v_proj"]
ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {"keys": ATTENTION},
    "default-keys": {"keys": None},
    "dora": {"keys": ATTENTION, "kind": "dora"},
    "last-layer": {"keys": ["self_attn.o_proj", "mlp.down_proj"], "num_layers": 1},
    "embedding": {"keys": ["embed_tokens", "model.embed_tokens", "self_attn.q_proj"]},
}


def build(out: Path = OUT) -> None:
    """Everything, into a fresh folder."""
    from mlx_lm.models import llama, qwen3_moe

    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    versions = {name: version(name) for name in ("mlx", "mlx-lm")}
    (out / "versions.json").write_text(json.dumps(versions, indent=2) + "\n", encoding="utf-8")
    for name, settings in ADAPTERS.items():
        _save(llama.Model(llama.ModelArgs(model_type="llama", **SHAPE)), out / name, **settings)
    mixture = qwen3_moe.Model(qwen3_moe.ModelArgs(**SHAPE, **MIXTURE))
    _save(mixture, out / "experts", keys=["mlp.switch_mlp.gate_proj", "self_attn.q_proj"])


def _save(model: Any, folder: Path, *, keys: list[str] | None, kind: str = "lora", num_layers: int = 2) -> None:
    """As ``mlx_lm.lora`` does once a model is trained."""
    import mlx.core as mx
    from mlx.utils import tree_flatten
    from mlx_lm.tuner.utils import linear_to_lora_layers
    from mlx_lm.utils import save_config

    parameters = {"rank": 4, "dropout": 0.0, "scale": 20.0} | ({"keys": keys} if keys else {})
    model.freeze()
    linear_to_lora_layers(model, num_layers, parameters, use_dora=kind == "dora")
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters())))
    stated = {"fine_tune_type": kind, "model": BASE, "num_layers": num_layers, "lora_parameters": parameters}
    save_config(stated, folder / "adapter_config.json")


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)
