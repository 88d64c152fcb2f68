"""A record that was corrupted or deleted, made again from its journal and from what the store holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import lora_files
from tests.doubles.vllm import VllmDouble
from tests.e2e.rig import DEAD, Machine, tiny_name, tiny_slot

BASE = "acme/tiny-llama"


def record_file(machine: Machine) -> Path:
    (path,) = (machine.root / "state").rglob("record.json")
    return path


@pytest.mark.parametrize("loss", ["corrupted", "deleted"])
def test_a_lost_record_is_refused_rebuilt_and_then_in_sync(machine: Machine, loss: str) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    machine.write(tiny_slot("alpha"))
    machine.apply()
    record, before = record_file(machine), machine.files()
    if loss == "corrupted":
        record.write_bytes(record.read_bytes()[:-40])
    else:
        record.unlink()
    refused = machine.run("plan", "--json", expect=1).error
    assert refused["code"] == "record-unreadable"
    assert "localmodels rebuild" in refused["hint"]
    assert machine.run("rebuild", "--json", expect=64).error["code"] == "confirmation-needed"
    dry = machine.run("rebuild", "--dry-run", "--json").data
    assert not dry["saved"]
    built = machine.run("rebuild", "--yes", "--json").data
    assert built["saved"]
    assert [one["name"] for one in built["owned"]] == [tiny_name("alpha")]
    assert built["leftOut"] == []
    assert machine.owned() == {tiny_name("alpha")}
    machine.in_sync()
    machine.apply()
    assert machine.files() == before
    assert machine.run("rebuild", "--yes", "--json", expect=64).error["code"] == "record-exists"


@pytest.mark.parametrize("loss", ["corrupted", "deleted"])
def test_adapters_of_a_lost_record_are_ours_again_and_a_stranger_s_are_not(tmp_path: Path, loss: str) -> None:
    made(tmp_path / "theirs", rank=2)
    with VllmDouble(BASE, modules={"theirs": str(tmp_path / "theirs")}) as server:
        lab = Machine(tmp_path / "here", DEAD)
        declared = serving(lab, server, "sql", "chat")
        lab.apply()
        serving(lab, server, "sql")
        lab.apply()  # what was detached is not ours any more
        record, before = record_file(lab), dict(server.loras)
        if loss == "corrupted":
            record.write_bytes(record.read_bytes()[:-40])
        else:
            record.unlink()
        assert lab.run("plan", "--json", expect=1).error["code"] == "record-unreadable"
        built = lab.run("rebuild", "--yes", "--json").data
        assert built["leftOut"] == []
        assert [one["name"] for one in json.loads(record_file(lab).read_bytes())["adapters"]] == ["sql"]
        lab.in_sync()
        lab.apply()
        assert server.loras == before, "nothing was loaded again"
        serving(lab, server)
        lab.apply()
        assert set(server.loras) == {"theirs"}, "ours again means that it goes when nobody asks for it"
        assert held(lab) == []
        assert len(declared) == 2


def test_an_adapter_that_went_with_the_record_is_not_believed(tmp_path: Path) -> None:
    """The journal names it, and the server does not serve it any more: it is left out, and attached anew."""
    with VllmDouble(BASE) as server:
        lab = Machine(tmp_path / "here", DEAD)
        serving(lab, server, "sql")
        lab.apply()
        record_file(lab).unlink()
        server.restart()
        built = lab.run("rebuild", "--yes", "--json").data
        assert [(one["name"], one["why"].partition(":")[0]) for one in built["leftOut"]] == [("sql", "gone")]
        lab.apply()
        lab.in_sync()
        assert set(server.loras) == {"sql"}
        assert len(held(lab)) == 1


def made(folder: Path, rank: int = 4) -> None:
    lora_files.folder(folder, lora_files.pairs("q_proj", "v_proj", rank=rank), lora_files.config(r=rank))


def serving(lab: Machine, server: VllmDouble, *names: str) -> list[dict[str, Any]]:
    """The file declares these adapters."""
    for rank, name in enumerate(names, 3):
        made(lab.repository / "adapters" / name, rank)
    declared = [
        {"name": name, "base": BASE, "source": {"path": f"adapters/{name}"}, "serve": [{"target": "gpu"}]} for name in names
    ]  # fmt: skip
    lab.write(targets=[{"name": "gpu", "runtime": "vllm", "endpoint": server.url}], adapters=declared,
              fuses={"allowEmpty": True})  # fmt: skip
    return declared


def held(lab: Machine) -> list[str]:
    return sorted(path.name for path in (lab.root / "data" / "adapters").glob("?" * 64))
