"""What the attention cache takes, by the model's real architecture: what its tokens need, and the steps it grows by.

Source:
    llama.cpp at b10434 (its log lines compared in tests/e2e/test_memory_real.py) and b10605 (read):
    ``llama_kv_cache`` (rows by layer, cells), ``llama_kv_cache_iswa`` (cells of window layers), ``llama_context``
    (context rounded up to 256, by sequence unless unified), ``llama_kv_cache_dsv4``, ``llama_kv_cache_dsa``,
    ``llama_memory_recurrent``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from reconciler.domain.catalog import Architecture, Attention
from reconciler.domain.estimate import KvCache
from reconciler.domain.units import Bytes

ELEMENT_BYTES: dict[KvCache, float] = {"f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""A block of 32 values takes 34 and 18 bytes. Source: ggml's block_q8_0 and block_q4_0."""

UNKNOWN_PER_BILLION = 8000.0
"""Bytes of f16 cache per token and 10⁹ weights, of a model whose dimensions nobody states. Source: the origin's
``vram.ts``."""

CELL_PADDING = 256
"""Cells are allocated in so many. Source: ``llama_context`` and ``llama_kv_cache_iswa``."""
UBATCH = 512
"""Tokens in flight: a window layer keeps them beside its window. Source: llama.cpp's default ``--ubatch-size``."""

_ENCODERS = ("bert", "xlm-roberta", "xlmroberta", "t5encoder", "gemma-embedding", "gemma_embedding")
"""Architectures that read a text whole and keep no cache. Source: ``llama_model::create_memory``."""

_RECURRENT = ("hybrid-linear", "hybrid-mamba", "hybrid-mamba-parallel", "hybrid-conv")
_DENSE_STATE, _MAMBA_1_STATE = 128, 16
_INDEXER_DIM = 128
_COMPRESSOR_ROWS = {4: 8, 128: 128}
"""Tokens that the compressor of a layer keeps uncompressed, by its ratio. Source: ``llama_kv_cache_dsv4``."""


def padded(count: int) -> int:
    """``count`` cells, rounded up to whole allocations."""
    return -(-count // CELL_PADDING) * CELL_PADDING


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
    compressed: tuple[tuple[int, float], ...] = ()
    """(tokens per entry, cached values per entry) of layers that keep a compressed context."""

    def elements(self, context: int) -> float:
        """Values that ``context`` tokens need."""
        kept = self.full_elements * context + self.window_elements * min(context, self.window)
        return kept + sum(each * (context / ratio) for ratio, each in self.compressed)

    def window_cells(self, sequences: int = 1) -> int:
        """Cells a window layer is given at most: those of ``sequences`` that share it, and the tokens in flight."""
        return padded(self.window * sequences + UBATCH) if self.window_elements else 0


def _layers_with_cache(layers: int, attention: Attention | None) -> tuple[int, int]:
    """(full layers, window layers) that store a cache of their own; every layer is full where nothing else is known."""
    if attention is None:
        return layers, 0
    full, window = attention.full_layers, attention.window_layers
    if full is None and attention.global_every:
        full = layers // attention.global_every
    if full is None and attention.kind in _RECURRENT:
        full = _usual_attention_layers(layers, attention.kind)
    if attention.window is not None and attention.kind not in _RECURRENT:
        full = full if full is not None else (0 if window is None else layers - window)
        window = window if window is not None else layers - full
    full, window = (layers if full is None else full), window or 0
    own = max(0, layers - attention.kv_shared_layers)
    if own == layers:
        return full, window
    own_full = round(full * own / layers)
    return own_full, max(0, min(window, own - own_full))


def _usual_attention_layers(layers: int, kind: str) -> int:
    """Attention layers of a hybrid whose list nobody states: what the models of its kind have.

    Source: the model cards of Granite 4.0 H (4 of 40, 4 of 32), LFM2 (6 of 16, 8 of 30, 6 of 24, 10 of 40) and Kimi
    Linear (7 of 27).
    """
    if kind == "hybrid-conv":
        return min(layers, max(6, -(-layers // 4)))
    if kind == "hybrid-mamba":
        return -(-layers // 10)
    return -(-layers // 4) if kind == "hybrid-linear" else layers


def _elements_per_layer(architecture: Architecture, attention: Attention | None) -> tuple[float, float] | None:
    """(values per token of a full layer, of a window layer), keys and values together; None: not known."""
    if attention is not None and attention.kv_lora_rank:
        latent = float(attention.kv_lora_rank + (attention.qk_rope_head_dim or 0) + attention.indexer_head_dim)
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

    Short convolutions keep two positions only, Mamba-1 keeps 16 values in place of 128 and three positions. Source
    for the shapes: the published defaults (expand 2; state 128 and 16); linear attention needs a little less.
    """
    if attention is None or attention.kind not in _RECURRENT:
        return 0
    if attention.state_bytes > 0:
        return attention.state_bytes
    layers, hidden = architecture.layers or 0, architecture.hidden or 0
    recurrent = layers if attention.kind == "hybrid-mamba-parallel" else max(0.0, layers - full)
    width = 2 if attention.kind == "hybrid-conv" else 2 * _DENSE_STATE
    if (architecture.name or "").lower() == "jamba":
        width = 2 * (_MAMBA_1_STATE + 3)
    return round(recurrent * hidden * width * 4)


def _compressed_shape(architecture: Architecture, attention: Attention) -> KvShape | None:
    """Keys only: every layer keeps a window, and those with a ratio an entry per so many tokens, the ones with ratio 4
    also an index of it.
    """
    dim, layers = architecture.head_dim, architecture.layers or 0
    if not dim:
        return None
    index = attention.indexer_head_dim or _INDEXER_DIM
    entries: list[tuple[int, float]] = []
    state = 0
    for ratio, count in attention.compressed_layers:
        if ratio <= 0:
            continue
        width = dim + (index if ratio == min(_COMPRESSOR_ROWS) else 0)
        entries.append((ratio, float(count * width)))
        state += count * _COMPRESSOR_ROWS.get(ratio, ratio) * 2 * width * 4
    return KvShape(0.0, float(layers * dim), attention.window or 0, state, tuple(entries))


@lru_cache(maxsize=65_536)
def kv_shape(architecture: Architecture) -> KvShape | None:
    """The cache of this architecture; None where its dimensions are not known. A pure function of its argument."""
    layers = architecture.layers
    if layers is None or layers <= 0:
        return None
    if is_encoder(architecture):
        return KvShape(0.0, 0.0, 0, 0)
    attention = architecture.attention
    if attention is not None and attention.kind == "compressed" and attention.compressed_layers:
        return _compressed_shape(architecture, attention)
    full, window = _layers_with_cache(layers, attention)
    size = (attention.window or 0) if attention is not None else 0
    if attention is not None and (attention.full_elements or attention.window_elements):
        kept = (float(attention.full_elements), float(attention.window_elements))
        return KvShape(*kept, size, _state_bytes(architecture, attention, full))
    elements = _elements_per_layer(architecture, attention) if full or window else (0.0, 0.0)
    if elements is None:
        return None
    return KvShape(
        full_elements=full * elements[0],
        window_elements=window * elements[1],
        window=size,
        state_bytes=_state_bytes(architecture, attention, full),
    )


def is_encoder(architecture: Architecture) -> bool:
    """Whether it reads a text whole and keeps no cache."""
    return architecture.name is not None and any(word in architecture.name.lower() for word in _ENCODERS)


def kv_bytes(architecture: Architecture, context: int, kv_cache: KvCache = "f16", parallel: int = 1) -> Bytes | None:
    """Memory that the tokens of a full context need in the attention cache.

    Keys and values of every layer that keeps them: grouped heads, an explicit head size, layers that keep a window
    only, one compressed row per token with latent attention, nothing in layers that share another's cache. Recurrent
    state is not in it (``KvShape.state_bytes``), nor what an allocation rounds up (``MemoryModel``).

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
