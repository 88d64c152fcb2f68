"""NVIDIA cards through NVML, the driver's own library.

Read against nvidia-ml-py 13.615; works with any library that answers to the same names, such as a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_MEMORY_CLOCK = 2
"""``NVML_CLOCK_MEM``."""


@dataclass(frozen=True, slots=True)
class MigSlice:
    """A part of a card that behaves as a card."""

    uuid: str
    name: str
    total_bytes: int
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class NvidiaCard:
    """What the driver says of one card; None: it does not say."""

    index: int
    uuid: str
    name: str
    total_bytes: int | None
    free_bytes: int | None = None
    compute_capability: str | None = None
    measured_gbps: float | None = None
    is_mig: bool = False
    slices: tuple[MigSlice, ...] = ()


def load_pynvml() -> Any:
    """The real library; importing it takes 37 ms and no driver, initialising it needs one."""
    import pynvml

    return pynvml


def read_nvml(library: Any) -> tuple[NvidiaCard, ...]:
    """Every card the driver shows, in its order. Raises whatever the library raises when there is no driver at all.

    What a single card refuses to tell is None: one odd card must not hide its neighbours.
    """
    library.nvmlInit()
    try:
        return tuple(_card(library, index) for index in range(int(library.nvmlDeviceGetCount())))
    finally:
        _ask(library.nvmlShutdown, None)


def _card(library: Any, index: int) -> NvidiaCard:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    total, free = _memory(library, handle)
    is_mig = bool(_ask(lambda: library.nvmlDeviceGetMigMode(handle)[0], 0))
    return NvidiaCard(
        index=index,
        uuid=_text(_ask(lambda: library.nvmlDeviceGetUUID(handle), "")),
        name=_text(_ask(lambda: library.nvmlDeviceGetName(handle), "")),
        total_bytes=total,
        free_bytes=free,
        compute_capability=_ask(lambda: _version(library.nvmlDeviceGetCudaComputeCapability(handle)), None),
        measured_gbps=_ask(lambda: _gbps(library, handle), None),
        is_mig=is_mig,
        slices=_slices(library, handle) if is_mig else (),
    )


def _memory(library: Any, handle: Any) -> tuple[int | None, int | None]:
    """Total and free bytes; unified-memory chips answer "not supported"."""
    memory = _ask(lambda: library.nvmlDeviceGetMemoryInfo(handle), None)
    total = _ask(lambda: int(memory.total), 0) if memory is not None else 0
    return (total, _ask(lambda: int(memory.free), None)) if total > 0 else (None, None)


def _slices(library: Any, handle: Any) -> tuple[MigSlice, ...]:
    count = _ask(lambda: int(library.nvmlDeviceGetMaxMigDeviceCount(handle)), 0)
    parts = (_slice(library, handle, index) for index in range(min(count, 64)))
    return tuple(part for part in parts if part is not None)


def _slice(library: Any, handle: Any, index: int) -> MigSlice | None:
    part = _ask(lambda: library.nvmlDeviceGetMigDeviceHandleByIndex(handle, index), None)
    total, free = _memory(library, part) if part is not None else (None, None)
    if not total:
        return None
    uuid = _text(_ask(lambda: library.nvmlDeviceGetUUID(part), ""))
    return MigSlice(uuid, _text(_ask(lambda: library.nvmlDeviceGetName(part), "")), total, free)


def _gbps(library: Any, handle: Any) -> float | None:
    """Highest memory clock × bus width × 2, in 10⁹ bytes a second.

    NVML counts the clock so that two transfers a cycle is right for GDDR5 to GDDR7 and for HBM alike.

    Source: checked by arithmetic on five cards: 4090 10501 MHz × 384 bit = 1008, 3090 9751 × 384 = 936,
    A100 1215 × 5120 = 1555, H100 SXM 2619 × 5120 = 3352, T4 5001 × 256 = 320.
    """
    clock_mhz = int(library.nvmlDeviceGetMaxClockInfo(handle, _MEMORY_CLOCK))
    bus_bits = int(library.nvmlDeviceGetMemoryBusWidth(handle))
    return 2 * clock_mhz * bus_bits / 8 / 1000 or None


def _version(pair: Any) -> str:
    return f"{int(pair[0])}.{int(pair[1])}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _ask(question: Callable[[], T], otherwise: T) -> T:
    try:
        return question()
    except Exception:  # noqa: BLE001 — the library's errors have no common base across versions and recordings
        return otherwise
