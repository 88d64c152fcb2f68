"""The header of a safetensors file as facts: which tensors, of what type and shape, and where. No weight is touched.

A file is eight bytes of header length, the header as JSON, then the tensors' bytes without a gap. The library that
writes it refuses what is refused here; in addition work and memory are bounded by ``HEADER_LIMIT_BYTES``.

Source:
    github.com/huggingface/safetensors 0.8.0, README.md "Format" and safetensors/src/tensor.rs (``SafeTensors::
    read_metadata``, ``Metadata::validate``, ``Dtype::bitsize``).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.domain.units import Bytes
from reconciler.formats.foreign_json import read_json
from reconciler.formats.gguf_container import NeedMore

LENGTH_BYTES = 8
HEADER_LIMIT_BYTES = 32 * 2**20
"""The largest header that is read. An adapter of 94 layers with 128 experts needs 15 MB; the library takes 100 MB."""
_PARTS_AT_MOST = {b"{": 250_000, b"[": 500_000, b",": 1_000_000}
"""What JSON is made of, counted before it is parsed, for two bytes of it can take a hundred in memory. The same adapter
has 72,000 objects, twice as many lists and 430,000 commas."""
_METADATA = "__metadata__"
_LENGTH = struct.Struct("<Q")
_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
"""Bits of one element by type."""


@dataclass(frozen=True, slots=True)
class SafetensorsEntry:
    """One tensor of the file."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    """First byte, counted from the end of the header."""
    end: int


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """What the header of one file says."""

    tensors: tuple[SafetensorsEntry, ...]
    """In the order of their bytes."""
    metadata: Mapping[str, str] = field(hash=False)
    data_begin: int
    """First byte of the first tensor in the file."""

    @property
    def bytes(self) -> Bytes:
        """All weights together."""
        return Bytes(self.tensors[-1].end if self.tensors else 0)


def read_safetensors(data: bytes, *, size: int) -> SafetensorsHeader | NeedMore:
    """The header, from the first bytes of a file.

    Args:
        data: a prefix of the file.
        size: length of the whole file in bytes; the tensors must fill it to its end.

    Returns:
        The header, or how many bytes to fetch before asking again.

    Raises:
        ValueError: not a safetensors file, or one that contradicts itself. Nothing else, for any bytes.
    """
    if size < LENGTH_BYTES:
        raise ValueError(f"not a safetensors file: {size} bytes")
    if len(data) < LENGTH_BYTES:
        return NeedMore(LENGTH_BYTES)
    length = int(_LENGTH.unpack_from(data)[0])
    begin = LENGTH_BYTES + length
    if begin > size:
        raise ValueError(f"safetensors header claims {length} bytes in a file of {size}: cut off, or not safetensors")
    if length > HEADER_LIMIT_BYTES:
        raise ValueError(f"safetensors header claims {length} bytes; {HEADER_LIMIT_BYTES} are read")
    if len(data) < begin:
        return NeedMore(begin)
    return _header(_document(data[LENGTH_BYTES:begin]), begin, size)


def _document(raw: bytes) -> dict[str, Any]:
    if not raw.startswith(b"{"):
        raise ValueError("safetensors header does not begin with {")
    if any(raw.count(part) > limit for part, limit in _PARTS_AT_MOST.items()):
        raise ValueError("safetensors header has more parts than any adapter")
    try:
        document = read_json(raw, unique_keys=True)
    except RecursionError as error:
        raise ValueError("safetensors header is nested too deep") from error
    except ValueError as error:
        raise ValueError(f"safetensors header is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError("safetensors header is not an object")  # noqa: TRY004 - one error for any bytes
    return document


def _header(document: dict[str, Any], begin: int, size: int) -> SafetensorsHeader:
    metadata = document.pop(_METADATA, None)
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError(f"safetensors {_METADATA} is not an object of texts")
    entries = sorted((_entry(name, row) for name, row in document.items()), key=lambda each: (each.begin, each.end))
    at = 0
    for entry in entries:
        if entry.begin != at:
            reason = "overlaps another tensor" if entry.begin < at else f"leaves a gap after byte {at}"
            raise ValueError(f"safetensors tensor {entry.name!r} {reason}")
        at = entry.end
    if begin + at != size:
        reason = "cut off" if begin + at > size else "bytes after the last tensor"
        raise ValueError(f"safetensors tensors end at byte {begin + at} of a file of {size}: {reason}")
    return SafetensorsHeader(tuple(entries), metadata, begin)


def _entry(name: str, row: object) -> SafetensorsEntry:
    if not isinstance(row, dict) or set(row) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"safetensors tensor {name!r} needs dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = row["dtype"], _numbers(row["shape"]), _numbers(row["data_offsets"])
    if shape is None or offsets is None or len(offsets) != 2:
        raise ValueError(f"safetensors tensor {name!r}: shape and data_offsets are lists of whole numbers")
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise ValueError(f"safetensors tensor {name!r} has unknown type {dtype!r:.40}")
    bits = math.prod(shape) * _BITS[dtype]
    if bits % 8 or offsets[1] - offsets[0] != bits // 8:
        raise ValueError(
            f"safetensors tensor {name!r}: {dtype} {list(shape)} does not take {offsets[1] - offsets[0]} bytes"
        )
    return SafetensorsEntry(name, dtype, shape, offsets[0], offsets[1])


_DIMENSIONS_AT_MOST = 8
_LARGEST = 2**63


def _numbers(found: object) -> tuple[int, ...] | None:
    if not isinstance(found, list) or len(found) > _DIMENSIONS_AT_MOST:
        return None
    fine = all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < _LARGEST for each in found)
    return tuple(found) if fine else None
