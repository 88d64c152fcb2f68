"""Decode and prefill speed of one candidate on one machine, with an 80 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement, SpeedEstimate
from reconciler.domain.hardware import Confidence, Device, Hardware
from reconciler.domain.units import Bytes
from reconciler.ranking.decode import (
    CONSTANTS,
    Backend,
    Runner,
    SpeedConstants,
    WeightsRead,
    backend_key,
    bytes_per_second,
    is_wide,
    layers_of,
    weights_read,
)
from reconciler.ranking.kv_cache import ELEMENT_BYTES, kv_shape
from reconciler.ranking.quants import normalise

_SMALL_WEIGHTS = 2_000_000_000
_UNKNOWN_CACHE = 8000 / 1e9
"""Bytes of cache per token and weight read, of a model whose dimensions nobody states. Source: the origin's
``vram.ts``."""
_DEEP_PROMPT = 50_000
"""Tokens of prompt after which the attention takes as long as the rest. Our reading of four models measured at 512
tokens and at 16,000 to 98,000: prefill fell to 0.35 to 0.61 of its speed."""
_SHORTEST, _LONGEST = 1e-9, 1e9
"""Seconds between which a time is one: beyond them an input was none."""
_MOE_PREFILL = 0.62
"""A mixture's prefill per active weight over a dense model's. From 17 measured mixtures on CUDA and Metal."""


@dataclass(frozen=True, slots=True)
class Part:
    """One place the model's bytes may live, and how fast they are read there."""

    backend: Backend
    rate: float
    """Bytes a second."""
    fixed: float
    """Seconds that all layers take beside their bytes, if all run here."""
    memory: float
    prefill: float | None
    """Arithmetic operations a second on a prompt."""

    def seconds(self, cost: float) -> float:
        """For one token of so many bytes, all of them here."""
        return cost / self.rate + self.fixed if self.rate > 0 else math.inf


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """Everything about a model's speed that does not depend on the quant: built once, used for each build."""

    model: CatalogModel
    hardware: Hardware
    constants: SpeedConstants
    read: WeightsRead
    weight_cost: float
    """Cost of reading a token's weights, over that of reading all weights once."""
    cache: float
    """Bytes of cache and state that a token reads."""
    prompt: float
    """Tokens in the cache: of the prompt, for prefill."""
    operations: float
    """Arithmetic operations of one token."""
    parts: tuple[Part, ...]
    outside: Part
    """The CPU with its RAM."""
    name: str
    width: float
    """Of the interval while everything is on the accelerators."""
    confidence: Confidence

    def estimate(self, build: Build, memory: MemoryEstimate) -> SpeedEstimate:
        """The speed of one build whose memory is known."""
        outside = offloaded(memory, self.hardware)
        read = memory.weights_bytes * self.read.share + self.cache
        seconds = math.inf if outside is None or read <= 0 else self._seconds(build, memory, outside)
        if outside is None or not _SHORTEST < seconds < _LONGEST:
            return SpeedEstimate(
                0.0, 0.0, 0.0, "low", 1.0 if outside is None else outside, Bytes(round(read)), 0.0, self.name
            )
        speed = 1 / seconds
        width = self.width if outside <= 0 or not self.parts else self.constants.widths.offload
        prefill = self._prefill(outside)
        return SpeedEstimate(
            speed, speed / width, speed * width, self._confidence(build, outside), outside, Bytes(round(read)),
            read / seconds / 1e9, self.name,
            prefill_tokens_per_second=prefill,
            first_token_seconds=None if prefill is None else self.prompt / prefill + seconds,
            prefill_confidence=None if prefill is None else self._prefill_confidence(),
        )  # fmt: skip

    def _seconds(self, build: Build, memory: MemoryEstimate, outside: float) -> float:
        """Time adds up over where the bytes live: each accelerator's part of the layers, then what lies in RAM."""
        weights = memory.weights_bytes * self.weight_cost
        if is_wide(build.quant):
            weights /= self.constants.wide_weights
        cost = weights + self.cache * self.constants.cache_bytes
        seconds = self.outside.seconds(cost) * outside if outside > 0 else 0.0
        if outside < 1:
            seconds += sum(part.seconds(cost) * part.memory for part in self.parts) * (1 - outside)
        return seconds

    def _prefill(self, outside: float) -> float | None:
        """Tokens of the prompt a second; None where part of the model lies outside, or nobody measured the backend."""
        places = self.parts or (self.outside,)
        if (self.parts and outside > 0) or any(place.prefill is None for place in places):
            return None
        seconds = sum(self.operations / (place.prefill or math.inf) * place.memory for place in places)
        seconds *= 1 + self.prompt / _DEEP_PROMPT
        return 1 / seconds if _SHORTEST < seconds < _LONGEST else None

    def _prefill_confidence(self) -> Confidence:
        """Medium for a dense model on a current NVIDIA device, the one kind of which there are enough measurements."""
        return "medium" if self.name == "cuda" and not self.read.is_mixture and self.confidence != "low" else "low"

    def _confidence(self, build: Build, outside: float) -> Confidence:
        """Low on a CPU, for an unknown quant, or with most bytes outside; medium with some outside, or where the
        device's bandwidth is only assumed. Source: the origin's ``speed.ts``, the last rule is ours.
        """
        if outside > 0.5 or not normalise(build.quant).known:
            return "low"
        return "medium" if outside > 0 and self.confidence == "high" else self.confidence


def offloaded(memory: MemoryEstimate, hardware: Hardware) -> float | None:
    """Share of the bytes outside the accelerators; None where they fit nowhere on this machine.

    All of it on a CPU-only machine. Unified memory is counted once, not as the accelerator's and the CPU's.
    """
    total = memory.total_bytes
    room = max(hardware.vram_bytes, hardware.usable_ram_bytes) if hardware.is_unified else (
        hardware.vram_bytes + hardware.usable_ram_bytes
    )  # fmt: skip
    if total > room:
        return None
    if not hardware.devices:
        return 1.0
    return 0.0 if total <= hardware.vram_bytes else min(1.0, (total - hardware.vram_bytes) / total)


def speed_model(
    model: CatalogModel,
    requirement: Requirement,
    hardware: Hardware,
    *,
    depth: float | None = None,
    runner: Runner = "llama.cpp",
    constants: SpeedConstants = CONSTANTS,
) -> SpeedModel:
    """The part of ``estimate_speed`` that every build of a model shares."""
    tokens = requirement.context / 2 if depth is None else depth
    read = weights_read(model)
    weights = model.gguf_weights or model.params or 0
    fixed = layers_of(model) * (constants.moe_layers if read.is_mixture else 1.0)
    memory = sum(device.memory_bytes for device in hardware.devices) or 1
    keys = [backend_key(hardware.platform, runner, device) for device in hardware.devices]
    parts = tuple(
        _part(constants.backends[key], device, hardware, fixed, read, device.memory_bytes / memory, constants)
        for key, device in zip(keys, hardware.devices, strict=True)
    )
    cpu = constants.backends["cpu"]
    outside = Part(
        cpu, hardware.ram_bandwidth_gbps * 1e9 * cpu.efficiency, fixed * cpu.per_layer, 1.0,
        _operations(cpu, hardware.ram_bandwidth_gbps, read),
    )  # fmt: skip
    return SpeedModel(
        model, hardware, constants, read, read.always + read.routed * constants.moe_bytes,
        _cache(model, requirement, tokens, weights * read.share), tokens, 2.0 * weights * read.share, parts, outside,
        (parts[0] if parts else outside).backend.name, _width(model, hardware, read, constants),
        _machine_confidence(hardware),
    )  # fmt: skip


def _part(
    backend: Backend,
    device: Device,
    hardware: Hardware,
    fixed: float,
    read: WeightsRead,
    memory: float,
    constants: SpeedConstants,
) -> Part:
    rate = bytes_per_second(backend, hardware.platform, device, constants)
    prefill = _operations(backend, device.bandwidth_gbps, read)
    return Part(backend, rate, fixed * backend.per_layer, memory, prefill)


def _operations(backend: Backend, bandwidth_gbps: float, read: WeightsRead) -> float | None:
    if backend.prefill is None or bandwidth_gbps <= 0:
        return None
    return backend.prefill * bandwidth_gbps * 1e9 * (_MOE_PREFILL if read.is_mixture else 1.0)


def _cache(model: CatalogModel, requirement: Requirement, tokens: float, weights_read: float) -> float:
    """Bytes of one sequence's cache and state with so many tokens in it."""
    element = ELEMENT_BYTES[requirement.kv_cache]
    shape = kv_shape(model.architecture)
    if shape is None:
        return _UNKNOWN_CACHE * weights_read * tokens * element / ELEMENT_BYTES["f16"]
    return shape.elements(round(tokens)) * element + shape.state_bytes


def _width(model: CatalogModel, hardware: Hardware, read: WeightsRead, constants: SpeedConstants) -> float:
    widths = constants.widths
    if not hardware.devices:
        return widths.cpu
    if hardware.platform == "intel" or any(device.confidence == "low" for device in hardware.devices):
        return widths.unsure
    if read.is_mixture:
        return widths.moe
    return widths.small if (model.params or 0) < _SMALL_WEIGHTS else widths.dense


def _machine_confidence(hardware: Hardware) -> Confidence:
    if not hardware.devices or hardware.platform == "intel":
        return "low"
    return "medium" if any(device.bandwidth_source == "assumed" for device in hardware.devices) else "high"


def estimate_speed(
    model: CatalogModel,
    build: Build,
    memory: MemoryEstimate,
    hardware: Hardware,
    requirement: Requirement,
    *,
    depth: float | None = None,
    runner: Runner = "llama.cpp",
    constants: SpeedConstants = CONSTANTS,
) -> SpeedEstimate:
    """Tokens a second that one stream decodes, and how long its first token takes.

    Bytes really read per token (``ranking.decode``) over what the backend makes of the bandwidth, plus a fixed time
    per layer. Offloaded parts add their time, several devices work in turn. Never raises: 0 with low confidence where
    the model fits nowhere on the machine, or the machine has no bandwidth.

    Args:
        model: layers, weights read, cache.
        build: its quant decides the confidence; its bytes are in ``memory``.
        memory: of this build at this requirement.
        hardware: devices and RAM with their bandwidths.
        requirement: context and type of the cache.
        depth: tokens in the cache, for prefill in the prompt; half the asked context where None: what a conversation
            sees on average.
        runner: whose kernels decode.
        constants: of the fit.
    """
    shared = speed_model(model, requirement, hardware, depth=depth, runner=runner, constants=constants)
    return shared.estimate(build, memory)
