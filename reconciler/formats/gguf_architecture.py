"""From a header's keys to the dimensions that decide memory, and to what the model can do.

The rules are those of the runtime that reads the file: which layers keep a whole cache, which a window, which a fixed
state. What the runtime ignores (a window that no layer uses) is ignored here too.

Source:
    llama.cpp ``src/llama-hparams.cpp`` at 01b77b5 and b10605 (``set_swa_pattern``, ``n_embd_r``, ``n_embd_s``,
    ``has_kv``), ``llama_model::create_memory`` and ``src/models/*.cpp`` (``load_arch_hparams`` of each architecture);
    gguf 0.19.0 ``constants.py`` for the keys. Compared with llama-server b10434 in tests/e2e/test_memory_real.py.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from reconciler.domain.catalog import Architecture, Attention
from reconciler.formats.gguf_header import GgufHeader

_WINDOW_PERIODS = {
    "gemma2": 2, "gemma3": 6, "gemma-embedding": 6, "gemma3n": 5, "gpt-oss": 2, "cohere2": 4, "cohere2moe": 4,
    "olmo2": 4, "exaone4": 4, "exaone-moe": 4, "smallthinker": 4, "afmoe": 4, "llama4": 4, "laguna": 4, "plamo3": 8,
    "mellum": 4, "muse-glimmer": 4,
}  # fmt: skip
"""One layer in so many is a full-attention layer, for architectures whose file need not say which."""
_FULL_FIRST = frozenset({"laguna", "smallthinker", "cohere2moe"})
"""Architectures whose full-attention layer opens each group; elsewhere it closes the group."""
_INTERVALS = {"qwen3next": 4, "qwen35": 4, "qwen35moe": 4}
"""One layer in so many has attention, the others a linear state; a file may say otherwise."""
_OWN_CACHE = {"gemma3n": 20}
"""Layers from the start that store a cache, where the runtime knows the number and no key states it."""
_CHUNK = {"llama4": 8192}
"""Tokens a chunked layer keeps, whatever a key says; 0 in the file turns chunks off."""
_DEFAULT_WINDOWS = {**_CHUNK, "gemma2": 4096, "exaone4": 4096, "exaone-moe": 128}
"""Windows where no key states one."""
_WITHOUT_PREDICTION_CACHE = frozenset({"step35", "hy_v3", "glm-dsa", "mimo2", "deepseek32", "dots3note", "deepseek4"})
"""Architectures that keep no cache for layers that predict further tokens; hybrids keep none either."""
_INDEXED = frozenset({"deepseek32", "glm-dsa", "dots3note"})
"""Architectures that keep an index of keys beside a latent cache."""
_IGNORED_WINDOW = frozenset(
    {"llama", "phi3", "phimoe", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "mistral3", "starcoder2"}
)
"""Architectures whose files may state a window that the runtime does not use."""
_EMBEDDERS = frozenset({
    "bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert", "t5encoder",
    "gemma-embedding", "eurobert",
})  # fmt: skip
_STATE_KEYS = ("ssm.conv_kernel", "shortconv.l_cache", "kda.head_dim", "wkv.head_size")
_STATE_ELEMENT_BYTES = 4
"""Recurrent and convolution state is kept in f32."""
HEADER_SOURCE = "gguf-header"
TEMPLATE_SOURCE = "chat-template"


def architecture_of(header: GgufHeader) -> Architecture:
    """The dimensions a header states. Values that differ by layer are folded so that the cache comes out right."""
    heads = _largest(header, "attention.head_count")
    hidden = header.dimension("embedding_length")
    windows = _window_layout(header)
    kv_heads, global_kv_heads = _kv_heads(header, windows)
    key, key_swa = header.dimension("attention.key_length"), header.dimension("attention.key_length_swa")
    head_dim = key_swa or key or (hidden // heads if hidden and heads else None)
    attention = _attention(header, windows, global_kv_heads)
    return Architecture(
        name=header.architecture,
        layers=_layers(header),
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads if kv_heads is not None else heads,
        head_dim=head_dim,
        vocab=header.vocab,
        experts=header.dimension("expert_count") or None,
        active_experts=header.dimension("expert_used_count") or None,
        attention=attention,
        **_widths(header),
        per_layer_embedding=header.dimension("embedding_length_per_layer_input") or None,
    )


def _widths(header: GgufHeader) -> dict[str, int | None]:
    """Feed-forward widths. A mixture states its expert's; the other is of its first layers, or of shared experts."""
    width, expert = _largest(header, "feed_forward_length"), header.dimension("expert_feed_forward_length")
    if not header.dimension("expert_count"):
        return {"feed_forward": width or None}
    expert = expert or width or None
    shared = header.dimension("expert_shared_feed_forward_length")
    if shared is None and expert is not None:
        shared = expert * (header.dimension("expert_shared_count") or 0)
    dense = width if header.dimension("leading_dense_block_count") or header.architecture == "gemma4" else shared
    return {"feed_forward": dense or None, "expert_feed_forward": expert}


def capabilities_of(header: GgufHeader) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """What the file itself claims, by name: chat, embedding, thinking, tools. Absence is not a denial."""
    claims: dict[str, str] = {}
    if header.has_template:
        claims["chat"] = TEMPLATE_SOURCE
    if header.mentions_tools:
        claims["tools"] = TEMPLATE_SOURCE
    if header.mentions_thinking:
        claims["thinking"] = TEMPLATE_SOURCE
    if header.architecture in _EMBEDDERS or header.dimension("pooling_type"):
        claims["embedding"] = HEADER_SOURCE
    return tuple((name, (claims[name],)) for name in sorted(claims))


@dataclass(frozen=True, slots=True)
class _Windows:
    """Which layers look at a window only."""

    window: int
    is_window: tuple[bool, ...]
    period: int | None

    @property
    def full(self) -> int:
        return self.is_window.count(False)


def _layers(header: GgufHeader) -> int | None:
    """Blocks that take part in ordinary decoding: prediction heads for further tokens are left out."""
    blocks = header.layers
    extra = header.dimension("nextn_predict_layers") or 0
    return blocks if blocks is None or extra >= blocks else blocks - extra


def _window_layout(header: GgufHeader) -> _Windows | None:
    name, layers = header.architecture or "", _layers(header)
    window = header.dimension("attention.sliding_window")
    if window is None or (window and name in _CHUNK):
        window = _DEFAULT_WINDOWS.get(name)
    if not window or not layers or layers > 4096 or name in _IGNORED_WINDOW:
        return None
    pattern = header.per_layer("attention.sliding_window_pattern")
    if pattern is not None:
        return _Windows(window, tuple(bool(each) for each in pattern[:layers]), None)
    period = header.dimension("attention.sliding_window_pattern") or _WINDOW_PERIODS.get(name)
    if not period or (name == "exaone4" and layers != 64):  # only the 32B of EXAONE 4 has windows
        return None
    full_at = 0 if name in _FULL_FIRST else period - 1
    return _Windows(window, tuple(layer % period != full_at for layer in range(layers)), period)


def _kv_heads(header: GgufHeader, windows: _Windows | None) -> tuple[int | None, int | None]:
    """(heads of ordinary or window layers, heads of full layers where they differ)."""
    by_layer = header.per_layer("attention.head_count_kv")
    if by_layer is None:
        return header.dimension("attention.head_count_kv"), None
    if windows is None:
        return max(by_layer), None
    narrow = {count for count, is_window in zip(by_layer, windows.is_window, strict=False) if is_window and count}
    full = {count for count, is_window in zip(by_layer, windows.is_window, strict=False) if not is_window and count}
    local, whole = max(narrow or full or {0}), max(full or narrow or {0})
    return local, (whole if whole != local else None)


def _attention(header: GgufHeader, windows: _Windows | None, global_kv_heads: int | None) -> Attention | None:
    recurrent = _recurrent_layers(header)
    if recurrent:
        return _latent(header, _hybrid(header, recurrent))
    if _is_latent(header):
        return _latent(header, Attention(kind="mla", full_layers=_cached_layers(header)))
    if header.per_layer("attention.compress_ratios") is not None:
        return _compressed(header)
    if windows is not None:
        return _exactly(header, windows, _windowed(header, windows, global_kv_heads))
    return _uneven(header)


def _compressed(header: GgufHeader) -> Attention:
    ratios = Counter((header.per_layer("attention.compress_ratios") or ())[: _layers(header)])
    return Attention(
        kind="compressed",
        window=header.dimension("attention.sliding_window"),
        compressed_layers=tuple(sorted(ratios.items())),
        indexer_head_dim=header.dimension("attention.indexer.key_length") or 0,
    )


def _cached_layers(header: GgufHeader) -> int | None:
    """Layers with a cache, of a model whose every layer attends: most runtimes give prediction layers one too."""
    return _layers(header) if header.architecture in _WITHOUT_PREDICTION_CACHE else header.layers


def _exactly(header: GgufHeader, windows: _Windows | None, attention: Attention) -> Attention:
    """With the sums of all layers, where heads differ among layers of one kind or the last layers share a cache."""
    by_layer = header.per_layer("attention.head_count_kv")
    is_window = windows.is_window if windows else (False,) * (header.layers or 0)
    own = len(is_window) - attention.kv_shared_layers
    heads = by_layer or ((header.dimension("attention.head_count_kv") or 0),) * len(is_window)
    kinds = {
        kind: [n for n, each in zip(heads[:own], is_window, strict=False) if each is kind] for kind in (False, True)
    }
    if not attention.kv_shared_layers and all(len(set(counts) - {0}) <= 1 for counts in kinds.values()):
        return attention
    full, window = (sum(kinds[kind]) * _row(header, is_window=kind) for kind in (False, True))
    return replace(attention, full_elements=full, window_elements=window)


def _row(header: GgufHeader, *, is_window: bool) -> int:
    """Values one key-value head caches per token."""
    default = (header.dimension("embedding_length") or 0) // max(1, _largest(header, "attention.head_count") or 1)
    key = header.dimension("attention.key_length") or default
    value = header.dimension("attention.value_length") or default or key
    narrow = header.dimension("attention.key_length_swa")
    if not is_window or narrow is None:
        return key + value
    return narrow + (header.dimension("attention.value_length_swa") or narrow)


def _is_latent(header: GgufHeader) -> bool:
    """A compressed cache. Older files without the ``_mla`` keys make the runtime cache every head instead."""
    rank = header.dimension("attention.kv_lora_rank")
    return bool(rank) and header.dimension("attention.key_length_mla") is not None


def _latent(header: GgufHeader, attention: Attention) -> Attention:
    if not _is_latent(header):
        return attention
    return replace(
        attention,
        kv_lora_rank=header.dimension("attention.kv_lora_rank"),
        qk_rope_head_dim=header.dimension("rope.dimension_count"),
        v_head_dim=header.dimension("attention.value_length_mla"),
        indexer_head_dim=(header.dimension("attention.indexer.key_length") or 0)
        if header.architecture in _INDEXED
        else 0,
    )


def _windowed(header: GgufHeader, windows: _Windows, global_kv_heads: int | None) -> Attention:
    narrow, wide = header.dimension("attention.key_length_swa"), header.dimension("attention.key_length")
    return Attention(
        kind="chunked" if header.architecture in _CHUNK else "swa",
        full_layers=windows.full + (_cached_layers(header) or 0) - (_layers(header) or 0),
        window_layers=len(windows.is_window) - windows.full,
        window=windows.window,
        global_every=windows.period,
        v_head_dim=_value_dim(header),
        global_head_dim=wide if narrow and wide and wide != narrow else None,
        global_kv_heads=global_kv_heads,
        kv_shared_layers=_shared_layers(header),
    )


def _shared_layers(header: GgufHeader) -> int:
    """Last layers that read the cache of earlier ones."""
    own = _OWN_CACHE.get(header.architecture or "")
    if own is not None:
        return max(0, (_layers(header) or 0) - own)
    return header.dimension("attention.shared_kv_layers") or 0


def _interval(header: GgufHeader) -> int | None:
    return header.dimension("full_attention_interval") or _INTERVALS.get(header.architecture or "")


def _hybrid(header: GgufHeader, recurrent: int) -> Attention:
    name, layers = header.architecture or "", _layers(header) or 0
    by_layer = header.per_layer("attention.head_count_kv")
    interval = _interval(header)
    if name == "falcon-h1":
        full = layers
    elif by_layer is not None:
        full = sum(1 for count in by_layer[:layers] if count)
    else:
        full = layers - recurrent
    window = header.dimension("attention.sliding_window") if name in {"lfm2", "lfm2moe"} else None
    return Attention(
        kind=_hybrid_kind(header),
        full_layers=0 if window else full,
        window_layers=full if window else None,
        window=window or None,
        global_every=None if window else interval,
        state_bytes=recurrent * _state_bytes(header),
        v_head_dim=_value_dim(header),
    )


def _hybrid_kind(header: GgufHeader) -> str:
    if header.dimension("shortconv.l_cache"):
        return "hybrid-conv"
    if header.architecture == "falcon-h1":
        return "hybrid-mamba-parallel"
    linear = _interval(header) or header.dimension("kda.head_dim")
    return "hybrid-linear" if linear else "hybrid-mamba"


def _recurrent_layers(header: GgufHeader) -> int:
    """Layers that keep a fixed state instead of, or beside, a cache."""
    layers = _layers(header) or 0
    if not any(header.dimension(key) for key in _STATE_KEYS):
        return 0
    stated = header.per_layer("attention.recurrent_layers")
    if stated is not None:
        return sum(1 for each in stated[:layers] if each)
    interval = _interval(header)
    by_layer = header.per_layer("attention.head_count_kv")
    if interval:
        return layers - layers // interval
    if header.architecture == "falcon-h1" or by_layer is None:
        return layers
    feed = header.per_layer("feed_forward_length") if header.architecture in {"nemotron_h", "nemotron_h_moe"} else None
    return sum(
        1
        for layer, count in enumerate(by_layer[:layers])
        if not count and not (feed and layer < len(feed) and feed[layer])
    )


def _state_bytes(header: GgufHeader) -> int:
    """State of one recurrent layer and one sequence, in bytes."""
    kernel = max(0, (header.dimension("ssm.conv_kernel") or 0) - 1)
    head, wkv = header.dimension("kda.head_dim"), header.dimension("wkv.head_size")
    hidden = header.dimension("embedding_length") or 0
    if wkv:
        elements = hidden * (wkv + (header.dimension("token_shift_count") or 2))
    elif cache := header.dimension("shortconv.l_cache"):
        elements = hidden * max(0, cache - 1)
    elif head:
        heads = _largest(header, "attention.head_count") or 0
        elements = 3 * kernel * heads * head + heads * head * head
    else:
        inner, state = header.dimension("ssm.inner_size") or 0, header.dimension("ssm.state_size") or 0
        groups = header.dimension("ssm.group_count") or 0
        elements = kernel * (inner + 2 * groups * state) + state * inner
    return elements * _STATE_ELEMENT_BYTES


def _uneven(header: GgufHeader) -> Attention | None:
    """Full attention whose heads differ by layer, or are missing in some; None where every layer is alike."""
    by_layer = header.per_layer("attention.head_count_kv")
    value_dim, cached = _value_dim(header), _cached_layers(header)
    if by_layer is not None and len(set(by_layer)) > 1:
        with_heads = sum(1 for count in by_layer if count)
        return _exactly(header, None, Attention("no-attention-layers", full_layers=with_heads, v_head_dim=value_dim))
    if value_dim is not None or cached != _layers(header):
        return Attention(kind="full", full_layers=cached, v_head_dim=value_dim)
    return None


def _value_dim(header: GgufHeader) -> int | None:
    """Width of a value head where it differs from the key's."""
    swa = header.dimension("attention.key_length_swa") is not None
    key = header.dimension("attention.key_length_swa" if swa else "attention.key_length")
    value = header.dimension("attention.value_length_swa" if swa else "attention.value_length")
    return value if key and value and key != value else None


def _largest(header: GgufHeader, key: str) -> int | None:
    by_layer = header.per_layer(key)
    return max(by_layer) if by_layer else header.dimension(key)
