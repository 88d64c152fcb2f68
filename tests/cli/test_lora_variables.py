"""What ``lora`` commands read of the environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.line import Line
from tests.lora.corpora import text_row

EXPORT = ("lora", "export", "--base", "Qwen/Qwen3-8B", "--provider", "vllm", "--corpus", "corpus.jsonl")


def test_a_manifest_that_is_looked_at_is_never_written(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.write(json.dumps(text_row("a")) + "\n", "corpus.jsonl")
    line.write("mine", "manifest.json")
    monkeypatch.setenv("LOCALMODELS_MANIFEST", "manifest.json")
    assert line(*EXPORT, "--out", "out.jsonl").code == 0
    assert Path("manifest.json").read_text() == "mine"
    monkeypatch.setenv("LOCALMODELS_EXPORT_OUT", "out.jsonl")
    monkeypatch.setenv("LOCALMODELS_EXPORT_MANIFEST", "out.json")
    assert line(*EXPORT).code == 0
    assert Path("out.json").is_file()


def test_a_value_with_blanks_is_one_value(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.write(json.dumps(text_row("a")) + "\n", "corpus.jsonl")
    line.write("", "held out.jsonl")
    monkeypatch.setenv("LOCALMODELS_TARGET_METADATA", "note=two words\n\n  of=a line\n")
    monkeypatch.setenv("LOCALMODELS_AGAINST", "held out.jsonl")
    assert line(*EXPORT, "--out", "out.jsonl", "--manifest", "out.json").code == 0
    written = json.loads(Path("out.json").read_text())
    assert written["target"]["metadata"] == {"note": "two words", "of": "a line"}
    assert [one["path"] for one in written["provenance"]["disjoint_from"]] == ["held out.jsonl"]
    monkeypatch.delenv("LOCALMODELS_AGAINST")
    typed = line(*EXPORT, "--out", "out.jsonl", "--manifest", "out.json", "--target-metadata", "note=typed words")
    assert typed.code == 0
    assert json.loads(Path("out.json").read_text())["target"]["metadata"] == {"note": "typed words"}
