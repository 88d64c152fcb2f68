"""Machines that are described instead of detected: by the file's override, by a short name, by a JSON file.

Nothing of the machine this runs on is read, so a plan for any machine can be made on any machine.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import Device, Hardware, HardwareReading, HardwareWarning, Platform
from reconciler.domain.units import GIB, Bytes, parse_size
from reconciler.errors import UsageError
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.hardware.devices import DeviceTable, Entry, bundled_table, words_of
from reconciler.integrations.hardware.processors import memory_bandwidth
from reconciler.integrations.hardware.readings import assumed_gbps, metal_limit, ram_reserve

MOST_GBPS = 10**6
MOST_GIB = 10**6
"""Bounds of the file's ``hardware.override``."""
SIMULATED_RAM = 32 * GIB
SIMULATED_CPUS = 8
SIMULATED_RAM_GBPS = 51.2
"""2 × DDR4-3200: a machine that takes such a card has at least this."""
CARVE_OUT = (3, 4)
"""Largest share of its memory that a Strix Halo machine gives to its graphics: 96 of 128 GB in the firmware's menu."""
_VENDORS: Mapping[Platform, str] = {"macos": "apple", "nvidia": "nvidia", "amd": "amd", "intel": "intel"}
_SIZE = re.compile(r"(?:^| )(\d{1,5}) ?(?:gb|gib|g)$")
_PLUS = re.compile(r"\+(?=\s*(?:\d+\s*(?:gb|gib|g|x)\b|[a-z]|$))", re.IGNORECASE)
"""Between terms, and not the plus in ``ryzen-ai-max+-395``."""
_COUNT = re.compile(r"^(\d{1,3})\s*x[\s-]*")
_APPLE = re.compile(r"(?:apple )?(m\d+)(?: (pro|max|ultra))?(?: (\d+)[ -]?c(?:ores?)?)?")
_FILE_BYTES = 2**20


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
        hardware = _hardware("cpu", (), main, gbps, cpu_name, now)
        return HardwareReading(hardware=hardware, warnings=unsure, source="override")
    device, warnings = _override_device(override, table)
    devices = (device,) * override.gpu_count
    ram = override.ram_bytes or device.memory_bytes * override.gpu_count
    ram_gbps = device.bandwidth_gbps if device.unified else known.gbps
    hardware = _hardware(override.platform, devices, ram, ram_gbps, cpu_name, now)
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


def _hardware(
    platform: Platform, devices: tuple[Device, ...], ram: int, ram_gbps: float, cpu_name: str, now: datetime
) -> Hardware:
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
        return _from_file(Path(text.strip()).expanduser(), now)
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
    return _hardware(
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


def _from_file(path: Path, now: datetime) -> HardwareReading:
    try:
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError(f"--hardware {path}: cannot be read: {error.strerror or error}") from error
    try:
        document = read_json(raw) if len(raw) <= _FILE_BYTES else None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--hardware {path}: not JSON: {error}") from error
    return _from_document(_unwrapped(document), path, now)


def _unwrapped(document: Any) -> Any:
    """Without what may stand around it: our ``--json`` envelope, or the YAML's own levels."""
    for outer, inner in (("data", None), ("localModels", None), ("hardware", "override"), ("override", None)):
        if isinstance(document, dict) and isinstance(document.get(outer), dict):
            inside = document[outer]
            document = inside if inner is None or inner in inside else document
    return document


def _from_document(document: Any, path: Path, now: datetime) -> HardwareReading:
    if not isinstance(document, dict):
        raise UsageError(f"--hardware {path}: not a machine: a JSON object of at most 1 MiB is needed", hint=_FILE_HINT)
    try:
        if isinstance(document.get("hardware"), dict):
            reading = HardwareReading.model_validate(document)
        elif "ramReserveBytes" in document:
            reading = HardwareReading(hardware=Hardware.model_validate(document))
        else:
            reading = from_override(_override(document), now)
        _check_bounds(reading.hardware)
    except (ValidationError, ValueError, TypeError, OverflowError) as error:
        raise UsageError(f"--hardware {path}: {_first_problem(error)}", hint=_FILE_HINT) from error
    return reading.model_copy(update={"source": "simulated"})


def _check_bounds(hardware: Hardware) -> None:
    """As the file's override has them.

    Raises:
        ValueError: a number that no machine has.
    """
    speeds = (hardware.ram_bandwidth_gbps, *(device.bandwidth_gbps for device in hardware.devices))
    if any(not 0 <= speed <= MOST_GBPS for speed in speeds):
        raise ValueError(f"bandwidth: {max(speeds):g} GB/s; allowed: at most {MOST_GBPS:,} GB/s")
    if any(not 0 <= size <= MOST_GIB * GIB for size in (hardware.ram_bytes, hardware.vram_bytes)):
        raise ValueError(f"memory: allowed: at most {MOST_GIB:,} GiB")


_FILE_HINT = (
    'for example {"platform": "nvidia", "vramGb": 24, "bandwidthGbps": 1008, "ramGb": 64}, '
    "or what `localmodels hardware --json` prints"
)


def _override(document: Mapping[str, Any]) -> HardwareOverride:
    """The keys of the file's ``hardware.override``; sizes as ``…Gb`` (GiB), ``…Bytes``, or text with a unit."""
    sizes = {f"{name}{ending}" for name in ("vram", "ram") for ending in ("", "Gb", "Bytes")}
    allowed = sizes | {"platform", "bandwidthGbps", "gpuName", "cpuName", "gpuCount"}
    unknown = sorted(set(document) - allowed)
    if unknown:
        near = difflib.get_close_matches(unknown[0], sorted(allowed), n=1)
        raise ValueError(f"unknown key {unknown[0]!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    if document.get("platform") not in get_args(Platform):
        raise ValueError(f"platform must be one of {', '.join(get_args(Platform))}, not {document.get('platform')!r}")
    vram, ram = _size(document, "vram"), _size(document, "ram")
    if not (vram or ram) or (not vram and document["platform"] != "cpu"):
        raise ValueError("how much memory? say vramGb (and ramGb)")
    plain = {
        key: document[key] for key in ("platform", "bandwidthGbps", "gpuName", "cpuName", "gpuCount") if key in document
    }
    override = HardwareOverride.model_validate({**plain, "vramBytes": vram or 0, "ramBytes": ram})
    if not 1 <= override.gpu_count <= 64 or (
        override.bandwidth_gbps is not None and not 0 < override.bandwidth_gbps < 1e6
    ):
        raise ValueError("gpuCount must be 1 to 64, and bandwidthGbps more than 0, at most 1,000,000")
    return override


def _size(document: Mapping[str, Any], name: str) -> int | None:
    given = [key for key in (name, f"{name}Gb", f"{name}Bytes") if document.get(key) is not None]
    if len(given) > 1:
        raise ValueError(f"{given[0]} and {given[1]} say the same thing; keep one")
    if not given:
        return None
    value = document[given[0]]
    size = parse_size(value) if isinstance(value, str) else value
    if isinstance(size, bool) or not isinstance(size, int | float) or not math.isfinite(size) or size < 0:
        raise ValueError(f"{given[0]} must be a number that is not negative, not {value!r}")
    if given[0] == name and not isinstance(value, str):
        raise ValueError(f"{name} needs a unit, such as 24GB; or say {name}Gb")
    return round(size * GIB) if given[0].endswith("Gb") else round(size)


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return str(error)
