"""The time one token takes to decode: bytes over bandwidth, and a fixed time per layer.

``seconds = Σ over where the bytes live (cost / (bandwidth × efficiency) + layers × per_layer)``

``cost`` is the bytes one token really reads: all weights but the input embeddings (one row of them is looked up; with
tied embeddings the same table is read whole as the output head), of a mixture the shared part and the active experts
only, and the cache at the depth of the conversation. Experts are read scattered and the cache by another kernel, so
their bytes cost a little more each.

17 constants are fitted by ``scripts/fit_speed.py``, which calls the estimate itself, each to rows of several devices
and models: 228 rows in all. 7 would rest on one device or on none; they are assumed, with the reason of each in
``scripts/fit_constants.py``. Of 302 rows given 250 are counted: not spilled, of stated bandwidth; 22 of them are
suspect, never fitted on and counted nevertheless. On rows not fitted on (five folds by device and model) the median
absolute error is 7 to 8 % over all; docs/estimates.md has it by group, with each device and each family left out in
turn, and what the 80 % interval covers. The form was chosen with all rows in sight, so expect a little worse of others.

Weak: classes of assumed constants (memory shared with the CPU, Intel, CPUs, hipfire, Vulkan) or of two devices (NVIDIA
before compute capability 7, vLLM), AMD while left out (2 other devices remain), models partly outside the device (28
rows, not counted: 43 % with a bias of 0.98), several devices (none).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.hardware import Device, Platform
from reconciler.ranking.quants import normalise

Runner = Literal["llama.cpp", "ollama", "mlx", "vllm", "hipfire", "vulkan"]
"""Whose kernels decode. ``llama.cpp`` is the platform's own backend of it, ``vulkan`` its portable one."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How well one kind of device, with one set of kernels, turns its bandwidth into tokens."""

    name: str
    """As people know it; backends of one name differ in the generation of their devices."""
    efficiency: float
    """Share of the nominal bandwidth that decoding reaches."""
    per_layer: float
    """Seconds a layer takes beside its bytes: launching, synchronising, small kernels."""
    prefill: float | None = None
    """Arithmetic operations on a prompt per byte the memory could move meanwhile; None: nobody measured it."""
    spread: float = 1.0
    """Power of its interval's width over the usual: how far its measurements scatter on rows not fitted on."""


@dataclass(frozen=True, slots=True)
class Widths:
    """Upper end of the 80 % interval over the estimate, and the estimate over the lower end."""

    dense: float
    moe: float
    small: float
    """Below 2 B weights."""
    cpu: float
    offload: float
    """Covers two in three of 28 spilled rows, whose split and RAM are assumed."""
    several: float
    """More than one device: nobody's measurements are of several."""
    unsure: float
    """Devices of which few were measured, or that detection is unsure of."""


@dataclass(frozen=True, slots=True)
class SpeedConstants:
    """Everything the speed estimate takes from measurements."""

    backends: Mapping[str, Backend]
    moe_bytes: float
    """Cost of a byte of a routed expert over that of other weights."""
    moe_layers: float
    """Fixed time of a layer with experts over that of another."""
    cache_bytes: float
    """Cost of a byte of the cache over that of weights."""
    shared_memory: float
    """Efficiency of an NVIDIA or AMD device that shares its memory with the CPU, over that of one with its own."""
    apple_width: float
    """Apple's chips reach less of their bandwidth the wider they are: (bandwidth / 300 GB/s) to minus this power."""
    wide_weights: float
    """Efficiency with weights of 8 bits and more, that need little unpacking, over that with fewer."""
    prompt_worth: float
    """Tokens of generation that a short prompt costs, where a measurement includes it."""
    widths: Widths


CONSTANTS = SpeedConstants(
    backends=MappingProxyType(
        {
            "cuda": Backend("cuda", 0.854, 56e-6, 60.0, spread=0.9),
            "old_cuda": Backend("cuda", 0.38, 69e-6),
            "vllm": Backend("cuda", 0.711, 56e-6, spread=1.4),
            "rocm": Backend("rocm", 0.812, 58e-6, 44.0),
            "vulkan": Backend("vulkan", 0.70, 58e-6, spread=1.4),
            "hipfire": Backend("rocm", 0.65, 58e-6),
            "metal": Backend("metal", 0.854, 87e-6, 16.0),
            "mlx": Backend("mlx", 0.824, 85e-6, 25.0, spread=1.4),
            "sycl": Backend("sycl", 0.30, 100e-6),
            "cpu": Backend("cpu", 0.65, 70e-6, 10.0),
        }
    ),
    moe_bytes=1.16,
    moe_layers=1.9,
    cache_bytes=1.44,
    shared_memory=0.9,
    apple_width=0.115,
    wide_weights=1.09,
    prompt_worth=2.7,
    widths=Widths(dense=1.28, moe=1.31, small=1.36, cpu=1.5, offload=2.5, several=1.5, unsure=1.9),
)
"""17 of them fitted to 228 measured rows (``scripts/fit_speed.py``). Assumed, with the reason of each in
``scripts/fit_constants.py``: the efficiencies of vulkan, hipfire, sycl and cpu, times per layer of the last two, and
``shared_memory``; their rows are of one device, or there are none. Widths and spreads are derived from the residuals,
prefill rates read off their rows."""

_OF_PLATFORM: Mapping[Platform, str] = MappingProxyType(
    {"nvidia": "cuda", "amd": "rocm", "macos": "metal", "intel": "sycl", "cpu": "cpu"}
)
_OF_RUNNER: Mapping[tuple[Platform, Runner], str] = MappingProxyType(
    {
        ("nvidia", "vllm"): "vllm",
        ("amd", "vulkan"): "vulkan",
        ("amd", "hipfire"): "hipfire",
        ("macos", "mlx"): "mlx",
    }
)
_HIGHEST_EFFICIENCY = 0.97
_APPLE_GBPS = 300.0
_WIDE_BITS = 8.0

# Layers of common dense models by billions of weights: for models whose architecture nobody states.
_TYPICAL = (
    (0.5, 24), (1.5, 28), (3.0, 32), (8.0, 34), (14.0, 44), (32.0, 64), (70.0, 80), (400.0, 110), (1000.0, 120),
)  # fmt: skip

# Architectures whose output head is the embedding table, whatever their size. Source: ``tie_word_embeddings`` of their
# published configurations.
_TIED = ("gemma", "cohere", "lfm", "granite", "smollm", "starcoder2", "gpt2", "falcon_h1_tiny")
# … and those where only the small ones share it: architecture and the widest hidden size that does.
_TIED_UP_TO: Mapping[str, int] = MappingProxyType(
    {"qwen2": 2048, "qwen3": 2560, "qwen3_5": 2560, "qwen3_vl": 2560, "llama": 3072, "phi3": 3072, "hunyuan": 4096}
)
_TIED_VOCABULARY: Mapping[str, int] = MappingProxyType({"llama": 49_000, "phi3": 100_000})
"""Of those, models with fewer entries keep two tables: Llama 2, Phi-3."""


def backend_key(platform: Platform, runner: Runner, device: Device | None) -> str:
    """Which of ``SpeedConstants.backends`` a device of this platform is."""
    key = _OF_RUNNER.get((platform, runner), _OF_PLATFORM[platform])
    return "old_cuda" if key == "cuda" and device is not None and _is_old_cuda(device) else key


def _is_old_cuda(device: Device) -> bool:
    """Before tensor cores and fast integer dot products in every chip: compute capability below 7."""
    if device.compute_capability is not None:
        major = device.compute_capability.partition(".")[0]
        return major.isdigit() and int(major) < 7
    name = device.name.lower()
    return "gtx 10" in name or "gtx 9" in name or "tesla p" in name or "quadro p" in name


def bytes_per_second(backend: Backend, platform: Platform, device: Device, constants: SpeedConstants) -> float:
    """What the device reads in a second while it decodes weights of fewer than 8 bits."""
    efficiency = backend.efficiency
    if platform == "macos":
        efficiency *= (max(1.0, device.bandwidth_gbps) / _APPLE_GBPS) ** -constants.apple_width
    elif device.unified and platform in ("nvidia", "amd"):
        efficiency *= constants.shared_memory
    return device.bandwidth_gbps * 1e9 * min(efficiency, _HIGHEST_EFFICIENCY)


def is_wide(quant: str) -> bool:
    """Whether weights of this quant take 8 bits and more."""
    known = normalise(quant)
    return known.known and known.bits_per_weight >= _WIDE_BITS


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


@dataclass(frozen=True, slots=True)
class WeightsRead:
    """Which share of a model's weights one token reads."""

    always: float
    """What every token reads: attention, shared experts, dense layers, output head."""
    routed: float = 0.0
    """The experts that are active."""

    @property
    def share(self) -> float:
        return self.always + self.routed

    @property
    def is_mixture(self) -> bool:
        return self.routed > 0


def weights_read(model: CatalogModel) -> WeightsRead:
    """The share of the weights that one token reads.

    Dense: all but the input embeddings. A mixture: the routed experts by their count, the rest of the published active
    weights always; at least attention and head. Where a mixture states its active weights only, half of them are taken
    as routed; where it states its experts only, a tenth of the weights as shared. Per-layer embeddings (the Gemma E
    models) are looked up, so of those the effective weights are read: dense, with weights to spare.
    """
    weights = model.gguf_weights or model.params
    if not weights or weights <= 0:
        return WeightsRead(1.0)
    active = model.active_params
    if active is not None and (active <= 0 or active >= weights):
        active = None
    if has_layer_embeddings(model):
        return WeightsRead(active / weights if active else 1.0)
    experts, used = model.architecture.experts, model.architecture.active_experts
    if experts and used and 0 < used < experts:
        return _of_experts(model, weights, active, used / experts)
    if active is not None:
        return WeightsRead(active / weights / 2, active / weights / 2)
    table = _table(model)
    return WeightsRead(1.0 if table >= weights / 2 or is_tied(model) else 1.0 - table / weights)


def _of_experts(model: CatalogModel, weights: int, active: int | None, used: float) -> WeightsRead:
    table = _table(model)
    base = _attention(model) + table
    experts = weights - base - (0 if is_tied(model) else table)
    if table == 0 or experts < weights / 3:  # dimensions unknown, or not those of this model
        experts, base = round(0.9 * weights), round(0.1 * weights)
    routed = experts * used
    always = max(base, active - routed) if active is not None else base
    share = min(1.0, (always + routed) / weights)
    return WeightsRead(share * always / (always + routed), share * routed / (always + routed))


def _table(model: CatalogModel) -> int:
    return (model.architecture.vocab or 0) * (model.architecture.hidden or 0)


def _attention(model: CatalogModel) -> int:
    """Weights of the attention layers, by the usual four projections."""
    it = model.architecture
    hidden, heads = it.hidden or 0, it.heads or 0
    head_dim = it.head_dim or (hidden // heads if heads else 0)
    return (it.layers or 0) * hidden * head_dim * 2 * (heads + (it.kv_heads or heads))


def has_layer_embeddings(model: CatalogModel) -> bool:
    """Whether the weights beyond the active ones are per-layer embeddings, not experts."""
    name = (model.architecture.name or "").lower()
    return model.active_params is not None and not model.architecture.experts and name.startswith(("gemma3n", "gemma4"))


def is_tied(model: CatalogModel) -> bool:
    """Whether the output head is the embedding table, by what is usual for the architecture."""
    name = (model.architecture.name or "").lower()
    if name.startswith(_TIED):
        return True
    hidden, vocabulary = model.architecture.hidden or 0, model.architecture.vocab or 0
    if model.architecture.experts or vocabulary <= _TIED_VOCABULARY.get(name, 0):
        return False
    return 0 < hidden <= _TIED_UP_TO.get(name.partition("_v1")[0], 0)
