"""The power goes off at every instant of an adapter's steps, one after the other; the next run makes it good."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.domain.adapter import AdapterServing, AdapterSource, HeldAdapter, ServedAdapter
from reconciler.domain.units import Bytes
from reconciler.engine.destroy import destroy
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import World
from reconciler.lora.adapter_content import AdapterContent
from reconciler.ports import Progress, ServesAdapters
from tests.campaign.power import Power, PoweredRecords, PoweredRuntime
from tests.engine.lora.adapting import NEW, OLD, Room, StoreBehind, coder, raised_crash, room
from tests.engine.worlds import BETA, OPTIONS
from tests.fakes import Crash


@dataclass
class PoweredAdapters(PoweredRuntime):
    """``ServesAdapters`` too dies with the power."""

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        assert isinstance(self.inner, ServesAdapters)
        self.power.pass_by("attach")
        served = await self.inner.attach(adapter)
        self.power.pass_by("attached")
        return served

    async def detach(self, name: str, base: str) -> None:
        assert isinstance(self.inner, ServesAdapters)
        self.power.pass_by("detach")
        await self.inner.detach(name, base)
        self.power.pass_by("detached")


@dataclass
class PoweredStore(StoreBehind):
    """Dies with the power."""

    power: Power

    async def hold(self, content: AdapterContent, holder: str, progress: Progress) -> str:
        self.power.pass_by("hold")
        path = await super().hold(content, holder, progress)
        self.power.pass_by("held")
        return path

    async def converted(self, digest: str, key: str, make: Callable[[str], Awaitable[None]]) -> str:
        self.power.pass_by("convert")
        path = await super().converted(digest, key, make)
        self.power.pass_by("converted")
        return path

    async def keep(self, digest: str, holder: str) -> None:
        self.power.pass_by("keep")
        await super().keep(digest, holder)
        self.power.pass_by("kept")

    async def drop(self, digest: str, holder: str) -> Bytes:
        self.power.pass_by("drop")
        freed = await super().drop(digest, holder)
        self.power.pass_by("dropped")
        return freed

    async def sweep(self) -> None:
        self.power.pass_by("sweep")
        await super().sweep()


def powered(here: Room, power: Power) -> World:
    world, ports = here.world, here.ports
    return replace(
        world,
        runtime=lambda desired, target: PoweredAdapters(world.runtime(desired, target), power),
        records=lambda desired: PoweredRecords(world.records(desired), power),
        adapters=lambda: replace(ports, store=lambda _: PoweredStore(here.store, power)),
    )


async def first(here: Room) -> None:
    """It is attached, its base with it."""


async def converted(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))


async def changed(here: Room) -> None:
    await reconcile(here.world, OPTIONS)
    here.gguf(rank=2)


async def rescaled(here: Room) -> None:
    await reconcile(here.world, OPTIONS)
    here.edit(adapters=(here.lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),)),))


async def unwanted(here: Room) -> None:
    await reconcile(here.world, OPTIONS)
    here.edit()


async def following(here: Room) -> None:
    here.edit(adapters=(here.lora(on_base_change="follow"),))
    await reconcile(here.world, OPTIONS)
    here.edit(coder(BETA), adapters=(here.lora(on_base_change="follow"),))


STORIES = {one.__name__: one for one in (first, converted, changed, rescaled, unwanted, following)}


STRIDE = {"converted": 3, "rescaled": 3}
"""Stories that differ little from another are cut at every third instant."""


def always(here: Room, story: str) -> Callable[[], None]:
    """What holds at every instant: a base that stood stands until its successor does, and its adapter with it."""
    stood = OLD in here.runtime.installed
    served = bool(here.runtime.adapters)

    def look() -> None:
        runtime = here.runtime
        assert not stood or OLD in runtime.installed or NEW in runtime.installed
        assert not served or story == "unwanted" or "sql" in runtime.adapters
        for adapter in runtime.adapters.values():
            assert adapter.base in runtime.installed
            assert Path(adapter.path or "").is_file(), "what is served is held"

    return look


async def outcome(here: Room) -> object:
    record = here.fakes.record
    assert record.intents == ()
    held = {one.digest for one in await here.held()}
    assert held == {one.digest for one in record.adapters}
    assert {one.name for one in record.adapters} == set(here.runtime.adapters)
    assert {entry.name for entry in record.entries} == set(here.runtime.installed)
    return (
        sorted((one.name, one.base, one.digest, one.scale) for one in record.adapters),
        sorted(here.runtime.installed),
    )


async def prepared(folder: Path, story: str) -> Room:
    folder.mkdir()
    here = room(folder)
    await STORIES[story](here)
    return here


@pytest.mark.parametrize("story", STORIES)
async def test_power_lost_at_any_instant_is_made_good_by_the_next_run(story: str, tmp_path: Path) -> None:
    here, power = await prepared(tmp_path / "whole", story), Power()
    power.watch = always(here, story)
    assert (await reconcile(powered(here, power), OPTIONS)).verified
    expected = await outcome(here)
    assert power.instants > 10
    for cut in range(0, power.instants, STRIDE.get(story, 1)):
        here = await prepared(tmp_path / str(cut), story)
        dying = Power(cut_at=cut, watch=always(here, story))
        with pytest.raises(BaseException) as raised:
            await reconcile(powered(here, dying), OPTIONS)
        assert raised_crash(raised, Crash), (cut, raised.value)
        here.fakes.store._lock = type(here.fakes.store._lock)()
        report = await reconcile(here.world, OPTIONS)
        assert report.verified, (cut, power.passed[cut], [one.message for one in report.outcomes])
        assert await outcome(here) == expected, (cut, power.passed[cut])


async def test_destroy_that_is_cut_is_finished_by_the_next(tmp_path: Path) -> None:
    async def ready(name: str) -> Room:
        here = await prepared(tmp_path / name, "first")
        await reconcile(here.world, OPTIONS)
        return here

    here, power = await ready("whole"), Power()
    await destroy(powered(here, power), OPTIONS)
    for cut in range(power.instants):
        here = await ready(str(cut))
        with pytest.raises(BaseException) as raised:
            await destroy(powered(here, Power(cut_at=cut)), OPTIONS)
        assert raised_crash(raised, Crash)
        here.fakes.store._lock = type(here.fakes.store._lock)()
        await destroy(here.world, OPTIONS)
        assert (here.runtime.adapters, here.runtime.installed, await here.held()) == ({}, {}, ()), cut
        assert (here.fakes.record.adapters, here.fakes.record.entries) == ((), ())
