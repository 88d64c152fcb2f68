"""Killed, stopped, and two at once: a real download is resumed, and one record has one writer."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.servers.mirror import Mirror
from tests.e2e.rig import CHAT, SMOL_NAME, Machine, Running, Tap, sha256_of, tiny_name, tiny_slot

SLOW = {"limits": {"downloadRate": "30MB"}}
"""The 98 MB model takes a little over three seconds."""


@pytest.fixture
def tap(hub: Mirror) -> Iterator[Tap]:
    with Tap(hub.url) as tap:
        yield tap


@pytest.fixture
def lab(tap: Tap, machine_at: Callable[..., Machine]) -> Machine:
    """A machine whose downloads are counted, slow, and of the real model."""
    machine = machine_at("here", tap.url)
    machine.write(CHAT, **SLOW)
    return machine


def half_way(run: Running, size: int) -> int:
    """Bytes that were there when the download was seen to be in its middle."""

    def middle(line: dict[str, Any]) -> bool:
        return line["type"] == "stepProgress" and line["doneBytes"] > size // 4

    return int(run.event(middle)["doneBytes"])


@pytest.mark.parametrize(("how", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=str)
def test_a_download_that_was_stopped_goes_on_where_it_was(
    lab: Machine, tap: Tap, model: Path, how: signal.Signals, code: int
) -> None:
    size = model.stat().st_size
    with lab.running("apply", "--yes", "--json") as run:
        half_way(run, size)
        run.signal(how)
        ended = run.end()
    assert ended.code == code, ended.text
    if how is not signal.SIGKILL:
        last = ended.lines[-1]
        assert last["ok"] is False
        (outcome,) = last["data"]["outcomes"]
        assert outcome["status"] == "interrupted"
    assert len(lab.partials()) == 1
    assert lab.names() == []
    owned = lab.plan("--detailed-exitcode", expect=2)
    assert owned.rows() == [("install", "missing", SMOL_NAME)]

    before = tap.bytes
    lab.write(CHAT)  # as fast as it can now
    resumed = lab.apply("--json")
    fetched = tap.bytes - before
    first = next(line for line in resumed.lines if line["type"] == "stepProgress")
    assert first["note"] == "resumed"
    assert first["doneBytes"] > size // 10
    assert fetched < size - first["doneBytes"] + 1_000_000, "what it had was not fetched again"
    assert sha256_of(lab.store / SMOL_NAME) == sha256_of(model)
    assert lab.partials() == []
    lab.in_sync()


def test_what_was_being_fetched_is_cleaned_up_when_nobody_wants_it_any_more(lab: Machine, model: Path) -> None:
    with lab.running("apply", "--yes", "--json") as run:
        half_way(run, model.stat().st_size)
        run.signal(signal.SIGKILL)
        run.end()
    assert lab.partials()
    lab.write(tiny_slot("alpha"))
    lab.apply()
    assert lab.partials() == []
    assert lab.names() == [tiny_name("alpha")]
    lab.in_sync()


def test_a_hub_that_dies_in_the_middle_leaves_what_is_there_for_the_next_run(
    hub: Mirror, machine_at: Callable[..., Machine], model: Path
) -> None:
    from reconciler.servers.mirror import serve
    from tests.e2e.rig import free_port

    port, lab = free_port(), machine_at("here", "")
    lab.endpoint = f"http://127.0.0.1:{port}"
    shelf = lab.root / "shelf"
    (shelf / SMOL_NAME).parent.mkdir(parents=True)
    (shelf / SMOL_NAME).hardlink_to(model) if model.stat().st_dev == lab.root.stat().st_dev else (
        shelf / SMOL_NAME
    ).symlink_to(model)
    lab.write(CHAT, **SLOW)
    with lab.running("apply", "--yes", "--json") as run:
        with serve(shelf, port=port):
            half_way(run, model.stat().st_size)
        with serve(shelf, port=port):  # away for a moment, as a server that restarts
            ended = run.end(60)
    assert ended.code == 0, ended.text
    assert sha256_of(lab.store / SMOL_NAME) == sha256_of(model)


def test_two_applies_at_once(lab: Machine, model: Path) -> None:
    with lab.running("apply", "--yes", "--json") as first:
        half_way(first, model.stat().st_size)
        lost = lab.run("apply", "--yes", "--json", expect=5)
        error = lost.lines[-1]["error"]
        assert error["code"] == "locked"
        assert re.search(r"\b\d+\b", error["message"]), "the owner's process"
        assert "--lock-timeout" in (error["hint"] or ""), error
        assert lab.run("apply", "--yes", expect=5).err.startswith("error: ")
        lab.run("plan")
        lab.run("status")
        waited = lab.run("apply", "--yes", "--lock-timeout", "60")
        assert "In sync: 1 kept." in waited.out, "it looked again once it had the lock"
        assert first.end().code == 0
    assert sha256_of(lab.store / SMOL_NAME) == sha256_of(model)


def test_documents_of_other_names_do_not_wait_for_each_other(lab: Machine, model: Path) -> None:
    other = lab.write(tiny_slot("alpha"), file="other.yaml", name="other")
    with lab.running("apply", "--yes", "--json") as first:
        half_way(first, model.stat().st_size)
        lab.apply("-f", other)
        assert tiny_name("alpha") in lab.names()
        assert first.end().code == 0
    lab.in_sync()
    lab.in_sync("-f", other)
