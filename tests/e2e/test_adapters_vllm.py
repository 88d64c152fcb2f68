"""A declared adapter of a Hub on the double of a vLLM: fetched, verified, loaded, attached again after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.hub import DoubleFile, DoubleRepo, HubDouble
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import Machine
from tests.lora_files import config, folder, pairs

BASE = "acme/tiny-1b"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubDouble]:
    double = HubDouble()
    double.repos["acme/sql"] = DoubleRepo("acme/sql")
    push(double, tmp_path / "v1", "v1")
    with double.serve() as url:
        double.url = url  # type: ignore[attr-defined]
        yield double


def push(double: HubDouble, place: Path, tag: str, **document: Any) -> None:
    made = folder(place, pairs("q_proj", "v_proj"), config(base_model_name_or_path=BASE, **document))
    files = {
        CONFIG: DoubleFile((made / CONFIG).read_bytes(), lfs=False),
        WEIGHTS: DoubleFile((made / WEIGHTS).read_bytes()),
    }
    double.repos["acme/sql"].push(files)
    double.repos["acme/sql"].refs[tag] = double.repos["acme/sql"].head


@pytest.fixture
def vllm() -> Iterator[VllmDouble]:
    with VllmDouble(BASE) as double:
        yield double


@pytest.fixture
def lab(tmp_path: Path, hub: HubDouble) -> Machine:
    return Machine(tmp_path / "here", hub.url)  # type: ignore[attr-defined]


def write(lab: Machine, vllm: VllmDouble, *adapters: dict[str, Any], **more: Any) -> None:
    target = {"name": "gpu", "runtime": "vllm", "endpoint": vllm.url}
    lab.write(targets=[target], adapters=list(adapters), **more)


def sql(tag: str = "v1", **changes: Any) -> dict[str, Any]:
    source = {"hub": {"repo": "acme/sql", "revision": tag}}
    return {"name": "sql", "base": BASE, "source": source, "serve": [{"target": "gpu"}], **changes}


def held(lab: Machine) -> list[str]:
    root = lab.root / "data" / "adapters"
    return sorted(path.name for path in root.iterdir() if len(path.name) == 64) if root.exists() else []


def test_the_journey_of_a_hub_adapter(lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path) -> None:
    write(lab, vllm, sql())
    assert [row[0] for row in lab.plan("--detailed-exitcode", expect=2).rows()] == ["attach"]
    lab.apply()
    lab.in_sync()
    (digest,) = held(lab)
    assert digest in vllm.loras["sql"].path
    record = lab.record()
    lab.apply()
    assert lab.record() == record, "a second apply changes nothing"

    vllm.restart()
    assert vllm.loras == {}
    assert [row[:2] for row in lab.plan().rows()] == [("attach", "drifted")]
    lab.apply()
    lab.in_sync()
    assert "sql" in vllm.loras

    push(hub, tmp_path / "v2", "v2", lora_alpha=16)
    write(lab, vllm, sql("v2"))
    assert [row[0] for row in lab.plan().rows()] == ["update"]
    lab.apply()
    lab.in_sync()
    assert len(held(lab)) == 1
    assert held(lab) != [digest]

    write(lab, vllm)
    lab.apply()
    lab.in_sync()
    assert (vllm.loras, held(lab)) == ({}, [])


def test_a_pinned_commit_that_we_hold_needs_no_hub(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    write(lab, vllm, sql(hub.repos["acme/sql"].head))
    lab.apply()
    hub.requests.clear()
    lab.in_sync()
    vllm.restart()
    lab.apply()
    assert "sql" in vllm.loras
    assert not any("acme/sql" in one.path for one in hub.requests)


def test_a_saved_plan_attaches_exactly_that_or_nothing(lab: Machine, vllm: VllmDouble, tmp_path: Path) -> None:
    write(lab, vllm, sql())
    saved = tmp_path / "plan.json"
    lab.run("plan", "--out", saved)
    lab.run("apply", saved, "--yes")
    lab.in_sync()
    again = lab.run("apply", saved, "--yes", expect=6)
    assert "moved" in again.err + again.out


def test_a_stranger_on_the_hub_and_wrong_bytes_attach_nothing(lab: Machine, vllm: VllmDouble, hub: HubDouble) -> None:
    write(lab, vllm, sql(), pool={"allowedOrgs": ["somebody"]})
    assert "pool.allowedOrgs" in lab.apply(expect=1).err, "the file itself is refused"
    repo = hub.repos["acme/sql"]
    true = repo.commits[repo.head][WEIGHTS]
    repo.commits[repo.head][WEIGHTS] = DoubleFile(true.content[:-1] + b"!", sha256=true.digest)
    write(lab, vllm, sql())
    ran = lab.apply(expect=None)
    assert ran.code != 0, ran.text
    assert (vllm.loras, held(lab)) == ({}, [])


def test_what_the_server_refuses_leaves_everything(
    lab: Machine, vllm: VllmDouble, hub: HubDouble, tmp_path: Path
) -> None:
    write(lab, vllm, sql())
    lab.apply()
    before = vllm.loras["sql"].path
    push(hub, tmp_path / "v2", "v2", use_dora=True)
    write(lab, vllm, sql("v2"))
    lab.apply(expect=None)
    assert vllm.loras["sql"].path == before
    assert len(held(lab)) == 1
