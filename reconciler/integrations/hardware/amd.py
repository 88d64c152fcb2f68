"""AMD: sysfs of the ``amdgpu`` driver first, ``rocm-smi`` second.

Written for Linux 6 and ROCm 6, tried on recordings.
Cards with memory of their own count; the graphics unit inside a processor
counts only where no card does, and then with its carve-out or with what the driver may borrow (GTT), whichever is
larger: never with their sum, and never with all of the RAM.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.domain.hardware import Device, HardwareWarning
from reconciler.domain.units import GIB, Bytes
from reconciler.errors import OutsideError
from reconciler.integrations.hardware.edges import read_number, read_or_none
from reconciler.integrations.hardware.graphics import GraphicsCard, graphics_cards, libdrm_name, lspci_names
from reconciler.integrations.hardware.readings import (
    Bandwidth,
    Found,
    Surroundings,
    named_bandwidth,
    ram_reserve,
    settle,
)
from reconciler.integrations.hardware.visible import visible_positions

AMD = "1002"
KFD = "/sys/class/kfd/kfd/topology/nodes"
ROCM_SMI = ("rocm-smi", "--showproductname", "--showmeminfo", "vram", "--showuniqueid", "--json")
_MINOR = frozenset({"610M", "Vega", "Gogh"})
"""Graphics units with so few cores that the processor beside them is as fast, or that the runtimes refuse."""


@dataclass(frozen=True, slots=True)
class AmdCard:
    """What sysfs or rocm-smi says of one card."""

    position: int
    name: str
    uuid: str
    vram_bytes: int
    vram_used: int | None
    gtt_bytes: int
    gtt_used: int | None
    is_integrated: bool
    measured_gbps: float | None = None


def probe_amd(around: Surroundings) -> Found:
    """Every visible AMD device; nothing where there is none. Raises nothing of its own."""
    cards = _from_sysfs(around) or _from_rocm_smi(around)
    shown = _visible(around, cards)
    warnings = []
    if cards and not shown:
        text = "ROCR_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES hides every AMD GPU of this machine."
        warnings.append(HardwareWarning(code="amd_hidden", message=text))
    discrete = [card for card in shown if not card.is_integrated]
    chosen = discrete or [card for card in shown if not _MINOR & set(card.name.split())][:1]
    devices = []
    for card in chosen:
        device = _integrated(around, card) if card.is_integrated else _discrete(around, card)
        devices.extend([device] if device else [])
        warnings.extend(_unmapped(device))
    return Found(tuple(devices), tuple(warnings))


def _from_sysfs(around: Surroundings) -> list[AmdCard]:
    listed = [card for card in graphics_cards(around.files) if card.vendor == AMD]
    read = [_sysfs_card(around, position, card) for position, card in enumerate(listed)]
    cards = [card for card in read if card is not None]
    if all(card.name for card in cards):
        return cards
    return [_named_by_tools(around, card, listed[card.position]) for card in cards]


def _sysfs_card(around: Surroundings, position: int, card: GraphicsCard) -> AmdCard | None:
    vram = read_number(around.files, f"{card.path}/mem_info_vram_total")
    if not vram or vram < 0:
        return None
    gtt = max(read_number(around.files, f"{card.path}/mem_info_gtt_total") or 0, 0)
    known = around.table.pci_name(AMD, card.device, card.revision)
    name = libdrm_name(around.files, card) or known or read_or_none(around.files, f"{card.path}/product_name") or ""
    node = _kfd_node(around, card)
    return AmdCard(
        position=position,
        name=known if known and _is_nameless(name) else name,
        uuid=f"GPU-{read_or_none(around.files, f'{card.path}/unique_id') or ''}",
        vram_bytes=vram,
        vram_used=read_number(around.files, f"{card.path}/mem_info_vram_used"),
        gtt_bytes=gtt,
        gtt_used=read_number(around.files, f"{card.path}/mem_info_gtt_used"),
        is_integrated=_is_integrated(around, known or name, vram, gtt, node),
        measured_gbps=_kfd_gbps(around, node),
    )


def _is_nameless(name: str) -> bool:
    """``AMD Radeon Graphics`` is what processors without a name of their own call their graphics."""
    return re.sub(r"AMD|Radeon|Graphics|\(TM\)|\s", "", name, flags=re.IGNORECASE) == ""


def _is_integrated(around: Surroundings, name: str, vram: int, gtt: int, node: dict[str, int]) -> bool:
    match = around.table.find(name)
    if match:
        return match.entry.kind in {"integrated", "unified"}
    if any(word in name for word in _MINOR):
        return True
    if name and _is_nameless(name):
        return True
    return node.get("cpu_cores_count", 0) > 0 or (vram <= 2 * GIB and gtt > vram)


def _kfd_node(around: Surroundings, card: GraphicsCard) -> dict[str, int]:
    """The compute driver's view of the same card, with its node number; empty where there is none."""
    for node in around.files.names(KFD):
        fields = _fields(read_or_none(around.files, f"{KFD}/{node}/properties") or "")
        if fields.get("vendor_id") == int(AMD, 16) and fields.get("device_id") == int(card.device, 16):
            return {**fields, "node": int(node) if node.isascii() and node.isdigit() else 0}
    return {}


def _fields(text: str) -> dict[str, int]:
    pairs = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and re.fullmatch(r"[0-9]{1,20}", pair[1])}


def _kfd_gbps(around: Surroundings, node: dict[str, int]) -> float | None:
    """Bus width × memory clock × transfers a cycle, in 10⁹ bytes a second.

    Transfers a cycle of the clock amdgpu reports: 16 for GDDR6 (gfx10 to gfx12), 2 for HBM2 and HBM2e (gfx90x), 4 for
    HBM3 (gfx94x). Processors with graphics are left to their names: what they report is not the RAM's clock.

    Source: checked by arithmetic: 7900 XTX 1249 MHz × 384 bit = 959, MI210 1600 × 4096 = 1638,
    MI300X 1300 × 8192 = 5325.
    """
    if not node or node.get("cpu_cores_count", 0) > 0:
        return None
    bank = _fields(read_or_none(around.files, f"{KFD}/{node['node']}/mem_banks/0/properties") or "")
    transfers = _transfers(node.get("gfx_target_version", 0))
    measured = bank.get("width", 0) / 8 * bank.get("mem_clk_max", 0) * transfers / 1000
    return measured or None


def _transfers(gfx: int) -> int:
    if 90_000 <= gfx < 90_400:
        return 2
    if 90_400 <= gfx < 90_500:
        return 4
    return 16 if 100_000 <= gfx < 130_000 else 0


def _named_by_tools(around: Surroundings, card: AmdCard, listed: GraphicsCard) -> AmdCard:
    """A card that neither our table nor the system's list names: rocm-smi may, and lspci nearly always does."""
    from dataclasses import replace

    if card.name:
        return card
    answered = [other for other in _from_rocm_smi(around) if other.position == card.position]
    name = answered[0].name if answered else lspci_names(around.shell).get(f"{listed.vendor}:{listed.device}", "")
    return replace(card, name=name or f"AMD GPU {listed.device}")


def _from_rocm_smi(around: Surroundings) -> list[AmdCard]:
    """Asked only where an AMD card is likely: the program is a slow script."""
    likely = any(card.vendor == AMD for card in graphics_cards(around.files)) or around.files.names(KFD)
    if not likely:
        return []
    try:
        return parse_rocm_smi(around.shell.run(ROCM_SMI))
    except OutsideError:
        return []


def parse_rocm_smi(output: str) -> list[AmdCard]:
    """Cards of ``rocm-smi --json``; it may print warnings before the JSON, and says ``N/A`` for what it lacks."""
    start = output.find("{")
    try:
        document = json.loads(output[start:]) if start >= 0 else {}
    except (ValueError, RecursionError):
        return []
    cards = []
    for key, fields in document.items() if isinstance(document, dict) else ():
        match = re.fullmatch(r"card(\d{1,4})", key)
        total = _whole(fields, "VRAM Total Memory (B)") if match and isinstance(fields, dict) else 0
        if match and total:
            name = _rocm_name(fields)
            used = _whole(fields, "VRAM Total Used Memory (B)")
            uuid = f"GPU-{str(fields.get('Unique ID', '')).removeprefix('0x')}"
            integrated = total <= 2 * GIB or _is_nameless(name)
            cards.append(AmdCard(int(match[1]), name, uuid, total, used, 0, None, integrated))
    return cards


def _rocm_name(fields: dict[str, Any]) -> str:
    for key in ("Card Series", "Card series", "Card Model", "Card model", "Device Name"):
        value = str(fields.get(key, "")).strip()
        if value and value != "N/A" and not value.startswith("0x"):
            bracketed = re.search(r"\[([^\]]+)\]", value)
            return bracketed[1] if bracketed else value
    return "AMD GPU"


def _whole(fields: dict[str, Any], key: str) -> int:
    text = str(fields.get(key, ""))
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else 0


def _visible(around: Surroundings, cards: Sequence[AmdCard]) -> list[AmdCard]:
    """ROCr filters first, HIP counts what is left; HIP falls back to CUDA's variable.

    Source: ROCm documentation, "GPU isolation techniques".
    """
    environment = around.environment
    rocr = environment.get("ROCR_VISIBLE_DEVICES")
    hip = environment.get("HIP_VISIBLE_DEVICES", environment.get("CUDA_VISIBLE_DEVICES"))
    left = list(cards)
    for listed in (rocr, hip):
        left = [left[at] for at in visible_positions([(card.uuid,) for card in left], listed)]
    return left


def _discrete(around: Surroundings, card: AmdCard) -> Device:
    bandwidth = settle(card.measured_gbps, named_bandwidth(around.table, "amd", card.name, card.vram_bytes))
    free = None if card.vram_used is None else max(0, card.vram_bytes - card.vram_used)
    return _built(card, card.vram_bytes, free, bandwidth, unified=False)


def _integrated(around: Surroundings, card: AmdCard) -> Device | None:
    """A processor's graphics: the larger of carve-out and borrowed memory, at the RAM's bandwidth."""
    borrowed = min(card.gtt_bytes, max(0, around.ram_bytes - ram_reserve(around.ram_bytes)))
    is_carved = card.vram_bytes >= borrowed
    memory = card.vram_bytes if is_carved else borrowed
    if memory < 2 * GIB:
        return None
    used = card.vram_used if is_carved else card.gtt_used
    free = None if used is None else max(0, memory - used)
    named = named_bandwidth(around.table, "amd", card.name, None)
    shared = Bandwidth(around.ram_bandwidth_gbps, "computed", "medium")
    return _built(card, memory, free, named if named.source == "table" else shared, unified=True)


def _built(card: AmdCard, memory: int, free: int | None, bandwidth: Bandwidth, *, unified: bool) -> Device:
    return Device(
        name=card.name,
        vendor="amd",
        memory_bytes=Bytes(memory),
        free_bytes=None if free is None else Bytes(free),
        bandwidth_gbps=bandwidth.gbps,
        bandwidth_source=bandwidth.source,
        confidence=bandwidth.confidence,
        unified=unified,
    )


def _unmapped(device: Device | None) -> list[HardwareWarning]:
    if device is None or device.bandwidth_source != "assumed":
        return []
    text = f"{device.name} is not in the device table; {device.bandwidth_gbps:g} GB/s is assumed."
    return [HardwareWarning(code="amd_unmapped_gpu", message=f"{text} Say hardware.override to be sure.")]
