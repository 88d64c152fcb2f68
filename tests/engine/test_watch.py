from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from reconciler.engine.watch import Pass, pause_after, watch
from reconciler.errors import DesiredStateError, Refused
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, desired, fakes, name_of, pin
from tests.fakes import ScriptedWakeups

YEAR = 365 * 86_400.0


class Watched:
    def __init__(self, here: Fakes, *, apply: bool) -> None:
        self.here = here
        self.wakeups = ScriptedWakeups()
        self.passes: list[Pass] = []
        self.task = asyncio.ensure_future(
            watch(
                here.world,
                self.wakeups,
                apply=apply,
                options=OPTIONS,
                on_pass=self.passes.append,
                jitter=lambda: 1.0,
            )
        )

    async def until(self, ready: Callable[[], bool]) -> None:
        async with asyncio.timeout(10):
            while not ready():
                assert not self.task.done() or self.task.exception() is None
                await asyncio.sleep(0.001)

    async def next_pass(self) -> Pass:
        count = self._told
        await self.until(lambda: len(self.passes) > count)
        self._told = count + 1
        return self.passes[count]

    _told = 0

    async def quiet(self) -> None:
        """Nothing more happens."""
        await asyncio.sleep(0.05)
        assert len(self.passes) == self._told

    async def tick(self, seconds: float) -> None:
        self.here.clock.forward(seconds)
        self.wakeups.send("tick")


@asynccontextmanager
async def watching(here: Fakes, *, apply: bool = True) -> AsyncIterator[Watched]:
    found = Watched(here, apply=apply)
    try:
        yield found
        found.wakeups.send("stop")
        async with asyncio.timeout(10):
            await found.task
    finally:
        found.task.cancel()


async def test_it_looks_at_the_start_and_stops_when_told() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here) as at:
        first = await at.next_pass()
        assert (first.why, first.repeated) == ("start", False)
        assert first.report is not None
        assert first.report.verified
    assert here.owned() == {name_of(ALPHA)}


async def test_without_apply_a_save_becomes_a_plan_and_nothing_else() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here, apply=False) as at:
        await at.next_pass()
        here.edit(pin("a", BETA))
        at.wakeups.send("changed")
        second = await at.next_pass()
        assert second.why == "changed"
        assert second.planned is not None
        assert [row.name for row in second.planned.plan.changes] == [name_of(BETA)]
    assert here.runtime().mutations == []
    assert len(here.store.saved) == 1


async def test_with_apply_a_save_becomes_an_apply() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here) as at:
        await at.next_pass()
        here.edit(pin("a", BETA))
        at.wakeups.send("changed")
        await at.next_pass()
    assert here.owned() == set(here.runtime().installed) == {name_of(BETA)}


async def test_a_save_is_planned_from_the_catalogue_at_hand() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here, apply=False) as at:
        await at.next_pass()
        at.wakeups.send("changed")
        await at.next_pass()
    assert here.catalog.freshness == ["cached", "offline"]


async def test_an_invalid_edit_keeps_the_last_good_state_and_says_so_once() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here) as at:
        await at.next_pass()
        here.source.desired = DesiredStateError("line 3: no such key")
        at.wakeups.send("changed")
        told = await at.next_pass()
        assert told.error is not None
        assert told.last_good
        at.wakeups.send("changed")
        await at.quiet()
        here.runtime().installed.clear()
        await at.tick(300)
        repaired = await at.next_pass()
        assert (repaired.why, repaired.last_good) == ("interval", True)
        assert set(here.runtime().installed) == {name_of(ALPHA)}
        here.source.desired = desired(pin("a", BETA), digest="fixed")
        at.wakeups.send("changed")
        assert not (await at.next_pass()).last_good
    assert here.owned() == {name_of(BETA)}


async def test_a_file_that_was_never_valid_is_waited_for() -> None:
    here = fakes(pin("a", ALPHA))
    good, here.source.desired = here.source.desired, DesiredStateError("not there")
    async with watching(here) as at:
        told = await at.next_pass()
        assert told.error is not None
        assert not told.last_good
        await at.tick(300)
        await at.quiet()
        here.source.desired = good
        at.wakeups.send("changed")
        assert (await at.next_pass()).report is not None
    assert here.owned() == {name_of(ALPHA)}


async def test_the_interval_repairs_drift_and_a_tick_before_it_does_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here) as at:
        await at.next_pass()
        here.runtime().installed.clear()
        await at.tick(100)
        await at.quiet()
        await at.tick(200)
        assert (await at.next_pass()).why == "interval"
    assert set(here.runtime().installed) == {name_of(ALPHA)}


async def test_a_quiet_interval_says_that_nothing_is_new() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here, apply=False) as at:
        await at.next_pass()
        await at.tick(300)
        assert (await at.next_pass()).repeated


async def test_it_ranks_again_when_that_is_due() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here, apply=False) as at:
        await at.next_pass()
        await at.tick(86_400)
        assert (await at.next_pass()).why == "interval"
        await at.tick(600)
        assert (await at.next_pass()).why == "refresh"
        assert here.catalog.freshness == ["cached", "offline", "refresh"]


async def test_the_hub_is_not_asked_more_than_hourly() -> None:
    refresh = desired().refresh.model_copy(update={"interval_seconds": 10.0, "jitter_seconds": 5.0})
    here = fakes(pin("a", ALPHA), refresh=refresh)
    async with watching(here, apply=False) as at:
        await at.next_pass()
        await at.tick(1800)
        assert (await at.next_pass()).why == "interval"
        await at.tick(1800)
        assert (await at.next_pass()).why == "refresh"


async def test_a_step_that_fails_is_tried_later_and_later_while_the_rest_goes_on() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA), interval_seconds=30.0)
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [Refused("gated") for _ in range(9)]

    def tries() -> int:
        return runtime.calls.count(f"install {name_of(ALPHA)}")

    async with watching(here) as at:
        await at.next_pass()
        seen = []
        for _ in range(8):
            await at.tick(30)
            await at.next_pass()
            seen.append(tries())
        assert seen == [2, 2, 3, 3, 3, 3, 4, 4]
        assert here.owned() == {name_of(BETA)}
        at.wakeups.send("changed")
        await at.next_pass()
        assert tries() == 5


@pytest.mark.parametrize("jump", [-YEAR, -7200.0, YEAR])
async def test_a_clock_that_is_set_makes_nothing_wait_for_ever(jump: float) -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [Refused("gated") for _ in range(3)]
    async with watching(here) as at:
        await at.next_pass()
        here.clock.jump(jump)
        runtime.installed.clear()
        at.wakeups.send("tick")
        assert (await at.next_pass()).why == "refresh", "nobody can tell how long ago the last one was"
        assert set(runtime.installed) == {name_of(BETA)}
        assert runtime.calls.count(f"install {name_of(ALPHA)}") == 2, "and so with the pause after a failure"
        await at.tick(100)
        await at.quiet()
        await at.tick(200)
        assert (await at.next_pass()).why == "interval"
        assert runtime.calls.count(f"install {name_of(ALPHA)}") == 3


@pytest.mark.parametrize("jump", [-YEAR, YEAR])
async def test_a_pass_that_cannot_be_made_is_tried_again_when_the_clock_is_set(jump: float) -> None:
    here = fakes(pin("a", ALPHA))
    here.store.locked_by = "4711"
    async with watching(here) as at:
        await at.next_pass()
        here.store.locked_by = None
        here.clock.jump(jump)
        at.wakeups.send("tick")
        assert (await at.next_pass()).report is not None


async def test_a_clock_that_is_corrected_by_a_moment_costs_no_pass() -> None:
    here = fakes(pin("a", ALPHA))
    async with watching(here) as at:
        await at.next_pass()
        here.clock.jump(-0.5)
        at.wakeups.send("tick")
        await at.quiet()


async def test_a_pass_that_cannot_be_made_is_tried_again_soon_and_then_less_often() -> None:
    here = fakes(pin("a", ALPHA))
    here.store.locked_by = "4711"
    async with watching(here) as at:
        first = await at.next_pass()
        assert first.error is not None
        assert first.error.code == "locked"
        await at.tick(30)
        assert (await at.next_pass()).repeated
        await at.tick(30)
        await at.quiet()
        here.store.locked_by = None
        await at.tick(30)
        assert (await at.next_pass()).report is not None


async def test_stop_in_the_middle_of_a_download_ends_cleanly_and_is_resumed() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.stall = asyncio.Event()
    async with watching(here) as at:
        async with asyncio.timeout(10):
            await runtime.started.wait()
    assert at.passes == []
    assert [one.status for one in here.reporter.reports[-1].outcomes] == ["interrupted"]
    assert name_of(ALPHA) in runtime.partials
    assert here.record.intents
    runtime.stall = None
    async with watching(here) as again:
        await again.next_pass()
    assert here.owned() == {name_of(ALPHA)}


async def test_sigterm_as_a_cancelled_task_ends_the_same_way() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.stall = asyncio.Event()
    at = Watched(here, apply=True)
    async with asyncio.timeout(10):
        await runtime.started.wait()
    at.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await at.task
    assert here.store.events == ["intent", "interrupted"]


async def test_a_save_during_a_download_is_looked_at_right_after_it() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.stall = asyncio.Event()
    async with watching(here) as at:
        async with asyncio.timeout(10):
            await runtime.started.wait()
        here.edit(pin("b", BETA))
        at.wakeups.send("changed")
        await asyncio.sleep(0.01)
        runtime.stall.set()
        await at.next_pass()
        assert (await at.next_pass()).why == "changed"
    assert here.owned() == {name_of(BETA)}


async def test_a_mistake_of_ours_is_not_hidden() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [ZeroDivisionError()]
    at = Watched(here, apply=True)
    with pytest.raises(ZeroDivisionError):
        await at.task


def test_pauses_double_to_an_hour() -> None:
    assert [pause_after(times) for times in (1, 2, 3, 7, 8, 500)] == [30, 60, 120, 1920, 3600, 3600]
