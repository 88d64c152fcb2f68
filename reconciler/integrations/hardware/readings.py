"""What the probes hand to the dispatcher, and the rules on memory that they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from reconciler.domain.hardware import Confidence, Device, HardwareWarning
from reconciler.domain.units import GIB, MIB, Bytes
from reconciler.integrations.hardware.devices import DeviceTable, Vendor
from reconciler.integrations.hardware.edges import FileTree, Shell

BandwidthSource = Literal["measured", "table", "computed", "override", "assumed"]

ASSUMED_GBPS: Mapping[str, float] = {"nvidia": 300.0, "amd": 224.0, "intel": 112.0}
"""For a card nobody knows. NVIDIA: the origin's figure. The others: the slowest current discrete card of 8 GB (AMD) and
of any size (Intel) in the device table."""
ASSUMED_SMALL_GBPS = 112.0
"""For an unknown laptop card, or one under 8 GiB: the slowest of its class in the device table since 2019."""


@dataclass(frozen=True, slots=True)
class Bandwidth:
    """10⁹ bytes a second, where it comes from, and how sure that is."""

    gbps: float
    source: BandwidthSource
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Found:
    """What one probe saw. No devices and no warnings: there is none of that vendor."""

    devices: tuple[Device, ...] = ()
    warnings: tuple[HardwareWarning, ...] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every probe may look at."""

    shell: Shell
    files: FileTree
    environment: Mapping[str, str]
    table: DeviceTable
    ram_bytes: int
    ram_bandwidth_gbps: float


def ram_reserve(ram_bytes: int) -> Bytes:
    """Memory left to the operating system and everything else: 15 %, at least 1 GiB, at most 8 GiB.

    Boards under 4 GiB keep a quarter instead. The rule is ours, not measured: a headless Linux needs about 0.5 GiB, a
    desktop with a browser 4 to 8 GiB.

    >>> ram_reserve(20 * GIB) / GIB
    3.0
    >>> ram_reserve(1 * GIB) / GIB
    0.25
    """
    wanted = min(max(round(ram_bytes * 0.15), GIB), 8 * GIB)
    return Bytes(min(wanted, ram_bytes // 4)) if ram_bytes < 4 * GIB else Bytes(wanted)


def metal_limit(ram_bytes: int, wired_limit_mb: int | None = None) -> Bytes:
    """What Metal lets the GPU of a Mac keep resident: 2/3 of up to 36 GiB, 3/4 above, unless an operator raised it.

    A lower bound: macOS 26 was seen to allow 74 % of 16 and 84 % of 128 GiB.

    Args:
        ram_bytes: all memory of the machine.
        wired_limit_mb: ``sysctl iogpu.wired_limit_mb``, MiB; 0 and None mean the default.

    Source:
        Measured ``recommendedMaxWorkingSetSize``: 10.67 of 16 GB (exo-explore/exo#1672), 75 % of larger machines
        (gpustack/gpustack#1375); 11.84 of 16 (AlexsJones/llmfit#754), 107.52 of 128 (antirez/ds4#893).
    """
    if wired_limit_mb and wired_limit_mb > 0:
        return Bytes(min(wired_limit_mb * MIB, ram_bytes))
    return Bytes(ram_bytes * 2 // 3 if ram_bytes <= 36 * GIB else ram_bytes * 3 // 4)


def named_bandwidth(table: DeviceTable, vendor: Vendor, name: str, memory_bytes: int | None) -> Bandwidth:
    """What the table says of a name; for an unknown one a low guess, never 0 and never a desktop card's."""
    match = table.find(name, memory_bytes)
    if match and match.entry.vendor == vendor and match.entry.bandwidth_gbps > 0:
        return Bandwidth(match.entry.bandwidth_gbps, "table", "high" if match.is_certain else "medium")
    return Bandwidth(assumed_gbps(vendor, name, memory_bytes), "assumed", "low")


def assumed_gbps(vendor: Vendor, name: str, memory_bytes: int | None) -> float:
    """A bandwidth that an unknown card very likely exceeds."""
    text = name.lower()
    is_laptop = any(word in text for word in ("laptop", "mobile", "max-q", "maxq", "notebook"))
    is_small = memory_bytes is not None and memory_bytes < 7.3 * GIB
    return ASSUMED_SMALL_GBPS if is_laptop or is_small else ASSUMED_GBPS[vendor]


def settle(measured_gbps: float | None, named: Bandwidth) -> Bandwidth:
    """A measured figure beats a name; where the two agree within 3 %, the table's is the exact one.

    Driver clocks are rounded to a megahertz and the table's figures to what vendors print, hence the 3 %.
    """
    if measured_gbps is None or not 5 <= measured_gbps <= 20_000:
        return named
    if named.source == "table" and abs(measured_gbps - named.gbps) <= 0.03 * named.gbps:
        return Bandwidth(named.gbps, "table", "high")
    return Bandwidth(round(measured_gbps, 1), "measured", "high")
