"""``adapters`` in the file: read into what the code reads, and every mistake told with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from reconciler.domain.adapter import (
    Adapter,
    AdapterServing,
    AdapterSource,
    Expected,
    ExpectedContract,
    Gate,
)
from reconciler.errors import DesiredStateError
from reconciler.integrations.files.desired_file import read_desired
from reconciler.integrations.files.problems import render_problems
from tests.integrations.files.documents import FULL

HERE = Path(__file__).parent


def adapters(text: str) -> tuple[Adapter, ...]:
    return read_desired(text, source="/home/me/conf/localmodels.yaml", environment={"HOME": "/home/me"}).adapters


def problems(text: str | bytes) -> str:
    with pytest.raises(DesiredStateError) as caught:
        read_desired(text, source="localmodels.yaml", environment={}, thorough=True)
    return render_problems(caught.value)


def written(**changes: object) -> str:
    adapter = {"name": "sql", "base": "coder", "source": {"path": "a"}, "serve": [{"target": "edge"}], **changes}
    block = {
        "pool": {"allowedOrgs": ["Qwen"]},
        "slots": [{"name": "coder"}],
        "targets": [{"name": "edge", "runtime": "llama-server"}, {"name": "fast", "runtime": "vllm"}],
        "adapters": [adapter],
    }
    return yaml.safe_dump({"localModels": block})


def test_a_list_full_of_mistakes_tells_all_of_them(snapshot: SnapshotAssertion) -> None:
    assert problems((HERE / "adapters.yaml").read_bytes()) == snapshot


def test_every_key_arrives() -> None:
    full, least = adapters(yaml.safe_dump(FULL))
    assert full.model_copy(update={"line": None}) == Adapter(
        name="sql-tools",
        base="pin",
        source=AdapterSource(repo="Qwen/sql", revision="v1"),
        expect=Expected(
            max_rank=64, alpha=32, target_modules=("q_proj",), peft_type="LORA", dtype="bf16",
            sha256=(("adapter_model.safetensors", "0" * 64),),
        ),
        contract=ExpectedContract(
            manifest="/home/me/conf/m.json", id="sha256:1", require_in_adapter=True, tool_format="native",
            chat_template_sha256="0" * 64,
        ),
        gate=Gate(receipt="/home/me/conf/r.json", max_age_seconds=30 * 86_400, minimum_trials=5, on_missing="warn"),
        serve=(AdapterServing(target="local", name="sql"),),
        convert="q8_0",
        on_base_change="follow",
        on_mismatch="warn",
    )  # fmt: skip
    assert (least.source.path, least.expect, least.absent) == ("/home/me/conf/adapters/notes", Expected(rank=16), True)
    assert full.line is not None
    assert least.line is not None
    assert full.line < least.line


def test_the_name_stands_in_for_as() -> None:
    (adapter,) = adapters(written(source={"path": "~/sql"}, serve=[{"target": "edge", "scale": 0.5}]))
    assert adapter.serve == (AdapterServing(target="edge", name="sql", scale=0.5),)
    assert adapter.source.path == "/home/me/sql"


def test_what_is_absent_needs_its_name_and_nothing_that_may_have_left_before_it() -> None:
    text = """
localModels:
  slots: []
  adapters:
    - {name: sql, absent: true}
    - {name: chat, base: gone, source: {hub: {repo: gone/x, revision: v1}}, serve: [{target: gone}], absent: true}
"""
    least, most = adapters(text)
    assert (least.name, least.base, least.source, least.absent) == ("sql", "", AdapterSource(), True)
    assert (most.base, most.source.repo, most.absent) == ("gone", "gone/x", True)
    refused = problems(text.replace("absent: true", "absent: false"))
    assert "adapters[0].base: the key is missing" in refused
    assert "adapters[0].source: the key is missing" in refused


def test_a_broken_absent_hides_what_it_would_have_excused() -> None:
    assert "missing" not in problems("localModels: {slots: [], adapters: [{name: a, absent: perhaps}]}")
    assert "missing" not in problems("localModels: {slots: [], adapters: [{name: a, absnt: true}]}")


@pytest.mark.parametrize("revision", ["v1.0", "a" * 40, "refs/pr/1"])
def test_a_pinned_revision_is_taken(revision: str) -> None:
    (adapter,) = adapters(written(source={"hub": {"repo": "Qwen/x", "revision": revision}}))
    assert adapter.source.revision == revision


@pytest.mark.parametrize("revision", ["main", "master", "HEAD", "", "a b"])
def test_a_branch_is_refused(revision: str) -> None:
    assert "a branch such as main moves" in problems(written(source={"hub": {"repo": "Qwen/x", "revision": revision}}))


@pytest.mark.parametrize("base", ["coder", "Qwen/Qwen3-8B", "qwen3:8b"])
def test_a_base_is_a_slot_or_a_model(base: str) -> None:
    (adapter,) = adapters(written(base=base))
    assert adapter.base == base


def test_a_base_that_a_vllm_serves_from_a_folder_can_be_given_a_name_that_is_one() -> None:
    way_out = "where a vLLM serves a folder as tiny, start it with --served-model-name org/tiny and name that"
    assert way_out in problems(written(base="tiny", serve=[{"target": "edge"}, {"target": "fast"}]))
    assert "--served-model-name" not in problems(written(base="tiny"))
    assert adapters(written(base="org/tiny", serve=[{"target": "fast"}]))[0].base == "org/tiny"


def test_one_adapter_has_one_name_on_each_of_its_targets() -> None:
    both = [{"target": "edge"}, {"target": "fast"}]
    (adapter,) = adapters(written(serve=both))
    assert [one.target for one in adapter.serve] == ["edge", "fast"]
    assert "each once per target" in problems(written(serve=[*both, {"target": "fast"}]))


def test_implied_slots_are_bases_too() -> None:
    text = yaml.safe_dump(
        {
            "localModels": {
                "installer": {"backend": "ollama"},
                "adapters": [{"name": "a", "base": "coding", "source": {"path": "a"}, "serve": [{"target": "ollama"}]}],
            }
        }
    )
    assert adapters(text)[0].base == "coding"
    assert "has no adapters" in problems(
        text.replace("backend: ollama", "backend: advisory").replace("target: ollama", "target: advisory")
    )


def test_a_mistake_is_told_once_and_where_it_is() -> None:
    wrong = written(source={"path": ""}, expect={"rank": -1, "sha256": {"a": "b"}})
    told = problems(wrong)
    assert "3 problems" in told
    assert "mapping; allowed" not in told
    assert "found an empty mapping; allowed: one of path, hub" in problems(written(source={}))


def test_a_list_of_mappings_is_no_list_of_words() -> None:
    told = problems('localModels: {adapters: "x"}')
    assert "[x]" not in told
    assert "'- ' before each entry" in told


def test_a_target_that_stands_twice_is_named() -> None:
    told = problems(written(serve=[{"target": "edge"}, {"target": "edge"}]))
    assert "serve[1].target: found 'edge', where 'sql' is the name of adapter 'sql' already" in told
