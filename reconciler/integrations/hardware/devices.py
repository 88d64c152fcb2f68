"""The device table: what a name that a driver prints says about memory and bandwidth.

Written by ``scripts/build_devices.py``; read once a process, in about 3 ms. A name is compared by its words without
brand and noise, so ``NVIDIA GeForce RTX 4070 Laptop GPU`` and ``RTX 4070 Mobile`` are one. Variants of one name
(RTX 3080 of 10 and 12 GB) are told apart by memory. A laptop name only ever matches a laptop row.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from reconciler.domain.units import GIB

Vendor = Literal["nvidia", "amd", "intel"]

_NOISE = frozenset(
    (
        *("nvidia", "geforce", "tesla", "amd", "ati", "radeon", "instinct", "intel", "corporation", "inc", "advanced"),
        *("micro", "devices", "tm", "r", "c", "gpu", "graphics", "generation", "workstation", "edition", "series"),
        *("card", "with", "design", "oam", "hbm2", "hbm2e", "hbm3", "hbm3e"),
    )
)
_OPTIONAL = frozenset(
    (
        *("pcie", "sxm", "sxm2", "sxm3", "sxm4", "sxm5", "nvl", "dgxs", "fhhl", "server", "passive"),
        *("refresh", "oem", "gddr5", "gddr5x", "gddr6", "gddr6x"),
    )
)
_LAPTOP = frozenset({"mobile", "maxq"})
_CHIP = re.compile(r"(?:ga|ad|gb|tu|gp)1\d\d")
_MAX_Q = re.compile(r"\bmax[- ]q\b")
_SIZE = re.compile(r"\b(\d+) ?gb\b")
_WORDS = re.compile(r"[^a-z0-9+]+")
_SAME_MEMORY = 0.08
"""A driver shows up to 7 % less than is sold: ECC on GDDR6 takes 1/16, firmware takes a little."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table."""

    name: str
    vendor: str
    kind: str
    """discrete, mobile, integrated or unified."""
    memory_bytes: int
    """As sold; 0 where it depends on the machine."""
    bandwidth_gbps: float
    """10⁹ bytes a second; 0 where it is that of the machine's RAM."""
    compute_capability: str | None
    source: str
    """Key of ``DeviceTable.sources``."""


@dataclass(frozen=True, slots=True)
class Match:
    """An entry, and whether more than its name spoke for it."""

    entry: Entry
    is_certain: bool
    """One variant, or the variants agree, or memory told them apart."""


@dataclass(frozen=True, slots=True)
class AppleChip:
    """One bin of an Apple chip."""

    chip: str
    gpu_cores: int
    """0: the bins do not differ in bandwidth."""
    memory_gib: tuple[int, ...]
    """Sizes sold with this bin."""
    bandwidth_gbps: float


class DeviceTable:
    """Names to facts."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.sources: dict[str, dict[str, str]] = document["sources"]
        self.entries = tuple(_entry(row) for row in document["devices"])
        self.apple_chips = tuple(AppleChip(r[0], r[1], tuple(r[2]), r[3]) for r in document["apple"])
        self._pci: dict[str, str] = document["pci"]
        self._by_words: dict[frozenset[str], list[Entry]] = {}
        for entry in self.entries:
            self._by_words.setdefault(words_of(entry.name), []).append(entry)

    def find(self, name: str, memory_bytes: int | None = None) -> Match | None:
        """The row for a name, or None rather than a row that is merely like it.

        Args:
            name: as a driver or a person writes it; a size in it (``A100-SXM4-80GB``) serves when nothing was read.
            memory_bytes: what the driver says the device has.
        """
        if memory_bytes is None and (size := _SIZE.search(name.lower())):
            memory_bytes = int(size[1]) * GIB
        rows = self._rows(words_of(name))
        return _choose(rows, memory_bytes) if rows else None

    def _rows(self, words: frozenset[str]) -> list[Entry]:
        if not words:
            return []
        if words & _LAPTOP:
            base = words - _LAPTOP
            twins = [*self._exact(base | {"mobile"}), *self._exact(base | {"maxq"})]
            return twins or [row for key, row in self._extended(base) if key & _LAPTOP]
        exact = self._exact(words) or self._exact(words - _OPTIONAL)
        return exact or [row for key, row in self._extended(words) if not key & _LAPTOP]

    def _exact(self, words: frozenset[str]) -> list[Entry]:
        return self._by_words.get(words, [])

    def _extended(self, words: frozenset[str]) -> list[tuple[frozenset[str], Entry]]:
        """Rows that say more than the name, but only how the same chip is mounted."""
        allowed = _OPTIONAL | _LAPTOP
        return [
            (key, row) for key, rows in self._by_words.items() if words < key and key - words <= allowed for row in rows
        ]

    def apple(self, chip: str, *, gpu_cores: int | None, memory_bytes: int) -> AppleChip | None:
        """The bin of a chip: by GPU cores, else by the memory it is sold with, else the chip's best known figure."""
        rows = [row for row in self.apple_chips if row.chip.lower() == chip.strip().lower()]
        if not rows:
            return None
        if gpu_cores:
            smaller = [row for row in rows if row.gpu_cores <= gpu_cores]
            return max(smaller or rows[:1], key=lambda row: row.gpu_cores)
        sold = [row for row in rows if round(memory_bytes / GIB) in row.memory_gib]
        return sold[0] if sold else max(rows, key=lambda row: row.gpu_cores)

    def pci_name(self, vendor: str, device: str, revision: str) -> str | None:
        """The product behind PCI numbers, each as hexadecimal without ``0x``."""
        key = f"{vendor}:{device}".lower()
        return self._pci.get(f"{key}:{revision.lower()}") or self._pci.get(key)


def words_of(name: str) -> frozenset[str]:
    """The words that tell one product from another.

    >>> sorted(words_of("NVIDIA GeForce RTX 4070 Laptop GPU"))
    ['4070', 'mobile', 'rtx']
    """
    text = _MAX_Q.sub("maxq", _SIZE.sub(" ", name.lower().replace("laptop", "mobile")))
    words = (word for word in _WORDS.split(text) if word and word not in _NOISE)
    return frozenset(word for word in words if not _CHIP.fullmatch(word))


def _entry(row: list[Any]) -> Entry:
    name, vendor, kind, gib, gbps, capability, source = row
    return Entry(name, vendor, kind, round(gib * GIB), gbps, capability or None, source)


def _choose(rows: list[Entry], memory_bytes: int | None) -> Match:
    """The variant of that memory; where memory says nothing, the origin's, else the slowest."""
    same = [row for row in rows if memory_bytes and _is_same(row.memory_bytes, memory_bytes)]
    best = min(same or rows, key=_preference)
    agree = len({row.bandwidth_gbps for row in same or rows}) == 1
    preferred = best.source == "origin" and (memory_bytes is None or bool(same))
    return Match(best, is_certain=preferred or (agree and (bool(same) or not memory_bytes or not best.memory_bytes)))


def _preference(row: Entry) -> tuple[bool, float]:
    return row.source != "origin", row.bandwidth_gbps


def _is_same(sold: int, seen: int) -> bool:
    return abs(sold - seen) <= _SAME_MEMORY * sold


@cache
def bundled_table() -> DeviceTable:
    """The table that ships with the package."""
    from importlib import resources

    text = resources.files(__package__).joinpath("devices.json").read_text(encoding="utf-8")
    return DeviceTable(json.loads(text))
