"""Machines that are named instead of detected: by a short name, or by a JSON file (``machine_file``).

Nothing of the machine this runs on is read, so a plan for any machine can be made on any machine.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from reconciler.domain.hardware import Device, Hardware, HardwareReading, Platform
from reconciler.domain.units import GIB
from reconciler.errors import UsageError
from reconciler.integrations.hardware.devices import DeviceTable, Entry, bundled_table, words_of
from reconciler.integrations.hardware.machine_file import read_machine
from reconciler.integrations.hardware.override import described
from reconciler.integrations.hardware.processors import memory_bandwidth
from reconciler.integrations.hardware.readings import metal_limit, ram_reserve

SIMULATED_RAM = 32 * GIB
SIMULATED_RAM_GBPS = 51.2
"""2 × DDR4-3200: a machine that takes such a card has at least this."""
CARVE_OUT = (3, 4)
"""Largest share of its memory that a Strix Halo machine gives to its graphics: 96 of 128 GB in the firmware's menu."""
_SIZE = re.compile(r"(?:^| )(\d{1,5}) ?(?:gb|gib|g)$")
_PLUS = re.compile(r"\+(?=\s*(?:\d+\s*(?:gb|gib|g|x)\b|[a-z]|$))", re.IGNORECASE)
"""Between terms, and not the plus in ``ryzen-ai-max+-395``."""
_COUNT = re.compile(r"^(\d{1,3})\s*x[\s-]*")
_APPLE = re.compile(r"(?:apple )?(m\d+)(?: (pro|max|ultra))?(?: (\d+)[ -]?c(?:ores?)?)?")


def parse_machine(text: str, *, now: datetime) -> HardwareReading:
    """The machine that ``--hardware`` names.

    ``rtx-4090`` · ``2x rtx-3090`` · ``rtx-4090+64gb`` (RAM) · ``rtx-4090+rtx-3090`` · ``rtx-4070-laptop`` ·
    ``h100-80gb`` · ``m3-max-36gb`` · ``m3-max-40core-64gb`` · ``strix-halo-128gb`` · ``epyc-9554-256gb`` ·
    ``cpu-16gb`` · ``machine.json``: what ``hardware --json`` prints, or the keys of the file's ``hardware.override``.

    Args:
        text: as typed; case, blanks, ``-`` and ``_`` do not matter.
        now: dates the reading.

    Raises:
        UsageError: no such machine; the hint holds the nearest names.
    """
    if text.strip().lower().endswith(".json"):
        return read_machine(Path(text.strip()).expanduser(), now)
    table = bundled_table()
    parts = [_normal(part) for part in _PLUS.split(text)]
    sizes = [int(match[1]) * GIB for part in parts if (match := re.fullmatch(r"(\d{1,5}) ?(?:gb|gib|g)", part))]
    names = [part for part in parts if part and not re.fullmatch(r"(\d{1,5}) ?(?:gb|gib|g)", part)]
    if not names or len(sizes) > 1:
        raise _unknown(text, table)
    built = [_part(name, text, table) for name in names]
    if len(built) > 1 and any(part.is_whole for part in built):
        raise UsageError(
            f"--hardware {text}: only cards can be added up", hint="write for example rtx-4090+rtx-3090+64gb"
        )
    hardware = _assembled(built, sizes[0] if sizes else None, now)
    return HardwareReading(hardware=hardware, source="simulated")


@dataclass(frozen=True, slots=True)
class _Part:
    """One term of the sum: some cards, or a whole machine."""

    devices: tuple[Device, ...]
    platform: Platform
    ram_bytes: int | None = None
    ram_gbps: float = SIMULATED_RAM_GBPS
    cpu_name: str = "simulated CPU"
    is_whole: bool = False


def _assembled(parts: list[_Part], ram: int | None, now: datetime) -> Hardware:
    devices = sorted((d for part in parts for d in part.devices), key=lambda d: (-d.memory_bytes, d.name))
    first = parts[0]
    return described(
        first.platform, tuple(devices), ram or first.ram_bytes or SIMULATED_RAM, first.ram_gbps, first.cpu_name, now
    )


def _normal(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text.strip().lower())


def _part(name: str, text: str, table: DeviceTable) -> _Part:
    count_match = _COUNT.match(name)
    count = int(count_match[1]) if count_match else 1
    base = name[count_match.end() :] if count_match else name
    size_match = _SIZE.search(base)
    size = int(size_match[1]) * GIB if size_match else None
    bare = base[: size_match.start()].strip() if size_match else base
    if not 1 <= count <= 64 or (size is not None and not GIB <= size <= 64 * 1024 * GIB):
        raise _unknown(text, table)
    part = _mac(bare, size, text, table) or _processor(bare, size, text) or _cards(bare, size, count, text, table)
    if part is None or (count > 1 and part.is_whole):
        raise _unknown(text, table)
    return part


def _mac(bare: str, size: int | None, text: str, table: DeviceTable) -> _Part | None:
    match = _APPLE.fullmatch(bare)
    if match is None:
        return None
    chip = " ".join(["Apple", match[1].upper(), *([match[2].capitalize()] if match[2] else [])])
    cores = int(match[3]) if match[3] else None
    row = table.apple(chip, gpu_cores=cores, memory_bytes=size or 0)
    if row is None:
        return None
    if size is None:
        sold = sorted({gib for other in table.apple_chips if other.chip == row.chip for gib in other.memory_gib})
        raise _memory_missing(text, bare, sold)
    device = Device(
        name=chip, vendor="apple", memory_bytes=metal_limit(size), bandwidth_gbps=row.bandwidth_gbps, unified=True
    )
    return _Part((device,), "macos", size, row.bandwidth_gbps, chip, is_whole=True)


def _processor(bare: str, size: int | None, text: str) -> _Part | None:
    """A machine without accelerators, by its processor's name or simply ``cpu``."""
    written = bare.replace("xeon ", "Xeon(R) ")
    spellings = (bare, written, f"Intel Core {bare.replace(' ', '-', 1)}")
    if bare == "cpu":
        known = None
    else:
        known = next((name for name in spellings if memory_bandwidth(name).is_known), None)
        if known is None or words_of(bare) & {"max+", "395", "max"}:
            return None
    if size is None:
        raise _memory_missing(text, bare, (16, 32, 64))
    gbps = memory_bandwidth(known).gbps if known else SIMULATED_RAM_GBPS
    return _Part((), "cpu", size, gbps, known or "simulated CPU", is_whole=True)


def _cards(bare: str, size: int | None, count: int, text: str, table: DeviceTable) -> _Part | None:
    match = table.find(bare, size)
    if match is None or match.entry.kind == "integrated":
        return None
    entry = match.entry
    if entry.kind == "unified":
        return _unified(entry, size, text)
    memory = size or entry.memory_bytes
    if size and abs(size - entry.memory_bytes) > entry.memory_bytes * 0.08:
        sold = sorted({row.memory_bytes // GIB for row in table.entries if words_of(row.name) == words_of(entry.name)})
        raise UsageError(
            f"--hardware {text}: {entry.name} is not sold with {size // GIB} GB",
            hint=f"sold with {', '.join(map(str, sold))} GB; +{size // GIB}gb is RAM; a .json file may say anything",
        )
    device = _card(entry, memory)
    return _Part((device,) * count, device.vendor)  # type: ignore[arg-type]


def _card(entry: Entry, memory: int) -> Device:
    return Device.model_validate(
        {
            "name": entry.name,
            "vendor": entry.vendor,
            "memory_bytes": memory,
            "bandwidth_gbps": entry.bandwidth_gbps,
            "compute_capability": entry.compute_capability,
            "unified": entry.kind == "unified",
        }
    )


def _unified(entry: Entry, size: int | None, text: str) -> _Part:
    ram = size or entry.memory_bytes
    if not ram:
        raise _memory_missing(text, text.strip(), (64, 128))
    usable = ram * CARVE_OUT[0] // CARVE_OUT[1] if entry.vendor == "amd" else ram - ram_reserve(ram)
    device = _card(entry, usable)
    platform: Platform = "amd" if entry.vendor == "amd" else "nvidia"
    return _Part((device,), platform, ram, entry.bandwidth_gbps, entry.name, is_whole=True)


def _memory_missing(text: str, name: str, sizes_gib: Iterable[int]) -> UsageError:
    short = re.sub(r"\s+", "-", name)
    hint = " or ".join(f"{short}-{gib}gb" for gib in sizes_gib)
    return UsageError(f"--hardware {text}: how much memory does it have?", hint=f"write {hint}")


def _unknown(text: str, table: DeviceTable) -> UsageError:
    wanted = re.sub(r"[\s_]+", "-", _COUNT.sub("", text.strip().lower()))
    near = difflib.get_close_matches(wanted[:80], known_names(table), n=4, cutoff=0.5)
    nearest = ", ".join(near or ("rtx-4090", "m4-max-64gb", "rx-7900-xtx", "cpu-16gb"))
    return UsageError(
        f"--hardware {text[:80]}: no such machine",
        hint=f"nearest: {nearest}; also 2x NAME, NAME+64gb for RAM, cpu-16gb, or a .json file",
    )


def known_names(table: DeviceTable) -> list[str]:
    """Every short name that ``parse_machine`` knows, once, sorted."""
    brands = re.compile(r"\b(?:nvidia|geforce|radeon|amd|intel|apple)\b ?|\(.*\)", re.IGNORECASE)
    cards = {_slug(brands.sub("", e.name)) for e in table.entries if e.kind != "integrated"}
    macs = {f"{_slug(brands.sub('', chip.chip))}-{gib}gb" for chip in table.apple_chips for gib in chip.memory_gib}
    return sorted(cards | macs | {"cpu-16gb", "cpu-32gb", "strix-halo-128gb", "epyc-9554-256gb"})


def _slug(name: str) -> str:
    return re.sub(r"-(\d+)-gb\b", r"-\1gb", re.sub(r"[^a-z0-9+]+", "-", name.lower()).strip("-"))
