"""NVIDIA: NVML first, ``nvidia-smi`` second, the device tree of a Jetson third.

Written for drivers from 418 on, tried on recordings.
Discrete cards, laptops, MIG slices, and chips that share the machine's RAM (GB10,
Jetson), which answer ``[N/A]`` when asked for memory.
"""

from __future__ import annotations

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from reconciler.domain.hardware import Device, HardwareWarning
from reconciler.domain.units import GIB, MIB, Bytes
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.integrations.hardware.edges import read_or_none
from reconciler.integrations.hardware.nvml import MigSlice, NvidiaCard, read_nvml
from reconciler.integrations.hardware.readings import (
    Bandwidth,
    Found,
    Surroundings,
    named_bandwidth,
    ram_reserve,
    settle,
)
from reconciler.integrations.hardware.visible import visible_positions

PROGRAMS = ("nvidia-smi", "/usr/lib/wsl/lib/nvidia-smi")
"""On PATH; where Windows puts it inside WSL2, which is not always on PATH."""
_QUERY = "index,uuid,name,memory.total,memory.free,compute_cap,mig.mode.current"
_PLAIN_QUERY = "name,memory.total"
_FORMAT = "--format=csv,noheader,nounits"
_UNIFIED = re.compile(r"\b(GB10|DGX Spark|Orin|Xavier|Thor|Tegra|nvgpu|Jetson)\b", re.IGNORECASE)
_MIG_LINE = re.compile(r"^\s+MIG (?P<profile>\S*?(?P<gb>\d+)gb\S*)\s.*UUID:\s*(?P<uuid>MIG-[^)\s]+)", re.MULTILINE)


def probe_nvidia(around: Surroundings, nvml: Callable[[], Any] | None) -> Found:
    """Every visible NVIDIA device.

    Raises:
        OutsideError: no driver answered (``Unreachable`` when one may answer later).
    """
    cards = _read_cards(around, nvml)
    if not cards:
        raise Refused("nvidia-smi returned no GPUs")
    unreadable = tuple(_unreadable(card) for card in cards if not card.name)
    shown = _visible(around, [card for card in cards if card.name])
    warnings = [*unreadable, *_order_warning(around, cards)]
    if not shown:
        warnings.append(_warn("nvidia_hidden", "CUDA_VISIBLE_DEVICES hides every NVIDIA GPU of this machine."))
    devices = []
    for card in shown:
        device, said = _device(around, card)
        warnings.extend(said)
        devices.extend([device] if device else [])
    return Found(tuple(devices), tuple(warnings))


def _read_cards(around: Surroundings, nvml: Callable[[], Any] | None) -> tuple[NvidiaCard, ...]:
    if nvml is not None:
        cards: tuple[NvidiaCard, ...] = ()
        # No library, no driver, or one that broke: the program may still answer.
        with contextlib.suppress(Exception):
            cards = read_nvml(nvml())
        if any(card.name for card in cards):
            return cards
    try:
        return _ask_program(around)
    except OutsideError:
        board = read_or_none(around.files, "/proc/device-tree/model") or ""
        if "jetson" in board.lower():
            return (NvidiaCard(0, "", board.removeprefix("NVIDIA ").strip(), None),)
        raise


def _ask_program(around: Surroundings) -> tuple[NvidiaCard, ...]:
    program, output = _run_query(around)
    cards = parse_query(output)
    if any(card.is_mig for card in cards):
        cards = with_slices(cards, _listing(around, program))
    return cards


def _run_query(around: Surroundings) -> tuple[str, str]:
    """The program that answered, and what it said; older drivers refuse fields they do not know."""
    refusal: OutsideError = Refused("nvidia-smi is not installed")
    for program in PROGRAMS:
        for query in (_QUERY, _PLAIN_QUERY):
            try:
                return program, around.shell.run([program, f"--query-gpu={query}", _FORMAT])
            except Unreachable:
                raise
            except OutsideError as error:
                if "not installed" in error.message:
                    break
                refusal = error
    raise refusal


def _listing(around: Surroundings, program: str) -> str:
    try:
        return around.shell.run([program, "-L"])
    except OutsideError:
        return ""


def parse_query(output: str) -> tuple[NvidiaCard, ...]:
    """Cards from either query; a line without a name is dropped, a figure that is not one becomes None."""
    cards: list[NvidiaCard] = []
    for line in output.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) >= 7:
            cards.append(_full_row(fields, len(cards)))
        elif len(fields) >= 2 and fields[0]:
            cards.append(NvidiaCard(len(cards), "", fields[0], _mebibytes(fields[1])))
    return tuple(card for card in cards if card.name)


def _full_row(fields: Sequence[str], position: int) -> NvidiaCard:
    index, uuid, name, total, free, capability, mig = fields[:7]
    return NvidiaCard(
        index=int(index) if index.isascii() and index.isdigit() and len(index) < 6 else position,
        uuid=uuid,
        name="" if name.startswith("[") else name,
        total_bytes=_mebibytes(total),
        free_bytes=_mebibytes(free),
        compute_capability=capability if re.fullmatch(r"\d{1,2}\.\d", capability) else None,
        is_mig=mig == "Enabled",
    )


def _mebibytes(text: str) -> int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return round(number * MIB) if math.isfinite(number) and 0 < number < 2**40 else None


def with_slices(cards: Sequence[NvidiaCard], listing: str) -> tuple[NvidiaCard, ...]:
    """Cards in MIG mode with their slices, from ``nvidia-smi -L``; a profile's name holds its size in GB."""
    parts = re.split(r"(?m)^GPU \d+:", listing)[1:]
    if len(parts) != len(cards):
        return tuple(cards)
    return tuple(
        replace(card, slices=tuple(_slice(match) for match in _MIG_LINE.finditer(part))) if card.is_mig else card
        for card, part in zip(cards, parts, strict=True)
    )


def _slice(match: re.Match[str]) -> MigSlice:
    return MigSlice(match["uuid"], f"MIG {match['profile']}", int(match["gb"][:6]) * GIB)


def _visible(around: Surroundings, cards: Sequence[NvidiaCard]) -> list[NvidiaCard]:
    listed = around.environment.get("CUDA_VISIBLE_DEVICES")
    named = [part.strip() for part in (listed or "").split(",") if part.strip().upper().startswith("MIG-")]
    if named:
        chosen = [replace(c, slices=tuple(s for s in c.slices if s.uuid in named)) for c in cards]
        return [card for card in chosen if card.slices]
    return [cards[at] for at in visible_positions([(card.uuid,) for card in cards], listed)]


def _order_warning(around: Surroundings, cards: Sequence[NvidiaCard]) -> list[HardwareWarning]:
    """CUDA counts the fastest card first unless told otherwise; the driver counts by bus."""
    listed = around.environment.get("CUDA_VISIBLE_DEVICES", "")
    by_bus = around.environment.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if (
        by_bus
        or len({card.name for card in cards}) < 2
        or not any(part.strip().isdigit() for part in listed.split(","))
    ):
        return []
    text = "CUDA_VISIBLE_DEVICES counts unlike GPUs; set CUDA_DEVICE_ORDER=PCI_BUS_ID so that the numbers are certain."
    return [_warn("nvidia_visible_order", text)]


def _device(around: Surroundings, card: NvidiaCard) -> tuple[Device | None, list[HardwareWarning]]:
    if card.is_mig:
        return _mig_device(around, card)
    if card.total_bytes is None or _UNIFIED.search(card.name):
        return _unified_device(around, card)
    bandwidth = settle(card.measured_gbps, named_bandwidth(around.table, "nvidia", card.name, card.total_bytes))
    return _built(card, card.total_bytes, bandwidth), _unmapped(card, bandwidth)


def _built(card: NvidiaCard, memory_bytes: int, bandwidth: Bandwidth, **more: Any) -> Device:
    return Device(
        name=more.pop("name", card.name),
        vendor="nvidia",
        memory_bytes=Bytes(memory_bytes),
        free_bytes=more.pop("free_bytes", None if card.free_bytes is None else Bytes(card.free_bytes)),
        bandwidth_gbps=bandwidth.gbps,
        bandwidth_source=bandwidth.source,
        confidence=bandwidth.confidence,
        compute_capability=card.compute_capability,
        **more,
    )


def _unified_device(around: Surroundings, card: NvidiaCard) -> tuple[Device | None, list[HardwareWarning]]:
    """No memory of its own: a chip that shares the RAM, or a card whose driver will not tell."""
    match = around.table.find(card.name, around.ram_bytes)
    if _UNIFIED.search(card.name) or (match and match.entry.kind == "unified"):
        memory = around.ram_bytes - ram_reserve(around.ram_bytes)
        bandwidth = _unified_bandwidth(around, card)
        return _built(card, memory, bandwidth, unified=True, free_bytes=None), _unmapped(card, bandwidth)
    if match and match.entry.memory_bytes:
        bandwidth = settle(card.measured_gbps, named_bandwidth(around.table, "nvidia", card.name, None))
        text = f"{card.name} does not say how much memory it has; the table's figure is used."
        return _built(card, match.entry.memory_bytes, bandwidth), [_warn("nvidia_memory_unknown", text)]
    text = f"{card.name} does not say how much memory it has and is not in the device table; it is left out."
    return None, [_warn("nvidia_memory_unknown", text)]


def _unified_bandwidth(around: Surroundings, card: NvidiaCard) -> Bandwidth:
    """By the chip's name, else by the board's: a Jetson's driver says only ``Orin (nvgpu)``."""
    board = (read_or_none(around.files, "/proc/device-tree/model") or "").lower()
    for name in (card.name, board):
        for words, gbps in JETSON_GBPS:
            if words in name.lower():
                return Bandwidth(gbps, "table", "high")
    named = named_bandwidth(around.table, "nvidia", card.name, around.ram_bytes)
    return named if named.source == "table" else Bandwidth(ASSUMED_UNIFIED_GBPS, "assumed", "low")


JETSON_GBPS = (
    ("agx orin", 204.8), ("orin nx", 102.4), ("orin nano", 68.0), ("agx xavier", 136.5), ("xavier nx", 59.7),
    ("agx thor", 273.0), ("t5000", 273.0), ("t4000", 273.0), ("gb10", 273.0), ("dgx spark", 273.0),
)  # fmt: skip
"""10⁹ bytes a second by the board's name. Source: NVIDIA Jetson and DGX Spark data sheets; Orin Nano before the Super
update of 2024-12, which raises it to 102."""
ASSUMED_UNIFIED_GBPS = 59.7
"""An unknown Jetson: the slowest that still runs language models (Xavier NX)."""


def _mig_device(around: Surroundings, card: NvidiaCard) -> tuple[Device | None, list[HardwareWarning]]:
    """The largest slice: a process can use one at a time. Bandwidth is shared out as memory is.

    Source: NVIDIA MIG User Guide, "Partitioning": a slice owns its part of the memory and of the paths to it.
    """
    if not card.slices:
        text = f"{card.name} is in MIG mode and shows no slice that can be used; it is left out."
        return None, [_warn("nvidia_mig", text)]
    largest = max(card.slices, key=lambda part: part.total_bytes)
    whole = settle(card.measured_gbps, named_bandwidth(around.table, "nvidia", card.name, card.total_bytes))
    total = max(card.total_bytes or largest.total_bytes, largest.total_bytes)
    share = Bandwidth(round(whole.gbps * largest.total_bytes / total, 1), "computed", "medium")
    name = largest.name if card.name in largest.name else f"{card.name} {largest.name}"
    free = None if largest.free_bytes is None else Bytes(largest.free_bytes)
    text = f"{card.name} is in MIG mode: its largest slice counts ({len(card.slices)} seen), not the whole card."
    return _built(card, largest.total_bytes, share, name=name, free_bytes=free), [_warn("nvidia_mig", text)]


def _unmapped(card: NvidiaCard, bandwidth: Bandwidth) -> list[HardwareWarning]:
    if bandwidth.source != "assumed":
        return []
    text = (
        f"{card.name} is not in the device table; {bandwidth.gbps:g} GB/s is assumed. Say hardware.override to be sure."
    )
    return [_warn("nvidia_unmapped_gpu", text)]


def _unreadable(card: NvidiaCard) -> HardwareWarning:
    return _warn(
        "nvidia_gpu_unreadable", f"NVIDIA GPU {card.index} answers with neither a name nor a size; it is left out."
    )


def _warn(code: str, message: str) -> HardwareWarning:
    return HardwareWarning(code=code, message=message)
