"""``lora export``: from a corpus to a data set and its manifest, or to neither."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.engine.lora.export import ExportReport, ExportRequest, export
from reconciler.errors import OutOfSpace, UsageError
from reconciler.lora.contract import verify
from reconciler.lora.dialect import HARN, OURS, Dialect
from tests.engine.lora.corpus_fakes import MemoryFiles
from tests.lora.corpora import heredoc_row, native_row, text_row
from tests.lora.tables import route
from tests.lora.test_corpus import ROWS

ASKED = ExportRequest(corpus="corpus", out="out.jsonl", manifest="out.json")


def run(files: MemoryFiles, dialect: Dialect = OURS, **more: Any) -> ExportReport:
    return export(replace(ASKED, **more), route(dialect=dialect), dialect, files)


def codes(report: ExportReport, severity: str = "error") -> list[str]:
    return [one.code for one in report.findings if one.severity == severity]


def test_rows_are_counted_and_not_records() -> None:
    row = text_row("a")
    files = MemoryFiles(corpus=[row | {"messages": row["messages"] * 2}])
    report = run(files, tool_format="json")
    assert (report.stats.records, report.stats.emitted) == (1, 2)
    assert len(files.written["out.jsonl"].splitlines()) == 2


def test_rows_and_manifest_are_written_with_one_contract_id_everywhere() -> None:
    files = MemoryFiles(corpus=[text_row("a"), native_row("b")])
    report = run(files, adapter_name="tools", chat_template="chatml", target_metadata=("note=a=b", "note= c"))
    rows = [json.loads(line) for line in files.written["out.jsonl"].splitlines()]
    manifest = json.loads(files.written["out.json"])
    ids = {
        report.contract.id,
        report.target["contract_id"],
        report.serving.contract_id,
        manifest["contract"]["id"],
        manifest["target"]["contract_id"],
        manifest["serving"]["contract_id"],
        *(row["metadata"]["lora_contract_id"] for row in rows),
        *(row["metadata"]["lora_target"]["contract_id"] for row in rows),
    }
    assert len(ids) == 1
    assert report.ok
    assert rows[0]["messages"][3]["tool_call_id"] == "call_2_1"
    assert verify(manifest["contract"]).verdict == "verified"
    assert manifest["target"]["metadata"] == {"note": " c"}
    assert (manifest["serving"]["request_model"], report.target["adapter_name"]) == ("tools", "tools")


def test_the_manifest_has_the_keys_of_the_origin_in_their_order() -> None:
    files = MemoryFiles(corpus=[text_row()])
    run(files, HARN, tool_format="native", adapter_name="tools")
    manifest = json.loads(files.written["out.json"])
    assert list(manifest) == [
        "exporter", "dataset_format", "input", "output", "stats", "target", "contract", "provenance", "serving",
        "promotion", "errors",
    ]  # fmt: skip
    assert list(manifest["contract"]) == [
        "schema_version", "id", "base_model", "provider", "harn_tool_format", "dataset_format", "chat_template",
        "target_modules", "training_contract",
    ]  # fmt: skip
    assert list(manifest["serving"]) == [
        "request_model", "adapter_name", "base_model", "provider", "adapter_binding", "lora_module_value_format",
        "tool_format", "dataset_format", "contract_id",
    ]  # fmt: skip
    assert list(manifest["stats"]) == ["records", "emitted", "skipped", "tool_calls", "tool_results"]
    assert manifest["exporter"] == "harn_models_lora_export_v1"
    assert manifest["input"] == {"path": "corpus.jsonl", "sha256": sha256(files.corpora["corpus"]).hexdigest()}
    assert manifest["output"] == {
        "path": "out.jsonl",
        "sha256": sha256(files.written["out.jsonl"].encode()).hexdigest(),
    }
    assert manifest["promotion"]["eval_command"][:5] == ["harn", "eval", "tool-calls", "--planner", "tools"]
    assert manifest["provenance"]["default_split"] == "train"
    assert manifest["errors"] == []
    assert files.written["out.json"].endswith("}\n")


def test_check_converts_everything_and_writes_no_rows() -> None:
    files = MemoryFiles(corpus=[text_row(), {"id": "none"}])
    report = run(files, HARN, tool_format="native", check=True, manifest=None, out=None)
    assert report.stats.model_dump(by_alias=False) == {
        "records": 2, "emitted": 1, "skipped": 1, "tool_calls": 1, "tool_results": 1,
    }  # fmt: skip
    assert (report.ok, files.written) == (True, {})
    assert codes(report, "warning") == ["check_only", "records_skipped"]


def test_a_checked_corpus_has_a_manifest_without_output() -> None:
    files = MemoryFiles(corpus=[text_row()])
    report = run(files, check=True)
    assert json.loads(files.written["out.json"])["output"] is None
    assert list(files.written) == ["out.json"]
    assert report.output.model_dump() == {"path": None, "sha256": None, "manifestPath": "out.json"}


def test_without_a_place_it_must_be_a_check() -> None:
    with pytest.raises(UsageError, match="no place"):
        run(MemoryFiles(corpus=[text_row()]), out=None)


@pytest.mark.parametrize("dialect", [OURS, HARN], ids=["ours", "harn"])
def test_one_bad_record_and_nothing_is_written(dialect: Dialect) -> None:
    good = b"".join(json.dumps(text_row(name)).encode() + b"\n" for name in "ab")
    bad = text_row("bad", messages=[{"role": "assistant", "content": "<tool_call>{</tool_call>"}])
    files = MemoryFiles(corpus=good + b"{\n\n[1]\n" + json.dumps(bad).encode())
    report = run(files, dialect, tool_format="native")
    assert (report.ok, files.written) == (False, {})
    assert codes(report) == ["row_not_json", "row_not_object", "call_unreadable"]
    assert [error.partition(":")[0] for error in report.errors] == ["line 3", "line 5", "bad (line 6)"]
    assert report.output.model_dump() == {"path": None, "sha256": None, "manifestPath": None}
    assert (report.stats.records, report.stats.emitted, report.stats.skipped, report.error_count) == (5, 2, 0, 3)
    assert codes(report, "warning") == ["records_failed"]


def test_a_hundred_errors_are_named_and_all_are_counted() -> None:
    report = run(MemoryFiles(corpus=b"{\n" * 150))
    assert (len(report.errors), report.error_count) == (101, 151)
    assert codes(report)[-1] == "nothing_to_export"


@pytest.mark.parametrize("rows", [[], [{"id": "a"}], [text_row(messages=[{"role": "user", "content": "hi"}])]])
def test_no_rows_are_no_data_set(rows: list[Any]) -> None:
    files = MemoryFiles(corpus=rows)
    report = run(files)
    assert (codes(report), files.written) == (["nothing_to_export"], {})


def test_a_correction_is_a_warning() -> None:
    files = MemoryFiles(corpus=[text_row()])
    forced = route(tool_mode_parity="native_unreliable")
    report = export(replace(ASKED, tool_format="native"), forced, OURS, files)
    assert codes(report, "warning")[0] == "tool_format_corrected"
    assert (report.request.effective_tool_format, report.request.tool_format_correction is None) == ("json", False)


def test_auto_is_native_here_and_the_routes_own_in_the_origin() -> None:
    assert run(MemoryFiles(corpus=[text_row()])).request.effective_tool_format == "native"
    assert run(MemoryFiles(corpus=[text_row()]), HARN).request.effective_tool_format == "json"


def test_splits_by_label_are_counted_and_must_be_disjoint() -> None:
    rows = [text_row("a"), text_row("b", metadata={"split": "tune"}), text_row("c", split="holdout")]
    files = MemoryFiles(corpus=rows)
    report = run(files, default_split=" ")
    assert report.splits == {"train": 1, "tune": 1, "holdout": 1}
    assert json.loads(files.written["out.json"])["provenance"]["splits"] == report.splits
    again = MemoryFiles(corpus=[*rows, text_row("a", id="z", split="tune")])
    refused = run(again)
    assert codes(refused) == ["splits_share_records", "splits_share_prompts"]
    assert again.written == {}


def test_held_out_files_must_share_nothing_and_are_named_in_the_manifest() -> None:
    files = MemoryFiles(corpus=[text_row("a")], held=[text_row("b")], same=[native_row("x"), text_row("a")])
    assert run(files, against=("held",)).ok
    manifest = json.loads(files.written["out.json"])
    assert manifest["provenance"]["disjoint_from"] == [
        {"path": "held.jsonl", "sha256": sha256(files.corpora["held"]).hexdigest()}
    ]
    refused = run(files, against=("held", "same"))
    assert codes(refused) == ["splits_share_records", "splits_share_prompts"]
    assert "file same.jsonl" in refused.errors[0]


def test_lines_of_a_held_out_file_that_cannot_be_read_are_told() -> None:
    report = run(MemoryFiles(corpus=[text_row("a")], held=b"{\n"), against=("held",))
    assert (report.ok, codes(report, "warning")) == (True, ["other_unread"])


def test_what_enters_the_contract_changes_its_id() -> None:
    def contract_id(**more: Any) -> str:
        return run(MemoryFiles(corpus=[text_row()]), **more).contract.id

    plain = contract_id()
    changed = [
        contract_id(chat_template="chatml"),
        contract_id(method="lora"),
        contract_id(target_modules=("q_proj",)),
        contract_id(modules_to_save=("lm_head",)),
        contract_id(tool_catalog_policy="compressed_names", tool_catalog_id="v1"),
        contract_id(tool_format="json"),
    ]
    assert len({plain, *changed}) == 7
    assert contract_id(adapter_name="x", target_metadata=("a=b",), default_split="tune") == plain


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"target_metadata": ("novalue",)}, "novalue"),
        ({"target_metadata": (" =x",)}, "KEY=VALUE"),
        ({"target_metadata": ("a=\udcff",)}, "no text"),
        ({"adapter_name": "\udcff"}, "no text"),
        ({"method": "full"}, "--method"),
        ({"tool_format": "xml"}, "--tool-format"),
        ({"target_modules": ("a,,b",)}, "--target-modules"),
        ({"tool_catalog_policy": "compressed_names"}, "compressed_names"),
        ({"corpus": "none"}, "no corpus"),
    ],
)
def test_wrong_flags_are_wrong_usage(more: Any, why: str) -> None:
    files = MemoryFiles(corpus=[text_row()])
    with pytest.raises(UsageError) as found:
        run(files, **more)
    assert why in f"{found.value.message} {found.value.hint}"
    assert files.written == {}


@pytest.mark.parametrize(
    ("name", "code"), [("a b", "name_invalid"), ("a=b", "name_invalid"), ("Acme/Coyote-8B", "name_clash")]
)
def test_a_name_that_requests_cannot_use_is_an_error(name: str, code: str) -> None:
    files = MemoryFiles(corpus=[text_row()])
    report = run(files, adapter_name=name)
    assert (codes(report), files.written) == ([code], {})
    assert "--adapter-name" in (report.findings[0].hint or "")


def test_a_full_disk_leaves_nothing() -> None:
    files = MemoryFiles(corpus=[text_row(name) for name in "abc"])
    files.room = 4000
    with pytest.raises(OutOfSpace):
        run(files)
    assert files.written == {}


def test_a_manifest_that_is_not_what_was_written_is_not_kept() -> None:
    files = MemoryFiles(corpus=[text_row()])
    files.spoil = lambda text: text.replace('"provider": "vllm"', '"provider": "other"')
    assert codes(run(files)) == ["contract_unverified"]
    assert files.written == {}


def test_the_same_corpus_gives_the_same_bytes() -> None:
    rows = [text_row("a"), native_row("b"), heredoc_row("c")]
    one, other = MemoryFiles(corpus=rows), MemoryFiles(corpus=rows)
    run(one)
    run(other)
    assert one.written == other.written
    assert len(one.written) == 2


def test_the_data_set_has_the_shape_that_trl_takes() -> None:
    """Plain JSON lines with ``messages`` and ``tools``; TRL's own rules for such columns, which it checks by hand."""
    files = MemoryFiles(corpus=[text_row("a"), native_row("b"), heredoc_row("c")])
    run(files)
    for row in map(json.loads, files.written["out.jsonl"].splitlines()):
        assert {message["role"] for message in row["messages"]} <= {"system", "user", "assistant", "tool"}
        assert all(isinstance(message["content"], str) for message in row["messages"])
        assert any(message["role"] == "assistant" for message in row["messages"])
        for tool in row["tools"]:
            assert tool["type"] == "function"
            assert tool["function"]["parameters"]["type"] == "object"
        for message in row["messages"]:
            for called in message.get("tool_calls", []):
                assert called["type"] == "function"
                assert isinstance(called["function"]["arguments"], dict)


@given(st.lists(ROWS, max_size=4), st.sampled_from(["native", "json", "text"]), st.sampled_from([OURS, HARN]))
def test_export_never_raises_for_any_rows(rows: list[Any], tool_format: str, dialect: Dialect) -> None:
    files = MemoryFiles(corpus=rows)
    report = run(files, dialect, tool_format=tool_format)
    assert report.ok is bool(files.written)
    assert report.ok is (not report.errors)
    json.dumps(report.model_dump(mode="json"), allow_nan=False).encode()


def test_an_adapter_is_not_called_what_the_base_was_asked_for_by() -> None:
    at = replace(route(), selector=" Coyote ")
    report = export(replace(ASKED, adapter_name="coyote"), at, OURS, MemoryFiles(corpus=[text_row("a")]))
    assert codes(report) == ["name_clash"]


def test_a_whole_manifest_of_another_contract_is_not_the_one_that_was_made() -> None:
    other = MemoryFiles(corpus=[text_row("a")])
    run(other, chat_template="another")
    files = MemoryFiles(corpus=[text_row("a")])
    files.spoil = lambda _: other.written["out.json"]
    assert verify(json.loads(other.written["out.json"])["contract"]).verdict == "verified"
    assert codes(run(files)) == ["contract_unverified"]
    assert files.written == {}
