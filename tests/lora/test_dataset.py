"""Rows of a training set, in every lane."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.lora.bounded_json import canonical_digest
from reconciler.lora.conversation import Unconvertible
from reconciler.lora.corpus import Example, read_row
from reconciler.lora.dataset import row_text, rows_of
from reconciler.lora.dialect import HARN, OURS
from tests.lora.corpora import (
    READ_TOOL,
    SYSTEM,
    call,
    harn,
    heredoc_row,
    line,
    native_row,
    record,
    result,
    target,
    text_row,
)
from tests.lora.test_corpus import ROWS


def refusal(row: Any, wanted: Any) -> str:
    with pytest.raises(Unconvertible) as found:
        rows_of(record(row), wanted)
    return found.value.code


def only(row: Any, wanted: Any) -> dict[str, Any]:
    (found,) = rows_of(record(row), wanted).rows
    return json.loads(row_text(found))


def test_calls_become_structured_and_results_are_paired() -> None:
    converted = rows_of(record(text_row()), harn())
    assert (converted.tool_calls, converted.tool_results) == (1, 1)
    found = only(text_row(), harn())
    assert list(found) == ["id", "eval_name", "language", "task_type", "messages", "tools", "metadata"]
    assert found["messages"][1:] == [
        {"role": "user", "content": "show a"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [
                {"id": "call_2_1", "type": "function", "function": {"name": "read", "arguments": {"path": "a"}}}
            ],
        },
        {"role": "tool", "tool_call_id": "call_2_1", "name": "read", "content": "x = 1"},
        {"role": "assistant", "content": "It says x = 1."},
    ]


def test_places_count_messages_of_unknown_roles_too() -> None:
    row = text_row(messages=[7, {"role": "narrator"}, {"role": "assistant", "content": call()}])
    assert only(row, harn())["messages"][0]["tool_calls"][0]["id"] == "call_1_1"
    assert only(row, harn("json"))["id"] == "a#turn-1"


def test_schemas_are_inferred_from_names_and_calls() -> None:
    row = text_row(
        messages=[
            {"role": "system", "content": SYSTEM},
            {"role": "assistant", "content": call(path="a", limit=3, deep={}, on=True, all=[], x=1.5, no=None)},
            {"role": "assistant", "content": call(path="b", limit="many")},
        ]
    )
    edit, read = (tool["function"] for tool in only(row, harn())["tools"])
    assert edit["parameters"] == {"type": "object", "properties": {}, "additionalProperties": True}
    kinds = {key: value["type"] for key, value in read["parameters"]["properties"].items()}
    assert kinds == {
        "path": "string", "limit": "integer", "deep": "object", "on": "boolean", "all": "array", "x": "number",
        "no": "string",
    }  # fmt: skip
    assert read["parameters"]["required"] == ["limit", "path"]
    assert (edit["name"], edit["description"]) == ("edit", "Harn agent tool `edit`.")


def test_declared_schemas_are_kept_as_they_are() -> None:
    assert only(native_row(), target())["tools"] == [READ_TOOL]
    listed = f"Tools within <tools></tools>:\n<tools>\n{json.dumps(READ_TOOL)}\n</tools>"
    row = text_row(messages=[{"role": "system", "content": listed}, {"role": "assistant", "content": call(path="a")}])
    assert only(row, target())["tools"] == [READ_TOOL]
    (inferred,) = only(row, harn())["tools"]
    assert inferred["function"]["parameters"]["properties"] == {"path": {"type": "string"}}


def test_a_tool_that_nobody_declared_stands_behind_the_declared_ones() -> None:
    row = native_row()
    row["messages"][2]["tool_calls"].append({"function": {"name": "find", "arguments": {"word": "x"}}})
    assert [tool["function"]["name"] for tool in only(row, target())["tools"]] == ["read", "find"]


def test_structured_messages_keep_their_text_and_get_our_ids() -> None:
    messages = only(native_row(), target())["messages"]
    assert messages[2]["tool_calls"][0]["id"] == messages[3]["tool_call_id"] == "call_2_1"
    assert messages[2]["content"] == ""
    assert messages[3]["name"] == "read"
    assert messages[4]["content"] == "It says\n\n\n\nx = 1."


def test_results_out_of_order_are_paired_by_their_ids() -> None:
    calls = [{"id": word, "function": {"name": "read", "arguments": {"path": word}}} for word in ("a", "b")]
    results = [{"role": "tool", "tool_call_id": word, "content": word} for word in ("b", "a")]
    row = {"messages": [{"role": "assistant", "tool_calls": calls}, *results]}
    assert [one["tool_call_id"] for one in only(row, target())["messages"][1:]] == ["call_0_2", "call_0_1"]


def test_several_results_answer_the_pending_calls_in_order() -> None:
    asked = call("read", path="a") + call("edit", path="b")
    answered = result("read", "1") + "\n" + result("edit", "2")
    row = text_row(messages=[{"role": "assistant", "content": asked}, {"role": "user", "content": answered}])
    found = only(row, harn())["messages"]
    assert [(one["tool_call_id"], one["name"], one["content"]) for one in found[1:]] == [
        ("call_0_1", "read", "1"),
        ("call_0_2", "edit", "2"),
    ]


def test_every_result_consumes_its_call() -> None:
    asked = {"role": "assistant", "content": call("read", path="a") + call("read", path="b")}
    one = {"role": "user", "content": result("read")}
    found = only(text_row(messages=[asked, one, one, one]), harn())["messages"]
    assert [each.get("tool_call_id") for each in found[1:]] == ["call_0_1", "call_0_2", None]
    calls = [{"function": {"name": "read", "arguments": {}}}] * 2
    row = {"messages": [{"role": "assistant", "tool_calls": calls}, *[{"role": "tool", "content": "x"}] * 2]}
    assert [each["tool_call_id"] for each in only(row, target())["messages"][1:]] == ["call_0_1", "call_0_2"]
    row["messages"].append({"role": "tool", "content": "x"})
    with pytest.raises(Unconvertible, match="answers no call"):
        rows_of(record(row), target())


@pytest.mark.parametrize("answer", [result("edit"), result("read") + result("read"), result("read") + "thanks"])
def test_a_result_that_fits_no_call_stays_what_the_user_said(answer: str) -> None:
    messages = [
        {"role": "assistant", "content": call()},
        {"role": "user", "content": answer},
        {"role": "user", "content": result("read")},
    ]
    converted = rows_of(record(text_row(messages=messages)), harn())
    assert converted.tool_results == 0
    assert [message["role"] for message in converted.rows[0]["messages"]] == ["assistant", "user", "user"]


def test_metadata_says_where_a_row_is_from_and_what_it_is_for() -> None:
    row = text_row(model="teacher-1", provider="lab", metadata={"tool_format": "json", "session_id": "s9", "mine": 1})
    wanted = harn(adapter_name="tools", metadata={"note": "x=y"}, default_split="tune", default_license="MIT")
    found = only(row, wanted)["metadata"]
    assert found["mine"] == 1
    assert found["lora_exporter"] == "hf_trl_tool_calls_v1"
    assert found["dataset_format"] == "messages_with_tool_calls"
    assert found["source_tool_format"] == "json"
    assert (found["source_record_id"], found["source_transcript_id"]) == ("a", "s9")
    assert (found["teacher_model"], found["teacher_provider"]) == ("teacher-1", "lab")
    assert (found["split"], found["license"]) == ("tune", "MIT")
    assert found["tool_schema_hash"] == canonical_digest(only(row, wanted)["tools"])
    assert found["lora_contract_id"] == wanted.contract.id
    assert found["lora_target"] == {
        "base_model": "acme/alpha",
        "provider": "vllm",
        "harn_tool_format": "native",
        "adapter_name": "tools",
        "contract_id": wanted.contract.id,
        "tool_catalog": {"policy": "full_schema", "catalog_id": None, "catalog_hash": None},
        "metadata": {"note": "x=y"},
    }


@pytest.mark.parametrize(
    ("said", "teacher"),
    [
        ({"teacher_model": "a", "model": "b", "source_model": "c"}, "a"),
        ({"source_model": "c", "model": "b"}, "b"),
        ({"source_model": "c"}, "c"),
    ],
)
def test_names_of_a_teacher_in_their_order(said: dict[str, str], teacher: str) -> None:
    assert only(text_row("a", metadata=said), harn())["metadata"]["teacher_model"] == teacher


def test_the_prompt_is_hashed_with_all_that_stands_around_it() -> None:
    row = text_row(model="other", metadata={"teacher_model": "teacher-2"})
    wanted = harn()
    found = only(row, wanted)["metadata"]
    assert found["teacher_model"] == "teacher-2"
    assert wanted.contract.chat_template is None
    assert found["prompt_template_hash"] == canonical_digest(
        {
            "chat_template": "", "dataset_format": "messages_with_tool_calls", "harn_tool_format": "native",
            "tool_catalog_policy": "full_schema", "tool_catalog_id": "", "tool_catalog_hash": "",
            "system": record(row).system_text,
        }
    )  # fmt: skip
    assert record(row).system_text


def test_canonical_json_is_written_in_its_own_letters() -> None:
    spelled = '{"a":"é","b":1}'
    assert canonical_digest({"b": 1, "a": "é"}) == f"sha256:{sha256(spelled.encode()).hexdigest()}"


def test_what_is_never_given_is_not_required() -> None:
    row = text_row(messages=[{"role": "assistant", "content": call("read", path="a") + call("read")}])
    (schema,) = (one["function"] for one in only(row, harn())["tools"] if one["function"]["name"] == "read")
    assert list(schema["parameters"]["properties"]) == ["path"]
    assert "required" not in schema["parameters"]


def test_the_json_lane_has_a_row_for_each_calling_turn() -> None:
    row = text_row()
    row["messages"].append({"role": "assistant", "content": call("edit", path="b")})
    converted = rows_of(record(row), harn("json"))
    first, second = (json.loads(row_text(one)) for one in converted.rows)
    assert (first["id"], second["id"], second["source_id"]) == ("a#turn-2", "a#turn-5", "a")
    assert first["assistant_tool_text"] == row["messages"][2]["content"]
    assert first["messages"] == row["messages"][:2]
    assert second["messages"] == row["messages"][:5]
    assert first["metadata"]["lora_exporter"] == "harn_text_tool_calls_v1"
    assert first["metadata"]["dataset_format"] == "harn_text_tool_calls_json_fences"
    assert (converted.tool_calls, converted.tool_results) == (2, 0)
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in first["tools"]}
    assert schemas["edit"]["properties"] == {}  # what comes later is not known yet


def test_structured_calls_are_written_out_for_the_json_lane() -> None:
    row = native_row()
    row["messages"].append({"role": "assistant", "content": "Again.", "tool_calls": row["messages"][2]["tool_calls"]})
    first, second = rows_of(record(row), target("json")).rows
    assert first["assistant_tool_text"] == '<tool_call>\n{"name": "read", "arguments": {"path": "n"}}\n</tool_call>'
    assert second["messages"][3] == {"role": "user", "content": result("read", "x = 1")}
    assert second["assistant_tool_text"].startswith("Again.\n<tool_call>")
    assert first["tools"] == [READ_TOOL]


def test_turns_without_calls_give_no_row_in_the_text_lanes() -> None:
    row = text_row(messages=[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}])
    assert rows_of(record(row), harn("json")).rows == ()


def test_the_text_lane_takes_text_sources_only() -> None:
    assert only(heredoc_row(), harn("text"))["assistant_tool_text"].startswith("<tool_call>\nedit({")
    assert refusal(text_row(), harn("text")) == "source_not_text"
    assert refusal(native_row(), target("text")) == "source_not_text"
    assert refusal(heredoc_row(), harn("json")) == "call_not_json"


def test_text_calls_are_read_before_they_are_taught_unless_the_origin_only_counts_them() -> None:
    row = heredoc_row()
    assert "content" in only(row, target("text"))["tools"][0]["function"]["parameters"]["properties"]
    row["messages"][2]["content"] = "<tool_call>edit({ path: })</tool_call>"
    assert refusal(row, target("text")) == "call_not_text"
    assert rows_of(record(row), harn("text")).tool_calls == 1


def test_text_calls_become_structured_unless_the_origin_refuses_them() -> None:
    (called,) = only(heredoc_row(), target())["messages"][2]["tool_calls"]
    assert called["function"] == {"name": "edit", "arguments": {"path": "a.py", "content": 'print("hi")'}}
    assert refusal(heredoc_row(), harn()) == "call_not_json"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("<tool_call>{}</tool_call>", "call_unreadable"),
        ("<tool_call>[]</tool_call>", "call_unreadable"),
        ("<tool_call>what</tool_call>", "call_unreadable"),
        ('<tool_call>{"name": "read"}', "call_not_closed"),
        ("done</tool_call>", "call_not_closed"),
    ],
)
@pytest.mark.parametrize("wanted", [harn(), target(), harn("json")], ids=["harn", "ours", "json"])
def test_a_call_that_cannot_be_read_is_an_error(content: str, code: str, wanted: Any) -> None:
    assert refusal(text_row(messages=[{"role": "assistant", "content": content}]), wanted) == code


def test_a_row_never_has_calls_in_both_channels() -> None:
    row = native_row()
    row["messages"][2]["content"] = call()
    assert refusal(row, target()) == "calls_twice"


def test_a_result_without_a_call_is_an_error() -> None:
    row = native_row()
    row["messages"][3]["tool_call_id"] = "other"
    assert refusal(row, target()) == "result_unpaired"
    assert refusal({"messages": [{"role": "tool", "content": "x"}]}, target()) == "result_unpaired"


def test_no_tools_are_an_error_unless_the_record_says_there_are_none() -> None:
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert refusal({"messages": chat}, harn()) == "no_tools"
    assert refusal({"messages": chat}, target()) == "no_tools"
    assert only({"messages": chat, "tools": []}, target())["tools"] == []
    assert refusal({"messages": chat, "tools": []}, harn()) == "no_tools"


def test_without_an_answer_there_is_nothing_to_learn_but_for_the_origin() -> None:
    row = {"messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "hi"}]}
    assert rows_of(record(row), target()).rows == ()
    assert len(rows_of(record(row), harn()).rows) == 1


_CONTENT = st.lists(
    st.sampled_from(
        ["a", "\n\n\n\n", "<tool_call>", "</tool_call>", call(), call("edit"), result("read"), result("edit")]
    ),
    max_size=4,
).map("".join)
_SPOKEN = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": _CONTENT},
    optional={"tool_calls": st.just([{"id": "x", "function": {"name": "read", "arguments": "{}"}}])},
)
_TALK = st.fixed_dictionaries(
    {"messages": st.lists(_SPOKEN, min_size=1, max_size=6)}, optional={"tools": st.just([READ_TOOL])}
)


@given(ROWS | _TALK, st.sampled_from(["native", "json", "text"]), st.sampled_from([OURS, HARN]))
@example(
    {"messages": [{"role": "assistant", "content": '<tool_<tool_call>{"name": "a"}</tool_call>call>'}]}, "native", OURS
)
def test_every_row_that_is_written_is_valid(row: Any, tool_format: str, dialect: Any) -> None:
    found = read_row(line(row))
    if not isinstance(found, Example):
        return
    try:
        converted = rows_of(found, target(tool_format, dialect))
    except Unconvertible:
        return
    for written in converted.rows:
        again = json.loads(row_text(written))
        assert again == json.loads(json.dumps(written))
        if tool_format == "native":
            assert_native(again)


def assert_native(row: dict[str, Any]) -> None:
    """Results answer a call before them, once each; no call is left as text; every tool called is declared."""
    waiting: dict[str, str] = {}
    names = {tool["function"]["name"] for tool in row["tools"]}
    for message in row["messages"]:
        if message["role"] == "assistant":
            assert "<tool_call>" not in message["content"]
            for called in message.get("tool_calls", []):
                assert called["id"] not in waiting
                assert isinstance(called["function"]["arguments"], dict)
                waiting[called["id"]] = called["function"]["name"]
                assert called["function"]["name"] in names
        elif message["role"] == "tool":
            assert waiting.pop(message["tool_call_id"]) == message["name"]


@given(
    st.dictionaries(st.text(max_size=4), st.integers() | st.dictionaries(st.text(max_size=3), st.none(), max_size=3))
)
def test_hashes_do_not_depend_on_the_order_of_keys(value: dict[str, Any]) -> None:
    turned = {
        key: dict(reversed(inner.items())) if isinstance(inner, dict) else inner
        for key, inner in reversed(value.items())
    }
    assert canonical_digest(value) == canonical_digest(turned)
