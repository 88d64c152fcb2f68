"""``max`` as a context: in the questions of the command line, and from the file to the plan and to who asks."""

from __future__ import annotations

import pytest

from tests.cli.line import Line

OFFLINE = ("--offline", "--hardware", "rtx-4060")
FILE = """
localModels:
  name: t
  pool: {allowedOrgs: [Qwen], packagers: [unsloth]}
  slots: [{name: chat, context: max, kvCache: q8_0, parallel: 2}]
  targets: [{name: s, runtime: store}]
"""


def test_suggest_ranks_at_the_longest_context_that_fits(line: Line) -> None:
    found = line("suggest", *OFFLINE, "--context", "max", "--json").data
    assert found["context"] == "max"
    assert len({row["context"] for row in found["rows"]}) > 3
    for row in found["rows"]:
        assert row["memoryBytes"] <= 8 * 2**30
        assert row["context"] == row["contextLength"] or row["context"] % 1024 == 0
    assert "at the longest context that fits" in line("suggest", *OFFLINE, "--context", "max").out


@pytest.mark.parametrize("word", ["0", "32k", "Max", ""])
def test_another_context_is_wrong_usage(line: Line, word: str) -> None:
    refused = line("suggest", *OFFLINE, "--context", word)
    assert refused.code == 64
    assert "write a whole number of tokens, such as 32768, or max" in refused.err


def test_a_plan_says_how_many_tokens_fit_and_for_what(line: Line) -> None:
    line.write(FILE)
    (row,) = line("plan", *OFFLINE, "--json").data["changes"]
    said = row["evidence"]
    assert (said["kvCache"], said["parallel"]) == ("q8_0", 2)
    assert said["context"] % 1024 == 0
    assert said["notes"][0].startswith(f"{said['context']:,} tokens fit")
    assert said["notes"][1] == "if it is served with a q8_0 cache and 2 conversations at once"
    assert f"      {'; '.join(said['notes'])}\n" in line("plan", *OFFLINE).out


def test_explain_for_the_slot_judges_at_the_same_context(line: Line) -> None:
    line.write(FILE)
    (row,) = line("plan", *OFFLINE, "--json").data["changes"]
    found = line("explain", f"{row['modelId']}:{row['quant']}", "--slot", "chat", *OFFLINE, "--json").data
    assert (found["context"], found["memory"]["totalBytes"]) == (
        row["evidence"]["context"],
        row["evidence"]["memoryBytes"],
    )
