"""The time one token takes to decode: bytes over bandwidth, and a fixed time per layer.

``seconds = Σ over where the bytes live (bytes / (bandwidth × efficiency)) + layers × per_layer``

A mixture of experts reads scattered rows: its bytes cost ``moe_bytes`` times as much, its layers ``moe_layers`` times.

How the constants were fitted: ``scripts/fit_speed.py`` minimises the mean absolute log error over the measured points
of the project's facts (decode speed as people submitted it; spilled and suspect rows, and rows without a bandwidth,
left out; rows timed with their prompt are modelled with the prompt's time). One set per backend, none per device or
model; what it leaves unexplained is the interval. Of 240 rows used 228 have a stated bandwidth and are counted; on rows
not fitted on (five folds by device and model) the median absolute error is 9.8 % over all, 8.8 % dense (173 rows),
14 % mixtures (55), 13 % below 2 B (20). Intel (4 rows) and CPU (12 rows of one machine, bandwidth computed) are weak.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.hardware import Platform

Runner = Literal["llama.cpp", "ollama", "mlx", "vllm", "hipfire", "vulkan"]
"""Whose kernels decode. ``llama.cpp`` is the platform's own backend of it, ``vulkan`` its portable one."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How well one kind of device turns its bandwidth into tokens."""

    name: str
    efficiency: float
    """Share of the nominal bandwidth that decoding reaches."""
    per_layer: float
    """Seconds a layer takes beside its bytes: launching, synchronising, small kernels."""


BACKENDS: Mapping[Platform, Backend] = MappingProxyType(
    {
        "nvidia": Backend("cuda", 0.858, 64e-6),
        "amd": Backend("rocm", 0.795, 47e-6),
        "macos": Backend("metal", 0.90, 102e-6),
        "intel": Backend("sycl", 0.214, 128e-6),
        "cpu": Backend("cpu", 0.61, 72e-6),
    }
)
OLD_CUDA = Backend("cuda", 0.373, 49e-6)
"""NVIDIA before compute capability 7."""
MOE_BYTES = 1.15
MOE_LAYERS = 1.7

# Layers of common dense models by billions of weights: for models whose architecture nobody states.
_TYPICAL = (
    (0.5, 24), (1.5, 28), (3.0, 32), (8.0, 34), (14.0, 44), (32.0, 64), (70.0, 80), (400.0, 110), (1000.0, 120),
)  # fmt: skip


def typical_layers(weights: float) -> int:
    """Layers of a dense model of so many weights, between its usual neighbours."""
    billions = weights / 1e9
    index = bisect_left(_TYPICAL, (billions, 0))
    if index == 0:
        return _TYPICAL[0][1]
    if index == len(_TYPICAL):
        return _TYPICAL[-1][1]
    (low, few), (high, many) = _TYPICAL[index - 1], _TYPICAL[index]
    return round(few + (many - few) * (billions - low) / (high - low))


def layers_of(model: CatalogModel) -> int:
    """The model's layers; what is usual for its size where nobody states them."""
    if model.architecture.layers:
        return model.architecture.layers
    weights = float(model.params or model.gguf_weights or 1_000_000_000)
    if model.active_params and 0 < model.active_params < weights:
        weights = (weights * model.active_params) ** 0.5
    return typical_layers(weights)


def active_share(model: CatalogModel) -> float:
    """Share of the weights that one token reads: 1 for dense models, active over all for a mixture of experts.

    Where a mixture does not say how many are active, the experts' share is taken, with a tenth of the weights shared.
    """
    weights = model.params or model.gguf_weights
    if model.active_params and weights and model.active_params > 0:
        return min(1.0, model.active_params / weights)
    experts, active = model.architecture.experts, model.architecture.active_experts
    if experts and active and 0 < active <= experts:
        return min(1.0, 0.1 + 0.9 * active / experts)
    return 1.0


def token_seconds(backend: Backend, *, layers: int, read_bytes: float, bandwidth_gbps: float, moe: bool) -> float:
    """Seconds a token takes on one kind of memory, infinite without bandwidth.

    Args:
        backend: efficiency and fixed time.
        layers: of the model, or of its share that runs here.
        read_bytes: weights and cache that one token reads here.
        bandwidth_gbps: 10⁹ bytes a second, nominal.
        moe: experts are read scattered.
    """
    if bandwidth_gbps <= 0:
        return float("inf")
    costly = read_bytes * (MOE_BYTES if moe else 1.0)
    fixed = layers * backend.per_layer * (MOE_LAYERS if moe else 1.0)
    return costly / (bandwidth_gbps * 1e9 * backend.efficiency) + fixed
