"""What a runtime allocates beside weights and cache: the buffers of its computation and of its outputs.

llama.cpp plans its graph for 512 tokens in flight and reuses what is no longer needed, so the buffer is as large as
the widest moment of one layer, and the attention masks. The widths below are values of 4 bytes per token in flight,
read off the sizes that llama-server b10434 logs for models of real dimensions (``tests/e2e/test_memory_real.py``):

* feed-forward: gate, up and their product, beside three rows of the model and one of the queries;
* experts: the same for each that is used, or each one's output twice;
* attention: queries twice, keys, three rows of the model; latent attention has queries and outputs of latent width;
* state layers: six inner rows;
* embeddings of the layers' own: twice beside all that, or four times alone;
* masks: 2 bytes per token in flight and cell, once for the whole context and once for the windows.

Only the outputs that are asked for count, one per sequence: builds before mid-2026 reserved them for every token in
flight, ``512 × 4 × vocabulary``.

Source:
    llama.cpp b10434 (logged), b10605 (read): ``llama_context::sched_reserve``, ``output_reserve``, ``ggml_gallocr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from reconciler.domain.catalog import Architecture, CatalogModel
from reconciler.ranking.decode import has_layer_embeddings
from reconciler.ranking.kv_cache import UBATCH, is_encoder

MASK_BYTES = 2 * UBATCH
"""Bytes per cell: a mask of 16 bits for every token in flight."""
PIPELINE_COPIES = 4
"""Copies of every input on each of several devices. Source: ``GGML_SCHED_MAX_COPIES``."""
_VALUE_BYTES = 4
_GEMMA_PER_LAYER = 256
"""Source: hidden_size_per_layer_input of Gemma 3n's and Gemma 4's config.json."""
_DEFAULT_VOCABULARY, _DEFAULT_HIDDEN, _DEFAULT_WIDTH, _WIDEST = 128_000, 4096, 4, 8
"""Where nobody states them; the feed-forward width is so many times the model's, and at most so many times."""


@dataclass(frozen=True, slots=True)
class ComputeShape:
    """The buffers of one model, before the masks."""

    activations: int
    """Bytes for all tokens in flight, at the widest moment."""
    output: int
    """Bytes of the outputs of one sequence."""
    per_token: int
    """Bytes that each token of context adds: an encoder has all of it in flight."""


def compute_shape(model: CatalogModel) -> ComputeShape:
    """The buffers of a model of known dimensions."""
    architecture = model.architecture
    beside = _per_layer_inputs(model)
    widest = _widest(architecture, model.gguf_weights or model.params)
    if beside:
        widest = max(4 * beside, widest + 2 * beside + (architecture.hidden or _DEFAULT_HIDDEN))
    row = widest * _VALUE_BYTES
    output = (architecture.vocab or _DEFAULT_VOCABULARY) * _VALUE_BYTES
    return ComputeShape(UBATCH * row, output, row if is_encoder(architecture) else 0)


def _per_layer_inputs(model: CatalogModel) -> int:
    """Values of the embeddings that layers have of their own, all layers together: they lie ready for all of them.

    Where nobody states their width it is that of Gemma 3n and 4, whose small models are dense but read less than
    they have.
    """
    it = model.architecture
    if it.per_layer_embedding is not None:
        return it.per_layer_embedding * (it.layers or 0)
    return _GEMMA_PER_LAYER * (it.layers or 0) if has_layer_embeddings(model) else 0


@lru_cache(maxsize=65_536)
def _widest(it: Architecture, weights: int | None) -> int:
    """Values per token in flight at the widest moment of a layer."""
    hidden = it.hidden or _DEFAULT_HIDDEN
    heads = it.heads or 1
    queries = heads * (it.head_dim or hidden // heads)
    keys = (it.kv_heads or heads) * (it.head_dim or hidden // heads)
    attention = it.attention
    moments = [2 * queries + 3 * hidden + keys]
    if attention is not None and attention.kv_lora_rank:
        rank = attention.kv_lora_rank
        moments = [heads * (3 * rank + (attention.qk_rope_head_dim or 0)) + hidden]
        queries = heads * (attention.v_head_dim or it.head_dim or 0)
    if attention is not None and attention.kind in {"hybrid-mamba", "hybrid-linear"}:
        moments.append(6 * 2 * hidden + 2 * hidden)
    dense, expert = _widths(it, weights)
    used = it.active_experts or 0
    if expert and used:
        moments += [
            3 * used * expert + 3 * hidden + max(hidden, queries),
            2 * used * hidden + used * expert + 3 * hidden,
        ]
    if dense:
        moments.append(3 * dense + 3 * hidden + max(hidden, queries))
    return max(moments)


def _widths(it: Architecture, weights: int | None) -> tuple[int, int]:
    """(dense feed-forward width, width of one expert): as stated, else what the weights leave for them."""
    if it.feed_forward or it.expert_feed_forward:
        return it.feed_forward or 0, it.expert_feed_forward or 0
    hidden, layers = it.hidden or _DEFAULT_HIDDEN, it.layers or 1
    if weights is None:
        left = 3 * hidden * _DEFAULT_WIDTH * hidden
    else:
        head_dim = it.head_dim or hidden // (it.heads or 1)
        attention = 2 * hidden * head_dim * ((it.heads or 1) + (it.kv_heads or it.heads or 1))
        left = max(0, weights - 2 * hidden * (it.vocab or _DEFAULT_VOCABULARY)) // layers - attention
    width = min(max(0, left) // (3 * hidden), _WIDEST * hidden * (it.experts or 1))
    return (0, width // it.experts) if it.experts and it.active_experts else (width, 0)
