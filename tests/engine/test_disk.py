from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from reconciler.domain.observation import Installed
from reconciler.domain.plan import Action
from reconciler.domain.units import GB, Bytes
from reconciler.engine.disk import LOOK_SECONDS, with_free_disk
from reconciler.engine.reconcile import reconcile
from reconciler.errors import OutOfSpace, Unreachable
from tests.builders import pool, target
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, fakes, name_of, pin
from tests.fakes import FakeRuntime, FixedClock

DONE = Installed(name="m", bytes=Bytes(5))
RESERVE = Bytes(10)


@dataclass
class Disk:
    """Free bytes as they are told one look after the other; the last one for ever."""

    free: list[int | None]

    async def free_disk_bytes(self) -> int | None:
        return self.free.pop(0) if len(self.free) > 1 else self.free[0]


async def run(disk: Disk, install: object = None, *, needed: int = 5, clock: FixedClock | None = None) -> Installed:
    async def at_once() -> Installed:
        return DONE

    return await with_free_disk(
        install or at_once,  # type: ignore[arg-type]
        disk, needed=needed, reserve=RESERVE, name="m", clock=clock or FixedClock(),
    )  # fmt: skip


async def test_with_room_it_is_installed() -> None:
    assert await run(Disk([100])) == DONE
    assert await run(Disk([None])) == DONE, "nobody can tell"


async def test_without_room_nothing_is_begun() -> None:
    begun: list[int] = []

    async def install() -> Installed:
        begun.append(1)
        return DONE

    with pytest.raises(OutOfSpace, match="needs 5 B more"):
        await run(Disk([14]), install)
    assert begun == []
    assert await run(Disk([11]), install, needed=0) == DONE, "everything has arrived already"


async def test_a_disk_that_fills_up_meanwhile_stops_it() -> None:
    stopped: list[int] = []

    async def install() -> Installed:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(1)
        return DONE

    clock = FixedClock()
    with pytest.raises(OutOfSpace, match="filled up to 9 B free"):
        await run(Disk([100, 50, None, 20, 9]), install, clock=clock)
    assert stopped == [1]
    assert clock.slept == [LOOK_SECONDS] * 4


async def test_a_wait_that_never_ends_fails_a_test_and_does_not_hang_it() -> None:
    async def hangs() -> Installed:
        await asyncio.Event().wait()
        return DONE

    with pytest.raises(AssertionError, match="waits for ever"):
        await run(Disk([100]), hangs)


async def test_its_own_failure_and_a_stop_from_outside_come_through() -> None:
    async def fails() -> Installed:
        raise Unreachable("down")

    with pytest.raises(Unreachable):
        await run(Disk([100]), fails)

    async def hangs() -> Installed:
        await asyncio.Event().wait()
        return DONE

    task = asyncio.create_task(run(Disk([100]), hangs))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@dataclass
class ServerRuntime(FakeRuntime):
    """A target that downloads by itself, on a disk that another program fills."""

    others: list[int] = field(default_factory=lambda: [0])

    async def free_disk_bytes(self) -> int:
        taken = self.others.pop(0) if len(self.others) > 1 else self.others[0]
        return self.free_bytes - self._used() - taken


async def test_a_server_s_download_is_stopped_before_the_disk_is_full_and_goes_on_later() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = ServerRuntime(target(), stall=asyncio.Event(), others=[0, 0, 490 * GB])
    here.runtimes[target().key] = runtime
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = report.outcomes
    assert (outcome.status, outcome.code) == ("failed", "out-of-space")
    assert "must stay free" in outcome.message
    assert runtime.installed == {}
    runtime.others, runtime.stall = [0], None
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_unfinished_downloads_count_in_the_budget_once() -> None:
    here = fakes(pin("a", ALPHA), pool=pool(disk_budget=Bytes(6 * GB)))
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [Unreachable("down") for _ in range(3)]
    runtime.partials[name_of(ALPHA)] = 4 * GB
    report = await reconcile(here.world, OPTIONS)
    assert report.remaining is not None
    assert report.remaining.budgets[0].used_bytes == 4 * GB
    assert report.remaining.budgets[0].peak_bytes == 5 * GB, "what has arrived is part of what the row brings"
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_what_nobody_asks_for_any_more_goes_before_what_needs_its_room() -> None:
    here = fakes(pin("a", ALPHA), pool=pool(disk_budget=Bytes(6 * GB)))
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [Unreachable("down") for _ in range(3)]
    runtime.partials[name_of(ALPHA)] = 4 * GB
    await reconcile(here.world, OPTIONS)
    runtime.partials["somebody-elses"] = 1
    here.edit(pin("b", BETA), pool=pool(disk_budget=Bytes(6 * GB)))
    runtime.calls.clear()
    report = await reconcile(here.world, OPTIONS)
    assert report.plan.budgets[0].used_bytes == 4 * GB
    assert report.plan.budgets[0].peak_bytes == 5 * GB
    assert report.verified
    assert runtime.mutations == [f"clean {name_of(ALPHA)}", f"install {name_of(BETA)}"]
    assert here.record.intents == ()


async def test_a_step_that_heard_nothing_for_long_is_not_begun_again() -> None:
    here = fakes(pin("a", ALPHA))

    def silent(row: object) -> None:
        here.clock.forward(61)

    runtime = here.runtime()
    runtime.on_install = silent
    runtime.fail_installs[name_of(ALPHA)] = [Unreachable("no answer") for _ in range(3)]
    (outcome,) = (await reconcile(here.world, OPTIONS)).outcomes
    assert outcome.code == "unreachable"
    assert runtime.mutations == [f"install {name_of(ALPHA)}"]
    assert here.clock.slept == []


async def test_pauses_jitter_and_never_come_early() -> None:
    here = fakes(pin("a", ALPHA))
    chances = iter([1.0, 0.5])
    here.runtime().fail_installs[name_of(ALPHA)] = [Unreachable("503"), Unreachable("429", retry_after_seconds=8)]
    await reconcile(replace(here.world, jitter=lambda: next(chances)), OPTIONS)
    assert here.clock.slept == [3.0, 10.0]


class SharingRuntime(FakeRuntime):
    """Most of what is removed stays, because another model refers to it."""

    async def remove(self, name: str) -> Bytes:
        return Bytes(await super().remove(name) // 5)


async def test_what_an_eviction_really_freed_is_told_and_is_all_that_may_be_used() -> None:
    here = fakes(pin("a", ALPHA), pin("d", DELTA))
    here.runtimes[target().key] = SharingRuntime(target())
    await reconcile(here.world, OPTIONS)
    here.edit(pin("d", DELTA))
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = report.outcomes
    assert outcome.row.action is Action.EVICT
    assert (outcome.row.bytes_freed, outcome.bytes_freed) == (5 * GB, 1 * GB)
    (warning,) = report.warnings
    assert "freed 1.0 GB, not the 5.0 GB planned: other models share its files" in warning
