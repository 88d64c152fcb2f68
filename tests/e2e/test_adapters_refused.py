"""A plan saved for an adapter, and a file that says otherwise by then; and whose Hub and token an adapter comes by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.hub import DoubleFile, DoubleRepo, HubDouble
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import DEAD, Machine
from tests.e2e.rig import VLLM_BASE as BASE
from tests.lora_files import config, folder, pairs

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
TOKEN = "hf_granted"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDouble]:
    double = HubDouble(granted=[TOKEN])
    double.repos["labs/sql"] = DoubleRepo("labs/sql")
    push(double, tmp_path / "v1")
    with double.serve() as url:
        double.url = url  # type: ignore[attr-defined]
        yield double


def push(double: HubDouble, place: Path, tag: str = "v1", **document: Any) -> str:
    made = folder(place, pairs("q_proj", "v_proj"), config(base_model_name_or_path=BASE, **document))
    files = {
        CONFIG: DoubleFile((made / CONFIG).read_bytes(), lfs=False),
        WEIGHTS: DoubleFile((made / WEIGHTS).read_bytes()),
    }
    commit = double.repos["labs/sql"].push(files)
    double.repos["labs/sql"].refs[tag] = commit
    return commit


@pytest.fixture
def lab(tmp_path: Path, hub: HubDouble) -> Machine:
    return Machine(tmp_path / "here", hub.url)  # type: ignore[attr-defined]


def sql(**changes: Any) -> dict[str, Any]:
    source = {"hub": {"repo": "labs/sql", "revision": "v1"}}
    return {"name": "sql", "base": BASE, "source": source, "serve": [{"target": "gpu"}], **changes}


def write(lab: Machine, vllm: VllmDouble, adapter: dict[str, Any] | None, *orgs: str, **more: Any) -> None:
    target = {"name": "gpu", "runtime": "vllm", "endpoint": vllm.url}
    allowed = {"allowedOrgs": list(orgs or ("acme", "labs"))}
    lab.write(targets=[target], adapters=[adapter] if adapter else [], pool=allowed, **more)


def held(lab: Machine) -> list[str]:
    root = lab.root / "data" / "adapters"
    return sorted(path.name for path in root.iterdir() if len(path.name) == 64) if root.exists() else []


@pytest.mark.parametrize(
    ("adapter", "orgs", "exit_code", "why"),
    [
        pytest.param(sql(), ("acme",), 1, "pool.allowedOrgs", id="organisation-withdrawn"),
        pytest.param(sql(serve=[{"target": "gpu", "as": "sequel"}]), (), 6, "file was edited", id="another-name"),
        pytest.param(
            sql(source={"hub": {"repo": "labs/sql", "revision": "v2"}}), (), 6, "file was edited", id="another-revision"
        ),
        pytest.param(None, (), 6, "file was edited", id="taken-out"),
    ],
)
def test_a_saved_plan_and_a_file_that_says_otherwise_by_now(
    lab: Machine,
    vllm: VllmDouble,
    tmp_path: Path,
    adapter: dict[str, Any] | None,
    orgs: tuple[str, ...],
    exit_code: int,
    why: str,
) -> None:
    write(lab, vllm, sql())
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", saved)
    write(lab, vllm, adapter, *orgs)
    error = lab.run("apply", saved, "--yes", "--json", expect=exit_code).lines[-1]["error"]
    assert why in str(error), error
    assert error["hint"] or error["details"], error
    assert (vllm.loras, held(lab)) == ({}, [])


def test_a_tag_that_moved_since_the_plan_was_saved_changes_nothing_of_it(
    lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path
) -> None:
    """What was looked at is what comes: the plan has the commit, not the tag."""
    write(lab, vllm, sql())
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", saved)
    looked_at = hub.repos["labs/sql"].head
    push(hub, tmp_path / "v2", lora_alpha=64)
    hub.requests.clear()
    lab.run("apply", saved, "--yes")
    asked = [one.path for one in hub.asked("/resolve/") if "/labs/" in one.path]
    assert asked
    assert all(looked_at in path for path in asked)
    held_config = lab.root / "data" / "adapters" / held(lab)[0] / "files" / CONFIG
    assert held_config.read_bytes() == hub.repos["labs/sql"].commits[looked_at][CONFIG].content
    assert not lab.plan().rows()
    assert "apply --accept adapter/sql" in lab.run("plan").out


def test_other_bytes_of_the_very_commit_attach_nothing(
    lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path
) -> None:
    write(lab, vllm, sql())
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", saved)
    repo = hub.repos["labs/sql"]
    body = repo.commits[repo.head][CONFIG].content
    repo.commits[repo.head][CONFIG] = DoubleFile(body.replace(b"8", b"9"), lfs=False)
    ran = lab.run("apply", saved, "--yes", "--json", expect=None)
    assert ran.code != 0
    (outcome,) = ran.lines[-1]["data"]["outcomes"]
    assert outcome["status"] == "failed", outcome
    assert (vllm.loras, held(lab)) == ({}, [])


def test_the_hub_that_the_file_names_is_the_one_that_is_asked(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    """The environment names another, where nobody listens."""
    lab.endpoint = DEAD
    write(lab, vllm, sql(), hub={"endpoint": hub.url})  # type: ignore[attr-defined]
    lab.apply()
    assert "sql" in vllm.loras
    lab.in_sync()


def test_the_token_that_the_file_names_opens_a_gated_adapter_and_no_other_does(
    lab: Machine, vllm: VllmDouble, hub: HubDouble
) -> None:
    hub.repos["labs/sql"].gated = True
    write(lab, vllm, sql(), hub={"tokenFrom": {"env": "OUR_TOKEN"}})
    (row,) = lab.plan().data["blocked"]
    assert (row["reason"], "restricted" in row["message"]) == ("unavailable", True)
    lab.run("apply", "--yes", OUR_TOKEN=TOKEN)
    assert "sql" in vllm.loras
    told = {one.token for one in hub.requests if "/labs/sql/resolve/" in one.path and one.token}
    assert told == {f"Bearer {TOKEN}"}
    kept = [path for path in lab.root.rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in path.read_bytes() for path in kept), "a token is never written down"
