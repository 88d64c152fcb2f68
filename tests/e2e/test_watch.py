"""``watch`` as it runs on a machine: a save becomes a plan, with ``--apply`` a model; a signal ends it cleanly."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.servers.mirror import Mirror
from tests.e2e.rig import CHAT, SMOL_NAME, Machine, sha256_of, tiny_name, tiny_slot


def passed(*, why: str) -> Callable[[dict[str, Any]], bool]:
    return lambda line: line["type"] == "pass" and line["why"] == why


def test_a_save_becomes_a_plan_and_nothing_is_changed(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"))
    with machine.running("watch", "--json") as watch:
        first = watch.event(passed(why="start"))
        assert [row["name"] for row in first["plan"]["changes"]] == [tiny_name("alpha")]
        machine.write(tiny_slot("alpha"), tiny_slot("beta"))  # by renaming, as an editor saves
        second = watch.event(passed(why="changed"))
        assert [row["name"] for row in second["plan"]["changes"]] == [tiny_name("alpha"), tiny_name("beta")]
        watch.signal(signal.SIGTERM)
        assert watch.end().code == 143
    assert not machine.store.exists()


def test_with_apply_it_keeps_the_machine_so_and_an_invalid_edit_leaves_the_last_good_state(machine: Machine) -> None:
    machine.write(tiny_slot("alpha"), interval="10s")
    with machine.running("watch", "--apply") as watch:
        watch.until(lambda line: "a second look agrees" in line)
        assert machine.names() == [tiny_name("alpha")]

        machine.file.write_text("localModels: {slots: [{name: x, modle: y}]}\n")
        watch.until(lambda line: "localmodels.yaml:1:" in line)
        watch.until(lambda line: "the last valid file stays in force" in line)
        (machine.store / tiny_name("alpha")).unlink()
        watch.until(lambda line: "(of the last valid file)" in line)
        watch.until(lambda line: "installed" in line and "alpha" in line)
        assert machine.names() == [tiny_name("alpha")]

        machine.write(tiny_slot("beta"), interval="10s")
        watch.until(lambda line: line.startswith("evicted") and "alpha" in line)
        watch.signal(signal.SIGINT)
        assert watch.end().code == 130
    assert machine.names() == [tiny_name("beta")]
    machine.in_sync()


def test_a_signal_in_the_middle_of_a_download_ends_it_cleanly_and_apply_goes_on(
    hub: Mirror, machine_at: Callable[..., Machine], model: Path
) -> None:
    lab, size = machine_at("here", hub.url), model.stat().st_size
    lab.write(CHAT, limits={"downloadRate": "30MB"})
    with lab.running("watch", "--apply", "--json") as watch:
        watch.event(lambda line: line["type"] == "stepProgress" and line["doneBytes"] > size // 4)
        assert lab.run("apply", "--yes", "--json", expect=5).lines[-1]["error"]["code"] == "locked"
        watch.signal(signal.SIGTERM)
        ended = watch.end()
    assert ended.code == 143
    assert ended.lines[-1]["data"]["exitCode"] == 143
    assert (len(lab.partials()), lab.names()) == (1, [])
    lab.write(CHAT)
    resumed = lab.apply("--json")
    first = next(line for line in resumed.lines if line["type"] == "stepProgress")
    assert first["note"] == "resumed"
    assert first["doneBytes"] > size // 10
    assert sha256_of(lab.store / SMOL_NAME) == sha256_of(model)
    lab.in_sync()
