"""``adopt`` and ``disown`` of an adapter as a person and a program read them; a server stands in for a vLLM."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from syrupy.assertion import SnapshotAssertion

from tests import lora_files
from tests.cli.line import Answer, Line
from tests.doubles.vllm import VllmDouble

BASE = "acme/tiny-llama"


@pytest.fixture
def server() -> Iterator[VllmDouble]:
    with VllmDouble(BASE) as double:
        yield double


@pytest.fixture
def applied(line: Line, server: VllmDouble) -> Line:
    """A machine whose one adapter is attached."""
    pairs = lora_files.pairs("q_proj", "v_proj", rank=4)
    lora_files.folder(line.folder / "sql", pairs, lora_files.config(r=4))
    line.write(
        f"""
localModels:
  slots: []
  targets: [{{name: gpu, runtime: vllm, endpoint: "{server.url}"}}]
  adapters:
    - {{name: sql, base: {BASE}, source: {{path: sql}}, serve: [{{target: gpu}}]}}
"""
    )
    assert line("apply", "--yes", "--offline").code == 0
    return line


def shown(line: Line, *words: str) -> str:
    def ran(answer: Answer) -> str:
        return f"$ localmodels {' '.join(words)}\n{answer.out}{answer.err}= {answer.code}"

    return line.stable(ran(line(*words)))


def test_it_changes_hands(applied: Line, server: VllmDouble, snapshot: SnapshotAssertion) -> None:
    loaded = server.loras["sql"].path
    said = [
        shown(applied, *words)
        for words in (
            ("disown", "sql"),
            ("disown", "adapter/sql"),
            ("disown", "adapter/sql"),
            ("adopt", "sql"),
            ("adopt", "adapter/sqk"),
            ("adopt", "adapter/sql", "--target", "far"),
            ("adopt", "adapter/sql"),
            ("adopt", "adapter/sql"),
        )
    ]
    assert "\n\n".join(said) == snapshot
    assert server.loras["sql"].path == loaded


def test_a_program_reads_what_the_record_says(applied: Line) -> None:
    gone = applied("disown", "adapter/sql", "--json").data
    taken = applied("adopt", "adapter/sql", "--json").data
    assert (gone["adapter"], gone["name"], gone["targetName"]) == ("sql", "sql", "gpu")
    assert taken == gone | {"attachedAt": taken["attachedAt"]}
    assert applied("plan", "--offline", "--json").data["kept"][0]["reason"] == "in-sync"


def test_what_cannot_be_shown_says_why(applied: Line, server: VllmDouble) -> None:
    applied("disown", "adapter/sql")
    server.modules = {"sql": str(applied.folder / "sql")}  # started with it
    server.updating = False
    server.restart()
    error = applied("adopt", "adapter/sql", "--json").error
    assert error["code"] == "not-proven"
    assert "cannot be given our copy instead" in error["message"]
    assert error["hint"].startswith("it stays as it is, and somebody else's")


def test_an_adapter_that_is_served_by_another_name_is_named_in_the_hint(applied: Line) -> None:
    file = applied.folder / "localmodels.yaml"
    file.write_text(file.read_text().replace("target: gpu}]", "target: gpu, as: tools}]"))
    assert applied("apply", "--yes", "--offline").code == 0
    for name in ("sql", "tools"):
        assert "`localmodels disown adapter/sql`" in applied("disown", name, "--json").error["hint"]
