"""How long ranking a catalogue of any size takes, with the seeded generator of the tests.

Usage: ``python scripts/bench_ranking.py [MODELS …]`` (default 15000), from the repository's root.
"""

from __future__ import annotations

import gc
import resource
import sys
import time
from datetime import UTC, date, datetime

from reconciler.domain.estimate import Requirement
from reconciler.domain.hardware import Device, Hardware
from reconciler.domain.units import GIB, Bytes
from reconciler.ranking.candidates import candidates
from reconciler.ranking.rank import rank
from tests.ranking.generated import generated_catalogue

MACHINE = Hardware(
    platform="nvidia",
    devices=(Device(name="made", vendor="nvidia", memory_bytes=Bytes(24 * GIB), bandwidth_gbps=1008.0),),
    ram_bytes=Bytes(64 * GIB),
    ram_bandwidth_gbps=80.0,
    ram_reserve_bytes=Bytes(0),
    cpu_name="made",
    cpu_count=8,
    detected_at=datetime(2026, 11, 22, tzinfo=UTC),
)


def main() -> None:
    for count in [int(text) for text in sys.argv[1:]] or [15_000]:
        catalogue = generated_catalogue(count)
        gc.collect()
        gc.freeze()
        begun = time.perf_counter()
        found = candidates(catalogue)
        listed = time.perf_counter()
        top = rank(found, Requirement(context=8192), MACHINE, catalogue, date(2026, 11, 22), limit=20)
        pruned = time.perf_counter()
        every = rank(found, Requirement(context=8192), MACHINE, catalogue, date(2026, 11, 22))
        ended = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{count} models, {len(found)} candidates: listing {listed - begun:.2f} s, the first 20 "
            f"{pruned - listed:.2f} s, every one {ended - pruned:.2f} s, peak {peak:.0f} MiB, "
            f"equal {top == every[:20]}"
        )


main()
