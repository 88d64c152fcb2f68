"""Rows of a corpus: every line is a record, a reason, or blank."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lora.corpus import BadRow, CorpusLine, Example, NoMessages, read_row
from reconciler.lora.dialect import HARN, OURS, Dialect
from tests.lora.corpora import READ_TOOL, heredoc_row, line, native_row, record, text_row


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"{", "row_not_json"),
        (b'{"id": "a", "messages": [{"role": "user", "content": NaN}]}', "row_not_json"),
        (b"\xff", "row_not_json"),
        (b'"\\ud800"', "row_not_json"),
        (b"[" * 50_000, "row_not_json"),
        (b"[1]", "row_not_object"),
        (b'{"messages": [{"role": "assistant", "tool_calls": 5}]}', "message_invalid"),
        (b'{"messages": [{"role": "assistant", "tool_calls": [{"name": ""}]}]}', "message_invalid"),
        (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', "message_invalid"),
        (b'{"messages": [{"role": "user"}], "tools": 5}', "message_invalid"),
        (b'{"messages": [{"role": "user"}], "tools": [{"type": "function"}]}', "message_invalid"),
        (b'{"messages": [{"role": "user"}], "tools": "[1"}', "message_invalid"),
    ],
)
def test_a_bad_line_is_an_error_of_its_own(content: bytes, code: str) -> None:
    found = read_row(CorpusLine(7, content))
    assert isinstance(found, BadRow)
    assert (found.code, found.line) == (code, 7)
    assert found.message


def test_a_line_that_is_too_long_says_so() -> None:
    found = read_row(CorpusLine(3, None))
    assert isinstance(found, BadRow)
    assert (found.code, found.place) == ("line_too_long", "line 3")


@pytest.mark.parametrize("row", [{}, {"messages": []}, {"id": "a", "messages": "x"}])
def test_without_messages_there_is_nothing_to_learn(row: Any) -> None:
    assert isinstance(read_row(line(row)), NoMessages)


def test_blank_lines_are_nothing() -> None:
    assert read_row(CorpusLine(1, b" \r")) is None


def test_odd_messages_are_left_out_and_ids_fall_back_to_the_line() -> None:
    found = record(
        {"messages": [5, {"role": "narrator", "content": "x"}, {"role": "user", "content": "hi"}], "id": [3]}, 9
    )
    assert [message.content for message in found.messages] == ["hi"]
    assert found.id == "line-9"


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (
            {"role": "developr", "content": "never delete files"},
            'message 2 has the role "developr"; known are system, ',
        ),
        ({"content": "x"}, "message 2 has no role; "),
        ("never delete files", "message 2 is no object"),
    ],
)
def test_where_every_message_counts_an_odd_one_makes_the_row_a_bad_one(odd: Any, said: str) -> None:
    found = read_row(line({"messages": [{"role": "user", "content": "hi"}, odd]}), every_message=True)
    assert isinstance(found, BadRow)
    assert found.code == "message_invalid"
    assert found.message.startswith(said)
    assert isinstance(read_row(line(text_row()), every_message=True), Example)


@pytest.mark.parametrize(("dialect", "refuses"), [(OURS, True), (HARN, False)])
def test_only_the_origin_leaves_odd_messages_out(dialect: Dialect, refuses: bool) -> None:
    row = {"messages": [7, *text_row()["messages"]]}
    assert isinstance(read_row(line(row), every_message=dialect.refuses_odd_messages), BadRow) is refuses


def test_a_whole_number_is_an_id_too() -> None:
    found = record(text_row(id=17, language=True))
    assert (found.id, found.text("id"), found.first("source_id", "id"), found.text("language")) == (
        "17",
        "17",
        "17",
        "",
    )


def test_a_record_says_where_it_is_from_metadata_first() -> None:
    found = record(text_row(model="m", metadata={"split": " tune ", "model": " ", "tool_format": "text"}))
    assert (found.first("split"), found.first("teacher_model", "model"), found.source_format) == ("tune", "m", "text")
    assert record(text_row(split="train", metadata={"split": "tune"})).first("split") == "tune"


def test_source_formats_by_metadata_then_by_shape() -> None:
    assert record(heredoc_row()).source_format == "text"
    assert record(text_row(metadata={})).source_format == "json"
    assert record(native_row()).source_format == "native"


def test_the_shape_of_the_hub_is_a_source_too() -> None:
    found = record(native_row())
    (called,) = found.messages[2].calls
    assert (called.name, dict(called.arguments), called.source_id) == ("read", {"path": "n"}, "abc")
    assert found.messages[3].call_id == "abc"
    assert found.tools == (READ_TOOL,)


def test_tools_as_json_text_bare_and_older_spellings() -> None:
    bare = {"name": "read", "parameters": {"type": "object"}}
    row = native_row(tools=json.dumps([bare]))
    assert record(row).tools == ({"type": "function", "function": bare},)
    older = {
        "messages": [
            {"role": "developer", "content": "Be kind."},
            {"role": "assistant", "function_call": {"name": "read", "arguments": "{}"}, "reasoning_content": "hm"},
            {"role": "function", "name": "read", "content": {"lines": 3}},
            {"role": "user", "content": [{"type": "text", "text": "and "}, {"type": "text", "text": "now"}]},
        ]
    }
    system, spoken, answered, asked = record(older).messages
    assert (system.role, answered.role, answered.content, asked.content) == (
        "system",
        "tool",
        '{"lines": 3}',
        "and now",
    )
    assert spoken.kept == {"reasoning_content": "hm"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["system", "user", "assistant", "tool", "function", "odd"]) | _JSON,
            "content": _JSON,
            "tool_calls": _JSON | st.lists(st.fixed_dictionaries({"function": _JSON, "id": _JSON, "name": _JSON})),
            "function_call": _JSON,
            "tool_call_id": _JSON,
            "name": _JSON,
        },
    )
    | _JSON,
    max_size=5,
)
ROWS = st.one_of(
    _JSON,
    st.fixed_dictionaries({"messages": _MESSAGES | _JSON}, optional={"id": _JSON, "tools": _JSON, "metadata": _JSON}),
)


@given(ROWS)
def test_reading_never_raises_for_any_row(row: Any) -> None:
    assert isinstance(read_row(line(row)), Example | BadRow | NoMessages)


@given(st.binary(max_size=200))
def test_reading_never_raises_for_any_bytes(content: bytes) -> None:
    read_row(CorpusLine(1, content))
