"""Whether an adapter fits its base, by what both are made of: architecture, number of layers, width of every module.

The widths come from the base's tensor table where it is a GGUF file, else from its dimensions by the layout of an
architecture that is listed here. Fused modules, experts and unlisted layouts stay unknown: nothing is guessed.

Source:
    transformers 5.23.0: the modules of every listed ``model_type``, built and compared in tests/lora/test_real_peft.py;
    llama.cpp b10434 gguf-py ``constants.py`` for architecture names and ``tensor_mapping.py`` for tensor names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reconciler.domain.catalog import CatalogModel
from reconciler.formats.gguf_architecture import architecture_of
from reconciler.formats.gguf_header import GgufHeader
from reconciler.formats.gguf_tensors import TensorEntry
from reconciler.lora.weights import AdapterFacts, AdapterModule

Fit = Literal["exact-shape", "shape-mismatch", "unknown"]
BaseSource = Literal["config.json", "gguf", "catalogue"]

_GGUF_NAMES = {
    "llama": "llama", "mistral": "llama", "mixtral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma",
    "gemma2": "gemma2", "gemma3_text": "gemma3", "olmo2": "olmo2", "olmo3": "olmo2", "granite": "granite",
    "smollm3": "smollm3", "cohere": "command-r", "cohere2": "cohere2", "qwen2_moe": "qwen2moe",
    "qwen3_moe": "qwen3moe", "seed_oss": "seed_oss", "exaone4": "exaone4", "phi3": "phi3", "gpt2": "gpt2",
}  # fmt: skip
"""``general.architecture`` by the Hub's ``model_type``."""
PLAIN = frozenset({
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "olmo2", "olmo3", "granite", "smollm3",
    "cohere", "cohere2", "seed_oss", "exaone4",
})  # fmt: skip
"""``model_type`` of models whose every layer has the seven usual matrices, of widths that the dimensions give."""
PLAIN_ATTENTION = PLAIN | {"mixtral", "qwen2_moe", "qwen3_moe"}
"""Of models whose attention has them."""
_TEXT_PARTS = {"gemma3": "gemma3_text", "mistral3": "mistral"}
"""Layout of the text part, where the catalogue states the dimensions of that part under the whole model's type."""
_HEAD_DIM_BY_DIVISION = frozenset({"llama", "mistral", "qwen2", "olmo2", "granite", "mixtral", "cohere"})
"""Types whose heads share the hidden width where no ``head_dim`` is stated."""
_LAYERED = re.compile(r"(?:(?:model|language_model|text_model)\.)*layers\.(\d{1,6})\.(self_attn|mlp)\.(\w+)")
_OUTER = re.compile(r"(?:(?:model|language_model|text_model)\.)*(embed_tokens|lm_head)")
_TENSORS = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
    "up_proj": "ffn_up", "down_proj": "ffn_down",
}  # fmt: skip
_OUTER_TENSORS = {"embed_tokens": "token_embd.weight", "lm_head": "output.weight"}
_ROLES = {tensor: role for role, tensor in _TENSORS.items()}
_OUTER_ROLES = {tensor: role for role, tensor in _OUTER_TENSORS.items()}
_BLOCK = re.compile(r"blk\.(\d{1,6})\.(\w+)\.weight")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What is known of a base. None: nothing says."""

    source: BaseSource
    architecture: str | None
    """``model_type``, or ``general.architecture`` of a GGUF file."""
    layers: int | None = None
    hidden: int | None = None
    heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    feed_forward: int | None = None
    vocab: int | None = None
    tensors: Mapping[str, tuple[int, int]] | None = field(default=None, hash=False)
    """Inputs and outputs of every matrix of a GGUF file by name; None: no such file was read."""

    @property
    def gguf_architecture(self) -> str | None:
        return self.architecture if self.source == "gguf" else _GGUF_NAMES.get(self.architecture or "")


@dataclass(frozen=True, slots=True)
class ShapeFit:
    """How an adapter fits its base."""

    verdict: Fit
    compared: int = 0
    """Modules whose widths are known on both sides."""
    unknown: int = 0
    """Modules nobody could compare."""
    differences: tuple[str, ...] = ()
    """The first few, a sentence each; never empty for a mismatch."""
    different: int = 0
    """How many in all."""


def base_from_config(document: Mapping[str, Any]) -> BaseFacts:
    """A base by its ``config.json``; of a model that sees or hears, the part that reads and writes text."""
    inner = document.get("text_config")
    text = inner if isinstance(inner, Mapping) else document
    kind = text.get("model_type", document.get("model_type"))
    name = kind if isinstance(kind, str) else None
    hidden, heads = _whole(text, "hidden_size"), _whole(text, "num_attention_heads")
    head_dim = _whole(text, "head_dim")
    if head_dim is None and name in _HEAD_DIM_BY_DIVISION and hidden and heads:
        head_dim = hidden // heads
    return BaseFacts(
        source="config.json",
        architecture=name,
        layers=_whole(text, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_whole(text, "num_key_value_heads"),
        head_dim=head_dim,
        feed_forward=_whole(text, "intermediate_size"),
        vocab=_whole(text, "vocab_size"),
    )


def base_from_gguf(header: GgufHeader, tensors: Iterable[TensorEntry]) -> BaseFacts:
    """A base by its GGUF file: every matrix as it really is."""
    found = architecture_of(header)
    return BaseFacts(
        source="gguf",
        architecture=header.architecture,
        layers=header.layers,
        hidden=found.hidden,
        heads=found.heads,
        kv_heads=found.kv_heads,
        head_dim=found.head_dim,
        feed_forward=found.feed_forward,
        vocab=found.vocab,
        tensors={each.name: (each.shape[0], each.shape[1]) for each in tensors if len(each.shape) >= 2},
    )


def base_from_catalogue(model: CatalogModel) -> BaseFacts:
    """A base by the catalogue. Its vocabulary is left out: sources count padding differently."""
    known = model.architecture
    return BaseFacts(
        source="catalogue",
        architecture=_TEXT_PARTS.get(known.name or "", known.name),
        layers=known.layers,
        hidden=known.hidden,
        heads=known.heads,
        kv_heads=known.kv_heads,
        head_dim=known.head_dim,
        feed_forward=known.feed_forward,
    )


def fit_of(facts: AdapterFacts, base: BaseFacts, *, replicates_layers: bool = False) -> ShapeFit:
    """Compares every module of an adapter with its base.

    Args:
        facts: of the adapter.
        base: what is known of the base.
        replicates_layers: the adapter uses layers more than once, so that its numbers are not the base's.
    """
    differences: list[str] = []
    theirs = base.gguf_architecture
    if facts.architecture is not None and theirs is not None and facts.architecture != theirs:
        differences.append(f"the adapter is for architecture {facts.architecture}, the base is {theirs}")
    compared = unknown = 0
    for module in facts.modules:
        found = None if replicates_layers else _difference(module, base, is_gguf=facts.format == "gguf")
        if found is None:
            unknown += 1
        else:
            compared += 1
            differences += [found] if found else []
    if differences:
        return ShapeFit("shape-mismatch", compared, unknown, tuple(differences[:_SHOWN]), len(differences))
    return ShapeFit("exact-shape" if compared else "unknown", compared, unknown)


def _difference(module: AdapterModule, base: BaseFacts, *, is_gguf: bool) -> str | None:
    """What is different about one module; empty: nothing; None: not known."""
    if module.layer is not None and base.layers is not None and module.layer >= base.layers:
        return f"{module.path}: the base has {base.layers} layers"
    if module.inputs is None or module.outputs is None:
        return None
    found = _of_table(module, base, is_gguf=is_gguf) if base.tensors is not None else _by_layout(module, base)
    if found is None or isinstance(found, str):
        return found
    names = ("inputs", "outputs")
    pairs = zip(names, (module.inputs, module.outputs), found, strict=True)
    wrong = [f"{mine} {name}, the base has {its}" for name, mine, its in pairs if its is not None and mine != its]
    if wrong:
        return f"{module.path}: {'; '.join(wrong)}"
    return "" if None not in found else None


def _of_table(module: AdapterModule, base: BaseFacts, *, is_gguf: bool) -> tuple[int, int] | str | None:
    tensors = base.tensors or {}
    if is_gguf:
        found = tensors.get(module.path)
        if found is None:
            return f"{module.path}: the base has no such tensor"
        return (found[1], found[0]) if module.is_embedding else found
    name = _tensor_of(module.path)
    found = tensors.get(name) if name else None
    return (found[1], found[0]) if found and module.is_embedding else found


def _tensor_of(path: str) -> str | None:
    layered, outer = _LAYERED.fullmatch(path), _OUTER.fullmatch(path)
    if outer:
        return _OUTER_TENSORS[outer[1]]
    tensor = _TENSORS.get(layered[3]) if layered else None
    return f"blk.{layered[1]}.{tensor}.weight" if layered and tensor else None


def _by_layout(module: AdapterModule, base: BaseFacts) -> tuple[int | None, int | None] | None:
    role = _role(module.path)
    if role is None or base.architecture not in PLAIN_ATTENTION:
        return None
    wide = base.heads * base.head_dim if base.heads and base.head_dim else None
    narrow = base.kv_heads * base.head_dim if base.kv_heads and base.head_dim else None
    hidden = base.hidden
    attention = {
        "q_proj": (hidden, wide), "k_proj": (hidden, narrow), "v_proj": (hidden, narrow), "o_proj": (wide, hidden),
        "embed_tokens": (base.vocab, hidden), "lm_head": (hidden, base.vocab),
    }  # fmt: skip
    if role in attention:
        return attention[role]
    if base.architecture not in PLAIN:
        return None
    feed = base.feed_forward
    return {"gate_proj": (hidden, feed), "up_proj": (hidden, feed), "down_proj": (feed, hidden)}.get(role)


def _role(path: str) -> str | None:
    layered, outer = _LAYERED.fullmatch(path), _OUTER.fullmatch(path)
    if outer:
        return outer[1]
    if layered:
        return layered[3] if layered[3] in _TENSORS else None
    block = _BLOCK.fullmatch(path)
    return _ROLES.get(block[2]) if block else _OUTER_ROLES.get(path)


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    found = document.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
