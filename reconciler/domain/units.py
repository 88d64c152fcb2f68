"""Sizes and durations: parsed at the edge once, printed one way.

Bytes are whole numbers. ``GB`` is 10⁹ and ``GiB`` is 2³⁰; text shows GB with one decimal (``9.0 GB``).
"""

from __future__ import annotations

import re
from typing import Literal, NewType

Bytes = NewType("Bytes", int)

KB, MB, GB, TB = 10**3, 10**6, 10**9, 10**12
KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40

MOST_TOKENS = 100_000_000
"""More than any context."""

_SIZE_UNITS = {
    "": 1, "B": 1, "KB": KB, "MB": MB, "GB": GB, "TB": TB, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": TIB,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def parse_size(text: str) -> Bytes:
    """Bytes from ``120GB``, ``20 GiB`` or ``1.5TB``.

    Raises:
        ValueError: no number, or a unit that is not one of B KB MB GB TB KiB MiB GiB TiB.

    >>> parse_size("120GB")
    120000000000
    >>> parse_size("1GiB")
    1073741824
    """
    match = _SIZE.fullmatch(text)
    if match is None or match[2].upper() not in _SIZE_UNITS:
        raise ValueError(f"not a size: {text!r}; write a number and a unit, such as 120GB or 20GiB")
    if not match[2]:
        raise ValueError(f"a size needs a unit: {text!r}; write {text.strip()}GB or {text.strip()}GiB")
    return Bytes(round(float(match[1]) * _SIZE_UNITS[match[2].upper()]))


def parse_duration(text: str) -> float:
    """Seconds from ``24h``, ``10m``, ``1h30m`` or ``500ms``.

    Raises:
        ValueError: not a run of numbers with units ms, s, m, h, d or w.

    >>> parse_duration("1h30m")
    5400.0
    """
    compact = text.strip()
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(f"not a duration: {text!r}; write a number and a unit, such as 24h, 10m or 30s")
    return float(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))


def parse_context(text: str) -> int | Literal["max"]:
    """Tokens as a person types them: a whole number, or ``max`` for as many as fit.

    Raises:
        ValueError: neither of the two.

    >>> parse_context("32768"), parse_context("max")
    (32768, 'max')
    """
    word = text.strip()
    if word == "max":
        return "max"
    if not re.fullmatch(r"[0-9]{1,9}", word) or not 1 <= int(word) <= MOST_TOKENS:
        raise ValueError(f"not a context: {text!r}; write a whole number of tokens, such as 32768, or max")
    return int(word)


def show_bytes(count: int) -> str:
    """A size as people read it: decimal units, one decimal.

    >>> show_bytes(9_013_000_000)
    '9.0 GB'
    >>> show_bytes(98_362_432)
    '98.4 MB'
    >>> show_bytes(512)
    '512 B'
    """
    sign, magnitude = ("-", -count) if count < 0 else ("", count)
    for unit, name in ((TB, "TB"), (GB, "GB"), (MB, "MB"), (KB, "KB")):
        if magnitude >= unit * (1 if name != "TB" else 10):
            return f"{sign}{magnitude / unit:.1f} {name}"
    return f"{sign}{magnitude} B"


def show_duration(seconds: float) -> str:
    """A duration as people read it: the two largest units.

    >>> show_duration(5400)
    '1h30m'
    >>> show_duration(0.25)
    '250ms'
    """
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    left, parts = round(seconds), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts[:2])
