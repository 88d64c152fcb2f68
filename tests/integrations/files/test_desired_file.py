"""A file is found, read, and judged whole: every problem in one run, each with its place and what to write."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from syrupy.assertion import SnapshotAssertion

from reconciler.domain.desired import DesiredState
from reconciler.domain.units import GB, GIB
from reconciler.errors import DesiredStateError, Problem
from reconciler.integrations.files.desired_file import DesiredFile, find_file, read_desired
from reconciler.integrations.files.problems import render_problem, render_problems
from tests.integrations.files.documents import FULL, LONG, mutated

HERE = Path(__file__).parent
SOURCE = "localmodels.yaml"


def read(text: str, **environment: str) -> DesiredState:
    return read_desired(text, source="/home/me/conf/localmodels.yaml", environment={"HOME": "/home/me", **environment})


def refused(text: str, **environment: str) -> str:
    with pytest.raises(DesiredStateError) as caught:
        read_desired(text, source=SOURCE, environment=environment)
    assert caught.value.problems
    return "\n".join(render_problem(problem, SOURCE) for problem in caught.value.problems)


def block(inner: str) -> str:
    return "localModels:\n" + "".join(f"  {line}\n" for line in inner.strip("\n").split("\n"))


def test_a_file_full_of_mistakes_tells_all_of_them(snapshot: SnapshotAssertion) -> None:
    with pytest.raises(DesiredStateError) as caught:
        read_desired((HERE / "mistakes.yaml").read_bytes(), source=SOURCE, environment={})
    assert render_problems(caught.value) == snapshot


def test_rules_between_keys_are_told_together_too(snapshot: SnapshotAssertion) -> None:
    with pytest.raises(DesiredStateError) as caught:
        read_desired((HERE / "contradictions.yaml").read_bytes(), source=SOURCE, environment={})
    assert render_problems(caught.value) == snapshot


def test_a_wrong_value_hides_no_mistake_elsewhere() -> None:
    told = refused(
        block(
            "pool: {diskBudget: oops, allowedOrgs: [Qwen]}\n"
            "slots:\n  - {name: a, model: evil/foo-GGUF}\n  - {name: b, target: nowhere}\n"
            "targets:\n  - {name: local, insecure: maybe}"
        )
    )
    assert [line.split(": ")[1] for line in told.splitlines() if line.startswith(SOURCE)] == [
        "localModels.pool.diskBudget", "localModels.slots[0].model", "localModels.slots[1].target",
        "localModels.targets[0].insecure",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "inner",
    [
        "pool: {allowedOrgs: Qwen}\nslots: [{name: a, model: Qwen/X}]",
        "pool: {allowdOrgs: [Qwen]}\nslots: [{name: a, model: Qwen/X}]",
        "slots: [{name: a, target: big}]\ntargets: [{name: 5}]",
        "slots: [{name: a, target: big}]\ntargets: big",
        "pool: {allowedOrgs: [Qwen]}\nslots: [{name: a, model: 'qwen3:8b'}]\ntargets: [{name: t, runtime: olama}]",
        "slots: [{name: a, model: 'r:1/me/x:y'}]\ntargets: [{name: t, runtime: ollama, registry: 'http://r:1'}]\npool: {allowedOrgs: [me]}",
        "targets: [{name: t, runtime: ollama, registry: 'http://r:5000', insecure: true}]",
        "targets: [{name: t, runtime: ollama, endpoint: big, hardware: {platform: nvidia, vramGb: 8}}]",
        "targets: [{name: t, path: 5}, {name: u}]",
        "targets: [{name: t, endpoint: 'http://big', runtime: vllm, diskBudget: 1GB, hardware: 24}]",
        "hardware: {override: {platform: nvidia, vramGb: much}}",
    ],
)
def test_what_rests_on_a_wrong_value_is_not_told_as_wrong_too(inner: str) -> None:
    told = [line for line in refused(block(inner)).splitlines() if line.startswith(SOURCE)]
    assert len(told) == 1, told


def test_broken_yaml_is_told_in_words(snapshot: SnapshotAssertion) -> None:
    texts = {
        "empty": "# nothing\n", "list": "- a\n", "tab": "localModels:\n\tenabled: true\n", "colon": "localModels: a: b\n",
        "bracket": "localModels: [1,\n", "documents": "localModels: {}\n---\na: 1\n", "tag": "localModels: !!map {}\n",
        "merge": "localModels: {<<: {}}\n", "key": "localModels: {1: a, [b]: c}\n", "alias": "localModels: *a\n",
        "nested alias": block("pool:\n  keep: &a [x]\n  never: &b [*a]\nslots: *b"), "number": block("interval: .inf"),
        "control": "localModels: \x01\n", "at": "localModels: {name: @x}\n", "large": "#" * (2**20 + 1),
    }  # fmt: skip
    assert "\n".join(f"-- {name}\n{refused(text)}" for name, text in texts.items()) == snapshot


def test_bytes_that_are_not_text_are_refused_with_their_place() -> None:
    with pytest.raises(DesiredStateError) as caught:
        read_desired(b"localModels:\n  name: \xff\n", source=SOURCE, environment={})
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (2, 9)


def test_an_alias_bomb_is_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40))]
    assert refused("\n".join(lines)).count("holds an alias itself") == 1
    wide = "a: &a [" + "x, " * 5000 + "x]\nb: [" + "*a, " * 50 + "*a]"
    assert "aliases written out" in refused(wide)
    assert "nested deeper" in refused("a: " + "[" * 200 + "]" * 200)


def test_every_anchor_that_holds_an_alias_is_told() -> None:
    told = refused(block("pool: {keep: &a [x]}\nslots: [&b [*a], &c [*a]]\ntargets: [*b, *c, *b]"))
    assert told.count("holds an alias itself") == 2


def test_plain_aliases_mean_what_they_stand_for() -> None:
    desired = read(block("pool:\n  allowedOrgs: &trusted [Qwen]\n  packagers: *trusted\nslots: []"))
    assert desired.pool.packagers == ("Qwen",)


def test_words_are_text_unless_they_are_true_or_false() -> None:
    assert read(block("pool: {allowedOrgs: [no, on, Y]}")).pool.allowed_orgs == ("no", "on", "Y")


def test_an_empty_block_has_every_default() -> None:
    desired = read("localModels: {}\n")
    assert desired.enabled
    assert desired.name == "default"
    assert desired.pool.disk_budget == 100 * GIB
    assert desired.pool.min_free_disk is None
    assert desired.pool.packagers == ("ollama-library",)
    assert desired.pool.prune == "always"
    assert desired.approval == "manual"
    assert (desired.interval_seconds, desired.refresh.interval_seconds, desired.refresh.jitter_seconds) == (
        300,
        86_400,
        600,
    )
    assert desired.refresh.proposal_threshold == 5
    assert [slot.profile for slot in desired.slots] == ["general", "coding", "reasoning"]
    assert desired.slots_implied
    (target,) = desired.targets
    assert (target.name, target.runtime, target.path, target.is_local) == ("store", "store", None, True)
    assert any("targets: [{name: store, runtime: store}]" in notice for notice in desired.notices)
    assert any("allowedOrgs is empty" in notice for notice in desired.notices)


def test_no_slots_written_means_three_and_an_empty_list_means_none() -> None:
    assert len(read("localModels: {}").slots) == 3
    desired = read("localModels: {slots: []}")
    assert desired.slots == ()
    assert not desired.slots_implied
    assert "found no value" in refused(block("slots:"))


def test_units_and_twins() -> None:
    desired = read(block("pool: {diskBudgetGb: 120, minFreeDisk: 1.5TB}\nrefresh: {intervalMs: 7200000, jitter: 30s}"))
    assert desired.pool.disk_budget == 120 * GIB
    assert desired.pool.min_free_disk == 1500 * GB
    assert (desired.refresh.interval_seconds, desired.refresh.jitter_seconds) == (7200, 30)
    assert read(block("pool: {diskBudget: 120GB}")).pool.disk_budget == 120 * GB


def test_the_jitter_never_brings_a_refresh_below_an_hour() -> None:
    quiet = read(block("refresh: {intervalMs: 3600000}"))
    assert quiet.refresh.jitter_seconds == 0
    assert not any("jitter" in notice for notice in quiet.notices)
    told = read(block("refresh: {interval: 90m, jitter: 45m}"))
    assert told.refresh.jitter_seconds == 1800
    assert any("refresh.jitter is cut from 45m to 30m" in notice for notice in told.notices)


def test_a_harness_fit_that_is_off_is_read_and_said(snapshot: SnapshotAssertion) -> None:
    assert any("harnessFit" in notice for notice in read(block("harnessFit: {enabled: false, topN: 3}")).notices)
    assert any("harnessFit" in notice for notice in read(block("harnessFit: {}")).notices)
    assert not any("harnessFit" in notice for notice in read("localModels: {}").notices)
    assert [refused(block(f"harnessFit: {{enabled: {value}}}")) for value in ("true", "no", "1")] == snapshot


def test_any_threshold_from_0_up_is_taken() -> None:
    assert read(block("refresh: {proposalThreshold: 1000.5}")).refresh.proposal_threshold == 1000.5
    assert "0 at least" in refused(block("refresh: {proposalThreshold: -1}"))


def test_the_long_form_means_the_same() -> None:
    plain = read(yaml.safe_dump(FULL))
    long = read(yaml.safe_dump(LONG))
    ignored = {"name": True, "digest": True, "source": True, "slots": True, "adapters": {"__all__": {"line"}}}
    assert plain.model_dump(exclude=ignored) == long.model_dump(exclude=ignored)
    assert long.name == "node"


def test_json_is_fine_too() -> None:
    assert read(json.dumps(FULL)).name == "workstation"


def test_paths_start_at_the_files_folder_and_home() -> None:
    desired = read(
        block("targets:\n  - {name: a, path: ../models}\n  - {name: b, path: ~/m/}\n  - {name: c, path: /abs/./x}")
    )
    assert [target.path for target in desired.targets] == ["/home/me/models", "/home/me/m", "/abs/x"]


def test_targets_on_this_host_and_elsewhere() -> None:
    desired = read(
        block(
            "targets:\n  - {name: a, runtime: ollama, endpoint: 'http://LOCALHOST:1/'}\n  - {name: b, runtime: ollama, endpoint: 'http://[::1]:1'}\n"
            "  - {name: c, runtime: vllm, endpoint: 'http://big:8000', hardware: {platform: amd, vramGb: 64}, diskBudgetGb: 10}\n"
            "  - {name: d, runtime: lm-studio}\n  - {name: e, runtime: advisory}"
        )
    )
    assert [target.is_local for target in desired.targets] == [True, True, False, True, True]
    assert [(target.runtime, target.program) for target in desired.targets[2:]] == [
        ("advisory", "vllm"), ("advisory", "lms"), ("advisory", "llama-server"),
    ]  # fmt: skip
    assert desired.targets[2].disk_budget == 10 * GIB
    assert desired.targets[2].hardware is not None
    assert desired.targets[2].hardware.vram_bytes == 64 * GIB


def test_a_llama_server_is_on_this_host_unless_it_says_otherwise() -> None:
    desired = read(
        block(
            "targets:\n  - {name: a, runtime: llama-server, cache: ./hub}\n  - {name: b, runtime: llama-server,"
            " endpoint: 'http://big:8080', hardware: {platform: amd, vramGb: 64}, diskBudgetGb: 10}"
        )
    )
    here, there = desired.targets
    assert (here.endpoint, here.is_local, here.cache) == ("http://localhost:8080", True, "/home/me/conf/hub")
    assert (here.key, there.key) == ("llama-server|http://127.0.0.1:8080", "llama-server|http://big:8080")
    assert not there.is_local
    twice = "targets:\n  - {name: a, runtime: llama-server}\n  - {name: b, runtime: llama-server, endpoint: 'http://127.0.0.1:8080/'}"
    assert "the same place as target 'a'" in refused(block(twice))
    assert "cache" in refused(block("targets: [{name: a, runtime: store, cache: ./hub}]"))


def test_the_short_installer_may_be_elsewhere_with_an_override() -> None:
    text = block("installer: {ollamaEndpoint: 'http://big:11434'}\nhardware: {override: {platform: nvidia, vramGb: 8}}")
    (target,) = read(text).targets
    assert not target.is_local
    assert target.disk_budget == 100 * GIB
    assert "not on this host" in refused(block("installer: {ollamaEndpoint: 'http://big:11434'}"))


def test_a_cpu_machine_of_the_origin_has_its_memory_as_vram() -> None:
    machine = read(block("hardware: {override: {platform: cpu, vramGb: 16, bandwidthGbps: 40}}")).hardware
    assert machine is not None
    assert (machine.vram_bytes, machine.ram_bytes) == (0, 16 * GIB)


def test_the_environment_stands_in_for_the_hub() -> None:
    desired = read("localModels: {}", HF_ENDPOINT="http://mirror:8080/", HF_TOKEN="hf_secretsecret")
    assert desired.hub.endpoint == "http://mirror:8080"
    assert desired.hub.token_from is not None
    assert desired.hub.token_from.env == "HF_TOKEN"
    assert "hf_secret" not in desired.model_dump_json()
    assert read("localModels: {}").hub.token_from is None
    written = read(block("hub: {endpoint: 'https://h', tokenFrom: {file: token}}"), HF_ENDPOINT="junk")
    assert (written.hub.endpoint, written.hub.token_from and written.hub.token_from.file) == (
        "https://h",
        "/home/me/conf/token",
    )
    assert "$HF_ENDPOINT" in refused("localModels: {}", HF_ENDPOINT="junk")


@pytest.mark.parametrize(
    "inner",
    [
        "hub: {tokenFrom: hf_abcdefghijk}",
        "hub: {tokenFrom: {env: hf_abcdefghijk-x}}",
        "hub: {token: hf_abcdefghijk}",
        "hub: {endpoint: 'https://me:hf_abcdefghijk@host'}",
        "name: hf_abcdefghijk/x",
        "pool: {allowedOrgs: hf_abcdefghijk}",
    ],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(inner: str) -> None:
    assert "abcdefghijk" not in refused(block(inner))


def test_slots_know_their_lines() -> None:
    desired = read("localModels:\n  slots:\n    - name: a\n    - {name: b,\n       profile: coding}\n")
    assert [slot.line for slot in desired.slots] == [3, 4]


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mutated())
def test_every_document_is_read_or_refused_with_a_place(root: dict[str, Any]) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        read(yaml.safe_dump(root, allow_unicode=True))
    except DesiredStateError as error:
        problems = error.problems or (Problem("", "no problem is told"),)
    assert all(problem.line and problem.column and problem.message for problem in problems)


# --- finding and loading


def test_the_nearest_file_upwards_is_taken(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "localmodels.yaml").write_text("localModels: {}")
    assert find_file(None, {}, deep) == tmp_path / "localmodels.yaml"
    assert find_file(None, {"LOCALMODELS_FILE": "/x.yaml"}, deep) == Path("/x.yaml")
    assert find_file(Path("y.yaml"), {"LOCALMODELS_FILE": "/x.yaml"}, deep) == Path("y.yaml")


def test_no_file_anywhere_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DesiredStateError, match=r"no localmodels.yaml in") as caught:
        find_file(None, {}, tmp_path)
    assert "localmodels init" in (caught.value.hint or "")
    assert caught.value.code == "desired-state-missing"


async def test_it_is_read_again_at_every_load(tmp_path: Path) -> None:
    path = tmp_path / "localmodels.yaml"
    path.write_text("localModels: {name: one}")
    source = DesiredFile(path, environment={})
    first = await source.load()
    path.write_text("localModels: {name: two}")
    second = await source.load()
    assert (first.name, second.name) == ("one", "two")
    assert first.digest != second.digest
    assert first.source == str(path)


@pytest.mark.parametrize(("name", "message"), [("gone.yaml", "does not exist"), ("", "is a folder")])
def test_what_cannot_be_read_is_said_plainly(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(DesiredStateError, match=message) as caught:
        asyncio.run(DesiredFile(tmp_path / name, environment={}).load())
    assert caught.value.hint


@pytest.mark.parametrize(
    ("slots", "told"),
    [
        ("[{name: a, alias: a/b}]", "slots[0].alias: found 'a/b'"),
        ("[{name: a, alias: ../up}]", "slots[0].alias: found '../up'"),
        ("[{name: a, alias: 'two words'}]", "slots[0].alias: found 'two words'"),
        ("[{name: a, alias: coder:latest}]", "slots[0].alias: found 'coder:latest'"),
        ("[{name: a, alias: m.gguf}]", "slots[0].alias: found 'm.gguf'"),
        ("[{name: a, alias: x, count: 2}]", "found on a slot with 'count: 2'"),
        ("[{name: a, alias: x}, {name: b, alias: X}]", "found 'X', the alias of slot 'a'"),
        ("[{name: a, alias: x, target: t}, {name: b, alias: x}]", "found 'x', the alias of slot 'a'"),
        ("[{name: a, alias: qwen3, model: qwen3}]", "the name of the pinned model itself"),
    ],
)
def test_a_name_for_clients_that_cannot_be_one(slots: str, told: str) -> None:
    assert told in refused(block(f"slots: {slots}"))


def test_one_name_may_stand_on_two_targets() -> None:
    targets = "targets: [{name: s, runtime: store, path: /m}, {name: t, runtime: store, path: /n}]"
    text = block(f"{targets}\nslots: [{{name: a, alias: x, target: s}}, {{name: b, alias: x, target: t}}]")
    desired = read_desired(text, source=SOURCE, environment={})
    assert [(slot.alias, slot.target) for slot in desired.slots] == [("x", "s"), ("x", "t")]
