"""Bytes a loaded model takes, by parts, and the largest context that fits.

The parts, where the architecture is known:

* weights: the file's size, else bits per weight × the weights that load;
* kv and state: ``ranking.kv_cache``, as llama.cpp allocates them;
* compute: ``ranking.compute``, once on each device;
* overhead: what the backend itself takes, once on each device;
* split: a layer lies on one device whole, so each further device may leave up to one layer's bytes unused. With
  that, what fits in the sum fits on each: n devices with room for r₁ … rₙ layers hold at least r₁ + … + rₙ − (n − 1).

Where nothing but the number of weights is known, the origin's approximations stand: a cache of 8000 bytes per token
and 10⁹ weights, 1.5 GiB of activations, 1 GiB of overhead. Source: the origin's ``vram.ts``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement
from reconciler.domain.hardware import Hardware, Platform
from reconciler.domain.units import GIB, MIB, Bytes
from reconciler.ranking.candidates import estimated_bytes
from reconciler.ranking.compute import MASK_BYTES, PIPELINE_COPIES, compute_shape
from reconciler.ranking.kv_cache import CELL_PADDING, ELEMENT_BYTES, UNKNOWN_PER_BILLION, KvShape, kv_shape, padded

# What a started backend occupies before any model: context, kernels, libraries; per device. On a CPU it is what a
# loaded llama-server b10434 has in memory beside its buffers (tests/e2e/test_memory_real.py); 36 peaks of NVIDIA cards
# have 0.56 GiB above our other parts at the median (docs/estimates.md); the others are rough figures of ours.
_OVERHEAD: dict[Platform, int] = {
    "nvidia": 512 * MIB, "amd": 384 * MIB, "intel": 384 * MIB, "macos": 256 * MIB, "cpu": 32 * MIB,
}  # fmt: skip

_SEED_KV_FACTOR = {"f16": 1.0, "q8_0": 0.5, "q4_0": 0.25}
_SEED_ACTIVATIONS = 1.5 * GIB
_SEED_OVERHEAD = 1.0 * GIB
_LONGEST = 2**40
"""Of what takes no memory by the token."""


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """Everything about a model's memory that does not depend on the quant: built once, used for each build."""

    model: CatalogModel
    context: int
    capacity: int
    basis: Literal["architecture", "seed-formula"]
    full_bytes: int
    """Cache of one cell of the context, of all sequences that have one."""
    window_bytes: int
    window_cells: int
    compressed: tuple[tuple[int, int], ...]
    """(tokens per entry, bytes of an entry)."""
    cell_bytes: int
    """What each cell costs in compute buffers, on every device."""
    step: int
    """The cache grows by so many tokens."""
    kv_per_token: float
    state: int
    compute: int
    """Without what grows with the context."""
    overhead: int
    layers: int
    devices: int
    kv: int = field(init=False)
    masks: int = field(init=False)
    asked: int = field(init=False)
    """All but the weights, at the asked context; on one device."""

    def __post_init__(self) -> None:
        kv, masks = self._kv(self.context), self._masks(self.context)
        object.__setattr__(self, "kv", kv)
        object.__setattr__(self, "masks", masks)
        object.__setattr__(self, "asked", kv + masks + self.state + self.compute + self.overhead)

    def estimate(self, build: Build) -> MemoryEstimate:
        """The parts for one build."""
        weights, weights_basis = _weights(self.model, build)
        kv, masks = self.kv, self.masks
        split = self._split(weights + kv)
        fixed = weights + self.state + self.compute + self.overhead
        total = fixed + kv + masks + split
        longest, ends = self._longest(weights, self.capacity - fixed, fits=total <= self.capacity)
        return MemoryEstimate(
            Bytes(weights), Bytes(kv), self.kv_per_token, Bytes(self.state), Bytes(self.compute + masks),
            Bytes(self.overhead), Bytes(total), self.basis, weights_basis, longest, ends, Bytes(split),
        )  # fmt: skip

    def total(self, build: Build) -> int:
        """``estimate(build).total_bytes``, without the parts."""
        weights = self.weights(build)
        total = weights + self.asked
        return total if self.devices == 1 else total + self._split(weights + self.kv)

    def weights(self, build: Build) -> int:
        """``estimate(build).weights_bytes``."""
        return build.bytes if build.bytes > 0 else _weights(self.model, build)[0]

    def room_for_weights(self) -> int:
        """The most bytes of weights that fit: ``total(build) <= capacity`` is ``weights(build) <= this``."""
        room = self.capacity - self.asked
        if self.devices == 1:
            return room
        most = (room * self.layers - (self.devices - 1) * self.kv) // (self.layers + self.devices - 1)
        while most + self._split(most + self.kv) > room:
            most -= 1
        while most + 1 + self._split(most + 1 + self.kv) <= room:
            most += 1
        return most

    def _cells(self, context: int) -> int:
        return -(-context // self.step) * self.step

    def _kv(self, context: int) -> int:
        """Bytes of the cache that is allocated for so many tokens."""
        cells = self._cells(context)
        kv = self.full_bytes * cells + self.window_bytes * min(cells, self.window_cells)
        for ratio, each in self.compressed:
            kv += each * padded(-(-cells // ratio))
        return kv

    def _masks(self, context: int) -> int:
        """The compute buffers that grow with the context."""
        cells = self._cells(context)
        return self.cell_bytes * (cells + min(cells, self.window_cells))

    def _split(self, divided: int) -> int:
        """What may stay unused because a layer lies on one device whole."""
        return (self.devices - 1) * -(-divided // self.layers)

    def _growing(self, weights: int, context: int) -> int:
        """Everything that grows with the context."""
        kv = self._kv(context)
        return kv + self._masks(context) + self._split(weights + kv)

    def _longest(
        self, weights: int, room: int, *, fits: bool
    ) -> tuple[int | None, Literal["memory", "model", "unknown"]]:
        """The largest context whose growing part is at most ``room``, and what ends it."""
        own = self.model.context_length
        if own is None:
            if fits:
                return None, "unknown"
            own = self.context
        if self.devices == 1 and not self.compressed:
            longest = self._straight(room)
        elif self._growing(weights, own) <= room:
            return own, "model"
        else:
            longest = self._bisected(weights, room, own)
        return (own, "model") if longest >= own else (longest or None, "memory")

    def _straight(self, room: int) -> int:
        """A line with one knee, where the windows are full; met exactly."""
        if room <= 0:
            return 0
        beyond = (self.full_bytes + self.cell_bytes) * self.step
        at_knee = (self.window_bytes + self.cell_bytes) * self.window_cells
        within = beyond + (self.window_bytes + self.cell_bytes) * self.step if self.window_cells else beyond
        if within <= 0:
            return _LONGEST
        cells = room // within * self.step
        if cells > self.window_cells > 0:
            cells = (room - at_knee) // beyond * self.step if beyond > 0 else _LONGEST
        return cells

    def _bisected(self, weights: int, room: int, too_many: int) -> int:
        """Where there is more than one knee. ``too_many`` tokens are too many."""
        low, high = 0, -(-too_many // self.step)
        while high - low > 1:
            middle = (low + high) // 2
            if self._growing(weights, middle * self.step) <= room:
                low = middle
            else:
                high = middle
        return low * self.step


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
    caches = 1 if requirement.kv_unified else parallel
    element = ELEMENT_BYTES[requirement.kv_cache] * caches
    devices = max(1, len(hardware.devices))
    compute = compute_shape(model)
    attends = shape.full_elements or shape.window_elements or shape.compressed or compute.per_token
    masks = MASK_BYTES * (PIPELINE_COPIES if devices > 1 else 1) + compute.per_token if attends else 0
    return MemoryModel(
        model, context, hardware.capacity_bytes, "architecture",
        full_bytes=math.ceil(shape.full_elements * element),
        window_bytes=math.ceil(shape.window_elements * element),
        window_cells=shape.window_cells(parallel if requirement.kv_unified else 1),
        compressed=tuple((ratio, math.ceil(each * element)) for ratio, each in shape.compressed),
        cell_bytes=devices * masks, step=CELL_PADDING,
        kv_per_token=shape.elements(context) * element / (context * caches),
        state=shape.state_bytes * parallel, compute=devices * compute.activations + parallel * compute.output,
        overhead=_OVERHEAD[hardware.platform] * devices, layers=model.architecture.layers or 1, devices=devices,
    )  # fmt: skip


def _from_seed_formula(model: CatalogModel, requirement: Requirement, hardware: Hardware) -> MemoryModel:
    context, parallel = max(1, requirement.context), max(1, requirement.parallel)
    billions = (model.params or model.gguf_weights or 0) / 1e9
    per_token = billions * UNKNOWN_PER_BILLION * _SEED_KV_FACTOR[requirement.kv_cache]
    return MemoryModel(
        model, context, hardware.capacity_bytes, "seed-formula",
        full_bytes=math.ceil(per_token * (1 if requirement.kv_unified else parallel)), window_bytes=0, window_cells=0,
        compressed=(), cell_bytes=0, step=1, kv_per_token=per_token, state=0, compute=round(_SEED_ACTIVATIONS),
        overhead=round(_SEED_OVERHEAD), layers=1, devices=1,
    )  # fmt: skip


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
