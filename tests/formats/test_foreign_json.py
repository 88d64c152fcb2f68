"""What is read can be written again, or is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.foreign_json import read_json, read_object

TEXT = st.text(max_size=20)


@given(st.recursive(TEXT | st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_what_is_written_is_read(value):
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "raw", [rb'"\ud800"', rb'{"a": ["\uDFFF"]}', '{"\\ud83d": 1}', b'"\xed\xa0\x80"', b"\xff", b"{"]
)
def test_half_a_pair_and_what_is_no_json_are_refused(raw):
    with pytest.raises(ValueError, match=r"."):
        read_json(raw)


def test_a_whole_pair_and_a_byte_order_mark_are_fine():
    assert read_json(b'\xef\xbb\xbf"\\ud83d\\ude00"') == "😀"


def test_an_object_is_read_up_to_its_limit():
    assert read_object(b'{"a": 1}', limit_bytes=8) == {"a": 1}
    with pytest.raises(ValueError, match="larger than 7 bytes"):
        read_object(b'{"a": 1}', limit_bytes=7)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"[]", "not an object"), (b"null", "not an object"), (b"", "Expecting value"), (b'{"a":' * 50_000, "too deep"),
        (b'{"a": 1, "a": 2}', "stands twice"), (b"\xff", "utf-8"),
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused(raw, message):
    with pytest.raises(ValueError, match=message):
        read_object(raw, limit_bytes=2**20, unique_keys=True)


def test_a_number_of_thousands_of_digits_is_told_without_a_word_of_python():
    with pytest.raises(ValueError, match="thousands of digits") as caught:
        read_json(b'{"r": ' + b"9" * 5000 + b"}")
    assert "sys." not in str(caught.value)
