"""Every flag of the ``lora`` commands as it is typed is in what the command is asked: none is declared and forgotten."""

from __future__ import annotations

import json
import sys
from types import FrameType
from typing import Any

import pytest

from reconciler.lora.contract import Contract
from tests.cli.line import Line
from tests.cli.test_run import LEAVES
from tests.lora_files import folder

TYPED: dict[str, dict[str, tuple[str, str, Any]]] = {
    "inspect": {
        "--name": ("n", "name", "n"),
        "--manifest": ("m", "manifest", "m"),
        "--require-contract-id": ("", "require_contract_id", True),
        "--tool-format": ("json", "tool_format", "json"),
        "--base-config": ("c", "base_config", "c"),
        "--base-gguf": ("g", "base_gguf", "g"),
        "--beside-rank": ("24", "beside", (24,)),
        "--strict": ("", "strict", True),
        "--lockfile": ("l", "lockfile", "l"),
    },
    "plan": {
        "--base": ("other", "base", "other"),
        "--provider": ("tgi", "provider", "tgi"),
        "--tool-format": ("json", "tool_format", "json"),
        "--corpus": ("c", "corpus", "c"),
        "--teacher": ("t", "teacher", "t"),
        "--corpus-strategy": ("distill", "corpus_strategy", "distill"),
        "--method": ("lora", "method", "lora"),
        "--rank": ("24", "rank", 24),
        "--alpha": ("7", "alpha", 7),
        "--dropout": ("0.5", "dropout", 0.5),
        "--modules-to-save": ("s", "modules_to_save", ("s",)),
        "--target-modules": ("t", "target_modules", ("t",)),
        "--tool-catalog-policy": ("p", "tool_catalog_policy", "p"),
        "--tool-catalog-id": ("i", "tool_catalog_id", "i"),
        "--tool-catalog-hash": ("h", "tool_catalog_hash", "h"),
    },
    "preflight": {
        "--corpus": ("other", "corpus", "other"),
        "--tool-format": ("json", "tool_format", "json"),
        "--config": ("c", "config", "c"),
        "--max-seq-length": ("9", "max_seq_length", 9),
        "--min-fit-ratio": ("0.5", "min_fit_ratio", 0.5),
        "--hard-token-limit": ("99", "hard_token_limit", 99),
        "--min-records": ("3", "min_records", 3),
        "--source-tool-format": ("text", "source_tool_format", "text"),
        "--min-tool-call-share": ("0.5", "min_tool_call_share", 0.5),
        "--done-marker": ("d", "done_marker", "d"),
        "--default-split": ("tune", "default_split", "tune"),
        "--against": ("two words", "against", ("two words",)),
        "--behavior-strata-policy": ("strict", "behavior_strata_policy", "strict"),
        "--check": ("", "check", True),
    },
    "export": {
        "--corpus": ("other", "corpus", "other"),
        "--tool-format": ("json", "tool_format", "json"),
        "--out": ("o", "out", "o"),
        "--manifest": ("m", "manifest", "m"),
        "--check": ("", "check", True),
        "--against": ("two words", "against", ("two words",)),
        "--adapter-name": ("n", "adapter_name", "n"),
        "--chat-template": ("t", "chat_template", "t"),
        "--target-metadata": ("k=two words", "target_metadata", ("k=two words",)),
        "--default-split": ("tune", "default_split", "tune"),
        "--default-license": ("MIT", "default_license", "MIT"),
        "--method": ("lora", "method", "lora"),
        "--modules-to-save": ("s", "modules_to_save", ("s",)),
        "--target-modules": ("t", "target_modules", ("t",)),
        "--tool-catalog-policy": ("p", "tool_catalog_policy", "p"),
        "--tool-catalog-id": ("i", "tool_catalog_id", "i"),
        "--tool-catalog-hash": ("h", "tool_catalog_hash", "h"),
    },
}
"""By command and flag: a value, the field of the request it is in, and as what."""
BESIDE = {
    "inspect": {"--base", "--provider", "--dialect", "--json", "--update-lockfile"},
    "plan": {"--dialect", "--json"},
    "preflight": {"--base", "--provider", "--dialect", "--json"},
    "export": {"--base", "--provider", "--dialect", "--json"},
}
"""Flags that are handed on beside the request."""
NEEDED = {"inspect": ["./a"], "plan": [], "preflight": ["--corpus", "c"], "export": ["--corpus", "c"]}
CASES = [(name, flag, *case) for name, flags in TYPED.items() for flag, case in flags.items()]
FLAGS = {
    path[1]: {parameter.opts[0] for parameter in one.params if parameter.param_type_name == "option"}  # type: ignore[attr-defined]
    for path, one in LEAVES
    if path[0] == "lora"
}


def asked(line: Line, name: str, *words: str) -> dict[str, Any]:
    """What ``show_lora_NAME`` is called with when this is typed. Seen from outside; the command then runs as ever."""
    seen: list[dict[str, Any]] = []

    def look(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_name == f"show_lora_{name}":
            seen.append(dict(frame.f_locals))

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        line("lora", name, *words)
    finally:
        sys.setprofile(before)
    (found,) = seen
    return found


@pytest.mark.parametrize(("name", "flag", "value", "field", "expected"), CASES)
def test_each_flag_is_in_the_request(
    name: str, flag: str, value: str, field: str, expected: object, line: Line
) -> None:
    needed = [*NEEDED[name], "--base", "acme/m"]
    without = asked(line, name, *needed)["request"]
    found = asked(line, name, *needed, flag, *([value] if value else []))["request"]
    assert getattr(found, field) == expected
    assert getattr(without, field) != expected, "the value that is typed must not be the default"


@pytest.mark.parametrize("name", ["inspect", "preflight", "export"])
def test_base_provider_and_dialect_go_beside_it(name: str, line: Line) -> None:
    typed = ("--base", "acme/m", "--provider", "tgi", "--dialect", "harn", "--json")
    found = asked(line, name, *NEEDED[name], *typed)
    assert [found[key] for key in ("base", "provider", "dialect", "as_json")] == ["acme/m", "tgi", "harn", True]
    assert found.get("accept", False) is False


def test_what_else_goes_beside_it(line: Line) -> None:
    accepting = asked(line, "inspect", "./a", "--base", "acme/m", "--lockfile", "l", "--update-lockfile")
    assert (accepting["accept"], accepting["request"].lockfile) == (True, "l")
    found = asked(line, "plan", "--base", "acme/m", "--dialect", "harn", "--json")
    assert (found["dialect"], found["as_json"]) == ("harn", True)


@pytest.mark.parametrize("name", TYPED)
def test_no_flag_is_left_out_above(name: str) -> None:
    assert FLAGS[name] - {"--help"} == TYPED[name].keys() | BESIDE[name]


def test_defaults(line: Line) -> None:
    ready = asked(line, "preflight", "--base", "acme/m", "--corpus", "c")["request"]
    assert (ready.min_records, ready.hard_token_limit, ready.min_tool_call_share) == (1, 32768, 0.95)
    assert (ready.behavior_strata_policy, ready.default_split, ready.tool_format) == ("off", "train", "auto")
    made = asked(line, "export", "--base", "acme/m", "--corpus", "c")["request"]
    assert (made.default_split, made.default_license, made.method) == ("train", "unknown", "qlora")
    planned = asked(line, "plan", "--base", "acme/m")["request"]
    assert (planned.rank, planned.alpha, planned.dropout, planned.method) == (16, None, 0.05, "qlora")


@pytest.mark.parametrize(("typed", "ok"), [("auto", True), ("native", True), ("json", False)])
def test_a_format_that_is_left_open_is_none(typed: str, ok: bool, line: Line) -> None:
    """``auto`` is no format that an adapter could be declared with: what its manifest says counts."""
    folder(line.folder / "a")
    fields = {"base_model": "acme/tiny-llama", "provider": "vllm", "harn_tool_format": "native",
              "dataset_format": "messages_with_tool_calls", "chat_template": None}  # fmt: skip
    contract = {"schema_version": 2, "id": Contract(**fields, schema_version=2).id, **fields}
    line.write(json.dumps({"contract": contract}), "m.json")
    base = ("--base", "acme/tiny-llama", "--provider", "vllm")
    assert (line("lora", "inspect", "a", *base, "--manifest", "m.json", "--tool-format", typed).code == 0) is ok
