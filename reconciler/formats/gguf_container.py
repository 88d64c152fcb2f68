"""The GGUF container: a cursor over the first bytes of a file that knows when it needs more, and hard limits.

A header is read from a prefix (a range request, or the start of a file). Whatever the bytes say, work and memory are
linear in their number: a length that points outside is a question for more bytes, or an error, never an allocation.

Source:
    github.com/ggml-org/ggml docs/gguf.md, version 3.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

Fact: TypeAlias = str | int | float | bool
Facts: TypeAlias = Fact | tuple[Fact, ...]

MAGIC = b"GGUF"
PREFIX_BYTES = 64 * 1024
"""A first range of this size holds every dimension of a usual file: they stand before the tokenizer."""
HEADER_LIMIT_BYTES = 128 * 2**20
"""The largest header that is read at all. The largest seen has 6.5 MB of key-value pairs (262,144 tokens)."""
_STEPS = (PREFIX_BYTES, 2**20, 8 * 2**20, 32 * 2**20, HEADER_LIMIT_BYTES)
_KEPT_ARRAY = 4096
"""Numeric arrays up to this length are kept (one value per layer); longer ones, and arrays of strings, are counted."""
_KEPT_TEXT = 4096
"""Characters of a string that are kept, the chat template apart."""
_KEY_LIMIT = 65_535
_DEPTH_LIMIT = 4

_STRING, _ARRAY, _BOOL = 8, 9, 7
_SCALARS = {
    0: struct.Struct("<B"), 1: struct.Struct("<b"), 2: struct.Struct("<H"), 3: struct.Struct("<h"),
    4: struct.Struct("<I"), 5: struct.Struct("<i"), 6: struct.Struct("<f"), 7: struct.Struct("<?"),
    10: struct.Struct("<Q"), 11: struct.Struct("<q"), 12: struct.Struct("<d"),
}  # fmt: skip
_U32, _U64 = _SCALARS[4], _SCALARS[10]


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The bytes end before the facts do."""

    bytes: int
    """Length of the prefix to fetch next, counted from the start of the file; more than was given."""


@dataclass(frozen=True, slots=True)
class Counted:
    """An array that was skipped: only its length is known."""

    count: int


class Short(Exception):
    """The data ends before ``needed``: a question, not an error. Never leaves this package."""

    def __init__(self, needed: int) -> None:
        super().__init__(needed)
        self.needed = needed


def need_more(short: Short, have: int, size: int | None) -> NeedMore:
    """The next prefix worth fetching.

    Raises:
        ValueError: the header would be larger than the limit, or the whole file was already given.
    """
    if size is not None and (short.needed > size or have >= size):
        if size == 0:
            raise ValueError("the file is empty")
        raise ValueError(f"GGUF header points to byte {short.needed} of a file of {size} bytes")
    for step in _STEPS:
        if step > have and step >= short.needed:
            return NeedMore(step if size is None else min(step, size))
    raise ValueError(f"GGUF header is larger than {HEADER_LIMIT_BYTES} bytes")


class Cursor:
    """Reads little-endian values one after the other."""

    __slots__ = ("_data", "_end", "at")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._end = len(data)
        self.at = at

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > self._end:
            raise Short(end)
        taken = self._data[self.at : end]
        self.at = end
        return taken

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def text(self, *, limit: int | None = None) -> str:
        """A string; past ``limit`` bytes it is cut. Bytes that are not UTF-8 are replaced."""
        count = self.u64()
        if limit is None or count <= limit:
            return self.take(count).decode("utf-8", "replace")
        end = self.at + count
        if end > self._end:
            raise Short(end)
        kept = self._data[self.at : self.at + limit].decode("utf-8", "ignore")
        self.at = end
        return kept

    def key(self) -> str:
        """A key, or the name of a tensor.

        Raises:
            ValueError: longer than the format allows, or not text.
        """
        count = self.u64()
        if count > _KEY_LIMIT:
            raise ValueError(f"GGUF key of {count} bytes at byte {self.at}")
        try:
            return self.take(count).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"GGUF key at byte {self.at - count} is not text") from error

    def value(self, *, whole_text: bool = False) -> Facts | Counted:
        """One typed value: scalars, texts and short numeric arrays as they are, longer arrays by their length."""
        kind = self.u32()
        if kind == _STRING:
            return self.text(limit=None if whole_text else _KEPT_TEXT)
        if kind == _ARRAY:
            return self._array(1)
        return self._scalar(kind)

    def _scalar(self, kind: int) -> Fact:
        layout = _layout(kind, self.at)
        value: Fact = layout.unpack(self.take(layout.size))[0]
        return value

    def _array(self, depth: int) -> tuple[Fact, ...] | Counted:
        kind, count = self.u32(), self.u64()
        if kind == _STRING:
            self._skip_texts(count)
        elif kind == _ARRAY:
            self._skip_arrays(count, depth)
        else:
            layout = _layout(kind, self.at)
            if count <= _KEPT_ARRAY:
                raw = self.take(count * layout.size)
                return tuple(value for (value,) in layout.iter_unpack(raw))
            self._skip(count * layout.size)
        return Counted(count)

    def _skip(self, count: int) -> None:
        if self.at + count > self._end:
            raise Short(self.at + count)
        self.at += count

    def _skip_texts(self, count: int) -> None:
        if self.at + 8 * count > self._end:
            raise Short(self.at + 8 * count)
        at, end, data, unpack = self.at, self._end - 8, self._data, _U64.unpack_from
        for _ in range(count):
            if at > end:
                raise Short(at + 8)
            at += 8 + unpack(data, at)[0]
        if at > self._end:
            raise Short(at)
        self.at = at

    def _skip_arrays(self, count: int, depth: int) -> None:
        if depth >= _DEPTH_LIMIT:
            raise ValueError(f"GGUF arrays nested deeper than {_DEPTH_LIMIT} at byte {self.at}")
        if self.at + 12 * count > self._end:
            raise Short(self.at + 12 * count)
        for _ in range(count):
            self._array(depth + 1)


def _layout(kind: int, at: int) -> struct.Struct:
    if kind not in _SCALARS:
        raise ValueError(f"GGUF value of unknown type {kind} at byte {at}")
    return _SCALARS[kind]
