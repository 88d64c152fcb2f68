"""``lora preflight``: thresholds from flags and configuration, and a report of everything."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.lora.preflight import PreflightReport, PreflightRequest, preflight
from reconciler.errors import UsageError
from reconciler.lora.dialect import HARN, OURS, Dialect
from tests.engine.lora.corpus_fakes import MemoryFiles
from tests.lora.corpora import heredoc_row, native_row, text_row
from tests.lora.tables import route
from tests.lora.test_corpus import ROWS

ASKED = PreflightRequest(corpus="corpus")


def run(files: MemoryFiles, dialect: Dialect = OURS, **more: Any) -> PreflightReport:
    return preflight(replace(ASKED, **more), route(dialect=dialect), dialect, files)


def codes(report: PreflightReport, severity: str = "error") -> list[str]:
    return [one.code for one in report.findings if one.severity == severity]


def test_a_good_corpus_is_ready() -> None:
    report = run(MemoryFiles(corpus=[text_row("a"), native_row("b"), heredoc_row("c")]))
    assert report.ok
    assert codes(report, "warning") == ["length_assumed"]
    assert report.thresholds.max_seq_length == report.thresholds.hard_token_limit == 32768
    assert (report.thresholds.min_fit_ratio, report.thresholds.min_tool_call_share) == (0.9, 0.95)
    assert (report.thresholds.expected_source_tool_format, report.request.target_tool_format) == ("auto", "native")


def test_the_origin_expects_json() -> None:
    report = run(MemoryFiles(corpus=[heredoc_row()]), HARN)
    assert (report.thresholds.expected_source_tool_format, report.request.target_tool_format) == ("json", "json")
    assert codes(report) == ["tool_call_share_low"]


def test_a_flag_goes_before_the_configuration_and_that_before_the_default() -> None:
    files = MemoryFiles(corpus=[text_row()], config=b"max_seq_length: 50\nmin_fit_ratio: 0.5\n")
    read = run(files, config="config")
    assert (read.thresholds.max_seq_length, read.thresholds.min_fit_ratio) == (50, 0.5)
    assert read.config.model_dump() == {"path": "config", "maxSeqLength": 50, "minFitRatio": 0.5}
    assert codes(read) == ["fit_ratio_low"]
    assert codes(read, "warning") == []
    given_both = run(files, config="config", max_seq_length=500, min_fit_ratio=0.0)
    assert (given_both.thresholds.max_seq_length, given_both.thresholds.min_fit_ratio) == (500, 0.0)


@pytest.mark.parametrize(
    ("more", "flag"),
    [
        ({"max_seq_length": 0}, "--max-seq-length"),
        ({"hard_token_limit": 0}, "--hard-token-limit"),
        ({"min_fit_ratio": 1.01}, "--min-fit-ratio"),
        ({"min_fit_ratio": float("nan")}, "--min-fit-ratio"),
        ({"min_tool_call_share": -0.1}, "--min-tool-call-share"),
        ({"min_tool_call_share": float("inf")}, "--min-tool-call-share"),
        ({"min_records": -1}, "--min-records"),
        ({"behavior_strata_policy": "some"}, "--behavior-strata-policy"),
        ({"source_tool_format": "xml"}, "--source-tool-format"),
        ({"tool_format": "xml"}, "--tool-format"),
    ],
)
def test_a_flag_out_of_range_is_wrong_usage(more: Any, flag: str) -> None:
    with pytest.raises(UsageError, match=flag):
        run(MemoryFiles(corpus=[text_row()]), **more)


def test_bad_lines_are_errors_and_rows_without_messages_are_skipped() -> None:
    import json

    files = MemoryFiles(
        corpus=b"{\n[1]\n" + json.dumps({"id": "empty"}).encode() + b"\n" + json.dumps(text_row()).encode()
    )
    report = run(files)
    assert codes(report) == ["row_not_json", "row_not_object"]
    assert report.skipped_records == ("empty (line 3, no messages)",)
    assert codes(report, "warning") == ["length_assumed", "records_skipped"]
    assert (report.stats.raw_records, report.stats.trainable_records) == (4, 1)


def test_what_holds_no_message_or_no_answer_is_not_counted_as_trainable() -> None:
    rows = [{"messages": [5]}, {"messages": [{"role": 5}]}, {"messages": [{"role": "user", "content": "a"}]}]
    report = run(MemoryFiles(corpus=rows))
    assert (report.stats.raw_records, report.stats.trainable_records, len(report.skipped_records)) == (3, 0, 3)


def test_who_serves_the_base_is_noted_where_nobody_said_it() -> None:
    inferred = replace(route(), is_inferred=True)
    report = preflight(ASKED, inferred, OURS, MemoryFiles(corpus=[text_row("a")]))
    assert codes(report, "note") == ["provider_inferred"]
    assert codes(run(MemoryFiles(corpus=[text_row("a")])), "note") == []


def test_an_empty_corpus_is_one_error() -> None:
    assert codes(run(MemoryFiles(corpus=[]))) == ["corpus_empty"]
    assert "fit_ratio_low" in codes(run(MemoryFiles(corpus=[]), HARN))


def test_splits_are_compared_here_too() -> None:
    files = MemoryFiles(corpus=[text_row("a"), text_row("a", split="tune")], held=[text_row("b")])
    assert codes(run(files)) == ["splits_share_records", "splits_share_prompts"]
    ready = MemoryFiles(corpus=[text_row("b")], held=[text_row("b")])
    assert codes(run(ready, against=("held",))) == ["splits_share_records", "splits_share_prompts"]


def test_the_report_has_every_section_of_the_origin_in_its_order() -> None:
    document = run(MemoryFiles(corpus=[text_row()]), HARN).model_dump(mode="json", by_alias=False)
    ours = {"splits", "behavior_strata", "findings"}
    assert [key for key in document if key not in ours] == [
        "ok", "base", "request", "tool_calling", "config", "thresholds", "stats", "breakdown", "longest",
        "problem_examples", "skipped_records", "warnings", "errors",
    ]  # fmt: skip
    assert list(document["breakdown"]) == ["declared_tool_formats", "languages", "task_types"]


def test_a_correction_and_a_gate_are_warnings() -> None:
    forced = route(tool_mode_parity="native_unreliable")
    report = preflight(replace(ASKED, tool_format="native", check=True), forced, OURS, MemoryFiles(corpus=[text_row()]))
    assert codes(report, "warning") == ["length_assumed", "check_gates", "tool_format_corrected"]


def strata() -> list[Any]:
    twice = text_row("twice", metadata={"behavior_class": "parallel-tool-calls"})
    twice["messages"][2]["content"] += twice["messages"][2]["content"]
    again = text_row("again", behavior_classes=["multi_turn_tool_result_continuation", "Sequential_Tool_Call"])
    again["messages"].append(again["messages"][2])
    chat = [{"role": "assistant", "content": "No need."}]
    return [
        twice,
        again,
        text_row("no", messages=chat, behavior_class="direct_answer"),
        text_row("repair", messages=[*chat, *chat], metadata={"behavior_classes": ["unknown_tool_repair"]}),
    ]


def test_behaviour_is_asked_for_only_on_request() -> None:
    report = run(MemoryFiles(corpus=[text_row()]))
    assert (report.ok, report.behavior_strata) == (True, None)


def test_all_five_classes_are_named_and_shown() -> None:
    report = run(MemoryFiles(corpus=strata()), behavior_strata_policy="strict")
    assert report.ok
    assert report.behavior_strata is not None
    assert report.behavior_strata.status == "covered"
    assert report.behavior_strata.emitted["valid_tool_call"] == 2
    fewer = run(MemoryFiles(corpus=strata()[1:]), behavior_strata_policy="strict")
    assert codes(fewer) == ["behavior_incomplete"]
    assert fewer.behavior_strata is not None
    assert fewer.behavior_strata.missing_required == ("parallel_tool_call",)


def test_a_class_that_is_named_and_not_shown_does_not_count() -> None:
    report = run(MemoryFiles(corpus=[text_row(behavior_class="parallel_tool_call")]), behavior_strata_policy="strict")
    assert report.behavior_strata is not None
    assert (report.behavior_strata.source, report.behavior_strata.emitted) == (
        {"parallel_tool_call": 1},
        {"valid_tool_call": 1},
    )


def test_one_turn_that_calls_is_no_continuation() -> None:
    row = text_row(behavior_class="multi_turn_continuation")
    report = run(MemoryFiles(corpus=[row]), behavior_strata_policy="strict")
    assert report.behavior_strata is not None
    assert report.behavior_strata.emitted == {"valid_tool_call": 1}


def test_a_corpus_from_before_the_classes_passes_when_that_is_said() -> None:
    old = MemoryFiles(corpus=[text_row("a")])
    report = run(old, behavior_strata_policy="legacy-unclassified")
    assert report.ok
    assert "behavior_unclassified" in codes(report, "warning")
    assert codes(run(old, behavior_strata_policy="strict")) == ["behavior_incomplete"]
    partly = MemoryFiles(corpus=[text_row("a"), *strata()[1:]])
    assert codes(run(partly, behavior_strata_policy="legacy-unclassified")) == ["behavior_incomplete"]


@pytest.mark.parametrize("given_class", ["", "odd", 5, ["valid_tool_call", None], {}])
def test_a_class_that_nobody_knows_is_an_error_of_its_record(given_class: Any) -> None:
    report = run(MemoryFiles(corpus=[text_row("a", behavior_class=given_class)]), behavior_strata_policy="strict")
    assert codes(report)[0] == "behavior_unknown"
    assert report.errors[0].startswith("a (line 1): ")


@given(st.lists(ROWS, max_size=4), st.sampled_from([OURS, HARN]))
def test_preflight_never_raises_for_any_rows(rows: list[Any], dialect: Dialect) -> None:
    report = run(MemoryFiles(corpus=rows), dialect, behavior_strata_policy="strict")
    assert report.ok is (not report.errors)
    assert report.stats.fit_records <= report.stats.trainable_records <= report.stats.raw_records
