"""The machine that the file's ``hardware.override`` describes, word for word.

Nothing of the machine this runs on is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import Device, Hardware, HardwareReading, HardwareWarning, Platform
from reconciler.domain.units import Bytes
from reconciler.integrations.hardware.devices import DeviceTable, bundled_table
from reconciler.integrations.hardware.processors import memory_bandwidth
from reconciler.integrations.hardware.readings import assumed_gbps, metal_limit, ram_reserve

SIMULATED_CPUS = 8
_VENDORS: Mapping[Platform, str] = {"macos": "apple", "nvidia": "nvidia", "amd": "amd", "intel": "intel"}


def from_override(override: HardwareOverride, now: datetime) -> HardwareReading:
    """The machine an override describes, word for word.

    As the origin has it: RAM defaults to the accelerator's memory and the processor's name to ``override``. Memory and
    bandwidth are those of one card; ``gpu_count`` says how many there are. On a CPU platform the RAM may be given as
    either figure, and the bandwidth is the RAM's.
    """
    table = bundled_table()
    cpu_name = override.cpu_name or "override"
    known = memory_bandwidth(cpu_name)
    if override.platform == "cpu":
        main = override.ram_bytes or override.vram_bytes
        gbps = override.bandwidth_gbps or known.gbps
        unsure = () if override.bandwidth_gbps or known.is_known else (_assumed(gbps),)
        hardware = described("cpu", (), main, gbps, cpu_name, now)
        return HardwareReading(hardware=hardware, warnings=unsure, source="override")
    device, warnings = _override_device(override, table)
    devices = (device,) * override.gpu_count
    ram = override.ram_bytes or device.memory_bytes * override.gpu_count
    ram_gbps = device.bandwidth_gbps if device.unified else known.gbps
    hardware = described(override.platform, devices, ram, ram_gbps, cpu_name, now)
    return HardwareReading(hardware=hardware, warnings=warnings, source="override")


def _override_device(override: HardwareOverride, table: DeviceTable) -> tuple[Device, tuple[HardwareWarning, ...]]:
    name = override.gpu_name or override.platform
    memory = override.vram_bytes or _usual_memory(override, table)
    sold = (override.ram_bytes or memory) if override.platform == "macos" else memory
    found, unified = _looked_up(override.platform, name, sold, table)
    given = override.bandwidth_gbps
    gbps = given or found or assumed_gbps(_card_vendor(override.platform), name, memory)
    device = Device.model_validate(
        {
            "name": name,
            "vendor": _VENDORS[override.platform],
            "memory_bytes": memory,
            "bandwidth_gbps": gbps,
            "bandwidth_source": "override" if given else "table" if found else "assumed",
            "confidence": "high" if given or found else "low",
            "unified": unified,
        }
    )
    return device, () if given or found else (_assumed(gbps),)


def _usual_memory(override: HardwareOverride, table: DeviceTable) -> int:
    """Where no accelerator memory is given: a Mac's share of its RAM, or what the named card is sold with."""
    if override.platform == "macos":
        return metal_limit(override.ram_bytes or 0)
    match = table.find(override.gpu_name or "")
    return match.entry.memory_bytes if match and match.entry.vendor == override.platform else 0


def _card_vendor(platform: Platform) -> Any:
    return platform if platform in {"nvidia", "amd", "intel"} else "intel"


def _looked_up(platform: Platform, name: str, memory: int, table: DeviceTable) -> tuple[float | None, bool]:
    if platform == "macos":
        chip = table.apple(name, gpu_cores=None, memory_bytes=memory)
        return (chip.bandwidth_gbps if chip else None), True
    match = table.find(name, memory)
    if match is None or match.entry.vendor != platform:
        return None, False
    return match.entry.bandwidth_gbps or None, match.entry.kind in {"unified", "integrated"}


def _assumed(gbps: float) -> HardwareWarning:
    text = f"The override names no bandwidth and no device we know; {gbps:g} GB/s is assumed. Say bandwidthGbps."
    return HardwareWarning(code="override_bandwidth_assumed", message=text)


def described(
    platform: Platform, devices: tuple[Device, ...], ram: int, ram_gbps: float, cpu_name: str, now: datetime
) -> Hardware:
    """A machine of these parts, with what a description leaves out."""
    is_mac = platform == "macos"
    return Hardware(
        platform=platform,
        devices=devices,
        ram_bytes=Bytes(ram),
        ram_bandwidth_gbps=ram_gbps,
        ram_reserve_bytes=ram_reserve(ram),
        cpu_name=cpu_name,
        cpu_count=SIMULATED_CPUS,
        os="macos" if is_mac else "linux",
        arch="arm64" if is_mac else "x86_64",
        confidence="low" if any(device.confidence == "low" for device in devices) else "high",
        detected_at=now,
    )
