"""whichllm's estimates of measured points: its own functions, called inside its own environment.

Run by ``score_peers.py`` with that environment's Python: points as JSON on stdin, estimates on stdout. Nothing of ours is
imported here. A point of an architecture whose sliding window it models gets that window, as its own reader would give.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from whichllm.engine.performance import estimate_speed_uncertainty, estimate_tok_per_sec
from whichllm.engine.vram import _activation_bytes, estimate_kv_cache, estimate_vram
from whichllm.hardware.types import GPUInfo
from whichllm.models.gguf import _estimate_gguf_size, _extract_quant_type
from whichllm.models.sliding_window import _resolve_sliding_window
from whichllm.models.types import GGUFVariant, ModelInfo


def model_of(point: dict) -> ModelInfo:
    window, ratio = _resolve_sliding_window({}, point["model"], point["architecture"])
    name = point["model"]
    if not point["gguf"]:
        name += f"-{point['quant']}"  # whichllm reads the quant of such a repository from its name
    return ModelInfo(
        id=name,
        family_id=name,
        name=name,
        parameter_count=point["params"],
        parameter_count_active=point["active"],
        is_moe=point["moe"],
        sliding_window=window,
        sliding_window_global_ratio=ratio,
    )


def variant_of(point: dict) -> GGUFVariant | None:
    if not point["gguf"]:
        return None
    quant = _extract_quant_type(f"model-{point['quant']}.gguf")
    size = point["file_bytes"] or _estimate_gguf_size(point["params"], quant)
    return GGUFVariant(f"model-{point['quant']}.gguf", quant, size, is_estimated=point["file_bytes"] is None)


def estimate(point: dict) -> dict:
    model, variant = model_of(point), variant_of(point)
    gpu = GPUInfo(
        point["hardware"], point["vendor"], point["memory_bytes"] or 0, memory_bandwidth_gbps=point["bandwidth_gbps"]
    )
    speed = estimate_tok_per_sec(model, variant, gpu)
    _, around, _ = estimate_speed_uncertainty(model, variant, gpu, "full_gpu", speed)
    low, high = around or (None, None)
    context = point["context"]
    return {
        "speed": speed,
        "low": low,
        "high": high,
        "memory": estimate_vram(model, variant, context) if context else None,
        "kv": estimate_kv_cache(model, context) if context else None,
        "activation_by_context": _activation_bytes(model, context) - _activation_bytes(model, 0) if context else None,
    }


if __name__ == "__main__":
    json.dump(
        {"version": version("whichllm"), "rows": {point["id"]: estimate(point) for point in json.load(sys.stdin)}},
        sys.stdout,
    )
