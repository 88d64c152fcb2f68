"""What a model lacks on a machine that does not hold it, in words: rejections and findings say the same."""

from __future__ import annotations

from reconciler.domain.estimate import MemoryEstimate
from reconciler.domain.hardware import Hardware
from reconciler.domain.units import show_bytes


def shortage(memory: MemoryEstimate, context: int, hardware: Hardware) -> str:
    """What it needs, what there is, what is missing, and the context at which it would fit.

    ``needs 51.4 GB at 32768 tokens (0.6 GB of it because no layer is divided between devices), 48.0 GB usable on
    2 devices: 3.4 GB missing; fits at 4096``
    """
    capacity, devices = hardware.capacity_bytes, len(hardware.devices)
    if memory.total_bytes <= capacity:
        return "nobody knows how large its weights are, so nothing says that it fits"
    split = f" ({show_bytes(memory.split_bytes)} of it because no layer is divided between devices)"
    return (
        f"needs {show_bytes(memory.total_bytes)} at {context} tokens{split if memory.split_bytes else ''}, "
        f"{show_bytes(capacity)} usable{f' on {devices} devices' if devices > 1 else ''}: "
        f"{show_bytes(memory.total_bytes - capacity)} missing; {_instead(memory, capacity)}"
    )


def _instead(memory: MemoryEstimate, capacity: int) -> str:
    if memory.max_context is not None:
        return f"fits at {memory.max_context}"
    if memory.weights_bytes > capacity:
        return f"its weights alone take {show_bytes(memory.weights_bytes)}"
    return "fits at no context"
