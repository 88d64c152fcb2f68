"""llmfit's estimates of measured points: its formula, with the metadata of its own catalogue.

The program ranks its own catalogue and cannot be asked about a point, so the formula stands here again, for version
1.1.17 (``fit.rs``, ``models.rs``; MIT): one device, everything on it, no calibration. ``score_peers.py`` takes the
catalogue from ``llmfit --json list``. Bandwidth is the point's, not the program's table: the same for everybody.
"""

from __future__ import annotations

import re
from typing import Any

VERSION = "1.1.17"
EFFICIENCY = 0.55
FIXED_BYTES = 3.2
"""Bytes it charges per weight of attention, router, head and embedding, whatever the quant."""
OVERHEAD_GB = 0.5
FILE_BYTES = {
    "F32": 4.0, "F16": 2.0, "BF16": 2.0, "Q8_0": 1.05, "Q6_K": 0.80, "Q5_K_M": 0.68, "Q4_K_M": 0.58, "Q4_0": 0.58,
    "Q3_K_M": 0.48, "Q2_K": 0.37, "MLX-4bit": 0.55, "MLX-8bit": 1.0, "AWQ": 0.5, "GPTQ": 0.5,
}  # fmt: skip
READ_BYTES = {
    "F16": 2.0, "BF16": 2.0, "Q8_0": 1.0, "Q6_K": 0.75, "Q5_K_M": 0.625, "Q4_K_M": 0.5, "Q4_0": 0.5,
    "Q3_K_M": 0.375, "Q2_K": 0.25, "MLX-8bit": 1.0,
}  # fmt: skip
DYNAMIC = {2: "Q2_K", 3: "Q3_K_M", 4: "Q4_K_M", 5: "Q5_K_M", 6: "Q6_K", 8: "Q8_0"}
"""It takes Unsloth's dynamic quants for these, when they are spelled ``UD-Q4_K_XL``."""
EXPERT_FACTORS = ((8, 0.90), (16, 0.85), (32, 0.80), (64, 0.70))
CACHE_BYTES = {"q8_0": 1.0, "fp8": 1.0, "fp8_e4m3": 1.0, "q4_0": 0.5}


def slug(name: str) -> str:
    """How it decides that two names mean one model."""
    return re.sub(r"[-_.]", "", name.rsplit("/", 1)[-1].lower())


class Catalogue:
    """Its own list, by its own slug."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self._by_slug: dict[str, dict[str, Any]] = {}
        for entry in entries:
            self._by_slug.setdefault(slug(entry["name"]), entry)

    def find(self, *names: str) -> dict[str, Any]:
        """Its entry for the first name it knows; empty where it knows none."""
        return next((self._by_slug[slug(name)] for name in names if name and slug(name) in self._by_slug), {})


def bytes_per_weight(table: dict[str, float], quant: str, otherwise: float) -> float:
    dynamic = re.match(r"UD-Q(\d)_K_(XL|L|M|S)$", quant)
    return table.get(DYNAMIC[int(dynamic[1])] if dynamic else quant, otherwise)


def estimate(point: dict[str, Any], entry: dict[str, Any]) -> dict[str, float | None]:
    """Speed in tokens a second; memory in its own mixture of 10⁹ and 2³⁰, both called GB."""
    weights = point["params"] / 1e9
    kv = kv_gib(point, entry, weights) if point["context"] else None
    file = weights * bytes_per_weight(FILE_BYTES, point["quant"], 0.58)
    return {
        "speed": speed(point, entry, weights),
        "memory": None if kv is None else file + kv + OVERHEAD_GB,
        "kv": kv,
    }


def speed(point: dict[str, Any], entry: dict[str, Any], weights: float) -> float:
    if not point["moe"]:
        read = weights * bytes_per_weight(READ_BYTES, point["quant"], 0.5)
        return point["bandwidth_gbps"] / read * EFFICIENCY
    file = bytes_per_weight(FILE_BYTES, point["quant"], 0.58)
    pressure = cache_pressure(weights * file, point["memory_gb"], entry)
    parts = decomposition(entry)
    if parts is not None:
        ffn, fixed = parts
        return point["bandwidth_gbps"] / (ffn * file + fixed * FIXED_BYTES) * pressure
    active = max(0.1, (point["active"] or point["params"]) / 1e9)
    return point["bandwidth_gbps"] / (active * file) * EFFICIENCY * expert_factor(entry) * pressure


def expert_factor(entry: dict[str, Any]) -> float:
    experts = entry.get("num_experts")
    if experts is None:
        return 0.60
    return next((factor for most, factor in EXPERT_FACTORS if experts <= most), 0.40)


def cache_pressure(file_gb: float, memory_gb: float | None, entry: dict[str, Any]) -> float:
    """Above 60 % of the device's memory it takes off the inactive experts' share."""
    use = file_gb / memory_gb if memory_gb else 0.0
    if not 0.6 <= use <= 1.0:
        return 1.0
    experts = entry.get("num_experts")
    inactive = 1 - (entry.get("active_experts") or 1) / experts if experts else 0.5
    return max(0.3, 1 - (use - 0.6) * inactive)


def decomposition(entry: dict[str, Any]) -> tuple[float, float] | None:
    """(active experts' weights, everything else's) in 10⁹; None without the dimensions."""
    names = ("hidden_size", "num_hidden_layers", "active_experts", "moe_intermediate_size", "vocab_size")
    if not entry.get("is_moe") or any(entry.get(name) is None for name in names):
        return None
    hidden, layers, active, inner, vocabulary = (float(entry[name]) for name in names)
    heads = float(entry.get("num_attention_heads") or 1)
    kv_heads = float(entry.get("num_key_value_heads") or heads)
    width = float(entry.get("head_dim") or hidden / heads)
    shared = float(entry.get("shared_expert_intermediate_size") or 0)
    attention = 2 * (heads + kv_heads) * width * hidden
    router = float(entry.get("num_experts") or 8) * hidden
    fixed = layers * (attention + 3 * hidden * shared + router) + 2 * vocabulary * hidden
    return layers * active * 3 * hidden * inner / 1e9, fixed / 1e9


def kv_gib(point: dict[str, Any], entry: dict[str, Any], weights: float) -> float:
    """Every layer at the whole context; without dimensions a figure by weights."""
    context, element = point["context"], CACHE_BYTES.get(point["kv_dtype"] or "", 2.0)
    layers, width = entry.get("num_hidden_layers"), entry.get("head_dim")
    if layers is None or width is None:
        return 8e-6 * weights * context * element / 2
    heads = entry.get("num_key_value_heads") or entry.get("num_attention_heads") or 8
    return 2 * heads * width * context * element * layers / 2**30
