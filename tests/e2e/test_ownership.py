"""Whose a model is: adopt takes it over, disown lets it go, destroy removes ours and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.doubles.ollama_model import tiny_gguf
from tests.e2e.rig import Machine, tiny_name, tiny_slot


def foreign(machine: Machine, name: str = "somebody/else/own.gguf") -> Path:
    path = machine.store / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(tiny_gguf(50_000, seed=9))
    return path


def test_adopt_makes_a_foreign_model_ours_and_the_next_apply_evicts_what_no_slot_wants(machine: Machine) -> None:
    path = foreign(machine)
    machine.write(tiny_slot("alpha"))
    machine.apply()
    name = path.relative_to(machine.store).as_posix()
    assert machine.run("adopt", name, "--json").data["name"] == name
    assert machine.owned() == {tiny_name("alpha"), name}
    machine.run("adopt", name)
    assert machine.plan("--detailed-exitcode", expect=2).rows() == [("evict", "not-desired", name)]
    machine.apply()
    assert machine.names() == [tiny_name("alpha")]
    machine.in_sync()


def test_adopt_of_the_very_model_a_slot_wants_needs_no_download(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    machine.apply()
    machine.run("disown", tiny_name("alpha"))
    before = machine.files()
    assert machine.owned() == set()
    assert machine.plan("--detailed-exitcode").rows("kept") == [("keep", "unmanaged-match", tiny_name("alpha"))]
    machine.run("adopt", tiny_name("alpha"))
    assert machine.plan("--detailed-exitcode").rows("kept") == [("keep", "in-sync", tiny_name("alpha"))]
    machine.apply()
    assert machine.files() == before


def test_disown_lets_it_stay_whatever_the_file_says(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    machine.run("disown", tiny_name("alpha"))
    machine.write(tiny_slot("beta"))
    machine.in_sync()
    machine.apply()
    assert machine.names() == [tiny_name("alpha"), tiny_name("beta")]
    for words in (("disown", tiny_name("alpha")), ("adopt", "no/such/model.gguf")):
        assert machine.run(*words, "--json", expect=64).error["message"]


def test_other_content_under_the_name_we_want_is_left_alone(machine: Machine) -> None:
    path = foreign(machine, tiny_name("alpha"))
    before = path.read_bytes()
    machine.write(tiny_slot("alpha"))
    seen = machine.plan()
    assert seen.rows() == []
    (row,) = seen.data["blocked"]
    assert row["reason"] == "unmanaged-conflict"
    machine.apply(expect=4)
    assert path.read_bytes() == before
    assert "localmodels adopt" in row["command"], "how a person goes on"
    path.unlink()
    machine.apply()
    machine.in_sync()


def test_destroy_removes_ours_on_every_target_and_nothing_else(machine: Machine) -> None:
    mine, elsewhere = foreign(machine), machine.root / "old-models"
    box = {"name": "box", "runtime": "store", "path": str(machine.store)}
    old = {"name": "old", "runtime": "store", "path": str(elsewhere)}
    other = machine.write(tiny_slot("gamma"), file="other.yaml", name="other")
    machine.write({**tiny_slot("alpha"), "target": "box"}, {**tiny_slot("beta"), "target": "old"}, targets=[box, old])
    machine.apply()
    machine.apply("-f", other)
    machine.write({**tiny_slot("alpha"), "target": "box"}, targets=[box])
    machine.apply()
    assert list(machine.files(elsewhere)) == [tiny_name("beta")], "a target that left the file loses nothing"
    assert "old" in machine.run("status").out

    before = machine.files()
    shown = machine.run("destroy", "--dry-run")
    assert tiny_name("alpha") in shown.out or "alpha" in shown.out
    assert machine.run("destroy", expect=64).err.count("--yes") == 1
    assert machine.files() == before
    machine.run("destroy", "--yes")
    assert machine.names() == [tiny_name("gamma"), mine.relative_to(machine.store).as_posix()]
    assert machine.files(elsewhere) == {}
    assert machine.owned() == set()
    machine.in_sync("-f", other)
    machine.run("destroy", "--yes")
    assert machine.plan("--detailed-exitcode", expect=2).rows() == [("install", "missing", tiny_name("alpha"))]


def test_prune_never_and_keep_leave_what_no_slot_asks_for(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), tiny_slot("beta"))
    machine.apply()
    before = machine.files()
    for pool, reason in (({"prune": "never"}, "prune-off"), ({"keep": [tiny_name("alpha")]}, "keep-listed")):
        machine.write(tiny_slot("beta"), pool=pool)
        seen = machine.plan("--detailed-exitcode")
        assert reason in [row["reason"] for row in seen.data["kept"]]
        machine.apply()
        assert machine.files() == before
    machine.write(tiny_slot("beta"), pool={"prune": "pressure", "diskBudget": "4MB"})
    machine.apply()
    assert machine.names() == [tiny_name("beta")]
