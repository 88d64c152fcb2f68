"""What the attention cache takes, by the model's real architecture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from reconciler.domain.catalog import Architecture, Attention
from reconciler.domain.units import Bytes

KvCache = Literal["f16", "q8_0", "q4_0"]

# A block of 32 values takes 34 and 18 bytes. Source: ggml's block_q8_0 and block_q4_0.
ELEMENT_BYTES: dict[KvCache, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}

_ENCODERS = ("bert", "xlm-roberta", "xlmroberta", "t5encoder")
"""Architectures that read a text whole and keep no cache."""

_RECURRENT = ("hybrid-linear", "hybrid-mamba", "hybrid-mamba-parallel", "hybrid-conv")


@dataclass(frozen=True, slots=True)
class KvShape:
    """The cache of one sequence as a line with a knee: every token costs, window layers stop at their window."""

    full_elements: float
    """Cached values per token in the layers that keep the whole context."""
    window_elements: float
    """Cached values per token in the layers that keep a window."""
    window: int
    """Tokens those layers keep."""
    state_bytes: int
    """Recurrent state of one sequence, whatever the context."""

    def elements(self, context: int) -> float:
        return self.full_elements * context + self.window_elements * min(context, self.window)


def _layers_with_cache(layers: int, attention: Attention | None) -> tuple[float, float]:
    """(full layers, window layers) that store a cache of their own; every layer is full where nothing else is known."""
    if attention is None:
        return float(layers), 0.0
    full, window = attention.full_layers, attention.window_layers
    if full is None and attention.global_every:
        full = layers // attention.global_every
    if attention.window is not None and attention.kind not in _RECURRENT:
        full = full if full is not None else (0 if window is None else layers - window)
        window = window if window is not None else layers - full
    full, window = (layers if full is None else full), window or 0
    own = max(0, layers - attention.kv_shared_layers) / layers
    return full * own, window * own


def _elements_per_layer(architecture: Architecture, attention: Attention | None) -> tuple[float, float] | None:
    """(values per token of a full layer, of a window layer), keys and values together; None: not known."""
    if attention is not None and attention.kv_lora_rank:
        latent = float(attention.kv_lora_rank + (attention.qk_rope_head_dim or 0))
        return latent, latent
    heads, head_dim = architecture.kv_heads or architecture.heads, architecture.head_dim
    if head_dim is None and architecture.hidden and architecture.heads:
        head_dim = architecture.hidden // architecture.heads
    if not heads or not head_dim:
        return None
    if attention is None:
        return 2.0 * heads * head_dim, 0.0
    value_dim = attention.v_head_dim or head_dim
    full_dim, full_heads = attention.global_head_dim or head_dim, attention.global_kv_heads or heads
    full_value = attention.v_head_dim or full_dim
    return float(full_heads * (full_dim + full_value)), float(heads * (head_dim + value_dim))


def _state_bytes(architecture: Architecture, attention: Attention | None, full: float) -> int:
    """State of the recurrent layers: as stated, else 2 × hidden × 128 values of 4 bytes a layer, which is Mamba-2's.

    Short convolutions keep two positions only. Source for the shape: Mamba-2's published defaults (expand 2,
    state 128); linear attention of the Qwen3.5 kind needs a little less.
    """
    if attention is None or attention.kind not in _RECURRENT:
        return 0
    if attention.state_bytes > 0:
        return attention.state_bytes
    layers, hidden = architecture.layers or 0, architecture.hidden or 0
    recurrent = layers if attention.kind == "hybrid-mamba-parallel" else max(0.0, layers - full)
    width = 2 if attention.kind == "hybrid-conv" else 2 * 128
    return round(recurrent * hidden * width * 4)


@lru_cache(maxsize=65_536)
def kv_shape(architecture: Architecture) -> KvShape | None:
    """The cache of this architecture; None where its dimensions are not known. A pure function of its argument."""
    layers = architecture.layers
    if layers is None or layers <= 0:
        return None
    if architecture.name is not None and any(word in architecture.name.lower() for word in _ENCODERS):
        return KvShape(0.0, 0.0, 0, 0)
    attention = architecture.attention
    elements = _elements_per_layer(architecture, attention)
    if elements is None:
        return None
    full, window = _layers_with_cache(layers, attention)
    return KvShape(
        full_elements=full * elements[0],
        window_elements=window * elements[1],
        window=(attention.window or 0) if attention is not None else 0,
        state_bytes=_state_bytes(architecture, attention, full),
    )


def kv_bytes(architecture: Architecture, context: int, kv_cache: KvCache = "f16", parallel: int = 1) -> Bytes | None:
    """Memory the attention cache takes when the context is full.

    Keys and values of every layer that keeps them: grouped heads, an explicit head size, layers that keep a window
    only, one compressed row per token with latent attention, nothing in layers that share another's cache. Recurrent
    state is not in it (``KvShape.state_bytes``).

    Args:
        architecture: dimensions of the model.
        context: tokens of one sequence.
        kv_cache: type of the cached values.
        parallel: sequences, each with its own context.

    Returns:
        Bytes; None where the dimensions are not known.
    """
    shape = kv_shape(architecture)
    if shape is None:
        return None
    return Bytes(math.ceil(shape.elements(max(0, context)) * ELEMENT_BYTES[kv_cache] * max(1, parallel)))
