"""A client reads one path for ever: the name stands for the old model or the new one, at every instant of a swap."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from tests.e2e.rig import Machine, sha256_of, tiny_name, tiny_slot


def named(model: str, slot: str = "coding", **keys: object) -> dict[str, object]:
    return {**tiny_slot(model), "name": slot, "alias": "coder", **keys}


def models(machine: Machine) -> list[str]:
    return [name for name in machine.names() if not name.startswith("aliases/")]


def link(machine: Machine) -> Path:
    return machine.store / "aliases" / "coder.gguf"


class Reader:
    """A client that opens the name again and again while the model under it is swapped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read: set[str] = set()
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(0.001):
            try:
                self.read.add(sha256_of(self.path))
            except OSError as error:
                self.failed.append(str(error))


def test_the_name_moves_with_a_swap_and_can_be_read_at_every_instant(machine: Machine) -> None:
    machine.write(named("alpha"))
    assert machine.plan("--detailed-exitcode", expect=2).rows() == [
        ("install", "missing", tiny_name("alpha")),
        ("update", "alias", tiny_name("alpha")),
    ]
    machine.apply()
    machine.in_sync()
    assert link(machine).is_symlink()
    assert not link(machine).readlink().is_absolute()
    alpha = sha256_of(machine.store / tiny_name("alpha"))
    assert sha256_of(link(machine)) == alpha
    assert models(machine) == [tiny_name("alpha")], "a name is no model"

    machine.write(named("beta"))
    assert machine.plan("--detailed-exitcode", expect=2).rows() == [
        ("install", "missing", tiny_name("beta")),
        ("update", "alias", tiny_name("beta")),
        ("evict", "replaced", tiny_name("alpha")),
    ]
    with Reader(link(machine)) as reader:
        machine.apply()
    beta = sha256_of(machine.store / tiny_name("beta"))
    machine.apply()  # the old model stays where the client has it open at that very moment
    assert reader.failed == []
    assert reader.read <= {alpha, beta}
    assert sha256_of(link(machine)) == beta
    machine.in_sync()
    (where,) = machine.run("which", "coder", "--json").data
    assert (where["alias"], where["aliasPath"]) == ("coder", str(link(machine)))
    assert "name coder → " + tiny_name("beta") in machine.run("status").out

    machine.write({**tiny_slot("beta"), "name": "coding"})
    machine.apply()
    machine.in_sync()
    assert not link(machine).is_symlink()
    assert models(machine) == [tiny_name("beta")]


def test_a_name_somebody_else_made_is_left_alone_and_the_rest_goes_on(machine: Machine) -> None:
    theirs = machine.store / "somebody" / "else" / "own.gguf"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"somebody's")
    link(machine).parent.mkdir(parents=True)
    link(machine).symlink_to(Path("..") / "somebody/else/own.gguf")
    machine.write(named("alpha"))
    machine.apply(expect=None)
    assert link(machine).read_bytes() == b"somebody's"
    blocked = machine.plan()
    assert blocked.rows("blocked") == [("keep", "unmanaged-conflict", tiny_name("alpha"))]
    link(machine).unlink()
    machine.apply()
    machine.in_sync()
    assert sha256_of(link(machine)) == sha256_of(machine.store / tiny_name("alpha"))


def test_a_saved_plan_is_stale_once_somebody_moved_the_name(machine: Machine, tmp_path: Path) -> None:
    machine.write(named("alpha"), tiny_slot("gamma"))
    machine.apply()
    machine.write(named("beta"), tiny_slot("gamma"))
    saved = tmp_path / "plan.json"
    machine.run("plan", "--out", str(saved))
    link(machine).unlink()
    link(machine).symlink_to(Path("..") / tiny_name("gamma"))
    refused = machine.run("apply", str(saved), "--yes", expect=None)
    assert refused.code != 0
    assert "changed" in refused.err + refused.out
    machine.apply()
    machine.in_sync()
    assert sha256_of(link(machine)) == sha256_of(machine.store / tiny_name("beta"))


def test_destroy_takes_the_names_first_and_disown_lets_them_go(machine: Machine) -> None:
    machine.write(named("alpha"))
    machine.apply()
    told = machine.run("disown", tiny_name("alpha"))
    assert "coder" in told.err
    assert link(machine).is_symlink(), "disown touches no target"
    machine.run("destroy", "--yes", expect=None)
    assert link(machine).is_symlink(), "what is not ours stays"
    link(machine).unlink()
    (machine.store / tiny_name("alpha")).unlink()
    machine.apply()
    machine.in_sync()
    machine.run("destroy", "--yes")
    assert not link(machine).is_symlink()
    assert models(machine) == []
