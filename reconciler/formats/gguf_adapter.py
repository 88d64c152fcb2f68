"""A GGUF file that holds a LoRA adapter: what it says of itself, and its pairs with the shapes a matrix has on paper.

Source:
    llama.cpp b10434 src/llama-adapter.cpp (``llama_adapter_lora_init_impl``) and convert_lora_to_gguf.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.formats.gguf_header import GgufHeader
from reconciler.formats.gguf_tensors import TensorEntry

_ALIGNMENT = 32
_TYPES = {0: "F32", 1: "F16", 2: "Q4_0", 8: "Q8_0", 30: "BF16"}


@dataclass(frozen=True, slots=True)
class AdapterTensor:
    """One tensor of an adapter, whatever file it comes from."""

    name: str
    dtype: str
    """As safetensors spells types (F32, BF16), or the GGUF type."""
    shape: tuple[int, ...]
    """Rows first, as PyTorch has it: ``[rank, in]`` for A, ``[out, rank]`` for B."""


@dataclass(frozen=True, slots=True)
class GgufAdapter:
    """The facts of one file."""

    architecture: str | None
    adapter_type: str | None
    """``adapter.type``; a runtime takes ``lora`` only."""
    alpha: float | None
    """None: not stated, and the runtime then applies the pairs without dividing by their rank."""
    name: str | None
    base_names: tuple[str, ...]
    """What the file says it was made from: repositories, names."""
    tensors: tuple[AdapterTensor, ...]


class NotAnAdapter(ValueError):
    """A GGUF file that is whole, and holds something else."""


def gguf_adapter(header: GgufHeader, tensors: tuple[TensorEntry, ...], *, size: int) -> GgufAdapter:
    """The adapter in a file.

    Args:
        header: complete.
        tensors: its whole table.
        size: length of the file in bytes; every tensor must end within.

    Raises:
        ValueError: the file holds something else than an adapter, or ends before its tensors do.
    """
    if header.kind != "adapter":
        raise NotAnAdapter(f"it is a {header.kind}, not an adapter (general.type)")
    begin = _data_begin(header, tensors)
    names: set[str] = set()
    for tensor in tensors:
        if tensor.name in names:
            raise ValueError(f"GGUF tensor {tensor.name!r} stands twice")
        names.add(tensor.name)
        if begin + tensor.offset + (tensor.bytes or 0) > size:
            raise ValueError(f"GGUF tensor {tensor.name!r} ends after the file of {size} bytes: cut off")
    alpha = header.facts.get("adapter.lora.alpha")
    return GgufAdapter(
        architecture=header.architecture,
        adapter_type=header.text("adapter.type"),
        alpha=float(alpha) if isinstance(alpha, int | float) and not isinstance(alpha, bool) else None,
        name=header.name,
        base_names=_base_names(header),
        tensors=tuple(
            AdapterTensor(each.name, _TYPES.get(each.type, f"type {each.type}"), tuple(reversed(each.shape)))
            for each in tensors
        ),
    )


def _data_begin(header: GgufHeader, tensors: tuple[TensorEntry, ...]) -> int:
    """Where the tensor part begins: after the table, at the next multiple of the alignment."""
    table = sum(8 + len(each.name.encode()) + 4 + 8 * len(each.shape) + 4 + 8 for each in tensors)
    alignment = header.whole("general.alignment") or _ALIGNMENT
    return -(-((header.end or 0) + table) // alignment) * alignment


def _base_names(header: GgufHeader) -> tuple[str, ...]:
    count = min(header.whole("general.base_model.count") or 0, 8)
    found = (header.text(f"general.base_model.{index}.{key}") for index in range(count) for key in ("repo_url", "name"))
    return tuple(each for each in found if each)
