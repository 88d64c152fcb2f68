"""Intel: Arc and data-centre cards through sysfs, their names through ``lspci``.

Written for Linux 6, tried on recordings;
drivers ``i915`` and ``xe``. The graphics inside an Intel processor has no memory of its
own and is no device here: its machine is a CPU machine.
"""

from __future__ import annotations

import re

from reconciler.domain.hardware import Device, HardwareWarning
from reconciler.domain.units import GIB, Bytes
from reconciler.integrations.hardware.edges import read_number, read_or_none
from reconciler.integrations.hardware.graphics import DRM, GraphicsCard, graphics_cards, lspci_names
from reconciler.integrations.hardware.readings import Found, Surroundings, named_bandwidth
from reconciler.integrations.hardware.visible import visible_positions

INTEL = "8086"
_DISCRETE = re.compile(r"(?:56[9abc].|e2[012].|0bd[0-9a-f])")
"""Device numbers of DG2, Battlemage and Ponte Vecchio. Source: Linux include/drm/intel/pciids.h."""
_LEAST_BYTES = 3 * GIB


def probe_intel(around: Surroundings) -> Found:
    """Every visible Intel card with memory of its own; nothing where there is none. Raises nothing of its own."""
    cards = [card for card in graphics_cards(around.files) if card.vendor == INTEL and _DISCRETE.fullmatch(card.device)]
    listed = around.environment.get("ZE_AFFINITY_MASK")
    mask = ",".join(part.split(".")[0] for part in listed.split(",")) if listed else None
    shown = [cards[at] for at in visible_positions([() for _ in cards], mask)]
    devices, warnings = [], []
    for card in shown:
        device = _device(around, card)
        if device is None:
            text = f"Intel GPU {card.device} says neither its name nor its memory; it is left out."
            warnings.append(HardwareWarning(code="intel_memory_unknown", message=text))
            continue
        devices.append(device)
        warnings.extend(_unmapped(device))
    return Found(tuple(devices), tuple(warnings))


def _device(around: Surroundings, card: GraphicsCard) -> Device | None:
    key = f"{card.vendor}:{card.device}"
    name = around.table.pci_name(INTEL, card.device, card.revision) or lspci_names(around.shell).get(key, "")
    told = _told_bytes(around, card)
    match = around.table.find(name, told)
    memory = told or _guessed_bytes(match.entry.memory_bytes if match else 0, _window_bytes(around, card))
    if memory < _LEAST_BYTES:
        return None
    bandwidth = named_bandwidth(around.table, "intel", name, memory)
    return Device(
        name=f"Intel {name}" if name else f"Intel GPU {card.device}",
        vendor="intel",
        memory_bytes=Bytes(memory),
        bandwidth_gbps=bandwidth.gbps,
        bandwidth_source=bandwidth.source,
        confidence=bandwidth.confidence if told else "medium" if match else "low",
    )


def _told_bytes(around: Surroundings, card: GraphicsCard) -> int | None:
    """What the driver says the card has; not every version does."""
    for path in (f"{card.path}/tile0/physical_vram_size_bytes", f"{DRM}/card{card.number}/lmem_total_bytes"):
        told = read_number(around.files, path)
        if told and _LEAST_BYTES <= told < 2**44:
            return told
    return None


def _guessed_bytes(sold: int, window: int) -> int:
    """The memory it is sold with, but no more than its window shows (an Arc A770 of 8 GB has the name of one of 16).

    The window is a power of two, so a card of 12 GB shows 16: of an unknown card three quarters of it are believed.
    """
    if sold:
        return min(sold, window) if window >= _LEAST_BYTES else sold
    return window * 3 // 4


def _window_bytes(around: Surroundings, card: GraphicsCard) -> int:
    """Size of the card's largest memory window; small where Resizable BAR is off."""
    regions = (read_or_none(around.files, f"{card.path}/resource") or "").splitlines()
    return max((_region_bytes(line) for line in regions[:6]), default=0)


def _region_bytes(line: str) -> int:
    """Size of one line of ``resource``: first and last address, flags."""
    match = re.fullmatch(r"0x([0-9a-f]{1,16}) 0x([0-9a-f]{1,16}) 0x[0-9a-f]+", line.strip())
    size = int(match[2], 16) - int(match[1], 16) + 1 if match else 0
    return size if 1 < size < 2**44 else 0


def _unmapped(device: Device) -> list[HardwareWarning]:
    if device.bandwidth_source != "assumed":
        return []
    text = f"{device.name} is not in the device table; {device.bandwidth_gbps:g} GB/s is assumed."
    return [HardwareWarning(code="intel_unmapped_gpu", message=f"{text} Say hardware.override to be sure.")]
