"""``lora plan`` as it is typed: what is printed, in text and JSON, in both dialects, and what is refused."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.cli.line import Line
from tests.cli.test_startup import HEAVY, loaded
from tests.lora.corpora import text_row

ORIGIN = ("lora", "plan", "--dialect", "harn", "--base", "local-gemma4-e4b", "--provider", "local-vllm")
OURS = ("lora", "plan", "--base", "Qwen/Qwen2.5-7B-Instruct")


def test_the_plan_of_a_base(line: Line, snapshot: SnapshotAssertion) -> None:
    answer = line(*OURS, "--corpus", "./corpus", "--rank", "24")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == snapshot


def test_the_origins_recipe(line: Line, snapshot: SnapshotAssertion) -> None:
    answer = line(*ORIGIN, "--corpus", "./lora-corpus", "--teacher", "dashscope/qwen3-coder-next")
    assert (answer.code, answer.err) == (0, "")
    for words in (
        "LoRA plan for gemma-4-e4b-it via vllm",
        "tool format: json (requested auto)",
        "native tools: no, preferred: unset",
        "training: qlora + peft_lora",
        "trainer: trl_sft_trainer",
        "LoRA hparams: rank=16 alpha=32 dropout=0.05",
        "target modules: all-linear",
        "training base precision: 4bit_nf4_or_runtime_equivalent",
        "training compute precision: bf16_when_supported_else_fp16",
        "adapter precision: bf16_or_fp16_lora_weights",
        "serving base precision: same_quantization_family_as_training_or_revalidate",
        "assistant mask: require_chat_template_generation_masks",
        "parser owner: harn_text_tool_parser",
        "split policy: train_tune_holdout_disjoint_no_eval_holdout_training",
        "template: harn_text_tool_calls_json_fences",
        "dataset format: harn_text_tool_calls_json_fences",
        "corpus: ./lora-corpus",
        "corpus strategy: refresh (requested auto)",
        "teacher: dashscope/qwen3-coder-next via dashscope",
        "minimum trials: 5",
        "adapter binding: runtime_lora_adapter",
        "LoRA module format: json_with_base_model",
        (
            "harn models lora export --base local-gemma4-e4b --provider vllm --tool-format json --corpus ./lora-corpus "
            "--out ADAPTER_DATASET.jsonl --manifest ADAPTER_DATASET.manifest.json --adapter-name ADAPTER_NAME "
            "--chat-template harn_text_tool_calls_json_fences"
        ),
        "harn eval tool-calls --planner ADAPTER_MODEL --tool-format json --dataset ./lora-corpus",
        "harn models lora inspect --base local-gemma4-e4b --provider vllm --name ADAPTER_NAME ADAPTER_PATH_OR_REPO",
        "harn local launch local-gemma4-e4b --provider vllm --model-source gemma-4-e4b-it",
    ):
        assert words in answer.out
    assert answer.out == snapshot


def test_the_origins_native_recipe_as_json(line: Line) -> None:
    answer = line(*ORIGIN, "--tool-format", "native", "--method", "lora", "--json")
    found = answer.data
    assert found["base"]["tool_format"] == "json"
    assert found["request"]["effective_tool_format"] == "native"
    assert found["request"]["effective_corpus_strategy"] == "audit-only"
    assert found["training"]["quantization"] == "base_model_precision"
    assert found["training"]["target_modules"]["modules"][-1] == "down_proj"
    assert found["data"]["dataset_format"] == "messages_with_tool_calls"
    assert found["template"]["name"] == "gemma4_native_function_calling"
    assert found["launch"]["request_model"] == "ADAPTER_MODEL"
    assert "CORPUS_JSONL_OR_DIR" in found["launch"]["export_command"]
    assert "conformance/tool-call-eval" in found["evaluation"]["eval_command"]
    assert any("--enable-auto-tool-choice" in note for note in found["serving"]["runtime_notes"])
    assert "native schema" in found["evaluation"]["required_metrics"][1]
    assert [one["code"] for one in found["findings"]] == ["native_unsupported"]
    assert answer.envelope["warnings"] == found["warnings"]


def test_json_is_ours_in_camel_case(line: Line, snapshot: SnapshotAssertion) -> None:
    answer = line(*OURS, "--json")
    assert (answer.code, answer.err) == (0, "")
    assert json.dumps(answer.data, indent=2, ensure_ascii=False) == snapshot


def test_what_could_not_be_served_is_no_plan(line: Line, snapshot: SnapshotAssertion) -> None:
    answer = line(*OURS, "--rank", "600", "--modules-to-save", "lm_head")
    assert answer.code == 1
    assert answer.out.split("\n  inspect adapter:")[1] == snapshot
    assert "local launch" not in answer.out
    found = line(*OURS, "--rank", "600", "--json")
    assert (found.code, found.error["code"]) == (1, "lora-plan-failed")
    assert "vLLM serves no adapter of rank 600" in found.error["message"]
    assert found.error["details"]["training"]["rank"] == 600
    assert found.error["details"]["findings"][-1]["code"] == "rank_too_large"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("--rank", "0"), "usage"),
        (("--rank", "many"), "usage"),
        (("--dropout", "nan"), "usage"),
        (("--method", "full"), "usage"),
        (("--tool-format", "xml"), "usage"),
        (("--corpus-strategy", "more"), "usage"),
        (("--dialect", "other"), "usage"),
        (("--base", "qwne2.5-7b-instruct"), "unknown-model"),
        (("--teacher", ""), "usage"),
    ],
)
def test_what_cannot_be_is_refused(line: Line, words: tuple[str, ...], code: str) -> None:
    answer = line(*OURS, *words, "--json")
    assert (answer.code, answer.error["code"]) == (64, code)
    assert answer.error["hint"]


def test_a_base_is_needed(line: Line) -> None:
    answer = line("lora", "plan", "--json")
    assert (answer.code, answer.error["code"]) == (64, "usage")
    assert "--base" in answer.error["message"]


def test_no_file_is_needed_and_none_is_written(line: Line) -> None:
    assert line(*OURS, "--corpus", "/nowhere").code == 0
    assert list(line.folder.iterdir()) == []


@pytest.mark.parametrize("provider", ["vllm", "llamacpp", "ollama", "sglang", "mlx", "tgi", "lm-studio", "openai"])
def test_every_provider_of_the_table_has_a_plan(line: Line, provider: str, snapshot: SnapshotAssertion) -> None:
    answer = line(*OURS, "--provider", provider)
    assert answer.code == 0
    kept = [row for row in answer.out.splitlines() if "precision" not in row]
    told = kept[next(index for index, row in enumerate(kept) if "adapter binding" in row) :]
    assert "\n".join(row for row in told if "lora export" not in row) == snapshot


def test_it_loads_only_what_it_is_made_of(tmp_path: Path) -> None:
    assert not loaded(tmp_path, *OURS) & (set(HEAVY) - {"pydantic", "typer"})


CALL = '<tool_call>{"name": "search", "arguments": {"q": "x"}}</tool_call>'
RECORD = {
    "id": "r1",
    "messages": [
        {"role": "system", "content": "Available tools: search"},
        {"role": "user", "content": "find x"},
        {"role": "assistant", "content": CALL},
    ],
    "metadata": {"tool_format": "json"},
}


@pytest.mark.parametrize("method", ["qlora", "lora"])
@pytest.mark.parametrize("dialect", ["localmodels", "harn"])
@pytest.mark.parametrize("tool_format", ["native", "json"])
def test_the_commands_of_a_plan_run_and_make_its_contract(
    line: Line, dialect: str, method: str, tool_format: str
) -> None:
    line.write(json.dumps(RECORD) + "\n", "corpus.jsonl")
    asked = ("--base", "gemma-4-e4b-it", "--provider", "sglang", "--method", method, "--modules-to-save", "lm_head")
    plan = line(
        "lora", "plan", *asked, "--tool-format", tool_format, "--corpus", "corpus.jsonl", "--dialect", dialect, "--json"
    ).data
    ours = {"exportCommand": "export_command", "preflightCommand": "preflight_command", "contractId": "contract_id"}
    key = {name: name if dialect == "localmodels" else other for name, other in ours.items()}
    export, preflight = (
        command[command.index("lora") :]
        for command in (plan["launch"][key["exportCommand"]], plan["launch"][key["preflightCommand"]])
    )
    made = line(*export, "--dialect", dialect, "--json")
    assert made.code == 0, made
    assert made.data["contract"]["id"] == plan[key["contractId"]]
    assert (
        json.loads((line.folder / "ADAPTER_DATASET.manifest.json").read_text())["contract"]["id"]
        == plan[key["contractId"]]
    )
    assert line(*preflight, "--dialect", dialect).code in (0, 1)


def test_the_preflight_of_a_plan_takes_what_its_export_takes(line: Line) -> None:
    """A corpus of calls as text becomes one of native calls: the plan's own check must not refuse it."""
    line.write("".join(json.dumps(text_row(name)) + "\n" for name in ("a", "b")), "corpus.jsonl")
    launch = line(*OURS, "--corpus", "corpus.jsonl", "--json").data["launch"]
    assert line(*launch["preflightCommand"][1:]).code == 0
    assert line(*launch["exportCommand"][1:]).code == 0


def test_the_corpus_of_a_plan_is_never_opened(line: Line) -> None:
    """A pipe that nobody writes to would hold up whoever opens it."""
    os.mkfifo(line.folder / "corpus.jsonl")
    opened: list[object] = []
    watching = [True]
    sys.addaudithook(lambda event, given: opened.append(given[0]) if event == "open" and watching[0] else None)
    try:
        answer = line(*OURS, "--corpus", "corpus.jsonl", "--json")
    finally:
        watching[0] = False
    assert answer.data["request"]["corpus"] == "corpus.jsonl"
    assert not [one for one in opened if "corpus.jsonl" in str(one)]
