"""What the tensors of an adapter are: pairs with their ranks and sizes, and everything beside them. Names, types and
shapes decide; no value is read, so nothing is said of whether the numbers are any good.

Source:
    peft 0.21.2 ``utils/save_and_load.py`` (``get_peft_model_state_dict``), tried on files it wrote (tests/lora/peft);
    llama.cpp b10434 ``convert_lora_to_gguf.py`` for the names in GGUF; mlx-lm 0.32.2 ``mlx_lm/tuner/lora.py``
    and ``dora.py`` for those of MLX, whose halves stand turned round, tried on files it wrote (tests/lora/mlx).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.domain.units import Bytes
from reconciler.formats.gguf_adapter import AdapterTensor

WeightsFormat = Literal["safetensors", "gguf", "mlx"]
"""As peft saves it, as llama.cpp loads it, or as mlx_lm trains it."""
PREFIX = "base_model.model."
"""What peft puts before a module's own path."""
_PAIRS = {
    ".lora_A.weight": "a", ".lora_B.weight": "b", ".lora_A": "a", ".lora_B": "b", ".lora_embedding_A": "a",
    ".lora_embedding_B": "b", ".lora_a": "a", ".lora_b": "b", ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude", ".lora_B.bias": "bias", ".base_layer.bias": "bias",
}  # fmt: skip
"""The end of a tensor's name, and what it is to its module."""
_MLX = {".lora_a": "a", ".lora_b": "b", ".m": "magnitude"}
_BASE = ".base_layer"
_TOKENS = ".trainable_tokens_delta"
_LAYER = re.compile(r"(?:^|\.)(?:layers|layer|h|blocks|blk)\.(\d{1,6})(?:\.|$)")
_FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
_MATRIX = 2
_EXPERTS = 3
"""Dimensions of the experts of one layer in GGUF: their number comes first."""
_GGUF_EMBEDDING = "token_embd.weight"


@dataclass(frozen=True, slots=True)
class AdapterModule:
    """One module that the adapter changes."""

    path: str
    """Inside the base model, without peft's prefix; in GGUF the tensor's name."""
    rank: int
    inputs: int | None
    """Width of what the module takes; None: not a plain matrix."""
    outputs: int | None
    dtypes: tuple[str, ...]
    is_embedding: bool = False
    has_magnitude: bool = False
    """A DoRA vector stands beside the pair."""

    @property
    def target(self) -> str:
        """Its last name, as ``target_modules`` has it."""
        return self.path.removesuffix(".weight").rpartition(".")[2]

    @property
    def layer(self) -> int | None:
        found = _LAYER.search(self.path)
        return int(found[1]) if found else None

    @property
    def is_stack(self) -> bool:
        """The experts of a mixture as one tensor: its rank is the adapter's times their number."""
        return self.target in {"experts", "base_layer"}


@dataclass(frozen=True, slots=True)
class AdapterFacts:
    """Everything the headers of an adapter's weight files say."""

    format: WeightsFormat
    modules: tuple[AdapterModule, ...]
    """By path."""
    unpaired: tuple[str, ...] = ()
    """Modules of which one half is missing."""
    contradictory: tuple[str, ...] = ()
    """Pairs whose halves do not fit together: a sentence each."""
    saved: tuple[str, ...] = ()
    """Whole tensors beside the pairs (``modules_to_save``): their modules' paths. Of what has a pair itself, peft saves
    the base's own matrix with it (embeddings); that is no change, and runtimes pass over it."""
    biases: tuple[str, ...] = ()
    """Modules with a trained bias."""
    token_deltas: int = 0
    """Tokens whose embedding the adapter changes."""
    stray: tuple[str, ...] = ()
    """Tensors that are part of no pair that is there."""
    dtypes: tuple[str, ...] = ()
    parameters: int = 0
    bytes: Bytes = field(default=Bytes(0))
    alpha: float | None = None
    """Stated in the file itself; GGUF only."""
    architecture: str | None = None
    """GGUF only."""
    adapter_type: str | None = None
    """GGUF only."""
    files: int = 1
    """Files that hold them; more than one: shards."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Every rank that occurs, ascending; stacks of experts are left out."""
        return tuple(sorted({each.rank for each in self.modules if not each.is_stack}))

    @property
    def max_rank(self) -> int | None:
        return self.ranks[-1] if self.ranks else None

    @property
    def targets(self) -> tuple[str, ...]:
        """Last names of the modules, sorted."""
        return tuple(sorted({each.target for each in self.modules}))

    @property
    def layers(self) -> tuple[int, ...]:
        """Layers that the adapter changes, ascending."""
        return tuple(sorted({each.layer for each in self.modules if each.layer is not None}))

    @property
    def has_dora(self) -> bool:
        return any(each.has_magnitude for each in self.modules)

    @property
    def odd_dtypes(self) -> tuple[str, ...]:
        """Types that no trainer writes for a pair; GGUF may be quantised."""
        return () if self.format == "gguf" else tuple(each for each in self.dtypes if each not in _FLOATS)


@dataclass(slots=True)
class _Parts:
    a: AdapterTensor | None = None
    b: AdapterTensor | None = None
    magnitude: AdapterTensor | None = None
    bias: AdapterTensor | None = None
    is_embedding: bool = False


def facts_of(
    tensors: Iterable[AdapterTensor],
    format: WeightsFormat,  # noqa: A002 - the field's own name
    *,
    size: int = 0,
    alpha: float | None = None,
    architecture: str | None = None,
    adapter_type: str | None = None,
    files: int = 1,
) -> AdapterFacts:
    """The facts of all tensors of an adapter; of several files together. Never raises.

    Args:
        tensors: with unique names.
        format: of the files.
        size: bytes of the files together.
        alpha: as the file states it.
        architecture: likewise.
        adapter_type: likewise.
        files: how many there are.
    """
    parts, whole, every = _sorted_out(tensors, _MLX if format == "mlx" else _PAIRS)
    modules, contradictory = _modules(parts, is_turned=format == "mlx")
    return AdapterFacts(
        format=format,
        modules=modules,
        contradictory=contradictory,
        unpaired=tuple(path for path, each in parts.items() if (each.a is None) != (each.b is None)),
        saved=tuple(sorted(_saved(whole, parts))),
        biases=tuple(sorted(_biases(whole, parts))),
        token_deltas=sum(each.shape[0] for each in whole if each.name.endswith(_TOKENS) and each.shape),
        stray=tuple(sorted(_stray(whole, parts))),
        dtypes=tuple(sorted({each.dtype for each in every})),
        parameters=sum(math.prod(each.shape) for each in every),
        bytes=Bytes(size),
        alpha=alpha,
        architecture=architecture,
        adapter_type=adapter_type,
        files=files,
    )


def _biases(whole: Iterable[AdapterTensor], parts: Mapping[str, _Parts]) -> set[str]:
    beside = {path for path, each in parts.items() if each.bias is not None}
    return beside | {each.name.removesuffix(".bias") for each in whole if each.name.endswith(".bias")}


def _stray(whole: Iterable[AdapterTensor], parts: Mapping[str, _Parts]) -> list[str]:
    """Tensors that are nothing of an adapter, and modules of which nothing is there."""
    unknown = [each.name for each in whole if not _is_weight(each) and not each.name.endswith(_TOKENS)]
    return unknown + [path for path, each in parts.items() if each.a is None and each.b is None and each.bias is None]


def _saved(whole: Iterable[AdapterTensor], parts: Mapping[str, _Parts]) -> set[str]:
    """Source: peft 0.21.2 ``utils/save_and_load.py`` (embeddings); vLLM 0.32.0 and llama.cpp b10605 pass over those."""
    found = {_module_of(each.name) for each in whole if _is_weight(each) and not each.name.endswith(".bias")}
    return {path for path in found if not path.endswith(_BASE) or path.removesuffix(_BASE) not in parts}


def is_mlx(tensors: Iterable[AdapterTensor]) -> bool:
    """Whether a safetensors file is MLX's own: pairs under its names, and none under those of peft."""
    names = [each.name for each in tensors]
    return any(name.endswith(".lora_a") for name in names) and not any(".lora_A" in name for name in names)


def _sorted_out(
    tensors: Iterable[AdapterTensor], ends: Mapping[str, str]
) -> tuple[dict[str, _Parts], list[AdapterTensor], list[AdapterTensor]]:
    """(parts by module path, whole tensors with peft's prefix gone, every tensor)."""
    parts: dict[str, _Parts] = {}
    whole: list[AdapterTensor] = []
    every = sorted(tensors, key=lambda each: each.name)
    for tensor in every:
        name = tensor.name.removeprefix(PREFIX)
        end = next((end for end in ends if name.endswith(end)), None)
        if end is None:
            whole.append(AdapterTensor(name, tensor.dtype, tensor.shape))
            continue
        module = parts.setdefault(name.removesuffix(end), _Parts())
        setattr(module, ends[end], tensor)
        module.is_embedding = module.is_embedding or "lora_embedding" in end
    return dict(sorted(parts.items())), whole, every


def _modules(parts: dict[str, _Parts], *, is_turned: bool = False) -> tuple[tuple[AdapterModule, ...], tuple[str, ...]]:
    modules, contradictory = [], []
    for path, each in parts.items():
        if each.a is None or each.b is None:
            continue
        a, b = (_turned(each.a.shape), _turned(each.b.shape)) if is_turned else (each.a.shape, each.b.shape)
        sizes = _sizes(path, a, b)
        if sizes is None:
            contradictory.append(f"{path}: A is {list(each.a.shape)} and B is {list(each.b.shape)}")
            continue
        rank, inputs, outputs = sizes
        modules.append(
            AdapterModule(
                path=path,
                rank=rank,
                inputs=inputs,
                outputs=outputs,
                dtypes=(each.a.dtype, each.b.dtype),
                is_embedding=each.is_embedding
                or path == _GGUF_EMBEDDING
                or (is_turned and path.endswith("embed_tokens")),
                has_magnitude=each.magnitude is not None,
            )
        )
    return tuple(modules), tuple(contradictory)


def _turned(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A matrix the other way round; stacks of experts stand as they are in MLX."""
    return shape[::-1] if len(shape) == _MATRIX else shape


def _sizes(path: str, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, int | None, int | None] | None:
    """(rank, inputs, outputs) of a pair; None: its halves do not fit together, or have no rank."""
    if path == _GGUF_EMBEDDING and len(a) == len(b) == _MATRIX:
        rank, other, inputs, outputs = a[1], b[1], a[0], b[0]  # A is stored turned round there
    elif len(a) == len(b) == _EXPERTS:
        rank, other, inputs, outputs = a[1], b[2], a[2], b[1]
        other = other if a[0] == b[0] else -1
    elif len(a) >= _MATRIX and len(b) >= _MATRIX:
        rank, other, inputs, outputs = a[0], b[1], a[1], b[0]
    else:
        return None
    if rank != other or not rank:
        return None
    is_plain = len(a) == len(b) and len(a) <= _EXPERTS
    return rank, inputs if is_plain else None, outputs if is_plain else None


def _is_weight(tensor: AdapterTensor) -> bool:
    return tensor.name.endswith((".weight", ".bias")) and ".lora_" not in tensor.name


def _module_of(name: str) -> str:
    return name.removesuffix(".weight")
