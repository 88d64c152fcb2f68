"""The key-value part of a GGUF header as facts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reconciler.formats.gguf_container import MAGIC, Counted, Cursor, Facts, NeedMore, Short, need_more

_PAIR_LIMIT = 65_536
_TENSOR_LIMIT = 1_048_576
_TEMPLATE = "tokenizer.chat_template"
_TOOLS = re.compile(r"\btools?\b|tool_call")
_THINKING = re.compile(r"enable_thinking|<think>|reasoning_content|\bthinking\b")

Kind = Literal["model", "adapter", "projector", "vocab", "imatrix", "other"]
_KINDS: dict[str, Kind] = {
    "model": "model",
    "adapter": "adapter",
    "mmproj": "projector",
    "vocab": "vocab",
    "imatrix": "imatrix",
}

_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0",
}  # fmt: skip
"""``general.file_type`` by canonical quant. Source: llama.cpp ``enum llama_ftype``."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What the header of one file says. Every fact is None where the header does not state it."""

    version: int
    tensor_count: int
    facts: Mapping[str, Facts] = field(hash=False)
    """Scalars, texts (cut at 4096 bytes) and numeric arrays of up to 4096 values, by key."""
    counts: Mapping[str, int] = field(hash=False)
    """Length of every array that was skipped, by key."""
    end: int | None
    """Byte after the key-value part, where the tensor table begins; None: read from a prefix that ends before."""
    templates: tuple[str, ...] = field(default=(), repr=False)
    """Chat templates, whole."""

    @property
    def is_complete(self) -> bool:
        return self.end is not None

    @property
    def architecture(self) -> str | None:
        return self.text("general.architecture")

    @property
    def kind(self) -> Kind:
        """``general.type``; files older than that key are models, projectors by their architecture."""
        stated = self.text("general.type")
        if self.architecture == "clip":
            return "projector"
        if stated is None:
            return "model"
        return _KINDS.get(stated, "other")

    @property
    def name(self) -> str | None:
        return self.text("general.name")

    @property
    def license(self) -> str | None:
        return self.text("general.license")

    @property
    def file_type(self) -> str | None:
        """Canonical quant of most tensors, as the quantizer wrote it down."""
        number = self.whole("general.file_type")
        return None if number is None else _FILE_TYPES.get(number & 1023)

    @property
    def layers(self) -> int | None:
        return self.dimension("block_count")

    @property
    def context_length(self) -> int | None:
        return self.dimension("context_length")

    @property
    def vocab(self) -> int | None:
        tokens = self.counts.get("tokenizer.ggml.tokens")
        return self.dimension("vocab_size") if tokens is None else tokens

    @property
    def split_count(self) -> int:
        """Shards of the set this file belongs to; 1 for a single file."""
        return self.whole("split.count") or 1

    @property
    def has_template(self) -> bool:
        return bool(self.templates)

    @property
    def mentions_tools(self) -> bool:
        return any(_TOOLS.search(template) for template in self.templates)

    @property
    def mentions_thinking(self) -> bool:
        return any(_THINKING.search(template) for template in self.templates)

    def text(self, key: str) -> str | None:
        value = self.facts.get(key)
        return value if isinstance(value, str) else None

    def whole(self, key: str) -> int | None:
        """A whole number of at least 0."""
        value = self.facts.get(key)
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

    def dimension(self, key: str) -> int | None:
        """A whole number under the architecture's own prefix, such as ``block_count``."""
        return self.whole(f"{self.architecture}.{key}")

    def per_layer(self, key: str) -> tuple[int, ...] | None:
        """One whole number per layer under the architecture's prefix; None where it is absent or a single number."""
        value = self.facts.get(f"{self.architecture}.{key}")
        if not isinstance(value, tuple) or not value:
            return None
        return tuple(int(each) for each in value) if all(isinstance(each, int) for each in value) else None


def read_header(data: bytes, *, size: int | None = None, dimensions_only: bool = False) -> GgufHeader | NeedMore:
    """The header of a GGUF file, from its first bytes.

    Args:
        data: a prefix of the file; ``PREFIX_BYTES`` is a good first one.
        size: length of the whole file in bytes, where it is known; a header that points beyond it is refused.
        dimensions_only: be content with a prefix that reaches the tokenizer: the architecture's own keys stand
            before it by convention. The header is then not ``is_complete``: no chat template, no tensor table.

    Returns:
        The header, or how many bytes to fetch before asking again.

    Raises:
        ValueError: not a GGUF file of version 2 or 3, or one that contradicts itself. Nothing else, for any bytes.
    """
    cursor = Cursor(data)
    reading = _Reading()
    try:
        version, tensors, pairs = _preamble(cursor)
        for _ in range(pairs):
            reading.take_pair(cursor)
    except Short as short:
        if dimensions_only and reading.has_dimensions:
            return reading.header(version, tensors, None)
        return need_more(short, len(data), size)
    return reading.header(version, tensors, cursor.at)


def _preamble(cursor: Cursor) -> tuple[int, int, int]:
    """(version, tensors, key-value pairs)."""
    if cursor.take(4) != MAGIC:
        raise ValueError("not a GGUF file: it does not begin with GGUF")
    version = cursor.u32()
    if version not in {2, 3}:
        reason = "is big-endian" if version & 0xFFFF == 0 and version else f"has version {version}"
        raise ValueError(f"GGUF file {reason}; versions 2 and 3, little-endian, are read")
    tensors, pairs = cursor.u64(), cursor.u64()
    if tensors > _TENSOR_LIMIT or pairs > _PAIR_LIMIT:
        raise ValueError(f"GGUF header claims {tensors} tensors and {pairs} keys")
    return version, tensors, pairs


class _Reading:
    """What was read so far."""

    def __init__(self) -> None:
        self.facts: dict[str, Facts] = {}
        self.counts: dict[str, int] = {}
        self.templates: list[str] = []
        self.reached_tokenizer = False

    def take_pair(self, cursor: Cursor) -> None:
        key = cursor.key()
        if key in self.facts or key in self.counts:
            raise ValueError(f"GGUF key {key!r} stands twice")
        self.reached_tokenizer = self.reached_tokenizer or key.startswith("tokenizer.")
        is_template = key == _TEMPLATE or key.startswith(_TEMPLATE + ".")
        value = cursor.value(whole_text=is_template)
        if isinstance(value, Counted):
            self.counts[key] = value.count
        elif is_template and isinstance(value, str):
            self.templates.append(value)
            self.facts[key] = True
        else:
            self.facts[key] = value

    @property
    def has_dimensions(self) -> bool:
        architecture = self.facts.get("general.architecture")
        return self.reached_tokenizer and f"{architecture}.block_count" in self.facts

    def header(self, version: int, tensors: int, end: int | None) -> GgufHeader:
        return GgufHeader(version, tensors, self.facts, self.counts, end, tuple(self.templates))
