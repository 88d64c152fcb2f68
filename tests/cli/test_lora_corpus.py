"""``lora export`` and ``lora preflight`` as they are typed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.line import Line
from tests.lora.corpora import call, heredoc_row, native_row, text_row

DOCUMENT = (Path(__file__).parents[2] / "docs" / "lora.md").read_text(encoding="utf-8")
BASE = ("--base", "Qwen/Qwen3-8B")
ROUTE = (*BASE, "--provider", "vllm")
EXPORT = ("lora", "export", *ROUTE, "--corpus", "corpus.jsonl")
PREFLIGHT = ("lora", "preflight", *ROUTE, "--corpus", "corpus.jsonl")
OUT = ("--out", "out.jsonl", "--manifest", "out.json")


def corpus(line: Line, *rows: Any, name: str = "corpus.jsonl") -> Path:
    return line.write("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), name)


def bad_rows() -> list[Any]:
    odd = text_row("odd", language="", messages=[{"role": "assistant", "content": "\x1b[31m<tool_call>{</tool_call>"}])
    undeclared = text_row("undeclared", split="holdout")
    undeclared["messages"][2]["content"] = call("find", what="x" * 400)
    return [text_row("a"), "{", text_row("a", split="holdout"), odd, undeclared, {"id": "empty"}]


def test_an_export_as_a_person_reads_it(line: Line, snapshot: Any) -> None:
    corpus(line, text_row("a"), native_row("b", id="b"), heredoc_row("c", split="tune"), {"id": "empty"})
    found = line(*EXPORT, *OUT, "--adapter-name", "sql-tools", "--chat-template", "native_messages_with_tools")
    assert found.code == 0
    assert found.out == snapshot


def test_a_refused_export_as_a_person_reads_it(line: Line, snapshot: Any) -> None:
    corpus(line, *bad_rows())
    found = line(*EXPORT, *OUT)
    assert found.code == 1
    assert found.out == snapshot
    assert sorted(path.name for path in line.folder.iterdir()) == ["corpus.jsonl"]


def test_a_preflight_as_a_person_reads_it(line: Line, snapshot: Any) -> None:
    corpus(line, *bad_rows())
    found = line(*PREFLIGHT, "--done-marker", "x = 1", "--max-seq-length", "100")
    assert (found.code, found.out) == (0, snapshot)


def test_a_corpus_that_is_ready_as_a_person_reads_it(line: Line, snapshot: Any) -> None:
    corpus(line, text_row("a"), native_row("b", id="b"))
    line.write("max_seq_length: 2048\n", "train.yaml")
    found = line(*PREFLIGHT, "--config", "train.yaml", "--check")
    assert (found.code, found.out) == (0, snapshot)


def test_the_envelope_of_an_export(line: Line) -> None:
    corpus(line, text_row("a"))
    data = line(*EXPORT, *OUT, "--json").data
    manifest = json.loads(Path("out.json").read_text())
    assert data["ok"] is True
    assert data["contract"]["id"] == manifest["contract"]["id"]
    assert data["output"] == {"path": "out.jsonl", "sha256": manifest["output"]["sha256"], "manifestPath": "out.json"}
    assert data["request"]["effectiveToolFormat"] == "native"
    assert data["stats"] == {"records": 1, "emitted": 1, "skipped": 0, "toolCalls": 1, "toolResults": 1}


def test_the_origins_dialect_spells_keys_its_way(line: Line) -> None:
    corpus(line, text_row("a"))
    data = line(*EXPORT, *OUT, "--dialect", "harn", "--json").data
    assert data["request"]["effective_tool_format"] in ("json", "text", "native")
    assert data["tool_calling"]["text_tool_wire_format_supported"] is True


@pytest.mark.parametrize(("command", "code"), [(EXPORT, "lora-export-failed"), (PREFLIGHT, "lora-preflight-failed")])
def test_a_failure_is_an_error_with_the_report_as_details(line: Line, command: tuple[str, ...], code: str) -> None:
    corpus(line, *bad_rows())
    found = line(*command, "--check", "--json")
    assert found.code == 1
    assert (found.error["code"], found.error["details"]["ok"]) == (code, False)
    assert "line 2" in found.error["message"]
    assert found.envelope["warnings"]


def test_only_check_lets_a_preflight_fail(line: Line) -> None:
    corpus(line, *bad_rows())
    free, gated = line(*PREFLIGHT, "--json"), line(*PREFLIGHT, "--check", "--json")
    assert (free.code, gated.code) == (0, 1)
    assert (free.error["code"], free.error["details"]["ok"]) == ("lora-preflight-failed", False)
    assert free.error["message"] == gated.error["message"], "the envelope tells the same with and without --check"
    assert line(*PREFLIGHT, "--check").code == 1


def test_an_old_data_set_outlives_a_failing_run(line: Line) -> None:
    corpus(line, text_row("a"))
    assert line(*EXPORT, *OUT).code == 0
    before = Path("out.jsonl").read_bytes(), Path("out.json").read_bytes()
    corpus(line, "{")
    assert line(*EXPORT, *OUT).code == 1
    assert (Path("out.jsonl").read_bytes(), Path("out.json").read_bytes()) == before


def test_the_same_run_twice_gives_the_same_bytes(line: Line) -> None:
    corpus(line, text_row("a"), native_row("b"))
    line(*EXPORT, *OUT)
    first = Path("out.jsonl").read_bytes(), Path("out.json").read_bytes()
    line(*EXPORT, *OUT)
    assert (Path("out.jsonl").read_bytes(), Path("out.json").read_bytes()) == first


def test_a_data_set_may_be_exported_again_and_stays_what_it_is(line: Line) -> None:
    corpus(line, text_row("a"), native_row("b", id="b"))
    line(*EXPORT, *OUT)
    again = line("lora", "export", *ROUTE, "--corpus", "out.jsonl", "--out", "again.jsonl")
    assert again.code == 0
    one, other = (
        [json.loads(row) for row in Path(name).read_text().splitlines()] for name in ("out.jsonl", "again.jsonl")
    )
    assert [(row["messages"], row["tools"]) for row in one] == [(row["messages"], row["tools"]) for row in other]


def test_a_plan_names_an_export_of_the_very_contract(line: Line) -> None:
    corpus(line, text_row("a"))
    plan = line("lora", "plan", *ROUTE, "--corpus", "corpus.jsonl", "--method", "lora", "--json").data
    argv = plan["launch"]["exportCommand"]
    assert argv[:3] == ["localmodels", "lora", "export"]
    assert line(*argv[1:], "--json").data["contract"]["id"] == plan["contractId"]
    ready = plan["launch"]["preflightCommand"]
    assert line(*ready[1:]).code == 0


def test_an_export_goes_through_inspect(line: Line) -> None:
    """The manifest is what ``inspect --manifest`` reads."""
    corpus(line, text_row("a"))
    line(*EXPORT, *OUT, "--adapter-name", "tools")
    found = line("lora", "inspect", *ROUTE, "--manifest", "out.json", "--name", "tools", "somebody/tools", "--json")
    document = found.data if found.code == 0 else found.error["details"]
    assert document["contract"]["contractId"] == json.loads(Path("out.json").read_text())["contract"]["id"]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (EXPORT, "usage", "no place"),
        ((*EXPORT[:-1], "nothing.jsonl", "--check"), "file-unreadable", "nothing.jsonl"),
        ((*EXPORT, "--out", "corpus.jsonl"), "file-unwritable", "read here"),
        ((*EXPORT, "--check", "--manifest", "corpus.jsonl"), "file-unwritable", "read here"),
        ((*EXPORT, "--out", "out", "--target-metadata", "x"), "usage", "--target-metadata"),
        ((*EXPORT, "--check", "--tool-format", "xml"), "usage", "--tool-format"),
        ((*EXPORT, "--check", "--against", "held.jsonl"), "file-unreadable", "held.jsonl"),
        (("lora", "export", "--base", "", "--corpus", "corpus.jsonl", "--check"), "usage", "--base"),
        ((*PREFLIGHT, "--max-seq-length", "0"), "usage", "--max-seq-length"),
        ((*PREFLIGHT, "--min-fit-ratio", "nan"), "usage", "--min-fit-ratio"),
        ((*PREFLIGHT, "--config", "gone.yaml"), "file-unreadable", "gone.yaml"),
        ((*PREFLIGHT, "--config", "corpus.jsonl"), "training-config-invalid", "YAML"),
    ],
)
def test_wrong_usage_says_what_and_where(line: Line, arguments: tuple[str, ...], code: str, why: str) -> None:
    corpus(line, text_row("a"), text_row("b"))
    found = line(*arguments, "--json")
    assert (found.code, found.error["code"]) == (64, code)
    assert why in found.error["message"]
    assert sorted(path.name for path in line.folder.iterdir()) == ["corpus.jsonl"]


def test_the_documented_record_can_be_exported(line: Line) -> None:
    (block,) = re.findall(r"```json\n(.+?)```", DOCUMENT.partition("## The corpus")[2].partition("\n## ")[0], re.DOTALL)
    corpus(line, json.loads(block))
    assert line(*EXPORT, *OUT).code == 0
    assert line(*PREFLIGHT, "--check").code == 0


def test_every_finding_is_documented() -> None:
    """Of the code that reads and judges corpora: what it can find stands in the tables of the page."""
    root = Path(__file__).parents[2] / "reconciler"
    files = [
        root / "lora" / f"{name}.py"
        for name in ("behaviour", "conversation", "corpus", "dataset", "preflight", "splits")
    ]
    files += [root / "engine" / "lora" / f"{name}.py" for name in ("export", "preflight", "splitting")]
    made = re.compile(r"(?:error|warning|Unconvertible|BadRow)\(\s*(?:line\.number, |row\.line, )?\"([a-z]+_[a-z_]+)\"")
    codes = {code for file in files for code in made.findall(file.read_text(encoding="utf-8"))} | {
        "splits_share_records",
        "splits_share_prompts",
    }
    assert len(codes) > 25
    assert {code for code in codes if f"`{code}`" not in DOCUMENT} == set()


def test_a_provider_that_was_guessed_is_told_for_it_is_part_of_the_contract(line: Line) -> None:
    corpus(line, text_row("a"))
    told = line("lora", "export", *BASE, "--corpus", "corpus.jsonl", "--check").out
    assert "note: nobody said who serves it: vLLM is taken (provider_inferred)" in told
    assert "provider_inferred" not in line(*EXPORT, "--check").out


def test_a_check_says_what_became_of_the_records(line: Line) -> None:
    corpus(line, text_row("a"))
    assert "checked only: every record was converted, and no row was written" in line(*EXPORT, "--check").out
    corpus(line, *bad_rows())
    failed = line(*EXPORT, "--check").out
    assert "checked only: no row was written" in failed
    assert "could not be converted" in failed


def test_a_checked_export_as_a_person_reads_it(line: Line, snapshot: Any) -> None:
    corpus(line, text_row("a"), native_row("b", id="b"))
    found = line(*EXPORT, "--check")
    assert (found.code, found.out) == (0, snapshot)
    assert "via vllm: checked\n" in found.out
    assert "via vllm: exported\n" in line(*EXPORT, *OUT).out


def test_long_lists_are_cut_at_twelve(line: Line) -> None:
    corpus(line, *["{"] * 15, text_row("a"))
    for command in (EXPORT, PREFLIGHT):
        text = line(*command, "--check").out
        assert text.count("error: ") == 12
        assert re.search(r"\n  and \d+ more errors \(--json has them\)\n", text)
    rows = [text_row(f"r{number}") for number in range(15)]
    for row in rows:
        row["messages"][2]["content"] = call("find", what="x")
    corpus(line, *rows)
    text = line(*PREFLIGHT).out
    assert "    and 3 more (--json has them)" in text
    corpus(line, *rows[:12])
    assert "more (--json" not in line(*PREFLIGHT).out, "twelve are shown whole"
