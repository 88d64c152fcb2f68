"""Offline, an adapter of the Hub that is held already at its pinned commit is attached again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from reconciler.domain.adapter import AdapterSource
from reconciler.domain.units import Bytes
from reconciler.engine.lora.verdict import local_source
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Freshness
from tests.engine.lora.adapting import Room, room
from tests.engine.worlds import OPTIONS

COMMIT = "c" * 40
OFFLINE: Freshness = "offline"


def quiet(done: Bytes, total: Bytes, note: str = "") -> None:
    """Nobody looks."""


async def hold(here: Room) -> None:
    """As if it had been fetched from the Hub: the same files, and the note of where they came from."""
    here.hub.repos["acme/sql"] = Path(here.peft())
    local = local_source(here.lora(source=AdapterSource(path=here.peft())), here.ports.files).content
    found = await here.hub.look("acme/sql", COMMIT, pickles=False)
    await here.store.hold(local, "a test", quiet)
    artifact = found.artifact.model_copy(update={"endpoint": here.fakes.source.desired.hub.endpoint})
    await here.store.hold(local.model_copy(update={"folder": None, "artifact": artifact}), "a test", quiet)


async def test_what_is_held_of_a_pinned_commit_is_attached_again_offline(tmp_path: Path) -> None:
    here = room(tmp_path)
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    await hold(here)
    here.hub.repos.clear()
    here.edit(adapters=(here.lora(source=AdapterSource(repo="acme/sql", revision=COMMIT)),))
    report = await reconcile(here.world, replace(OPTIONS, freshness=OFFLINE, ask=False))
    assert (report.verified, list(here.runtime.adapters)) == (True, ["sql"])
    here.runtime.adapters.clear()
    again = await reconcile(here.world, replace(OPTIONS, freshness=OFFLINE, ask=False))
    assert (again.verified, list(here.runtime.adapters)) == (True, ["sql"])


async def test_what_is_not_held_waits_for_the_network(tmp_path: Path) -> None:
    here = room(tmp_path)
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    here.edit(adapters=(here.lora(source=AdapterSource(repo="acme/sql", revision=COMMIT)),))
    report = await reconcile(here.world, replace(OPTIONS, freshness=OFFLINE, ask=False))
    assert [row.reason.value for row in report.plan.blocked] == ["unavailable"]
