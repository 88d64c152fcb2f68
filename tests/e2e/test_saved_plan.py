"""Plans that travel: saved and applied exactly, or refused; and plans for a machine that is somewhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.rig import DEAD, Machine, tiny_name, tiny_slot


def saved(machine: Machine, *words: str) -> Path:
    path = machine.root / "plan.json"
    machine.run("plan", "--out", path, *words)
    return path


def refused(machine: Machine, plan: Path, code: str) -> str:
    """The message of an apply that must end with 6 and change nothing."""
    before = machine.files() if machine.store.exists() else {}
    ran = machine.run("apply", plan, "--json", expect=6)
    error = ran.lines[-1]["error"]
    assert error["code"] == code, ran.text
    assert (machine.files() if machine.store.exists() else {}) == before
    assert machine.run("apply", plan, expect=6).err.startswith("error: ")
    return json.dumps(error)


def test_a_saved_plan_is_applied_as_it_is_without_being_asked(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    plan = saved(machine)
    machine.run("apply", plan)
    assert machine.names() == [tiny_name("alpha"), tiny_name("beta")]
    machine.in_sync()
    refused(machine, plan, "plan-stale")


def test_a_plan_is_stale_once_the_file_was_edited(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    plan = saved(machine)
    machine.write(tiny_slot("beta"))
    assert "file was edited" in refused(machine, plan, "plan-stale")


def test_a_plan_is_stale_once_the_machine_is_another(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    machine.write(tiny_slot("alpha"))
    plan = saved(machine)
    (machine.store / tiny_name("alpha")).unlink()
    refused(machine, plan, "plan-stale")


def test_a_plan_is_stale_once_another_run_changed_the_record(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    plan = saved(machine)
    machine.apply()
    refused(machine, plan, "plan-stale")


@pytest.mark.parametrize("what", ["name", "size", "budget", "policy", "dropped"])
def test_an_edited_plan_is_refused(machine: Machine, what: str) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    path = saved(machine)
    document = json.loads(path.read_text())
    first = document["plan"]["changes"][0]
    if what == "name":
        first["name"] = tiny_name("gamma")
    elif what == "size":
        first["bytesDown"] = 1
    elif what == "budget":
        document["desired"]["pool"]["diskBudget"] *= 2
    elif what == "policy":  # the plan stays the same: what gives it away is the file
        document["desired"]["pool"]["allowedOrgs"].append("mallory")
    else:
        document["plan"]["changes"].pop()
    path.write_text(json.dumps(document))
    refused(machine, path, "plan-stale" if what == "policy" else "plan-tampered")


@pytest.mark.parametrize("content", ["", "{}", "no json", '{"kind": "localmodels-plan"}', "[]"])
def test_what_is_no_plan_is_said_to_be_none(machine: Machine, content: str) -> None:
    machine.write(tiny_slot("alpha"))
    path = machine.root / "plan.json"
    path.write_text(content)
    ran = machine.run("apply", path, "--json", expect=None)
    assert ran.code in (1, 6, 64)
    assert ran.lines[-1]["error"]["code"] == "plan-unreadable"


def test_a_saved_plan_of_nothing_is_done_at_once(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    before = machine.files(), machine.record()
    machine.run("apply", saved(machine))
    assert (machine.files(), machine.record()) == before


def test_a_pull_request_plans_for_a_machine_that_is_elsewhere(
    machine: Machine, machine_at: Callable[..., Machine]
) -> None:
    """``observe`` there; here a changed file, no Hub, none of its models, and the plan is the one made there."""
    machine.write(tiny_slot("alpha"))
    machine.apply()
    seen = machine.root / "observation.json"
    machine.run("observe", "--out", seen)

    reviewer = machine_at("reviewer", DEAD)
    (reviewer.root / "observation.json").write_bytes(seen.read_bytes())
    reviewer.file.write_bytes(machine.file.read_bytes())
    there = ("--observation", str(reviewer.root / "observation.json"))
    in_sync = reviewer.plan("--detailed-exitcode", *there)
    assert in_sync.rows() == []
    assert in_sync.rows("kept") == [("keep", "in-sync", tiny_name("alpha"))]

    reviewer.write(tiny_slot("alpha"), tiny_slot("beta"), targets=[{"name": "box", "path": str(machine.store)}])
    changed = reviewer.plan("--detailed-exitcode", *there, expect=2)
    assert [(row["address"], row["action"]) for row in changed.data["changes"]] == [("slot/beta[0]", "install")]
    assert "slot/beta[0]" in reviewer.run("plan", "--markdown", *there).out
    assert not reviewer.store.exists()
    assert not (reviewer.root / "state").exists()

    reviewer.write(tiny_slot("alpha"), name="another")
    wrong = reviewer.run("plan", "--json", *there, expect=64)
    assert "'another'" in wrong.error["message"]


def test_what_is_no_observation_is_said_to_be_none(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    path = machine.root / "observation.json"
    path.write_text('{"name": 3}')
    assert machine.run("plan", "--observation", path, "--json", expect=64).error["code"] == "observation-unreadable"
    gone = machine.run("plan", "--observation", machine.root / "no.json", "--json", expect=64)
    assert gone.error["code"] == "file-unreadable"
