"""What the speed fit searches, from where, and what it leaves alone: one table of guesses, one of assumptions.

A constant is fitted only where its rows are of several devices and of several models; ``fit_speed.py`` counts both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Where the search starts and what it is pulled to: round numbers, not blind to these rows, since an earlier fit had seen
# them.
GUESSED: Mapping[str, float] = MappingProxyType(
    {
        "efficiency.cuda": 0.80, "efficiency.old_cuda": 0.40, "efficiency.vllm": 0.70, "efficiency.rocm": 0.75,
        "efficiency.metal": 0.80, "efficiency.mlx": 0.80,
        "per_layer.cuda": 50e-6, "per_layer.old_cuda": 60e-6, "per_layer.rocm": 50e-6, "per_layer.metal": 80e-6,
        "per_layer.mlx": 80e-6,
        "moe_bytes": 1.2, "moe_layers": 1.5, "cache_bytes": 1.0, "apple_width": 0.05, "wide_weights": 1.05,
        "prompt_worth": 5.0,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Assumed:
    """A constant that is not fitted, because its rows are of one device or there are none, and why it is what it is."""

    value: float
    why: str


ASSUMED: Mapping[str, Assumed] = MappingProxyType(
    {
        "efficiency.vulkan": Assumed(
            0.70, "a portable backend without the vendor's matrix kernels, so a little below the guess for ROCm (0.75)"
        ),
        "efficiency.hipfire": Assumed(0.65, "a young engine on ROCm's compiler: the guess for ROCm less a seventh"),
        "efficiency.sycl": Assumed(
            0.30,
            "llama.cpp's own page of this backend states 42 tokens a second of Llama 2 7B at Q4_0 (3.8 GB) on an Arc "
            "A770 of 560 GB/s before that quant was tuned: 0.29 of the bandwidth, 0.33 without the time per layer",
        ),
        "efficiency.cpu": Assumed(
            0.65, "cores reach about 0.8 of what two channels of DDR nominally move, and unpacking 4 bits costs a fifth"
        ),
        "per_layer.sycl": Assumed(
            100e-6, "as many kernels a layer as Metal, by a slower queue: a quarter more than its guess"
        ),
        "per_layer.cpu": Assumed(70e-6, "a dozen operations a layer, each with a barrier of all threads of 5 to 6 µs"),
        "shared_memory": Assumed(
            0.90, "refresh, display and CPU take turns on the same channels; a tenth is what they usually take"
        ),
    }
)
"""Constants whose rows would be of one device, or of which there are none.

Source of the Arc's speed: llama.cpp, docs/backend/SYCL.md, news of 2025.2."""
SAME_LAYERS: Mapping[str, str] = MappingProxyType({"vllm": "cuda", "vulkan": "rocm", "hipfire": "rocm"})
"""Backends of too few rows for a fixed time of their own, and whose they take."""
_FEW_DEVICES = ("vllm", "old_cuda", "rocm")
"""Backends measured on two or three devices, held more strongly. Chosen with the rows in sight: with the usual pull on the
last two, each device left out gives 11.3 % over 7.5 % in five folds (1.51 ×), so 11.1 % over 7.8 %."""


def pull(name: str) -> float:
    """How strongly a constant is held at its guess."""
    if "." not in name:
        return 4.0 if name == "wide_weights" else 0.3 if name == "apple_width" else 1.0
    return 8.0 if name.partition(".")[2] in _FEW_DEVICES else 3.0
