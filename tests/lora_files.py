"""Adapters made for tests: safetensors by the real library, GGUF by llama.cpp's own writer, and damaged ones of both."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from safetensors.numpy import save_file

PEFT = Path(__file__).parent / "lora" / "peft"
"""Adapters that the real peft wrote (scripts/build_lora_fixtures.py)."""
TINY = {
    "model_type": "llama", "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 32,
}  # fmt: skip
"""``config.json`` of the base of ``PEFT``."""
WIDTHS = {"q_proj": (16, 16), "k_proj": (16, 8), "v_proj": (16, 8), "o_proj": (16, 16), "gate_proj": (16, 24),
          "up_proj": (16, 24), "down_proj": (24, 16)}  # fmt: skip
"""Inputs and outputs of its modules."""


def pair(path: str, inputs: int, outputs: int, rank: int, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    """Both halves of one module, as peft names them."""
    return {
        f"base_model.model.{path}.lora_A.weight": np.full((rank, inputs), 0.01, dtype),
        f"base_model.model.{path}.lora_B.weight": np.zeros((outputs, rank), dtype),
    }


def pairs(
    *targets: str, rank: int = 4, layers: Iterable[int] = (0, 1), widths: Mapping[str, tuple[int, int]] = WIDTHS
) -> dict[str, np.ndarray]:
    """Pairs of these modules in each layer of a Llama."""
    found: dict[str, np.ndarray] = {}
    for layer in layers:
        for target in targets:
            part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
            found |= pair(f"model.layers.{layer}.{part}.{target}", *widths[target], rank)
    return found


def config(**changes: Any) -> dict[str, Any]:
    """An ``adapter_config.json``; a value of None leaves the key out."""
    document = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "acme/tiny-llama", "r": 4,
        "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], "bias": "none", "modules_to_save": None,
    } | changes  # fmt: skip
    return {key: value for key, value in document.items() if value is not None}


def folder(
    path: Path,
    tensors: Mapping[str, np.ndarray] | None = None,
    document: Mapping[str, Any] | None = None,
) -> Path:
    """A PEFT adapter of two modules in two layers, or of what is given."""
    path.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors or pairs("q_proj", "v_proj")), path / "adapter_model.safetensors")
    (path / "adapter_config.json").write_text(json.dumps(document or config()), encoding="utf-8")
    return path


def raw_safetensors(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file with this header, whatever it claims; text stands as it is."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text) if length is None else length) + text + data


@cache
def base_shapes(base: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    """(architecture, inputs and outputs by tensor) of a GGUF model, as the library reads them."""
    reader = gguf.GGUFReader(base)
    field = reader.get_field("general.architecture")
    assert field is not None
    shapes = {each.name: (int(each.shape[0]), int(each.shape[1])) for each in reader.tensors if len(each.shape) == 2}
    return str(field.contents()), shapes


def gguf_adapter(
    path: Path,
    architecture: str,
    shapes: Mapping[str, tuple[int, int]],
    *,
    rank: int = 4,
    alpha: float | None = 8.0,
    adapter_type: str | None = "lora",
    kind: str = "adapter",
    scale: float = 0.0,
    leave_out: Iterable[str] = (),
    more: Mapping[str, np.ndarray] | None = None,
    seed: int = 7,
) -> Path:
    """A GGUF adapter of these tensors of a base.

    Args:
        path: where to write it.
        architecture: ``general.architecture``.
        shapes: inputs and outputs by the base's tensor name.
        rank: of every pair.
        alpha: None leaves the key out.
        adapter_type: likewise.
        kind: ``general.type``.
        scale: of random B halves; 0: the adapter changes nothing.
        leave_out: tensors that are not written, such as one half.
        more: tensors beside the pairs.
        seed: of the random halves.
    """
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type(kind)
    if adapter_type is not None:
        writer.add_string("adapter.type", adapter_type)
    if alpha is not None:
        writer.add_float32("adapter.lora.alpha", alpha)
    tensors = dict(more or {})
    for name, (inputs, outputs) in shapes.items():
        tensors[f"{name}.lora_a"] = random.standard_normal((rank, inputs)).astype(np.float32) * 0.02
        tensors[f"{name}.lora_b"] = random.standard_normal((outputs, rank)).astype(np.float32) * scale
    for name, tensor in tensors.items():
        if name not in leave_out:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def adapter_for(base: Path, path: Path, *, roles: tuple[str, ...] = ("attn_q", "attn_v"), **how: Any) -> Path:
    """A GGUF adapter that fits a real base: the modules with these roles, in every layer."""
    architecture, shapes = base_shapes(base)
    chosen = {name: shape for name, shape in shapes.items() if name.split(".")[-2] in roles}
    return gguf_adapter(path, how.pop("architecture", architecture), how.pop("shapes", chosen), **how)
