"""What is read can be written again, or is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.formats.foreign_json import read_json

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
