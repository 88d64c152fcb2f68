"""What the machine is: devices, memory, bandwidth, limits, and how sure we are of each."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from reconciler.domain.document import Frozen
from reconciler.domain.units import GIB, Bytes

Platform = Literal["macos", "nvidia", "amd", "intel", "cpu"]
Confidence = Literal["high", "medium", "low"]


class Device(Frozen):
    """One accelerator, or the unified memory of a machine that shares it."""

    name: str
    vendor: Literal["nvidia", "amd", "intel", "apple", "other"]
    memory_bytes: Bytes
    """Total memory of the device. Unified memory: what the accelerator may use, less the platform's reserve."""
    free_bytes: Bytes | None = None
    """Free at the moment of detection; a warning at most, never a reason."""
    bandwidth_gbps: float
    """10⁹ bytes a second."""
    bandwidth_source: Literal["measured", "table", "computed", "override", "assumed"] = "table"
    confidence: Confidence = "high"
    unified: bool = False
    """Shares its memory with the CPU: the two must not be added up."""
    compute_capability: str | None = None


class Hardware(Frozen):
    """A machine, real or simulated."""

    platform: Platform
    """Where models run: the vendor of the accelerators in use, or ``cpu``."""
    devices: tuple[Device, ...] = ()
    """Visible accelerators, largest first. Empty on a CPU-only machine."""
    ram_bytes: Bytes
    """Memory this process may use: the smaller of physical memory and the cgroup limit."""
    ram_free_bytes: Bytes | None = None
    ram_bandwidth_gbps: float
    """10⁹ bytes a second, all channels."""
    ram_reserve_bytes: Bytes
    """What the platform keeps for itself; never given to a model."""
    cpu_name: str
    cpu_count: int
    """Logical processors this process may use, cgroup quota included."""
    os: Literal["linux", "macos", "windows", "other"] = "linux"
    arch: str = "x86_64"
    confidence: Confidence = "high"
    detected_at: datetime

    @property
    def vram_bytes(self) -> Bytes:
        """Accelerator memory, all devices together."""
        return Bytes(sum(device.memory_bytes for device in self.devices))

    @property
    def is_unified(self) -> bool:
        return any(device.unified for device in self.devices)

    @property
    def usable_ram_bytes(self) -> Bytes:
        return Bytes(max(0, self.ram_bytes - self.ram_reserve_bytes))

    @property
    def capacity_bytes(self) -> Bytes:
        """Memory that one model may fill entirely: the devices' on an accelerated machine, else the usable RAM.

        Capacity, not free memory: total, less the platform's reserve, less cgroup and visible-device limits.
        """
        return self.vram_bytes if self.devices else self.usable_ram_bytes

    @property
    def vram_gib(self) -> float:
        return self.vram_bytes / GIB

    @property
    def ram_gib(self) -> float:
        return self.ram_bytes / GIB


class HardwareWarning(Frozen):
    """Something detection could not know, with a code from a closed list."""

    code: str
    message: str
    cause: str | None = None


class HardwareReading(Frozen):
    """What a detection gave: always a machine, with what is uncertain about it."""

    hardware: Hardware
    warnings: tuple[HardwareWarning, ...] = ()
    source: Literal["override", "cache", "macos", "nvidia", "amd", "intel", "cpu", "simulated"] = "cpu"
