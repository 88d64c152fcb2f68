"""The grammars of calls and results as text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.lora.bounded_json import DEEPEST, read_bounded
from reconciler.lora.call_text import (
    bodies_of,
    collapsed,
    declared_names,
    json_calls,
    read_block,
    results_of,
    without_blocks,
)


@pytest.mark.parametrize(
    ("body", "name", "arguments"),
    [
        ({"name": "read", "arguments": {"path": "a"}}, "read", {"path": "a"}),
        ({"tool_name": "read", "parameters": {"path": "a"}}, "read", {"path": "a"}),
        ({"name": "read", "args": {"path": "a"}}, "read", {"path": "a"}),
        ({"function": {"name": "read", "arguments": {"path": "a"}}}, "read", {"path": "a"}),
        ({"function": {"name": "read", "arguments": '{"path": "a"}'}}, "read", {"path": "a"}),
        ({"name": "read", "arguments": '{"path": "a"}'}, "read", {"path": "a"}),
        ({"name": "read"}, "read", {}),
        ({"name": "read", "arguments": ""}, "read", {}),
    ],
)
def test_every_spelling_of_a_json_call(body: object, name: str, arguments: object) -> None:
    (found,) = json_calls(json.dumps(body))
    assert (found.name, dict(found.arguments)) == (name, arguments)


def test_a_list_holds_several_calls() -> None:
    block = read_block('[{"name": "a"}, {"name": "b", "arguments": {"x": 1}}]')
    assert [call.name for call in block.calls] == ["a", "b"]
    assert block.kind == "json"


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        ('{"name": "read", "arguments": {', "malformed", "not JSON"),
        ('{"arguments": {}}', "malformed", "without a name"),
        ('{"name": "read", "arguments": [1]}', "malformed", "no object"),
        ('{"name": "read", "arguments": "oops"}', "malformed", "not JSON"),
        ('{"name": "read", "arguments": {"x": NaN}}', "malformed", "not finite"),
        ('{"name": "read", "arguments": {"x": 1e999}}', "malformed", "not finite"),
        ("[1]", "malformed", "a call is an object"),
        ("[" * 5000, "malformed", "not JSON"),
        ('{"name": "read", "arguments": ' + '{"a":' * 80 + "1" + "}" * 80 + "}", "malformed", "deeper"),
        ("", "unknown", "empty"),
        ("read the file", "unknown", "neither"),
        ("read({ path: })", "text", "expected a value"),
        ("read({}) and more", "text", "after a call"),
        ("read([1])", "text", "no object"),
    ],
)
def test_what_a_block_is_and_why_it_is_no_call(body: str, kind: str, why: str) -> None:
    block = read_block(body)
    assert block.kind == kind
    assert block.calls == ()
    assert why in (block.problem or "")


def test_a_call_as_text_with_a_heredoc() -> None:
    body = (
        'edit({\n  path: "a.go", // no\n  content: <<EOF\npackage main\n\n'
        "let EOFunction = `x`;\n    EOF,\n  count: -2, deep: [true, null, {a: 1.5e2}],\n})"
    )
    assert read_block(body).problem  # comments are no part of what is taught
    (found,) = read_block(body.replace(" // no", "")).calls
    assert dict(found.arguments) == {
        "path": "a.go",
        "content": "package main\n\nlet EOFunction = `x`;",
        "count": -2,
        "deep": [True, None, {"a": 150.0}],
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\\n\\"b\\" \\u00e9 \\x41 \\u{1F600}"', 'a\n"b" é A 😀'),
        ("'it\\'s'", "it's"),
        ("`two\nlines`", "two\nlines"),
        ("undefined", None),
        ("0.5", 0.5),
    ],
)
def test_values_of_a_text_call(text: str, value: object) -> None:
    (found,) = read_block(f"f({{ 'k': {text} }})").calls
    assert found.arguments["k"] == value


@pytest.mark.parametrize(
    "text",
    [
        '"open',
        "<<EOF\nnever closed",
        "<<\nx",
        '"\\ud800"',
        "{a: 1",
        "[1",
        "nope",
        "9" * 400,
        "1e999",
        "[" * 100,
        '"\\u{110000}"',
    ],
)
def test_what_is_no_value_is_refused(text: str) -> None:
    block = read_block(f"f({{ k: {text} }})")
    assert block.kind == "text"
    assert block.problem
    assert block.name == "f"


def test_several_text_calls_in_a_block_and_one_without_arguments() -> None:
    assert [call.name for call in read_block("a();\nb({x: 1})").calls] == ["a", "b"]


def test_blocks_are_cut_out_and_blank_lines_collapsed() -> None:
    text = "Look.\n\n\n<tool_call>{}</tool_call>\n\nthen <tool_call> x </tool_call>"
    assert [body for _, _, body in bodies_of(text)] == ["{}", "x"]
    assert without_blocks(text) == "Look.\n\nthen"


def test_a_block_that_is_not_closed_is_none() -> None:
    assert list(bodies_of("<tool_call>{}")) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[result of read]\nx\n[end of read result]", [("read", "x")]),
        ("[result of read]\nx\n\n\n\ny", [("read", "x\n\ny")]),
        ("[result of read]\nx\n[result of edit path=a]\ny\n[end of edit result]\n", [("read", "x"), ("edit", "y")]),
        ("[result of read]\nx\n[end of read result]\nand I say", []),
        ("please\n[result of read]\nx", []),
        ("[result of 9]\nx", []),
        ("[end of read result]", []),
        ("", []),
    ],
)
def test_results_are_a_message_of_nothing_else(text: str, found: list[tuple[str, str]]) -> None:
    assert [(block.name, block.content) for block in results_of(text)] == found


def test_declared_tools_by_three_patterns() -> None:
    text = "declare function read(path: string): string\nAvailable tools: edit, run 9no\n\n- grep searches\n"
    assert declared_names(text, any_bullet=True) == {"read", "edit", "run", "grep"}


def test_a_list_of_rules_is_no_list_of_tools_unless_the_origin_reads_it() -> None:
    text = "Rules:\n- Always answer\n\nYou have these tools:\n\n- grep: searches\n  in files\n- find\nBe kind.\n- Never lie"
    assert declared_names(text, any_bullet=False) == {"grep", "find"}
    assert declared_names(text, any_bullet=True) == {"Always", "grep", "find", "Never"}


@given(st.text())
def test_nothing_raises_for_any_text(text: str) -> None:
    read_block(text)
    results_of(text)
    declared_names(text, any_bullet=True)
    assert "</tool_call>" not in without_blocks("<tool_call>" + text.replace("<", "") + "</tool_call>")


_KEYS = st.from_regex(r"[a-z_]{1,5}", fullmatch=True)
_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab\\\"'`\n"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_KEYS, _VALUES, max_size=4))
def test_json_arguments_read_the_same_as_text(arguments: dict[str, object]) -> None:
    as_text, as_json = (
        read_block(f"f({json.dumps(arguments)})"),
        read_block(json.dumps({"name": "f", "args": arguments})),
    )
    assert as_text.problem is None
    assert as_text.calls == as_json.calls


def test_of_several_spellings_the_first_counts() -> None:
    (call,) = json_calls(
        '{"tool_name": "b", "name": "a", "args": {"n": 3}, "parameters": {"n": 2}, "arguments": {"n": 1}}'
    )
    assert (call.name, call.arguments) == ("a", {"n": 1})


def test_two_blank_lines_become_one() -> None:
    assert collapsed("\na\n\n\nb\n\nc\n") == "a\n\nb\n\nc"


def test_available_tools_in_any_case() -> None:
    assert declared_names("AVAILABLE TOOLS: a, b c", any_bullet=False) == {"a", "b", "c"}


def test_nesting_is_bounded() -> None:
    assert read_bounded("[" * DEEPEST + "]" * DEEPEST)
    with pytest.raises(ValueError, match=f"deeper than {DEEPEST}"):
        read_bounded("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    assert DEEPEST == 64
