"""What cannot or may not be done: the right sentence, the right exit code, and nothing changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.rig import DEAD, Machine, sha256_of, tiny_name, tiny_slot


def untouched(machine: Machine) -> bool:
    return not machine.store.exists() or machine.names() == []


def test_a_budget_that_is_too_small(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"), pool={"diskBudget": "4MB"})
    seen = machine.plan()
    assert seen.rows() == [("install", "missing", tiny_name("alpha"))]
    assert [row["reason"] for row in seen.data["blocked"]] == ["no-room"]
    applied = machine.apply(expect=4)
    assert "slot/beta[0]" in applied.out
    assert "missing" in applied.out
    assert machine.names() == [tiny_name("alpha")], "what has room is installed all the same"
    machine.apply(expect=4)
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    machine.in_sync()


def test_a_disk_that_must_stay_free(machine: Machine) -> None:
    free = shutil.disk_usage(machine.root).free
    machine.write(tiny_slot("alpha"), pool={"minFreeDisk": f"{free * 2 // 10**9}GB"})
    assert [row["reason"] for row in machine.plan().data["blocked"]] == ["no-room"]
    machine.apply(expect=4)
    assert untouched(machine)


def test_a_publisher_that_is_not_allowed_is_an_error_of_the_file(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), pool={"allowedOrgs": ["google"]})
    for words in (("plan",), ("apply", "--yes"), ("validate",), ("status",)):
        ran = machine.run(*words, expect=1)
        assert "localmodels.yaml:" in ran.err, ran.text
        assert "found acme/alpha-GGUF: acme is neither in pool.allowedOrgs nor in pool.packagers" in ran.err
        assert ran.out == ""
    problem = machine.run("plan", "--json", expect=1).error["details"]["problems"][0]
    assert problem["path"] == "localModels.slots[0].model"
    assert problem["line"]
    assert problem["column"]
    assert untouched(machine)


@pytest.mark.parametrize(
    ("model", "pool", "half"),
    [
        (
            "bartowski/Qwen2.5-0.5B-Instruct-GGUF",
            {"allowedOrgs": ["google"], "packagers": ["bartowski"]},
            "publisher Qwen is not in allowedOrgs",
        ),
        (
            "mistralai/Mistral-7B-Instruct-v0.3",
            {"allowedOrgs": ["mistralai"], "packagers": []},
            "which is not in packagers",
        ),
    ],
)
def test_the_half_of_the_permission_that_is_missing_is_named(
    machine: Machine, model: str, pool: dict[str, list[str]], half: str
) -> None:
    machine.write({"name": "chat", "model": model}, pool={**pool, "diskBudget": "50GB"})
    for offline in ((), ("--offline",)):
        (row,) = machine.plan(*offline).data["blocked"]
        assert row["reason"] == "not-allowed"
        assert half in row["message"]
    assert half in machine.apply(expect=4).out
    assert untouched(machine)


def test_a_repository_that_nobody_has(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), {"name": "lost", "model": "acme/nothing-GGUF"})
    seen = machine.plan("--detailed-exitcode", expect=2)
    (row,) = seen.data["blocked"]
    assert (row["address"], row["reason"]) == ("slot/lost[0]", "unavailable")
    assert "acme/nothing-GGUF" in row["message"]
    machine.apply(expect=4)
    assert machine.names() == [tiny_name("alpha")]


def test_a_quant_that_the_repository_has_not(machine: Machine) -> None:
    machine.write({**tiny_slot("alpha"), "quant": "Q2_K"})
    (row,) = machine.plan().data["blocked"]
    assert row["reason"] == "unavailable"
    assert "Q2_K" in row["message"]
    assert "Q8_0" in row["message"], "what there is instead"


def test_a_hub_that_is_down_changes_nothing_and_what_is_installed_is_in_sync(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    up, machine.endpoint = machine.endpoint, DEAD
    before = machine.files()
    for words in ((), ("--offline",)):
        seen = machine.plan(*words)
        assert [(row["address"], row["resolved"]) for row in seen.data["changes"]] == [("slot/beta[0]", False)]
        assert not seen.data["applicable"]
        refused = machine.run("apply", "--yes", "--json", *words, expect=1).lines[-1]
        assert refused["ok"] is False
        assert refused["error"]["message"].endswith("nobody could be asked about acme/beta-GGUF:Q8_0")
    assert machine.files() == before
    assert any("cannot be reached" in warning for warning in machine.plan("--refresh").envelope["warnings"])
    machine.write(tiny_slot("alpha"))
    machine.in_sync()
    machine.in_sync("--offline")
    machine.endpoint = up
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    machine.in_sync()


def test_a_model_that_cannot_be_fetched_never_costs_one_that_works(machine: Machine) -> None:
    slot = tiny_slot("alpha")
    machine.write(slot)
    machine.apply()
    before = machine.files()
    machine.write({**slot, "model": "acme/nothing-GGUF"})
    seen = machine.plan()
    assert seen.rows() == []
    assert {row["reason"] for row in seen.data["blocked"]} == {"unavailable"}
    assert [(row["action"], row["reason"]) for row in seen.data["kept"]] == [("keep", "replacement-blocked")]
    machine.apply(expect=4)
    assert machine.files() == before


def test_a_file_whose_bytes_are_not_what_the_hub_promised_is_not_installed(
    machine_at: Callable[..., Machine], tmp_path: Path
) -> None:
    """The mirror's own file rots between the plan and the download: same size, other bytes."""
    from reconciler.servers.mirror import serve
    from tests.doubles.ollama_model import tiny_gguf

    rotten = tmp_path / "hub" / tiny_name("alpha")
    rotten.parent.mkdir(parents=True)
    rotten.write_bytes(tiny_gguf(1_000_000, seed=1))
    promised = sha256_of(rotten)
    with serve(tmp_path / "hub") as mirror:
        lab = machine_at("lab", mirror.url)
        lab.write(tiny_slot("alpha"))
        saved = lab.root / "plan.json"
        lab.run("plan", "--out", saved)
        rotten.write_bytes(tiny_gguf(1_000_000, seed=2))
        ran = lab.run("apply", saved, "--json", expect=1)
        (outcome,) = ran.lines[-1]["data"]["outcomes"]
        assert outcome["status"] == "failed", ran.text
        assert lab.names() == []
        lab.apply()
    assert sha256_of(lab.store / tiny_name("alpha")) == sha256_of(rotten) != promised


def test_a_record_that_cannot_be_read_is_set_aside_and_nothing_happens(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    record, before = machine.root / "state" / "lab" / "record.json", machine.files()
    whole = record.read_bytes()
    record.write_bytes(whole[: len(whole) // 2])
    for words in (("plan", "--json"), ("apply", "--yes", "--json"), ("plan", "--json")):
        ran = machine.run(*words, expect=1)
        error = ran.lines[-1]["error"] if words[0] == "apply" else ran.error
        assert error["code"] == "record-unreadable"
    assert machine.files() == before
    (aside,) = record.parent.glob("record.json.bad-*")
    assert aside.read_bytes() == whole[: len(whole) // 2]


def test_without_a_terminal_nobody_is_asked(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    ran = machine.run("apply", expect=64)
    assert "--yes" in ran.err
    assert "slot/alpha[0]" in ran.out, "the plan was shown"
    assert untouched(machine)


def test_a_disabled_file_reports_and_changes_nothing(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    before, record = machine.files(), machine.record()
    machine.write(tiny_slot("beta"), enabled=False)
    machine.apply()
    assert (machine.files(), machine.record()) == (before, record)


def test_a_simulated_machine_plans_for_what_it_could_hold(machine: Machine) -> None:
    trust = {
        "allowedOrgs": ["Qwen", "google"],
        "packagers": ["bartowski", "unsloth", "ggml-org"],
        "diskBudget": "200GB",
    }
    machine.write({"name": "chat", "profile": "general"}, pool=trust)
    sizes = {}
    for name in ("rtx-4090", "2x rtx-3090", "m3-max-36gb", "cpu-16gb"):
        plan = machine.plan("--offline", "--hardware", name).data
        rows = [*plan["changes"], *plan["blocked"]]
        assert [row["address"] for row in rows] == ["slot/chat[0]"], json.dumps(plan, indent=1)
        sizes[name] = rows[0]["bytesDown"] or rows[0]["after"]["bytes"]
    assert sizes["cpu-16gb"] < sizes["rtx-4090"] <= sizes["2x rtx-3090"]
    wrong = machine.run("plan", "--hardware", "toaster-9000", "--json", expect=64)
    assert "toaster-9000" in wrong.error["message"]
    assert untouched(machine)
