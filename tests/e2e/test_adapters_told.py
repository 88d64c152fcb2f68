"""What plan, status and apply say of adapters on a vLLM: ranks beyond it, sources that went, what others loaded."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import VLLM_BASE as BASE
from tests.e2e.rig import Machine
from tests.lora_files import config, folder, pairs


@pytest.fixture
def lab(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "here", "http://127.0.0.1:1")


def peft(lab: Machine, name: str = "sql", *, rank: int = 4) -> Path:
    return folder(lab.root / name, pairs("q_proj", "v_proj", rank=rank), config(base_model_name_or_path=BASE, r=rank))


def declared(path: Path, name: str = "sql", **changes: Any) -> dict[str, Any]:
    return {"name": name, "base": BASE, "source": {"path": str(path)}, "serve": [{"target": "gpu"}], **changes}


def write(lab: Machine, vllm: VllmDouble, *adapters: dict[str, Any], **target: Any) -> None:
    lab.write(
        targets=[{"name": "gpu", "runtime": "vllm", "endpoint": vllm.url, **target}],
        adapters=list(adapters),
        hub={"endpoint": "http://127.0.0.1:1"},
    )


def adapter_row(ran: Any, part: str, name: str = "sql") -> dict[str, Any]:
    return next(row for row in ran.data[part] if row["adapter"] and row["adapter"]["name"] == name)


def test_a_rank_beyond_the_server_is_told_before_and_after_and_blocked_once_the_limit_is_said(
    lab: Machine, vllm: VllmDouble
) -> None:
    large, small = declared(peft(lab, rank=40)), declared(peft(lab, "small"), "small")
    write(lab, vllm, large, small)
    for _ in range(2):
        row = adapter_row(lab.plan(), "changes")
        assert [one["code"] for one in row["adapter"]["findings"]] == ["rank_limit_unknown"]
        assert "--max-lora-rank 64" in row["hint"]
        lab.apply(expect=None)
        assert list(vllm.loras) == ["small"]
    write(lab, vllm, large, small, maxLoraRank=16)
    blocked = adapter_row(lab.plan(), "blocked")
    assert blocked["reason"] == "no-api"
    words = shlex.split(blocked["command"])
    limit = int(words[words.index("--max-lora-rank") + 1])
    assert limit == 64
    vllm.max_rank = limit
    vllm.restart()
    write(lab, vllm, large, small, maxLoraRank=limit)
    lab.apply()
    assert sorted(vllm.loras) == ["small", "sql"]
    lab.in_sync()


def test_a_server_that_tells_its_limit_needs_nobody_to_say_it(lab: Machine, vllm: VllmDouble) -> None:
    vllm.dev = True
    write(lab, vllm, declared(peft(lab, rank=40)))
    row = adapter_row(lab.plan(), "blocked")
    assert (row["reason"], "ranks up to 16" in row["message"]) == ("no-api", True)
    assert "--max-lora-rank 64" in row["command"]
    vllm.max_rank = 64
    assert adapter_row(lab.plan(), "changes")["hint"] is None


def test_a_rank_beyond_every_vllm_is_blocked_in_the_plan(lab: Machine, vllm: VllmDouble) -> None:
    write(lab, vllm, declared(peft(lab, rank=600)))
    row = adapter_row(lab.plan(), "blocked")
    assert (row["reason"], "no adapter of rank 600" in row["message"]) == ("adapter-rejected", True)
    assert "smaller rank" in row["hint"]


def test_a_source_that_went_is_told_and_what_is_served_stays(lab: Machine, vllm: VllmDouble) -> None:
    path = peft(lab)
    write(lab, vllm, declared(path))
    lab.apply()
    path.rename(path.with_name("elsewhere"))
    ran = lab.plan("--detailed-exitcode")
    row = adapter_row(ran, "kept")
    assert (row["reason"], row["hint"]) == ("unavailable", "put it back, or correct source.path of adapter sql")
    assert [one["code"] for one in row["adapter"]["findings"]] == ["served_unverified"]
    assert any("adapter/sql" in warning and str(path) in warning for warning in ran.envelope["warnings"])
    status = lab.run("status", "--json").data
    (gpu,) = status["targets"]
    assert (gpu["runtime"], gpu["serves"], status["inSync"]) == ("vllm", BASE, True)
    assert [one["findings"][0]["code"] for one in gpu["adapters"]] == ["served_unverified"]
    shown = lab.run("status").out
    assert f"serves {BASE} and 1 adapter" in shown
    assert "unverified" in shown
    lab.apply()
    assert list(vllm.loras) == ["sql"]


def test_a_server_that_forgot_is_given_our_copy_while_the_source_is_gone(lab: Machine, vllm: VllmDouble) -> None:
    path = peft(lab)
    write(lab, vllm, declared(path))
    lab.apply()
    first = vllm.loras["sql"].path
    path.rename(path.with_name("elsewhere"))
    vllm.restart()
    assert vllm.loras == {}
    ran = lab.plan("--detailed-exitcode", expect=2)
    row = adapter_row(ran, "changes")
    assert (row["action"], row["reason"]) == ("attach", "drifted")
    assert [(one["code"], one["severity"]) for one in row["adapter"]["findings"]] == [("held_copy", "warning")]
    assert row["hint"] == "put it back, or correct source.path of adapter sql"
    assert any("adapter/sql" in warning and str(path) in warning for warning in ran.envelope["warnings"])
    assert "held copy" in lab.run("status").out
    lab.apply()
    assert vllm.loras["sql"].path == first
    assert adapter_row(lab.plan("--detailed-exitcode"), "kept")["reason"] == "unavailable"
    path.with_name("elsewhere").rename(path)
    lab.in_sync()


def test_what_was_never_served_is_not_made_up_for(lab: Machine, vllm: VllmDouble) -> None:
    path = peft(lab)
    write(lab, vllm, declared(path))
    lab.apply()
    path.rename(path.with_name("elsewhere"))
    write(lab, vllm, declared(path.with_name("new")))
    vllm.restart()
    row = adapter_row(lab.plan("--detailed-exitcode", expect=4), "blocked")
    assert (row["reason"], "new is not there" in row["message"]) == ("unavailable", True)
    lab.apply(expect=None)
    assert vllm.loras == {}


def test_what_somebody_loaded_from_our_source_is_not_said_to_be_what_stands_there(
    lab: Machine, vllm: VllmDouble
) -> None:
    path = peft(lab)
    vllm.modules = {"sql": str(path)}
    vllm.restart()
    write(lab, vllm, declared(path))
    row = adapter_row(lab.plan("--detailed-exitcode"), "kept")
    assert row["reason"] == "unmanaged-match"
    assert [one["code"] for one in row["adapter"]["findings"]] == ["content_unknown"]
    assert "content unknown" in lab.run("status").out


def test_a_broken_configuration_is_rejected(lab: Machine, vllm: VllmDouble) -> None:
    path = peft(lab)
    (path / "adapter_config.json").write_bytes(b"\x80not json")
    write(lab, vllm, declared(path))
    row = adapter_row(lab.plan(), "blocked")
    assert (row["reason"], bool(row["hint"])) == ("adapter-rejected", True)
