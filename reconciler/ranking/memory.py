"""Bytes a loaded model takes, by parts, and the largest context that fits.

The parts, where the architecture is known:

* weights: the file's size, else bits per weight × the weights that load;
* kv: ``ranking.kv_cache``; state: recurrent layers;
* compute: llama.cpp's graph for 512 tokens in flight, ``512 × 4 × (vocabulary + hidden)`` (its logged "compute buffer
  size" is 258.5 MiB for Llama 3.1 8B and 304.75 MiB for Qwen3 8B: exactly this), the attention mask,
  ``512 × 2`` bytes per token of context, and the 512 tokens in flight that a window layer keeps beside its window;
* overhead: what the backend itself takes on each device.

Where nothing but the number of weights is known, the origin's approximations stand: a cache of 8000 bytes per token
and 10⁹ weights, 1.5 GiB of activations, 1 GiB of overhead. Source: the origin's ``vram.ts``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement
from reconciler.domain.hardware import Hardware, Platform
from reconciler.domain.units import GIB, MIB, Bytes
from reconciler.ranking.candidates import estimated_bytes
from reconciler.ranking.kv_cache import ELEMENT_BYTES, KvShape, kv_shape

UBATCH = 512
"""Tokens in flight. Source: llama.cpp's default ``--ubatch-size``."""

# What a started backend occupies before any model: context, kernels, libraries. Rough figures of ours, per device.
_OVERHEAD: dict[Platform, int] = {
    "nvidia": 512 * MIB, "amd": 384 * MIB, "intel": 384 * MIB, "macos": 256 * MIB, "cpu": 128 * MIB,
}  # fmt: skip

_SEED_KV_PER_BILLION = 8000.0
_SEED_KV_FACTOR = {"f16": 1.0, "q8_0": 0.5, "q4_0": 0.25}
_SEED_ACTIVATIONS = 1.5 * GIB
_SEED_OVERHEAD = 1.0 * GIB
_DEFAULT_VOCABULARY, _DEFAULT_HIDDEN = 128_000, 4096
_UNBOUNDED_CONTEXT = 1_048_576
"""Asked of a model that states no context length."""


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Everything about a model's memory that does not depend on the quant: built once, used for each build."""

    model: CatalogModel
    context: int
    capacity: int
    basis: Literal["architecture", "seed-formula"]
    kv: int
    kv_per_token: float
    state: int
    compute: int
    overhead: int
    token_bytes: float
    """Bytes each further token costs, windows not counted."""
    window_bytes: float
    """Bytes each further token costs beside that, while windows are not full."""
    window: int
    longest: int
    """The longest context the model itself can take."""

    def estimate(self, build: Build) -> MemoryEstimate:
        """The parts for one build."""
        weights, weights_basis = _weights(self.model, build)
        fixed = self.state + self.overhead + self.compute - self._compute_growth(self.context)
        return MemoryEstimate(
            Bytes(weights), Bytes(self.kv), self.kv_per_token, Bytes(self.state), Bytes(self.compute),
            Bytes(self.overhead), Bytes(weights + self.kv + self.state + self.compute + self.overhead), self.basis,
            weights_basis, self._max_context(self.capacity - weights - fixed),
        )  # fmt: skip

    def total(self, build: Build) -> int:
        """``estimate(build).total_bytes``, without the parts."""
        weights = build.bytes if build.bytes > 0 else _weights(self.model, build)[0]
        return weights + self.kv + self.state + self.compute + self.overhead

    def _compute_growth(self, context: int) -> int:
        return UBATCH * 2 * context if self.basis == "architecture" else 0

    def _max_context(self, room: float) -> int | None:
        """The largest context whose cache and mask fit in ``room`` bytes; None when not even one token does."""
        both = self.token_bytes + self.window_bytes
        if room < both or room < 0:
            return None
        if both <= 0:
            return self.longest
        context = room / both
        if context > self.window:
            left = room - self.window * both
            context = self.window + left / self.token_bytes if self.token_bytes > 0 else math.inf
        return max(1, math.floor(min(context, self.longest)))


def _weights(model: CatalogModel, build: Build) -> tuple[int, Literal["file", "approximate-file", "bits-per-weight"]]:
    """Bytes of the weights and what they rest on; a file of unknown size of uncounted weights takes no bytes."""
    if build.exact and build.bytes > 0:
        return build.bytes, "file"
    computed = estimated_bytes(model, build.quant)
    if build.bytes > 0 and build.bytes != computed:
        return build.bytes, "approximate-file"
    return computed or 0, "bits-per-weight"


def memory_model(model: CatalogModel, requirement: Requirement, hardware: Hardware) -> MemoryModel:
    """The part of ``estimate_memory`` that every build of a model shares."""
    shape = kv_shape(model.architecture)
    if shape is None:
        return _from_seed_formula(model, requirement, hardware)
    return _from_architecture(model, shape, requirement, hardware)


def _from_architecture(
    model: CatalogModel, shape: KvShape, requirement: Requirement, hardware: Hardware
) -> MemoryModel:
    context, parallel = max(1, requirement.context), max(1, requirement.parallel)
    element = ELEMENT_BYTES[requirement.kv_cache] * parallel
    kv = math.ceil(shape.elements(context) * element)
    vocabulary = model.architecture.vocab or _DEFAULT_VOCABULARY
    hidden = model.architecture.hidden or _DEFAULT_HIDDEN
    in_flight = math.ceil(shape.window_elements * element * UBATCH)
    compute = UBATCH * 4 * (vocabulary + hidden) + UBATCH * 2 * context + in_flight
    devices = max(1, len(hardware.devices))
    return MemoryModel(
        model, context, hardware.capacity_bytes, "architecture", kv, kv / (context * parallel),
        shape.state_bytes * parallel, compute, _OVERHEAD[hardware.platform] * devices,
        shape.full_elements * element + UBATCH * 2, shape.window_elements * element, shape.window, _longest(model),
    )  # fmt: skip


def _from_seed_formula(model: CatalogModel, requirement: Requirement, hardware: Hardware) -> MemoryModel:
    context, parallel = max(1, requirement.context), max(1, requirement.parallel)
    billions = (model.params or model.gguf_weights or 0) / 1e9
    per_token = billions * _SEED_KV_PER_BILLION * _SEED_KV_FACTOR[requirement.kv_cache]
    kv = math.ceil(per_token * context * parallel)
    return MemoryModel(
        model, context, hardware.capacity_bytes, "seed-formula", kv, per_token, 0, round(_SEED_ACTIVATIONS),
        round(_SEED_OVERHEAD), per_token * parallel, 0.0, 0, _longest(model),
    )  # fmt: skip


def _longest(model: CatalogModel) -> int:
    return model.context_length or _UNBOUNDED_CONTEXT


def estimate_memory(model: CatalogModel, build: Build, requirement: Requirement, hardware: Hardware) -> MemoryEstimate:
    """Bytes this build of the model takes at the asked context, by parts, and the largest context that fits.

    Pure and total: it never raises, whatever is unknown; ``basis`` and ``weights_basis`` say what it rests on.

    Args:
        model: its architecture decides the cache; without one, the origin's approximation by weights does.
        build: its size is the weights' size; without one, bits per weight decide.
        requirement: context in tokens, type of the cache, sequences in parallel.
        hardware: its capacity bounds ``max_context``; its platform and devices decide the overhead.
    """
    return memory_model(model, requirement, hardware).estimate(build)
