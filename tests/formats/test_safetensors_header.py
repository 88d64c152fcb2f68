"""Headers of safetensors files: what the real library writes is read, whatever else arrives is an error that says why."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from reconciler.formats.gguf_container import NeedMore
from reconciler.formats.safetensors_header import HEADER_LIMIT_BYTES, SafetensorsHeader, read_safetensors
from tests.lora_files import PEFT, raw_safetensors

ONE = {"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


def read(raw: bytes) -> SafetensorsHeader:
    found = read_safetensors(raw, size=len(raw))
    assert isinstance(found, SafetensorsHeader)
    return found


def test_what_the_library_writes() -> None:
    raw = save({"b": np.zeros((3, 2), np.float16), "a": np.zeros(4, np.float32)}, metadata={"format": "np"})
    header = read(raw)
    assert {(each.name, each.dtype, each.shape) for each in header.tensors} == {
        ("b", "F16", (3, 2)),
        ("a", "F32", (4,)),
    }
    assert header.metadata == {"format": "np"}
    assert header.bytes == 28
    assert header.data_begin + 28 == len(raw)


def test_an_empty_file_of_the_library() -> None:
    assert read(save({})).tensors == ()


def test_it_asks_for_the_bytes_it_needs() -> None:
    raw = raw_safetensors(ONE, bytes(8))
    assert read_safetensors(b"", size=len(raw)) == NeedMore(8)
    assert read_safetensors(raw[:8], size=len(raw)) == NeedMore(len(raw) - 8)
    assert isinstance(read_safetensors(raw[:-8], size=len(raw)), SafetensorsHeader), "the weights are not needed"


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8), **more: object) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets} | more}


DAMAGED = {
    "empty": (b"", "not a safetensors file"),
    "seven bytes": (b"1234567", "not a safetensors file"),
    "length beyond the file": (raw_safetensors(ONE, bytes(8), length=10_000), "cut off"),
    "length of all ones": (b"\xff" * 64, "cut off"),
    "length one short": (raw_safetensors(ONE, bytes(8), length=len(json.dumps(ONE)) - 1), "not JSON"),
    "a pickle": (b"\x80\x04\x95" + bytes(100), "cut off"),
    "not an object": (raw_safetensors([1]), "does not begin"),
    "not UTF-8": (struct.pack("<Q", 4) + b'{"\xff"', "not JSON"),
    "half a surrogate": (raw_safetensors('{"\\ud800": 1}'), "not JSON"),
    "a key twice": (raw_safetensors('{"a": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}, "a": 1}'), "twice"),
    "nested for ever": (raw_safetensors('{"a":' * 100_000), "nested too deep"),
    "cut off": (raw_safetensors(ONE, bytes(7)), "cut off"),
    "bytes after the end": (raw_safetensors(ONE, bytes(9)), "bytes after the last tensor"),
    "overlapping": (
        raw_safetensors(ONE | {"b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)), "overlaps",
    ),
    "a gap": (raw_safetensors(ONE | {"b": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}, bytes(16)), "gap"),
    "not from the start": (raw_safetensors(entry(offsets=[4, 12]), bytes(12)), "gap"),
    "backwards": (raw_safetensors(entry(offsets=[8, 0]), bytes(8)), "does not take -8 bytes"),
    "wrong size of type": (raw_safetensors(entry(dtype="F16"), bytes(8)), "does not take 8 bytes"),
    "wrong shape": (raw_safetensors(entry(shape=[3]), bytes(8)), "does not take 8 bytes"),
    "negative shape": (raw_safetensors(entry(shape=[-2]), bytes(8)), "whole numbers"),
    "true for a number": (raw_safetensors(entry(shape=[True, 2]), bytes(8)), "whole numbers"),
    "a number with a point": (raw_safetensors(entry(shape=[2.0]), bytes(8)), "whole numbers"),
    "enormous shape": (raw_safetensors(entry(shape=[2**62, 2**62, 2**62]), bytes(8)), "does not take 8 bytes"),
    "many dimensions": (raw_safetensors(entry(shape=[1] * 100), bytes(8)), "whole numbers"),
    "unknown type": (raw_safetensors(entry(dtype="F99"), bytes(8)), "unknown type"),
    "half a byte": (raw_safetensors({"a": {"dtype": "F4", "shape": [1], "data_offsets": [0, 0]}}), "does not take"),
    "another field": (raw_safetensors(entry(extra=1), bytes(8)), "nothing else"),
    "a list for a tensor": (raw_safetensors({"a": [1]}), "nothing else"),
    "three offsets": (raw_safetensors(entry(offsets=[0, 8, 9]), bytes(8)), "lists of whole numbers"),
    "metadata of numbers": (raw_safetensors({"__metadata__": {"a": 1}} | ONE, bytes(8)), "object of texts"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(name: str) -> None:
    raw, reason = DAMAGED[name]
    with pytest.raises(ValueError, match=reason):
        read_safetensors(raw, size=len(raw))


def test_a_header_larger_than_the_limit_is_not_read() -> None:
    raw = struct.pack("<Q", HEADER_LIMIT_BYTES + 1) + b"{"
    with pytest.raises(ValueError, match="are read"):
        read_safetensors(raw, size=HEADER_LIMIT_BYTES * 2)


@pytest.mark.parametrize("text", ['{"a":[' + "[]," * 10**6, '{"a":' + "[" * 10**6, '{"a":[' + "1," * 2_000_000])
def test_small_parts_in_great_number_are_not_parsed(text: str) -> None:
    raw = raw_safetensors(text)
    with pytest.raises(ValueError, match="more parts"):
        read_safetensors(raw, size=len(raw))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_header_or_an_error(raw: bytes) -> None:
    try:
        read_safetensors(raw, size=len(raw))
    except ValueError:
        return


@given(data=st.data())
def test_whatever_the_library_refuses_is_refused(data: st.DataObject) -> None:
    """One file of the real peft with some bytes changed: never more lenient than the library that loads it."""
    raw = bytearray((PEFT / "one-layer" / "adapter_model.safetensors").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, min(len(raw) - 1, 700)))] = data.draw(st.integers(32, 126))
    try:
        read(bytes(raw))
    except ValueError:
        return
    try:
        deserialize(bytes(raw))
    except SafetensorError as error:
        raise AssertionError(f"the library says {error}") from error


@pytest.mark.parametrize("file", sorted(PEFT.glob("*/*.safetensors")), ids=lambda file: file.parent.name)
def test_it_says_what_the_library_says(file: Path) -> None:
    raw = file.read_bytes()
    theirs = {name: (row["dtype"], tuple(row["shape"])) for name, row in deserialize(raw)}
    assert {each.name: (each.dtype, each.shape) for each in read(raw).tensors} == theirs
