"""Whether an adapter fits its base, by what both are made of: architecture, number of layers, width of every module.

The widths come from the base's tensor table where it is a GGUF file, else from its numbers by the layout of its
architecture (``base_layouts``). What no layout lists stays unknown: nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

from reconciler.domain.catalog import Architecture, CatalogModel
from reconciler.formats.gguf_header import GgufHeader
from reconciler.formats.gguf_tensors import TensorEntry
from reconciler.lora.base_layouts import LAYOUTS, NUMBERS, TEXT_PARTS, UNLISTED, Layout
from reconciler.lora.base_tensors import STACK, module_of, tensor_of
from reconciler.lora.weights import AdapterFacts, AdapterModule

Fit = Literal["exact-shape", "shape-mismatch", "unknown"]
BaseSource = Literal["config.json", "gguf", "catalogue"]
Widths = tuple[tuple[int | None, ...], tuple[int | None, ...]]
"""What the inputs and the outputs of a module may be; None among them: or something that is not known."""

_IN_LAYER = re.compile(
    r"(?:(?:model|language_model|text_model|base_model|backbone|transformer|gpt_neox|bert|roberta|encoder|decoder)\.)*"
    r"(?:layers|layer|h|blocks)\.(\d{1,6})\.([\w.]+)"
)
_OUTER = re.compile(r"(?:(?:model|language_model|text_model|backbone|transformer|gpt_neox)\.)*(\w+)")
_EXPERT = re.compile(r"(^|\.)experts\.\d{1,5}\.")
_MLX_EXPERTS = "switch_mlp."
"""Experts of a layer in MLX, one behind the other in three dimensions."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class BaseFacts:
    """What is known of a base. None: nothing says."""

    source: BaseSource
    architecture: str | None
    """``model_type`` of what reads and writes text, or ``general.architecture`` of a GGUF file."""
    layers: int | None = None
    numbers: Mapping[str, int] = field(default_factory=dict, hash=False)
    """What widths are made of, by the names of ``config.json``, wherever it is from."""
    tensors: Mapping[str, tuple[int, int]] | None = field(default=None, hash=False)
    """Inputs and outputs of every matrix of a GGUF file by name; None: no such file was read."""
    missing: tuple[str, ...] = ()
    """Names of its shards that are not there, for which reason its tensors were not compared."""

    @property
    def layout(self) -> Layout | None:
        """None: it is not listed."""
        return LAYOUTS.get(self.architecture or "") if self.source != "gguf" else None

    @property
    def gguf_architectures(self) -> tuple[str, ...]:
        """What its GGUF files may be called; empty: not known."""
        if self.source == "gguf":
            return (self.architecture,) if self.architecture else ()
        return self.layout.gguf if self.layout else ()


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
    reason: str | None = None
    """Why some or all could not be compared, where that is known."""


def base_from_config(document: Mapping[str, Any]) -> BaseFacts:
    """A base by its ``config.json``; of a model that sees or hears, the part that reads and writes text."""
    inner = document.get("text_config")
    text = inner if isinstance(inner, Mapping) else document
    kind = text.get("model_type", document.get("model_type"))
    name = TEXT_PARTS.get(kind, kind) if isinstance(kind, str) else None
    numbers = {key: value for key in sorted(NUMBERS) if (value := _whole(text, key))}
    layers = _whole(text, "num_hidden_layers") or _whole(text, "n_layer")
    return BaseFacts("config.json", name, layers, _with_heads(numbers, name))


def base_from_gguf(header: GgufHeader, tensors: Iterable[TensorEntry]) -> BaseFacts:
    """A base by its GGUF file: every matrix as it really is."""
    table = {each.name: (each.shape[0], each.shape[1]) for each in tensors if len(each.shape) >= 2}
    return BaseFacts("gguf", header.architecture, header.layers, tensors=table)


def base_from_catalogue(model: CatalogModel) -> BaseFacts:
    """A base by the catalogue. Its vocabulary is left out: sources count padding differently."""
    known = model.architecture
    name = TEXT_PARTS.get(known.name or "", known.name)
    layout = LAYOUTS.get(name or "")
    numbers = {key: value for key, value in _catalogued(known, layout) if value}
    return BaseFacts("catalogue", name, known.layers, _with_heads(numbers, name))


def _catalogued(known: Architecture, layout: Layout | None) -> Iterator[tuple[str, int | None]]:
    """The catalogue's dimensions under the names of ``config.json``."""
    yield "hidden_size", known.hidden
    yield "num_attention_heads", known.heads
    yield "num_key_value_heads", known.kv_heads
    yield "head_dim", known.head_dim
    yield "hidden_size_per_layer_input", known.per_layer_embedding
    if layout and layout.expert:
        yield layout.expert, known.expert_feed_forward
    elif layout and "|" not in layout.rows.get("mlp.gate_proj", ("", "|"))[1]:
        yield "intermediate_size", known.feed_forward
    if (attention := known.attention) is not None:
        for name in ("kv_lora_rank", "qk_rope_head_dim", "v_head_dim", "global_head_dim"):
            yield name, getattr(attention, name)
        yield "num_global_key_value_heads", attention.global_kv_heads


def _with_heads(numbers: dict[str, int], kind: str | None) -> dict[str, int]:
    """The numbers with the width of a head, where the architecture says how wide it is when nothing states it."""
    layout = LAYOUTS.get(kind or "")
    hidden, heads = numbers.get("hidden_size"), numbers.get("num_attention_heads")
    if layout is None or not hidden or not heads or layout.heads == "stated":
        return numbers
    if layout.heads == "divided" and "head_dim" in numbers:
        return numbers
    return numbers | {"head_dim": hidden // heads}


def fit_of(facts: AdapterFacts, base: BaseFacts, *, replicates_layers: bool = False) -> ShapeFit:
    """Compares every module of an adapter with its base.

    Args:
        facts: of the adapter.
        base: what is known of the base.
        replicates_layers: the adapter uses layers more than once, so that its numbers are not the base's.
    """
    differences: list[str] = []
    theirs = base.gguf_architectures
    if facts.architecture is not None and theirs and facts.architecture not in theirs:
        differences.append(f"the adapter is for architecture {facts.architecture}, the base is {' or '.join(theirs)}")
    compared = unknown = 0
    for module in facts.modules:
        found = None if replicates_layers else _difference(module, base, is_gguf=facts.format == "gguf")
        if found is None:
            unknown += 1
        else:
            compared += 1
            differences += [found] if found else []
    reason = _reason(base, replicates_layers=replicates_layers) if unknown else None
    if differences:
        shown = tuple(differences[:_SHOWN])
        return ShapeFit("shape-mismatch", compared, unknown, shown, len(differences), reason)
    return ShapeFit("exact-shape" if compared else "unknown", compared, unknown, reason=reason)


def _reason(base: BaseFacts, *, replicates_layers: bool) -> str | None:
    if replicates_layers:
        return "layer_replication: its numbers of layers are not the base's"
    if base.missing:
        return f"its shards are not all there: {', '.join(base.missing[:_SHOWN])}"
    if base.source == "gguf":
        return "the base's file has no tensor of that name: its converter splits or joins them"
    if base.architecture is None:
        return "nothing says which architecture the base is of"
    if base.layout is None:
        return f"{base.architecture}: {UNLISTED.get(base.architecture, 'its layout is not listed')}"
    return f"{base.architecture}: not in its layout, or of a width that {base.source} does not tell"


def _difference(module: AdapterModule, base: BaseFacts, *, is_gguf: bool) -> str | None:
    """What is different about one module; empty: nothing; None: not known."""
    if module.layer is not None and base.layers is not None and module.layer >= base.layers:
        return f"{module.path}: the base has {base.layers} layers"
    if module.inputs is None or module.outputs is None:
        return None
    if is_gguf and base.tensors is not None and module.path not in base.tensors:
        return f"{module.path}: the base has no such tensor"
    ways = _of_table(module, base.tensors, is_gguf=is_gguf) if base.tensors is not None else _by_layout(module, base)
    wrong = [_compared(module.inputs, module.outputs, each) for each in ways]
    if not wrong or "" in wrong:
        return "" if wrong else None
    return None if None in wrong else f"{module.path}: {wrong[0]}"


def _compared(inputs: int, outputs: int, ways: Widths) -> str | None:
    """What is wrong; empty: it fits; None: it may."""
    sides = list(zip(("inputs", "outputs"), (inputs, outputs), ways, strict=True))
    wrong = [
        f"{mine} {name}, the base has {' or '.join(map(str, dict.fromkeys(its)))}"
        for name, mine, its in sides
        if mine not in its and None not in its
    ]
    if wrong:
        return "; ".join(wrong)
    return "" if all(mine in its for _, mine, its in sides) else None


def _of_table(module: AdapterModule, tensors: Mapping[str, tuple[int, int]], *, is_gguf: bool) -> list[Widths]:
    if is_gguf:
        found: tuple[int, int] | None = tensors[module.path]
    else:
        path, layer = _place(module.path)
        if module.is_stack:
            return _each_way(tensors.get(f"blk.{layer}.{STACK}.weight"))
        name = tensor_of(path, layer) if path else None
        found = tensors.get(name) if name else None
    if found is None:
        return []
    inputs, outputs = found[::-1] if module.is_embedding else found
    return [((inputs,), (outputs,))]


def _each_way(expert: tuple[int, int] | None) -> list[Widths]:
    """What a stack may be wide by the width of one expert: libraries disagree about which way round it stands."""
    if expert is None:
        return []
    hidden, width = expert
    ways = ((hidden, 2 * width), (hidden, width), (width, hidden), (2 * width, hidden))
    return [((inputs,), (outputs,)) for inputs, outputs in ways]


def _by_layout(module: AdapterModule, base: BaseFacts) -> list[Widths]:
    layout = base.layout
    if layout is None:
        return []
    path, _ = _place(module.path)
    name = path if path in layout.rows else module_of(module.path, layout.rows)
    rows = [layout.rows[name]] if name else layout.stack(path or "") if module.is_stack else ()
    return [(_widths(inputs, base.numbers), _widths(outputs, base.numbers)) for inputs, outputs in rows]


def _place(path: str) -> tuple[str | None, int | None]:
    """(path in its layer with experts by ``*``, layer) of a module of the library; None: none that is known."""
    layered, outer = _IN_LAYER.fullmatch(path), _OUTER.fullmatch(path)
    if layered:
        name = _EXPERT.sub(r"\1experts.*.", layered[2]).replace(_MLX_EXPERTS, "experts.*.").removesuffix(".base_layer")
        return name, int(layered[1])
    return (outer[1], None) if outer else (None, None)


def _widths(written: str, numbers: Mapping[str, int]) -> tuple[int | None, ...]:
    """What a width may be.

    >>> _widths("heads*dim+2*keys|3*hidden", {"heads": 4, "dim": 8, "keys": 2, "hidden": 12})
    (36, 36)
    """
    return tuple(_sum(each, numbers) for each in written.split("|"))


def _sum(written: str, numbers: Mapping[str, int]) -> int | None:
    parts = [_product(each, numbers) for each in written.split("+")]
    return None if None in parts else sum(each for each in parts if each)


def _product(written: str, numbers: Mapping[str, int]) -> int | None:
    factors = [int(each) if each.isdigit() else numbers.get(each) for each in written.split("*")]
    return None if None in factors else prod(each for each in factors if each)


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    found = document.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found > 0 else None
