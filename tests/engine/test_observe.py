from __future__ import annotations

from reconciler.domain.desired import HardwareOverride
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.units import GIB, Bytes
from reconciler.engine.observe import observe
from reconciler.engine.world import opened
from reconciler.errors import Unreachable
from tests.builders import target
from tests.engine.worlds import ALPHA, Fakes, fakes, foreign, pin
from tests.fakes import FakeRuntime


async def look(here: Fakes, **options: float) -> list[ObservedTarget | UnknownTarget]:
    desired = await here.world.source.load()
    async with opened(here.world, desired) as runtimes:
        found = await observe(here.world, desired, freshness="cached", runtimes=runtimes, **options)
    return list(found.targets)


class Raising(FakeRuntime):
    async def observe(self) -> ObservedTarget:
        raise Unreachable("half an answer", code="unreachable", hint="look at the server")


async def test_targets_come_in_the_order_of_the_file() -> None:
    here = fakes(targets=[target("b", path="/b"), target("a", path="/a")])
    assert [one.name for one in await look(here)] == ["b", "a"]


async def test_a_target_that_raises_is_unknown_and_the_others_are_not() -> None:
    here = fakes(targets=[target("bad", path="/bad"), target("good", path="/good")])
    here.runtimes["store|/bad"] = Raising(target("bad", path="/bad"))
    bad, good = await look(here)
    assert isinstance(bad, UnknownTarget)
    assert (bad.reason, bad.code, bad.hint) == ("half an answer", "unreachable", "look at the server")
    assert isinstance(good, ObservedTarget)


async def test_a_target_that_takes_too_long_is_unknown() -> None:
    here = fakes()
    here.runtime().hangs = True
    (found,) = await look(here, timeout_seconds=0.01)
    assert isinstance(found, UnknownTarget)
    assert "0.01 s" in found.reason


async def test_a_remote_target_has_the_machine_its_file_describes() -> None:
    override = HardwareOverride(platform="nvidia", vram_bytes=Bytes(24 * GIB), ram_bytes=Bytes(99 * GIB))
    here = fakes(targets=[target("far", path="/far", is_local=False, hardware=override), target()])
    far, near = await look(here)
    assert isinstance(far, ObservedTarget)
    assert far.hardware is not None
    assert far.hardware.ram_bytes == 99 * GIB
    assert isinstance(near, ObservedTarget)
    assert near.hardware is None


async def test_every_runtime_is_closed_again() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(ALPHA))
    await look(here)
    assert here.runtime().closed == 1
    assert here.runtime().mutations == []
