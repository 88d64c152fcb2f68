"""Decode and prefill speed of one candidate on one machine, with an 80 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement, SpeedEstimate
from reconciler.domain.hardware import Confidence, Device, Hardware, Platform
from reconciler.domain.units import Bytes
from reconciler.ranking.decode import (
    CONSTANTS,
    Backend,
    Runner,
    SpeedConstants,
    backend_key,
    bytes_per_second,
    is_wide,
    layers_of,
    weights_read,
)
from reconciler.ranking.kv_cache import ELEMENT_BYTES, UNKNOWN_PER_BILLION, kv_shape
from reconciler.ranking.quants import normalise

SMALL_WEIGHTS = 2_000_000_000
"""Below it a model is small: fixed times decide its speed."""
_DEEP_PROMPT = 50_000
"""Tokens of prompt after which the attention takes as long as the rest. Our reading of four models measured at 512
tokens and at 16,000 to 98,000: prefill fell to 0.35 to 0.61 of its speed."""
_SHORTEST, _LONGEST = 1e-9, 1e9
"""Seconds between which a time is one: beyond them an input was none."""
_RARE_RUNNERS: tuple[Runner, ...] = ("vulkan", "vllm", "hipfire")
_RARE_BACKENDS = ("old_cuda",)
"""Of which one or two devices were measured, or none at all: see ``ranking.decode``."""
_MOE_PREFILL = 0.62
"""A mixture's prefill per active weight over a dense model's. From 17 measured mixtures on CUDA and Metal."""


@dataclass(frozen=True, slots=True)
class Part:
    """One place the model's bytes may live, and how fast they are read there."""

    backend: Backend
    rate: float
    """Bytes a second."""
    memory: float
    """Share of all accelerators' memory."""
    prefill: float | None
    """Arithmetic operations a second on a dense model's prompt."""

    def seconds(self, cost: float, layers: float) -> float:
        """For one token of so many bytes through so many layers, all of them here."""
        return cost / self.rate + layers * self.backend.per_layer if self.rate > 0 else math.inf


@dataclass(frozen=True, slots=True)
class Machine:
    """What every model's speed on a machine shares."""

    parts: tuple[Part, ...]
    cpu: Part
    """The CPU with its RAM."""
    accelerators: int
    """Bytes on all devices together."""
    room: int
    """With the RAM; unified memory is counted once, not as the accelerator's and the CPU's."""
    confidence: Confidence
    width: float | None
    """Of the interval of every model; None where it depends on the model."""

    def outside(self, total: int) -> float | None:
        """Share of so many bytes outside the accelerators, all of it without any; None where they fit nowhere."""
        if total > self.room:
            return None
        if not self.parts:
            return 1.0
        return 0.0 if total <= self.accelerators else min(1.0, (total - self.accelerators) / total)


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """Everything about a model's speed that does not depend on the quant: built once, used for each build."""

    machine: Machine
    constants: SpeedConstants
    share: float
    """Of the weights that a token reads."""
    mixture: bool
    weight_cost: float
    """Cost of reading a token's weights, over that of reading all weights once."""
    cache: float
    """Bytes of cache and state that a token reads."""
    prompt: float
    """Tokens in the cache: of the prompt, for prefill."""
    operations: float
    """Arithmetic operations of one token."""
    layers: float
    """Worth of its layers in fixed time: those of a mixture count more."""
    name: str
    width: float
    """Of the interval while everything is on the accelerators."""

    def estimate(self, build: Build, memory: MemoryEstimate) -> SpeedEstimate:
        """The speed of one build whose memory is known."""
        outside = self.machine.outside(memory.total_bytes)
        read = memory.weights_bytes * self.share + self.cache
        seconds = math.inf if outside is None or read <= 0 else self._seconds(build, memory.weights_bytes, outside)
        if outside is None or not _SHORTEST < seconds < _LONGEST:
            return SpeedEstimate(
                0.0, 0.0, 0.0, "low", 1.0 if outside is None else outside, Bytes(round(read)), 0.0, self.name
            )
        speed = 1 / seconds
        width = self.width if outside <= 0 or not self.machine.parts else self.constants.widths.offload
        prefill = self._prefill(outside)
        return SpeedEstimate(
            speed, speed / width, speed * width, self._confidence(build, outside), outside, Bytes(round(read)),
            read / seconds / 1e9, self.name,
            prefill_tokens_per_second=prefill,
            first_token_seconds=None if prefill is None else self.prompt / prefill + seconds,
            prefill_confidence=None if prefill is None else self._prefill_confidence(),
        )  # fmt: skip

    def pace(self, build: Build, weights_bytes: int, total_bytes: int) -> tuple[float, Confidence]:
        """``estimate``'s tokens a second with their confidence, without the rest: for those that only compare."""
        outside = self.machine.outside(total_bytes)
        if outside is None or weights_bytes * self.share + self.cache <= 0:
            return 0.0, "low"
        seconds = self._seconds(build, weights_bytes, outside)
        if not _SHORTEST < seconds < _LONGEST:
            return 0.0, "low"
        return 1 / seconds, self._confidence(build, outside)

    def _seconds(self, build: Build, weights_bytes: int, outside: float) -> float:
        """Time adds up over where the bytes live: each accelerator's part of the layers, then what lies in RAM."""
        weights = weights_bytes * self.weight_cost
        if is_wide(build.quant):
            weights /= self.constants.wide_weights
        cost = weights + self.cache * self.constants.cache_bytes
        machine, layers = self.machine, self.layers
        seconds = machine.cpu.seconds(cost, layers) * outside if outside > 0 else 0.0
        if outside < 1:
            on_devices = 0.0
            for part in machine.parts:
                on_devices += part.seconds(cost, layers) * part.memory
            seconds += on_devices * (1 - outside)
        return seconds

    def _prefill(self, outside: float) -> float | None:
        """Tokens of the prompt a second; None where part of the model lies outside, or nobody measured the backend."""
        parts = self.machine.parts
        if parts and outside > 0:
            return None
        seconds = 0.0
        for place in parts or (self.machine.cpu,):
            if place.prefill is None:
                return None
            seconds += self.operations / (place.prefill * (_MOE_PREFILL if self.mixture else 1.0)) * place.memory
        seconds *= 1 + self.prompt / _DEEP_PROMPT
        return 1 / seconds if _SHORTEST < seconds < _LONGEST else None

    def _prefill_confidence(self) -> Confidence:
        """Medium for a dense model on a current NVIDIA device, the one kind of which there are enough measurements."""
        return "medium" if self.name == "cuda" and not self.mixture and self.machine.confidence != "low" else "low"

    def _confidence(self, build: Build, outside: float) -> Confidence:
        """Low on a CPU, for an unknown quant, or with most bytes outside; medium with some outside, or where the
        device's bandwidth is only assumed. Source: the origin's ``speed.ts``, the last rule is ours.
        """
        if outside > 0.5 or not normalise(build.quant).known:
            return "low"
        return "medium" if outside > 0 and self.machine.confidence == "high" else self.machine.confidence


def offloaded(memory: MemoryEstimate, hardware: Hardware) -> float | None:
    """Share of the bytes outside the accelerators; None where they fit nowhere on this machine."""
    return _usual_machine(hardware, "llama.cpp").outside(memory.total_bytes)


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
    usual = constants is CONSTANTS
    machine = _usual_machine(hardware, runner) if usual else _machine(hardware, runner, constants)
    tokens = requirement.context / 2 if depth is None else depth
    read = weights_read(model)
    share, mixture = read.share, read.is_mixture
    weights_read_bytes = (model.gguf_weights or model.params or 0) * share
    return SpeedModel(
        machine, constants, share, mixture, read.always + read.routed * constants.moe_bytes,
        _cache(model, requirement, tokens, weights_read_bytes), tokens, 2.0 * weights_read_bytes,
        layers_of(model) * (constants.moe_layers if mixture else 1.0),
        (machine.parts[0] if machine.parts else machine.cpu).backend.name,
        _model_width(model, machine, constants, mixture=mixture),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _usual_machine(hardware: Hardware, runner: Runner) -> Machine:
    """By the committed constants."""
    return _machine(hardware, runner, CONSTANTS)


def _machine(hardware: Hardware, runner: Runner, constants: SpeedConstants) -> Machine:
    accelerators, ram = hardware.vram_bytes, hardware.usable_ram_bytes
    backends = [constants.backends[backend_key(hardware.platform, runner, device)] for device in hardware.devices]
    parts = tuple(
        Part(
            backend, bytes_per_second(backend, hardware.platform, device, constants),
            device.memory_bytes / (accelerators or 1), _operations(backend, device.bandwidth_gbps),
        )
        for backend, device in zip(backends, hardware.devices, strict=True)
    )  # fmt: skip
    cpu, ram_gbps = constants.backends["cpu"], hardware.ram_bandwidth_gbps
    return Machine(
        parts, Part(cpu, ram_gbps * 1e9 * cpu.efficiency, 1.0, _operations(cpu, ram_gbps)), accelerators,
        max(accelerators, ram) if hardware.is_unified else accelerators + ram, machine_confidence(hardware, runner),
        _machine_width(hardware, constants),
    )  # fmt: skip


def _operations(backend: Backend, bandwidth_gbps: float) -> float | None:
    if backend.prefill is None or bandwidth_gbps <= 0:
        return None
    return backend.prefill * bandwidth_gbps * 1e9


def _cache(model: CatalogModel, requirement: Requirement, tokens: float, weights_read: float) -> float:
    """Bytes of one sequence's cache and state with so many tokens in it."""
    element = ELEMENT_BYTES[requirement.kv_cache]
    shape = kv_shape(model.architecture)
    if shape is None:
        return UNKNOWN_PER_BILLION / 1e9 * weights_read * tokens * element / ELEMENT_BYTES["f16"]
    return shape.elements(round(tokens)) * element + shape.state_bytes


def _machine_width(hardware: Hardware, constants: SpeedConstants) -> float | None:
    if not hardware.devices:
        return constants.widths.unsure if hardware.confidence == "low" else constants.widths.cpu
    if hardware.platform == "intel" or any(device.confidence == "low" for device in hardware.devices):
        return constants.widths.unsure
    return constants.widths.several if len(hardware.devices) > 1 else None


def _model_width(model: CatalogModel, machine: Machine, constants: SpeedConstants, *, mixture: bool) -> float:
    if machine.width is not None:
        return machine.width
    widths = constants.widths
    usual = widths.moe if mixture else widths.small if (model.params or 0) < SMALL_WEIGHTS else widths.dense
    return math.pow(usual, machine.parts[0].backend.spread)


def machine_confidence(hardware: Hardware, runner: Runner = "llama.cpp") -> Confidence:
    """The best that an estimate on this machine has: low where nobody knows what the device is; medium where only its
    bandwidth is assumed, or too few devices of its class were measured.
    """
    assumed = any(device.bandwidth_source == "assumed" for device in hardware.devices)
    unsure = any(device.confidence == "low" for device in hardware.devices)
    if not hardware.devices or hardware.platform == "intel" or (unsure and not assumed):
        return "low"
    few = any(_is_rare(hardware.platform, runner, device) for device in hardware.devices)
    return "medium" if assumed or few else "high"


def _is_rare(platform: Platform, runner: Runner, device: Device) -> bool:
    """Whether few devices of this one's class were measured; memory shared with the CPU makes a class of its own."""
    shared = platform == "amd" and device.unified
    return shared or runner in _RARE_RUNNERS or backend_key(platform, runner, device) in _RARE_BACKENDS


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
