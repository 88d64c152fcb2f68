"""The tensor table of a GGUF file: exact parameter count and bytes, without touching a weight."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from reconciler.domain.units import Bytes
from reconciler.formats.gguf_container import PREFIX_BYTES, Cursor, NeedMore, Short, need_more
from reconciler.formats.gguf_header import GgufHeader, read_header

_DIMENSION_LIMIT = 4
_ELEMENT_LIMIT = 2**50
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""(elements, bytes) of one block by tensor type. Source: ggml ``type_traits``; gguf 0.19.0 ``GGML_QUANT_SIZES``."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One row of the tensor table."""

    name: str
    shape: tuple[int, ...]
    type: int
    """ggml tensor type number."""
    offset: int
    """Bytes from the start of the tensor part."""

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> Bytes | None:
        """Size of its weights; None for a tensor type newer than this table."""
        if self.type not in _BLOCKS:
            return None
        elements, size = _BLOCKS[self.type]
        return Bytes(-(-self.elements // elements) * size)


@dataclass(frozen=True, slots=True)
class Weights:
    """The sums over one table; shards add up."""

    params: int
    active_params: int
    """Weights read per token: of the experts only those that are used. Equals ``params`` for a dense model."""
    bytes: Bytes | None
    """None: some tensor has a type newer than our table."""


def read_tensors(data: bytes, header: GgufHeader, *, size: int | None = None) -> tuple[TensorEntry, ...] | NeedMore:
    """The tensor table, in the file's order.

    Args:
        data: a prefix of the file that ``header`` was read from.
        size: length of the whole file in bytes, where it is known.

    Raises:
        ValueError: the table contradicts the format, or ``header`` is not complete.
    """
    if header.end is None:
        raise ValueError("the tensor table stands after the key-value part, and that was not read to its end")
    cursor = Cursor(data, header.end)
    try:
        return tuple(_entry(cursor) for _ in range(header.tensor_count))
    except Short as short:
        return need_more(short, len(data), size)


def weights_of(tensors: Iterable[TensorEntry], header: GgufHeader) -> Weights:
    """Exact sums. Rotary tables and other tensors without learned weights are counted as the file counts them."""
    used, all_experts = header.dimension("expert_used_count") or 0, header.dimension("expert_count") or 0
    params, experts, size = 0, 0, 0
    unknown = False
    for tensor in tensors:
        params += tensor.elements
        experts += tensor.elements if "_exps." in tensor.name else 0
        unknown = unknown or tensor.bytes is None
        size += tensor.bytes or 0
    idle = experts * (all_experts - used) // all_experts if 0 < used <= all_experts else 0
    return Weights(params, params - idle, None if unknown else Bytes(size))


def _entry(cursor: Cursor) -> TensorEntry:
    name = cursor.key()
    dimensions = cursor.u32()
    if dimensions > _DIMENSION_LIMIT:
        raise ValueError(f"GGUF tensor {name!r} has {dimensions} dimensions")
    shape = tuple(cursor.u64() for _ in range(dimensions))
    entry = TensorEntry(name, shape, cursor.u32(), cursor.u64())
    if entry.elements > _ELEMENT_LIMIT:
        raise ValueError(f"GGUF tensor {name!r} claims {entry.elements} elements")
    return entry


def read_table(beginning: Callable[[int], bytes], *, size: int) -> tuple[GgufHeader, tuple[TensorEntry, ...]]:
    """The header and the tensor table of a file that is read from its beginning, as far as they go.

    Args:
        beginning: the first so many bytes of the file.
        size: of the whole file.

    Raises:
        ValueError: it is none, or it became shorter meanwhile.
    """
    data = beginning(PREFIX_BYTES)
    while True:
        header = read_header(data, size=size)
        tensors = header if isinstance(header, NeedMore) else read_tensors(data, header, size=size)
        if not isinstance(header, NeedMore) and not isinstance(tensors, NeedMore):
            return header, tensors
        longer = beginning(tensors.bytes) if isinstance(tensors, NeedMore) else b""
        if len(longer) <= len(data):
            raise ValueError("the file became shorter while it was read")
        data = longer
