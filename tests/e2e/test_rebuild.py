"""A record that was corrupted or deleted, made again from its journal and from what the store holds."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.rig import Machine, tiny_name, tiny_slot


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
