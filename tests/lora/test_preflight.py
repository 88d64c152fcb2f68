"""Every check and threshold of a preflight."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from reconciler.lora.corpus import Example, read_row
from reconciler.lora.dialect import HARN, OURS, Dialect
from reconciler.lora.examples import CallCounts, estimated_tokens, examined
from reconciler.lora.preflight import Tally, Thresholds
from tests.lora.corpora import SYSTEM, call, heredoc_row, line, native_row, record, text_row
from tests.lora.test_corpus import ROWS


def thresholds(**more: Any) -> Thresholds:
    found: dict[str, Any] = {
        "max_seq_length": 1000,
        "min_fit_ratio": 0.9,
        "hard_token_limit": 2000,
        "min_records": 1,
        "expected_source_tool_format": "json",
        "required_export_source_tool_format": "json",
        "min_tool_call_share": 0.95,
        "done_marker": None,
    }
    return Thresholds(**{**found, **more})


def tally(*rows: Any, dialect: Dialect = HARN, **more: Any) -> Tally:
    made = Tally(thresholds(**more))
    for number, row in enumerate(rows, start=1):
        made.add(examined(record(row, number), dialect, made.thresholds.done_marker))
    return made


def codes(made: Tally, target: str = "json", dialect: Dialect = HARN) -> list[str]:
    found = list(made.findings(target, dialect))
    assert all(one.severity == "error" for one in found)
    return [one.code for one in found]


def of_length(tokens: int) -> dict[str, Any]:
    """A record of so many tokens by the origin's estimate, with one call."""
    body = call()
    spent = len("user") + len("assistant") + len(body)
    return {
        "messages": [
            {"role": "user", "content": "x" * (4 * (tokens - 16) - spent)},
            {"role": "assistant", "content": body},
        ]
    }


def test_a_good_corpus_has_no_findings() -> None:
    assert codes(tally(text_row("a"), text_row("b"))) == []


def test_what_the_user_says_last_is_no_answer() -> None:
    row = text_row("asked")
    row["messages"].append({"role": "user", "content": "<done>"})
    assert codes(tally(row, done_marker="<done>")) == ["done_marker_missing"]


def test_tokens_are_a_quarter_of_the_bytes_and_8_a_message() -> None:
    row = {"messages": [{"role": "user", "content": "éüß"}, {"role": "assistant", "content": None}]}
    assert estimated_tokens(record(row), HARN) == 5 + 16, "of 4, 6 and 9 bytes, a quarter and the rest"
    assert estimated_tokens(record(of_length(500)), HARN) == 500


def test_ours_counts_structured_calls_and_schemas_too() -> None:
    origin, ours = (estimated_tokens(record(native_row()), dialect) for dialect in (HARN, OURS))
    assert ours > origin + 40
    assert estimated_tokens(record(text_row()), OURS) == estimated_tokens(record(text_row()), HARN)


@pytest.mark.parametrize(
    ("content", "counts", "names"),
    [
        (call() + call("edit"), CallCounts(json=2), ()),
        ('<tool_call>[{"name": "read"}, {"name": "edit"}]</tool_call>', CallCounts(json=2), ()),
        ("<tool_call>{oops}</tool_call>", CallCounts(malformed=1), ()),
        ("<tool_call>[1]</tool_call>", CallCounts(malformed=1), ()),
        ("<tool_call>read ({ a: 1 })</tool_call>", CallCounts(text=1), ()),
        ("<tool_call>find({ a: 1 })</tool_call>", CallCounts(text=1), ("find",)),
        ("<tool_call>please</tool_call>", CallCounts(unknown=1), ()),
        ("<tool_call></tool_call>", CallCounts(unknown=1), ()),
        ('<tool_call>{"name": "read"}', CallCounts(unknown=1), ()),
        (call("find"), CallCounts(json=1), ("find",)),
    ],
)
def test_blocks_by_how_they_are_written(content: str, counts: CallCounts, names: tuple[str, ...]) -> None:
    row = text_row(messages=[{"role": "system", "content": SYSTEM}, {"role": "assistant", "content": content}])
    found = examined(record(row), HARN, None)
    assert (found.calls, found.unrecognized_tools) == (counts, names)


def test_a_text_call_that_cannot_be_read_is_none_of_ours() -> None:
    row = text_row(messages=[{"role": "assistant", "content": "<tool_call>read({ a: })</tool_call>"}])
    assert examined(record(row), HARN, None).calls == CallCounts(text=1)
    assert examined(record(row), OURS, None).calls == CallCounts(unknown=1)


def test_structured_calls_and_declared_tools() -> None:
    found = examined(record(native_row()), OURS, None)
    assert found.calls == CallCounts(structured=1)
    assert examined(record(native_row(tools=[])), OURS, None).unrecognized_tools == ("read",)
    unnamed = native_row()
    del unnamed["tools"]
    assert examined(record(unnamed), OURS, None).unrecognized_tools == ()


def test_record_floor() -> None:
    assert codes(tally(text_row(), min_records=2)) == ["too_few_records"]
    assert codes(tally(min_records=0, min_fit_ratio=0.0, min_tool_call_share=0.0)) == []
    assert codes(tally()) == ["too_few_records", "fit_ratio_low", "tool_call_share_low"]


@pytest.mark.parametrize(("long", "bad"), [(1, []), (2, ["fit_ratio_low"])])
def test_fit_ratio(long: int, bad: list[str]) -> None:
    rows = [of_length(1001)] * long + [of_length(1000)] * (10 - long)
    made = tally(*rows)
    assert codes(made) == bad
    assert made.stats(10).fit_ratio == pytest.approx(1 - long / 10)


def test_hard_limit() -> None:
    made = tally(of_length(2001), min_fit_ratio=0.0)
    assert codes(made) == ["records_over_limit"]
    assert codes(tally(of_length(2000), min_fit_ratio=0.0)) == []
    assert made.stats(1).hard_overflow_records == 1


@pytest.mark.parametrize(
    ("expected", "rows", "bad"),
    [
        ("json", [text_row()] * 19 + [heredoc_row()], []),
        ("json", [text_row()] * 18 + [heredoc_row()], ["tool_call_share_low"]),
        ("text", [text_row()] * 2, ["tool_call_share_low"]),
        ("auto", [text_row(), heredoc_row()], ["export_ready_share_low"]),
        ("auto", [text_row(), native_row()], []),
        ("native", [native_row()], []),
        ("json", [native_row()], []),
        ("json", [{"messages": [{"role": "user", "content": "x"}]}], ["tool_call_share_low"]),
    ],
)
def test_tool_call_share(expected: str, rows: list[Any], bad: list[str]) -> None:
    required = "text" if expected == "text" else "json"
    found = codes(tally(*rows, expected_source_tool_format=expected, required_export_source_tool_format=required))
    assert found == bad


def test_export_ready_share_asks_what_the_target_takes() -> None:
    made = tally(heredoc_row(), expected_source_tool_format="auto")
    assert codes(made, "native", HARN) == ["export_ready_share_low"]
    assert codes(made, "native", OURS) == []
    assert codes(made, "json", OURS) == ["export_ready_share_low"]
    wanted = tally(heredoc_row(), expected_source_tool_format="auto", required_export_source_tool_format="text")
    assert codes(wanted, "text") == []
    # what is expected and what is required are the same: said once
    assert codes(tally(heredoc_row()), "json") == ["tool_call_share_low"]


def test_done_marker_is_looked_up_in_the_last_answer() -> None:
    done = text_row("done")
    done["messages"][-1]["content"] += " <done>"
    early = text_row("early")
    early["messages"][2]["content"] += " <done>"
    made = tally(done, early, {"messages": [{"role": "assistant", "content": call()}]}, done_marker="<done>")
    assert codes(made) == ["done_marker_missing"]
    (found,) = made.findings("json", HARN)
    assert found.message.endswith("early, line-3")
    assert [(one.id, one.kind) for one in made.problems] == [
        ("early", "missing_done_marker"),
        ("line-3", "missing_done_marker"),
    ]


def test_malformed_and_unknown_blocks_and_undeclared_tools() -> None:
    odd = text_row("odd")
    odd["messages"][2]["content"] = call("find") + "<tool_call>{</tool_call>"
    made = tally(odd, min_tool_call_share=0.0)
    assert codes(made) == ["calls_malformed", "tools_undeclared"]
    assert [(one.kind, one.detail) for one in made.problems] == [
        ("unrecognized_tools", "find"),
        ("malformed_tool_calls", "malformed_json=1 unknown_blocks=0"),
    ]


def test_eight_ids_and_twenty_longest() -> None:
    rows = [of_length(100 + number % 50) for number in range(60)]
    made = tally(*rows, done_marker="never")
    assert (len(made.without_marker), made.count("without_marker")) == (8, 60)
    assert [one.approx_tokens for one in made.longest][:3] == [149, 148, 147]
    assert [one.line_number for one in made.longest][:2] == [50, 49]
    assert len(made.longest) == 20


def test_of_equally_long_ones_the_first_are_kept() -> None:
    assert [one.line_number for one in tally(*[of_length(100)] * 30).longest] == list(range(1, 21))


def test_breakdown_counts_what_records_say() -> None:
    made = tally(text_row(), text_row(language="go", task_type=""), heredoc_row(language=[5]))
    assert made.breakdown.languages == {"(missing)": 1, "go": 1, "python": 1}
    assert made.breakdown.task_types == {"(missing)": 1, "edit": 2}
    assert made.breakdown.declared_tool_formats == {"json": 2, "text": 1}


@given(ROWS)
def test_any_record_is_examined(row: Any) -> None:
    found = read_row(line(row))
    if isinstance(found, Example):
        for dialect in (HARN, OURS):
            assert examined(found, dialect, "x").approx_tokens >= 8 * len(found.messages)


def test_what_an_answer_thinks_counts_as_tokens() -> None:
    row = native_row("a")
    row["messages"][-1]["reasoning_content"] = "x" * 400
    plain, longer = (estimated_tokens(record(one, 1), OURS) for one in (native_row("a"), row))
    assert longer - plain == 100
    assert estimated_tokens(record(row, 1), HARN) == estimated_tokens(record(native_row("a"), 1), HARN)


def test_an_end_without_a_beginning_is_a_block_nobody_knows() -> None:
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "so </tool_call>"}]}
    assert examined(record(row, 1), OURS, None).calls == CallCounts(unknown=1)
