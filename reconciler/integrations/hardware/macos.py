"""Apple silicon: ``system_profiler`` for the chip and its GPU cores, ``sysctl`` for the memory.

Written for macOS 13 and later, tried on recordings.
An Intel Mac is refused here and served as a CPU machine by the dispatcher.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from reconciler.domain.hardware import Device, HardwareWarning
from reconciler.domain.units import Bytes
from reconciler.errors import Refused
from reconciler.integrations.hardware.concurrency import concurrently
from reconciler.integrations.hardware.devices import DeviceTable
from reconciler.integrations.hardware.edges import Shell
from reconciler.integrations.hardware.readings import Bandwidth, Found, metal_limit

DISPLAYS = ("system_profiler", "SPDisplaysDataType", "-json")
MEMORY = ("sysctl", "-n", "hw.memsize", "hw.model", "machdep.cpu.brand_string")
WIRED = ("sysctl", "-n", "iogpu.wired_limit_mb")
ASSUMED_GBPS = 100.0
"""The origin's figure for a chip it does not know: the slowest current one has 120."""


@dataclass(frozen=True, slots=True)
class MacMemory:
    """The answer of ``sysctl``."""

    ram_bytes: int
    cpu_name: str


def probe_macos(shell: Shell, table: DeviceTable) -> tuple[MacMemory, Found]:
    """The machine's memory and its GPU.

    Raises:
        OutsideError: a program failed, its answer made no sense, or the GPU is not Apple's.
    """
    answers = concurrently({name: partial(shell.run, argv) for name, argv in _COMMANDS.items()})
    wired = answers.pop("wired")
    for answer in answers.values():
        if isinstance(answer, BaseException):
            raise answer
    memory = parse_sysctl(str(answers["memory"]))
    chip, cores = parse_displays(str(answers["displays"]))
    if not chip.startswith("Apple M"):
        raise Refused(f"unsupported macOS GPU: {chip or 'none found'}")
    return memory, _found(table, memory, chip, cores, _wired_limit(wired))


_COMMANDS = {"displays": DISPLAYS, "memory": MEMORY, "wired": WIRED}


def _found(table: DeviceTable, memory: MacMemory, chip: str, cores: int | None, wired_limit_mb: int | None) -> Found:
    row = table.apple(chip, gpu_cores=cores, memory_bytes=memory.ram_bytes)
    bandwidth = Bandwidth(row.bandwidth_gbps, "table", "high") if row else Bandwidth(ASSUMED_GBPS, "assumed", "low")
    device = Device(
        name=chip,
        vendor="apple",
        memory_bytes=metal_limit(memory.ram_bytes, wired_limit_mb),
        bandwidth_gbps=bandwidth.gbps,
        bandwidth_source=bandwidth.source,
        confidence=bandwidth.confidence,
        unified=True,
    )
    return Found((device,), () if row else (_unmapped(chip),))


def _unmapped(chip: str) -> HardwareWarning:
    text = f"{chip} is not in the device table; {ASSUMED_GBPS:g} GB/s is assumed. Say hardware.override to be sure."
    return HardwareWarning(code="macos_unmapped_chip", message=text)


def parse_sysctl(output: str) -> MacMemory:
    """Memory and brand, from the non-blank lines in the order they were asked for.

    Raises:
        Refused: ``hw.memsize`` is not a positive number.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    try:
        size = float(lines[0])
    except (IndexError, ValueError):
        size = math.nan
    if not (math.isfinite(size) and 0 < size < 2**60):
        raise Refused(f"sysctl hw.memsize is not a size: {lines[0][:40] if lines else 'nothing'}")
    return MacMemory(Bytes(round(size)), next(iter(lines[2:] or lines[1:]), "Apple Silicon"))


def parse_displays(output: str) -> tuple[str, int | None]:
    """Chip and GPU cores: the first entry that names an Apple chip, else the first entry, else nothing.

    Raises:
        Refused: not JSON, or not the shape of ``SPDisplaysDataType``.
    """
    try:
        document = json.loads(output)
        entries = [entry for entry in document.get("SPDisplaysDataType", []) if isinstance(entry, dict)]
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise Refused(f"system_profiler did not print the JSON we know: {error}") from error
    named = [(_name(entry), _cores(entry)) for entry in entries]
    return next((pair for pair in named if pair[0].startswith("Apple M")), named[0] if named else ("", None))


def _name(entry: dict[str, Any]) -> str:
    name = entry.get("sppci_model") or entry.get("_name") or ""
    return name.strip() if isinstance(name, str) else ""


def _cores(entry: dict[str, Any]) -> int | None:
    match = re.search(r"\d{1,3}", str(entry.get("sppci_cores", "")))
    return int(match[0]) if match else None


def _wired_limit(answer: object) -> int | None:
    text = answer.strip() if isinstance(answer, str) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
