"""Do it again: at every change of the file, at every interval, and when the ranking is due.

An event only wakes: each pass loads, observes and plans everything anew. What fails is tried again later and later,
until the file changes; what does not depend on it goes on at every pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import SystemRandom
from typing import Literal

from reconciler.domain.desired import DesiredState
from reconciler.domain.report import Report
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.verdict import failures
from reconciler.engine.world import Options, Planned, World
from reconciler.errors import DesiredStateError, ReconcilerError
from reconciler.ports import Wakeups

FIRST_PAUSE_SECONDS = 30.0
"""After a first failure; doubled at each that follows."""
LONGEST_PAUSE_SECONDS = 3600.0
SHORTEST_REFRESH_SECONDS = 3600.0
"""The Hub is not asked for everything more often than this, jitter included."""
TOLERANCE_SECONDS = 1.0
"""A tick this much before its time counts as on time, and a clock that went back by less was not set back."""

Wakeup = Literal["changed", "tick", "stop"]


@dataclass(frozen=True, slots=True)
class Pass:
    """One look at everything, and what came of it. Exactly one of the last three is set."""

    why: Literal["start", "changed", "interval", "refresh", "retry"]
    at: datetime
    repeated: bool
    """The outcome is the same as that of the pass before."""
    last_good: bool = False
    """The file is not valid: this pass was made for the last one that was."""
    planned: Planned | None = None
    """Without ``--apply``: what apply would do."""
    report: Report | None = None
    error: ReconcilerError | None = None


Jitter = Callable[[], float]
"""A number between -1 and 1, drawn anew at each call."""


def random_jitter() -> float:
    return SystemRandom().uniform(-1.0, 1.0)


async def watch(
    world: World,
    wakeups: Wakeups,
    *,
    apply: bool,
    options: Options,
    on_pass: Callable[[Pass], None],
    jitter: Jitter = random_jitter,
) -> None:
    """Look again and again until ``stop``, which also ends a pass at work: what it was fetching is kept for resuming.

    Args:
        world: the ports.
        wakeups: why to look again.
        apply: keep the machine as the file says; else only plan.
        options: of the first pass; later ones ask for the catalogue anew only when the ranking is due.
        on_pass: told about each pass, also those that failed.
        jitter: spreads the refreshes of many machines.
    """
    watcher = _Watcher(world, apply, options, on_pass, jitter)
    events = aiter(wakeups)
    upcoming = asyncio.ensure_future(_next(events))
    running = asyncio.ensure_future(watcher.look("start"))
    try:
        while True:
            await asyncio.wait({upcoming, running}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
                if why := watcher.due_after_pass():
                    running = asyncio.ensure_future(watcher.look(why))
                    continue
                await asyncio.wait({upcoming})
            if upcoming.done():
                event = upcoming.result()
                if event == "stop":
                    return
                upcoming = asyncio.ensure_future(_next(events))
                why = watcher.woken(event, busy=not running.done())
                if why:
                    running = asyncio.ensure_future(watcher.look(why))
    finally:
        running.cancel()
        upcoming.cancel()
        await asyncio.gather(running, upcoming, return_exceptions=True)
        if isinstance(events, AsyncGenerator):
            await events.aclose()


async def _next(events: AsyncIterator[Wakeup]) -> Wakeup:
    return await anext(events, "stop")


Why = Literal["start", "changed", "interval", "refresh", "retry"]


@dataclass(frozen=True, slots=True)
class Wait:
    """A time that is waited for, which a clock that is set back cannot make last for ever."""

    since: datetime
    until: datetime

    @classmethod
    def begun(cls, since: datetime, seconds: float) -> Wait:
        """``seconds`` from ``since`` on.

        >>> noon = datetime(2026, 11, 22, 12)
        >>> wait = Wait.begun(noon, 60)
        >>> [wait.is_over(noon + timedelta(seconds=seconds)) for seconds in (0, 58, 59, -3600)]
        [False, False, True, True]
        """
        return cls(since, since + timedelta(seconds=seconds))

    def is_over(self, now: datetime) -> bool:
        """It is time; or it is earlier than when the wait began, and nobody can tell how much of it has passed."""
        tolerance = timedelta(seconds=TOLERANCE_SECONDS)
        return not self.since - tolerance <= now < self.until - tolerance


@dataclass
class _Postponed:
    """Steps that failed lately: how often in a row, and when they may be tried again."""

    _failed: dict[tuple[str, str], tuple[int, Wait]] = field(default_factory=dict)

    def now(self, at: datetime) -> frozenset[tuple[str, str]]:
        return frozenset(key for key, (_, wait) in self._failed.items() if not wait.is_over(at))

    def learn(self, report: Report, at: datetime) -> None:
        failed = {one.row.subject for one in failures(report) if one.status == "failed"}
        for outcome in report.outcomes:
            key = outcome.row.subject
            if key in failed:
                times = self._failed[key][0] + 1 if key in self._failed else 1
                self._failed[key] = (times, Wait.begun(at, pause_after(times)))
            elif outcome.status == "done":
                self._failed.pop(key, None)

    def forgive(self) -> None:
        """The file changed: everything may be tried at once."""
        self._failed.clear()


@dataclass
class _Watcher:
    """What is remembered between passes: the last valid file, when what is due, and what failed lately."""

    world: World
    apply: bool
    options: Options
    on_pass: Callable[[Pass], None]
    jitter: Jitter
    _good: DesiredState | None = None
    _changed: bool = False
    _look_at: Wait | None = None
    _refresh_at: Wait | None = None
    _retry_at: Wait | None = None
    _failures: int = 0
    _steps: _Postponed = field(default_factory=_Postponed)
    _last: object = None
    _broken: object = None

    def woken(self, event: Wakeup, *, busy: bool) -> Why | None:
        """Why to look now, if there is reason to."""
        if event == "changed":
            self._changed = True
        if busy:
            return None
        return self.due_after_pass() or self._due()

    def due_after_pass(self) -> Why | None:
        """The file changed while a pass was at work: what it says now was not looked at yet."""
        if not self._changed:
            return None
        self._changed = False
        self._failures, self._retry_at = 0, None
        self._steps.forgive()
        return "changed"

    def _due(self) -> Why | None:
        now = self.world.clock.now()
        if self._retry_at is not None:
            return "retry" if self._retry_at.is_over(now) else None
        if self._refresh_at is not None and self._refresh_at.is_over(now):
            return "refresh"
        return "interval" if self._look_at is None or self._look_at.is_over(now) else None

    async def look(self, why: Why) -> None:
        """One pass over everything. Failing is an outcome; programming mistakes come out."""
        desired, broken = await self._load()
        self._tell_if_broken(why, broken)
        if desired is None or (broken is not None and why == "changed"):
            self._later(desired or DesiredState())
            return
        try:
            await self._pass(why, desired, last_good=broken is not None)
        except ReconcilerError as error:
            self._failed(desired)
            failed = Pass(why, self.world.clock.now(), False, broken is not None, error=error)
            self._tell(failed, (error.code, error.message))
        else:
            self._failures, self._retry_at = 0, None
        self._later(desired)

    async def _load(self) -> tuple[DesiredState | None, DesiredStateError | None]:
        try:
            self._good = await self.world.source.load()
        except DesiredStateError as error:
            return self._good, error
        return self._good, None

    async def _pass(self, why: Why, desired: DesiredState, *, last_good: bool) -> None:
        now = self.world.clock.now()
        world = replace(self.world, source=_Held(desired))
        options = replace(self.options, freshness=self._freshness(why), postponed=self._steps.now(now))
        if why in ("start", "refresh"):
            self._refresh_at = Wait.begun(now, self._refresh_seconds(desired))
        if not self.apply:
            plan = await plan_once(world, options)
            self._tell(Pass(why, now, False, last_good, planned=plan), ("plan", last_good, _essence(plan)))
            return
        report = await reconcile(world, options)
        self._steps.learn(report, self.world.clock.now())
        outcome = tuple((*one.row.subject, one.status, one.code) for one in report.outcomes)
        self._tell(Pass(why, now, False, last_good, report=report), ("report", last_good, _shape(report), outcome))

    def _freshness(self, why: Why) -> Literal["offline", "cached", "refresh"]:
        """Between refreshes the catalogue stays as it is: a save must become a plan at once."""
        if self.options.freshness == "offline":
            return "offline"
        if why == "start":
            return self.options.freshness
        return "refresh" if why == "refresh" else "offline"

    def _refresh_seconds(self, desired: DesiredState) -> float:
        spread = desired.refresh.jitter_seconds * self.jitter()
        return max(SHORTEST_REFRESH_SECONDS, desired.refresh.interval_seconds + spread)

    def _later(self, desired: DesiredState) -> None:
        self._look_at = Wait.begun(self.world.clock.now(), desired.interval_seconds)

    def _failed(self, desired: DesiredState) -> None:
        """Nothing could be done at all: again soon, then later and later, as often as the interval at least."""
        self._failures += 1
        pause = min(desired.interval_seconds, pause_after(self._failures))
        self._retry_at = Wait.begun(self.world.clock.now(), pause)

    def _tell_if_broken(self, why: Why, error: DesiredStateError | None) -> None:
        """Say once that the file is not valid; again only when it is broken in another way."""
        key = None if error is None else (error.message, error.problems)
        if error is not None and key != self._broken:
            self.on_pass(Pass(why, self.world.clock.now(), False, self._good is not None, error=error))
        self._broken = key

    def _tell(self, one: Pass, key: object) -> None:
        repeated, self._last = key == self._last, key
        self.on_pass(replace(one, repeated=repeated))


@dataclass(frozen=True, slots=True)
class _Held:
    """A desired state that was loaded already."""

    desired: DesiredState

    async def load(self) -> DesiredState:
        return self.desired


def pause_after(times: int) -> float:
    """Seconds to wait after so many failures in a row: doubled each time, to an hour.

    >>> [pause_after(times) for times in (1, 2, 3, 20)]
    [30.0, 60.0, 120.0, 3600.0]
    """
    return float(min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(times - 1, 20)))


def _essence(planned: Planned) -> object:
    """A plan without the moment it was made and the digests of what it was made from."""
    plan = planned.plan
    return (plan.changes, plan.held, plan.deferred, plan.blocked, plan.unfilled, plan.refused, plan.warnings)


def _shape(report: Report) -> object:
    left = report.remaining or report.plan
    return (left.changes, left.held, left.deferred, left.blocked, left.unfilled, left.warnings)
