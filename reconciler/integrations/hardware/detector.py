"""The dispatcher: asks every vendor at once, chooses what models will run on, and never raises.

The probes are loaded when they run: with a reading in the cache, which is nearly always, none of them is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import (
    Confidence,
    Device,
    Hardware,
    HardwareReading,
    HardwareWarning,
    Platform,
)
from reconciler.domain.units import GIB, Bytes
from reconciler.errors import OutsideError, Unreachable
from reconciler.integrations.hardware.cache import ReadingCache, machine_key
from reconciler.integrations.hardware.concurrency import concurrently
from reconciler.integrations.hardware.devices import DeviceTable, bundled_table
from reconciler.integrations.hardware.edges import (
    FileTree,
    LocalFiles,
    LocalShell,
    LocalSystem,
    OperatingSystem,
    Shell,
    read_or_none,
)
from reconciler.integrations.hardware.graphics import graphics_cards
from reconciler.integrations.hardware.limits import Limits, cgroup_limits, usable_cpus
from reconciler.integrations.hardware.nvml import load_pynvml
from reconciler.integrations.hardware.processors import MemoryBandwidth, memory_bandwidth, shared_bandwidth
from reconciler.integrations.hardware.readings import Found, Surroundings, ram_reserve
from reconciler.ports import Clock

CACHE_SECONDS = 86_400.0
BRIEF_CACHE_SECONDS = 60.0
"""For a reading that may be better in a minute: a driver that is starting, a program that hung."""
FREE_MEMORY_SECONDS = 60.0
"""How long a device's free memory is worth telling."""
ASSUMED_RAM = 4 * GIB
"""Where not even the memory can be read."""
_NVIDIA_PCI = "10de"
_SMALL_SHARE = 4
"""A card with less than a quarter of the largest one's memory drives a screen; it is not pooled."""

Source = Literal["macos", "nvidia", "amd", "intel", "cpu"]
_PLATFORM: Mapping[str, Platform] = {"apple": "macos", "nvidia": "nvidia", "amd": "amd", "intel": "intel"}


@dataclass(frozen=True, slots=True)
class Host:
    """The machine without its accelerators."""

    ram_bytes: int
    ram_free_bytes: int | None
    cpu_name: str
    cpu_count: int
    bandwidth: MemoryBandwidth
    warnings: tuple[HardwareWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the probes came back with, and whether asking again soon may give more."""

    found: Found
    is_brief: bool = False
    host: Host | None = None
    """Set where a probe knows the machine better than the interpreter does."""


class Detector:
    """``HardwareProbe`` of this machine, or of any recording of one.

    Reads NVML, ``nvidia-smi``, sysfs, ``rocm-smi``, ``lspci``, ``system_profiler`` and ``sysctl``; each probe names
    what it was written for. All vendors are asked at once, each program has 5 s.
    """

    def __init__(
        self,
        *,
        shell: Shell,
        files: FileTree,
        system: OperatingSystem,
        environment: Mapping[str, str],
        clock: Clock,
        cache_path: Path | None = None,
        cache_seconds: float = CACHE_SECONDS,
        nvml: Callable[[], Any] | None = None,
        table: Callable[[], DeviceTable] = bundled_table,
    ) -> None:
        """Nothing is read before ``probe``.

        Args:
            shell: runs programs.
            files: reads ``/sys``, ``/proc`` and the cgroups.
            system: what the interpreter knows of the machine.
            environment: for the variables that hide devices.
            clock: dates readings and expires the cache.
            cache_path: the cache file; None keeps the reading in memory only.
            cache_seconds: how long a good reading is used; 0 disables the cache.
            nvml: loads the NVML library; None goes to ``nvidia-smi`` at once.
            table: loads the device table.
        """
        self._shell, self._files, self._system = shell, files, system
        self._environment, self._clock = environment, clock
        self._cache, self._cache_seconds = ReadingCache(cache_path), cache_seconds
        self._nvml, self._table = nvml, table

    def probe(self, override: HardwareOverride | None = None) -> HardwareReading:
        """The machine. An ``override`` runs nothing; a reading of this machine within the day runs nothing either."""
        now = self._clock.now()
        if override is not None:
            from reconciler.integrations.hardware.override import from_override

            return from_override(override, now)
        try:
            key = machine_key(self._system, self._files, self._environment)
            kept = self._cache.get(key, now) if self._cache_seconds > 0 else None
            return self._freshened(kept, now) if kept else self._measured(key, now)
        except Exception as error:  # noqa: BLE001 — the port's promise: a CPU profile at worst
            return _worst(now, error)

    def invalidate(self) -> None:
        """Forget the last reading, also on disk: the next ``probe`` looks again."""
        self._cache.forget()

    def _measured(self, key: str, now: datetime) -> HardwareReading:
        host = self._host()
        seen = self._accelerators(host)
        reading = _reading(seen.host or host, seen.found, self._system, now)
        seconds = min(self._cache_seconds, BRIEF_CACHE_SECONDS) if seen.is_brief else self._cache_seconds
        if seconds > 0:
            self._cache.put(key, now + timedelta(seconds=seconds), reading)
        return reading

    def _freshened(self, kept: HardwareReading, now: datetime) -> HardwareReading:
        """A kept reading with today's free RAM, and without free device memory once that is old news."""
        hardware = kept.hardware
        free = _ram_free(*self._memory()[:2], cgroup_limits(self._files))
        devices = hardware.devices
        if (now - hardware.detected_at).total_seconds() > FREE_MEMORY_SECONDS:
            devices = tuple(device.model_copy(update={"free_bytes": None}) for device in devices)
        return kept.model_copy(
            update={"hardware": hardware.model_copy(update={"devices": devices, "ram_free_bytes": free})}
        )

    def _memory(self) -> tuple[int, int | None, tuple[HardwareWarning, ...]]:
        try:
            total, available = self._system.memory()
        except Exception as error:  # noqa: BLE001 — psutil and /proc fail in many ways
            text = "How much memory this machine has could not be read; 4 GiB is assumed."
            return ASSUMED_RAM, None, (HardwareWarning(code="ram_unknown", message=text, cause=str(error)[:200]),)
        return max(total, 1), available, ()

    def _host(self) -> Host:
        total, available, warnings = self._memory()
        limits = cgroup_limits(self._files) if self._system.system == "linux" else Limits()
        name, count = self._system.processors()
        whole = memory_bandwidth(name)
        cpus = usable_cpus(max(1, count), limits)
        is_slice = cpus < count or "hypervisor" in (read_or_none(self._files, "/proc/cpuinfo") or "")
        return Host(
            ram_bytes=min(total, limits.memory_bytes or total),
            ram_free_bytes=_ram_free(total, available, limits),
            cpu_name=name.strip() or "unknown CPU",
            cpu_count=cpus,
            bandwidth=shared_bandwidth(whole, cpus) if is_slice else whole,
            warnings=warnings,
        )

    def _accelerators(self, host: Host) -> _Seen:
        match self._system.system:
            case "macos":
                return self._on_macos(host)
            case "linux" | "windows":
                return self._on_cards(host)
            case _:
                return _Seen(Found((), _cpu_warnings(host)))

    def _on_macos(self, host: Host) -> _Seen:
        from reconciler.integrations.hardware.macos import probe_macos

        try:
            memory, found = probe_macos(self._shell, self._table())
        except Exception as error:  # noqa: BLE001 — whatever the programs printed
            return _Seen(Found((), (_failed("macos", error), *_cpu_warnings(host))), isinstance(error, Unreachable))
        bandwidth = MemoryBandwidth(found.devices[0].bandwidth_gbps, is_known=True, confidence="high")
        mac = Host(memory.ram_bytes, host.ram_free_bytes, memory.cpu_name, host.cpu_count, bandwidth)
        return _Seen(found, host=mac)

    def _on_cards(self, host: Host) -> _Seen:
        from reconciler.integrations.hardware.amd import probe_amd
        from reconciler.integrations.hardware.intel import probe_intel
        from reconciler.integrations.hardware.nvidia import probe_nvidia

        around = Surroundings(
            self._shell, self._files, self._environment, self._table(), host.ram_bytes, host.bandwidth.gbps
        )
        answers = concurrently(
            {
                "nvidia": lambda: probe_nvidia(around, self._nvml),
                "amd": lambda: probe_amd(around),
                "intel": lambda: probe_intel(around),
            }
        )
        founds = {name: answer for name, answer in answers.items() if isinstance(answer, Found)}
        failures = {name: answer for name, answer in answers.items() if isinstance(answer, Exception)}
        chosen = _chosen(founds)
        warnings = [_failed(name, error) for name, error in failures.items() if self._matters(name, error, chosen)]
        if not chosen.devices:
            warnings.extend(_cpu_warnings(host))
        is_brief = any(self._is_passing(name, error) for name, error in failures.items())
        return _Seen(Found(chosen.devices, (*chosen.warnings, *warnings)), is_brief)

    def _matters(self, name: str, error: Exception, chosen: Found) -> bool:
        """A missing NVIDIA driver is worth a word where nothing else is used, or where such a card is built in."""
        return not isinstance(error, OutsideError) or not chosen.devices or self._is_passing(name, error)

    def _is_passing(self, name: str, error: Exception) -> bool:
        """Whether asking again soon may help: a program that hung, or a card whose driver does not answer yet."""
        has_card = name == "nvidia" and any(card.vendor == _NVIDIA_PCI for card in graphics_cards(self._files))
        return isinstance(error, Unreachable) or not isinstance(error, OutsideError) or has_card


def local_detector(cache_directory: Path | None, clock: Clock, environment: Mapping[str, str]) -> Detector:
    """The detector of this machine; its cache is ``hardware.json`` in the cache directory."""
    files = LocalFiles()
    return Detector(
        shell=LocalShell(),
        files=files,
        system=LocalSystem(files),
        environment=environment,
        clock=clock,
        cache_path=cache_directory / "hardware.json" if cache_directory else None,
        nvml=load_pynvml,
    )


def _chosen(founds: Mapping[str, Found]) -> Found:
    """The vendor with the most memory of its own; shared memory counts only where no card has any."""
    warnings = [warning for found in founds.values() for warning in found.warnings]
    cards = {name: tuple(d for d in found.devices if not d.unified) for name, found in founds.items()}
    owners = {name: devices for name, devices in cards.items() if devices}
    if not owners:
        shared = [device for found in founds.values() for device in found.devices]
        return Found(tuple(sorted(shared, key=_by_size)[:1]), tuple(warnings))
    best = min(owners, key=lambda name: (-sum(device.memory_bytes for device in owners[name]), name))
    for name in sorted(set(owners) - {best}):
        text = f"{owners[name][0].name} is left out: one model runs on the devices of one vendor, here {best}."
        warnings.append(HardwareWarning(code="other_accelerator_ignored", message=text))
    pooled, small = _pooled(owners[best])
    unused = tuple(f"{device.name} is not in" for device in small if device.name not in {d.name for d in pooled})
    warnings = [warning for warning in warnings if not (unused and warning.message.startswith(unused))]
    for device in small:
        text = f"{device.name} is left out: it has less than a quarter of the memory of {pooled[0].name}."
        warnings.append(HardwareWarning(code="small_accelerator_ignored", message=text))
    return Found(pooled, tuple(warnings))


def _pooled(devices: tuple[Device, ...]) -> tuple[tuple[Device, ...], tuple[Device, ...]]:
    ordered = sorted(devices, key=_by_size)
    least = ordered[0].memory_bytes / _SMALL_SHARE
    return tuple(d for d in ordered if d.memory_bytes >= least), tuple(d for d in ordered if d.memory_bytes < least)


def _by_size(device: Device) -> tuple[int, float]:
    return -device.memory_bytes, -device.bandwidth_gbps


def _reading(host: Host, found: Found, system: OperatingSystem, now: datetime) -> HardwareReading:
    platform = _PLATFORM[found.devices[0].vendor] if found.devices else "cpu"
    unified = next((device for device in found.devices if device.unified), None)
    hardware = Hardware(
        platform=platform,
        devices=found.devices,
        ram_bytes=Bytes(host.ram_bytes),
        ram_free_bytes=None if host.ram_free_bytes is None else Bytes(host.ram_free_bytes),
        ram_bandwidth_gbps=unified.bandwidth_gbps if unified else host.bandwidth.gbps,
        ram_reserve_bytes=ram_reserve(host.ram_bytes),
        cpu_name=host.cpu_name,
        cpu_count=host.cpu_count,
        os=system.system,
        arch=system.arch,
        confidence=_least_sure(found.devices) if found.devices else host.bandwidth.confidence,
        detected_at=now,
    )
    return HardwareReading(hardware=hardware, warnings=(*host.warnings, *found.warnings), source=platform)


def _least_sure(devices: tuple[Device, ...]) -> Confidence:
    seen = {device.confidence for device in devices}
    return "low" if "low" in seen else "medium" if "medium" in seen else "high"


def _ram_free(total: int, available: int | None, limits: Limits) -> int | None:
    """Free bytes inside the container's limit."""
    if available is None:
        return None
    if limits.memory_bytes is None or limits.memory_bytes >= total:
        return min(available, total)
    return max(0, min(available, limits.memory_bytes - (limits.memory_used_bytes or 0)))


def _cpu_warnings(host: Host) -> tuple[HardwareWarning, ...]:
    if host.bandwidth.is_known:
        return ()
    text = (
        f"{host.cpu_name} is not in the processor table; {host.bandwidth.gbps:g} GB/s of memory bandwidth is assumed."
    )
    return (HardwareWarning(code="cpu_unmapped_family", message=text),)


def _failed(name: str, error: Exception) -> HardwareWarning:
    known = {"macos": "MACOS", "nvidia": "NVIDIA", "amd": "AMD", "intel": "INTEL"}
    text = f"{known[name]} probe failed; falling back to CPU profile."
    cause = error.message if isinstance(error, OutsideError) else f"{type(error).__name__}: {error}"
    return HardwareWarning(code=f"{name}_probe_failed", message=text, cause=cause[:400])


def _worst(now: datetime, error: Exception) -> HardwareReading:
    """What is left when nothing could be read at all."""
    text = "This machine could not be read; a small CPU machine is assumed. Say hardware.override to be sure."
    bandwidth = memory_bandwidth("")
    hardware = Hardware(
        platform="cpu",
        ram_bytes=Bytes(ASSUMED_RAM),
        ram_bandwidth_gbps=bandwidth.gbps,
        ram_reserve_bytes=ram_reserve(ASSUMED_RAM),
        cpu_name="unknown CPU",
        cpu_count=1,
        os="other",
        confidence="low",
        detected_at=now,
    )
    warning = HardwareWarning(code="detection_failed", message=text, cause=f"{type(error).__name__}: {error}"[:400])
    return HardwareReading(hardware=hardware, warnings=(warning,), source="cpu")
