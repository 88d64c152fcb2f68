"""What the brand string of a processor says about the bandwidth of its memory.

The rows assume that every channel is populated with the memory the family is sold with, on one socket; no source
without administrator's rights says otherwise, so none of them is more than "medium" sure.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from reconciler.domain.hardware import Confidence

UNKNOWN_GBPS = 40.0
"""The origin's figure for a family it does not know: about two channels of DDR4-2400."""
PER_CPU_GBPS = 15.0
"""What one virtual processor can draw, so what a small slice of a large server can. Measured on a 2-processor slice of
an EPYC (family 26), best of 3 sums over 400 MB: 16.7 with one thread, 28.4 with two; 2026-11-22."""

_ORIGIN = (
    (r"EPYC 9\d{3}", 460.0),
    (r"EPYC 7\d{3}", 200.0),
    (r"Xeon.*Platinum.*8[45]\d{2}", 307.0),
    (r"Xeon.*Gold", 200.0),
    (r"Xeon", 120.0),
    (r"Core.*i[579]-1[4-9]\d{3}", 90.0),
    (r"Core.*i[579]-1[23]\d{3}", 76.0),
    (r"Ryzen 9 9\d{3}", 90.0),
    (r"Ryzen [579] 7\d{3}", 83.0),
    (r"Ryzen [579] 5\d{3}", 51.0),
    (r"Core.*i[579]-11\d{3}", 51.0),
    (r"Core.*i[579]-10\d{3}", 45.0),
    (r"Apple M\d", 100.0),
)
"""The origin's table, in its order: the first match wins."""

_BEFORE = (
    (r"Xeon.*\bw[79]-3[45]\d{2}", 307.2),  # 8 × DDR5-4800
    (r"Xeon.*\bE-?[23]\d{3}|Xeon.*\bE3-", 38.4),  # 2 × DDR4-2400: entry servers are desktops
    (r"Threadripper PRO [79]\d{3}", 332.8),  # 8 × DDR5-5200
    (r"Threadripper PRO [35]\d{3}", 204.8),  # 8 × DDR4-3200
    (r"Threadripper [79]\d{3}", 166.4),  # 4 × DDR5-5200
    (r"Threadripper [123]\d{3}", 85.3),  # 4 × DDR4-2666
    (r"Ryzen AI Max", 256.0),  # 256-bit LPDDR5X-8000
    (r"Ryzen AI", 89.6),  # 2 × DDR5-5600, the slower of what is sold
)
"""Tested before the origin's rows, which would not match them, or would match them as something larger."""

_AFTER = (
    (r"Core.*Ultra \d 2\d{2}V", 136.5),  # 128-bit LPDDR5X-8533, on the package
    (r"Core.*Ultra", 89.6),  # 2 × DDR5-5600
    (r"Ryzen [3579] 9\d{3}", 89.6),  # 2 × DDR5-5600
    (r"Ryzen [3579] 8\d{3}", 83.2),  # 2 × DDR5-5200
    (r"Ryzen [3579] PRO [789]\d{3}", 83.2),  # 2 × DDR5-5200
    (r"Ryzen 3 7\d{3}", 76.8),  # 2 × DDR5-4800
    (r"Ryzen [3579] (?:PRO )?6\d{3}", 76.8),  # 2 × DDR5-4800
    (r"Ryzen [3579] (?:PRO )?[345]\d{3}", 51.2),  # 2 × DDR4-3200
    (r"Ryzen [3579] (?:PRO )?[12]\d{3}", 42.7),  # 2 × DDR4-2666
    (r"Core.*i3-1[234]\d{3}", 76.8),  # 2 × DDR5-4800
    (r"Core.*i3-1[01]\d{3}", 42.7),  # 2 × DDR4-2666
    (r"Core.*i[3579]-[89]\d{3}", 42.7),  # 2 × DDR4-2666
    (r"Core.*i[357]-[67]\d{3}", 34.1),  # 2 × DDR4-2133
    (r"Core.*i[357]-[2345]\d{3}", 25.6),  # 2 × DDR3-1600
    (r"\bN(?:9[57]|100|150|200|305)\b", 25.6),  # 1 × DDR4-3200
    (r"Celeron|Pentium|Atom", 19.2),  # 1 × DDR4-2400
    (r"Raspberry Pi 5|Cortex-A76", 17.0),  # 32-bit LPDDR4X-4267
    (r"Raspberry Pi", 8.5),  # 32-bit LPDDR4-2133 or less
    (r"Ampere|Altra|Neoverse", 204.8),  # 8 × DDR4-3200
    (r"Apple.*\bM\d", 68.0),  # a Mac under Linux: the slowest of them
)
"""Families the origin's table leaves at "unknown". Source: channels × 8 bytes × transfers a second, as sold."""


class MemoryBandwidth(NamedTuple):
    """10⁹ bytes a second, whether the family is known, and how sure that is."""

    gbps: float
    is_known: bool
    confidence: Confidence


def memory_bandwidth(cpu_name: str) -> MemoryBandwidth:
    """All channels of the processor's family, or a low figure for one that nobody knows.

    >>> memory_bandwidth("AMD Ryzen 9 7950X 16-Core Processor").gbps
    83.0
    """
    for pattern, gbps in (*_BEFORE, *_ORIGIN, *_AFTER):
        if re.search(pattern, cpu_name, re.IGNORECASE):
            return MemoryBandwidth(gbps, is_known=True, confidence="medium")
    return MemoryBandwidth(UNKNOWN_GBPS, is_known=False, confidence="low")


def shared_bandwidth(whole: MemoryBandwidth, cpus: int) -> MemoryBandwidth:
    """What a virtual machine or a container with this many processors can draw of it."""
    reach = PER_CPU_GBPS * cpus
    return whole if reach >= whole.gbps else MemoryBandwidth(reach, whole.is_known, "low")
