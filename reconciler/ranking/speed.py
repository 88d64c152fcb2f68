"""Decode speed of one candidate on one machine, with an 80 % interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reconciler.domain.catalog import Build, CatalogModel
from reconciler.domain.estimate import MemoryEstimate, Requirement, SpeedEstimate
from reconciler.domain.hardware import Confidence, Device, Hardware
from reconciler.domain.units import Bytes
from reconciler.ranking.decode import BACKENDS, OLD_CUDA, Backend, active_share, layers_of, token_seconds
from reconciler.ranking.quants import normalise

_WIDTH: dict[str, float] = {"dense": 1.25, "moe": 1.45, "small": 1.45, "cpu": 1.50, "offload": 1.90, "unsure": 1.90}
"""Upper end over the estimate, and the estimate over the lower end. From the errors of ``scripts/fit_speed.py`` on
rows not fitted on: four in five lie within; offload and unsure devices have too few rows and are our judgement."""
_SMALL_WEIGHTS = 2_000_000_000


@dataclass(frozen=True, slots=True)
class SpeedModel:
    """Everything about a model's speed that does not depend on the quant: built once, used for each build."""

    model: CatalogModel
    hardware: Hardware
    layers: int
    share: float
    """Share of the weights that one token reads."""
    moe: bool
    depth: float
    """Share of the asked context that is read on average."""

    def estimate(self, build: Build, memory: MemoryEstimate) -> SpeedEstimate:
        """The speed of one build whose memory is known."""
        read = memory.weights_bytes * self.share + memory.kv_bytes * self.depth + memory.state_bytes
        outside = offloaded(memory, self.hardware)
        name = _backend(self.hardware).name
        if outside is None or read <= 0:
            return SpeedEstimate(0.0, 0.0, 0.0, "low", 1.0, Bytes(round(read)), 0.0, name)
        seconds = self._seconds(read, outside)
        if not math.isfinite(seconds) or seconds <= 0:
            return SpeedEstimate(0.0, 0.0, 0.0, "low", outside, Bytes(round(read)), 0.0, name)
        speed, width = 1 / seconds, self._width(outside)
        return SpeedEstimate(
            speed, speed / width, speed * width, self._confidence(build, outside), outside, Bytes(round(read)),
            read / seconds / 1e9, name,
        )  # fmt: skip

    def _seconds(self, read: float, outside: float) -> float:
        """Time adds up over where the bytes live: each accelerator's part, then what lies in RAM."""
        seconds = 0.0
        if outside < 1:
            total = sum(device.memory_bytes for device in self.hardware.devices)
            for device in self.hardware.devices:
                part = (1 - outside) * device.memory_bytes / total
                seconds += self._part(_device_backend(device, self.hardware), device.bandwidth_gbps, read, part)
        if outside > 0:
            seconds += self._part(BACKENDS["cpu"], self.hardware.ram_bandwidth_gbps, read, outside)
        return seconds

    def _part(self, backend: Backend, bandwidth_gbps: float, read: float, part: float) -> float:
        seconds = token_seconds(
            backend, layers=self.layers, read_bytes=read, bandwidth_gbps=bandwidth_gbps, moe=self.moe
        )
        return seconds * part

    def _width(self, outside: float) -> float:
        if not self.hardware.devices:
            return _WIDTH["cpu"]
        if outside > 0:
            return _WIDTH["offload"]
        if self.hardware.platform == "intel" or any(device.confidence == "low" for device in self.hardware.devices):
            return _WIDTH["unsure"]
        if self.moe:
            return _WIDTH["moe"]
        return _WIDTH["small"] if (self.model.params or 0) < _SMALL_WEIGHTS else _WIDTH["dense"]

    def _confidence(self, build: Build, outside: float) -> Confidence:
        """Low on a CPU, for an unknown quant, or with most bytes outside; medium with some outside, or where the
        device's bandwidth is only assumed. Source: the origin's ``speed.ts``, the last rule is ours.
        """
        if not self.hardware.devices or outside > 0.5 or not normalise(build.quant).known:
            return "low"
        if outside > 0 or any(device.bandwidth_source == "assumed" for device in self.hardware.devices):
            return "medium"
        return "high"


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


def _backend(hardware: Hardware) -> Backend:
    return _device_backend(hardware.devices[0], hardware) if hardware.devices else BACKENDS["cpu"]


def _device_backend(device: Device, hardware: Hardware) -> Backend:
    if hardware.platform == "nvidia" and _is_old_cuda(device):
        return OLD_CUDA
    return BACKENDS[hardware.platform]


def _is_old_cuda(device: Device) -> bool:
    """Before tensor cores and fast integer dot products in every chip: compute capability below 7."""
    if device.compute_capability is not None:
        major = device.compute_capability.partition(".")[0]
        return major.isdigit() and int(major) < 7
    name = device.name.lower()
    return "gtx 10" in name or "gtx 9" in name or "tesla p" in name or "quadro p" in name


def speed_model(model: CatalogModel, requirement: Requirement, hardware: Hardware) -> SpeedModel:
    """The part of ``estimate_speed`` that every build of a model shares."""
    depth = 0.5 / max(1, requirement.parallel)
    share = active_share(model)
    return SpeedModel(model, hardware, layers_of(model), share, model.is_moe and share < 1, depth)


def estimate_speed(
    model: CatalogModel, build: Build, memory: MemoryEstimate, hardware: Hardware, requirement: Requirement
) -> SpeedEstimate:
    """Tokens a second that one stream decodes, at half the asked context: what a conversation sees on average.

    Bytes really read per token (a mixture's active weights, the cache, the state) over what the backend makes of the
    bandwidth, plus a fixed time per layer (``ranking.decode``). Offloaded parts add their time. Never raises: 0 with
    low confidence where the model fits nowhere on the machine, or the machine has no bandwidth.

    Args:
        model: layers, active share.
        build: its quant decides the confidence; its bytes are in ``memory``.
        memory: of this build at this requirement.
        hardware: devices and RAM with their bandwidths.
        requirement: context and parallel sequences.
    """
    return speed_model(model, requirement, hardware).estimate(build, memory)
