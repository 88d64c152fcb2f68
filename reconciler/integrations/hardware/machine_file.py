"""A machine that a JSON file describes, as ``hardware --json`` prints it or as the file's override has it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.hardware import Hardware, HardwareReading, Platform
from reconciler.domain.units import GIB, parse_size
from reconciler.errors import UsageError
from reconciler.formats.foreign_json import read_json
from reconciler.integrations.hardware.override import from_override

MOST_GBPS = 10**6
MOST_GIB = 10**6
"""Bounds of the file's ``hardware.override``."""
_FILE_BYTES = 2**20
_FILE_HINT = (
    'for example {"platform": "nvidia", "vramGb": 24, "bandwidthGbps": 1008, "ramGb": 64}, '
    "or what `localmodels hardware --json` prints"
)


def read_machine(path: Path, now: datetime) -> HardwareReading:
    """The machine of a JSON file: what ``hardware --json`` prints, or the keys of the file's ``hardware.override``.

    Raises:
        UsageError: it cannot be read, or describes no machine.
    """
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
