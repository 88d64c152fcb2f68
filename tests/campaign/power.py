"""A power cut at a chosen instant: every call through a port is an instant before it and one after it.

Once the power is off nothing works any more, so that a handler that runs on the way out cannot tidy up what a dead
process would have left. ``Power.instants`` says how many there were, and a test then cuts at each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace

from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed, TargetObservation
from reconciler.domain.plan import Row
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.engine.world import World
from reconciler.ports import Progress, RecordStore, Runtime
from tests.fakes import Crash


@dataclass
class Power:
    """Counts instants, cuts at one of them, and shows each to whoever watches."""

    cut_at: int | None = None
    instants: int = 0
    watch: Callable[[], None] = lambda: None
    passed: list[str] = field(default_factory=list)

    def pass_by(self, what: str) -> None:
        self.instants += 1
        self.passed.append(what)
        self.watch()
        if self.cut_at is not None and self.instants > self.cut_at:
            raise Crash


@dataclass
class PoweredRuntime:
    """A ``Runtime`` that dies with the power."""

    inner: Runtime
    power: Power

    @property
    def target(self) -> Target:
        return self.inner.target

    async def observe(self) -> TargetObservation:
        self.power.pass_by("observe")
        seen = await self.inner.observe()
        self.power.pass_by("observed")
        return seen

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        self.power.pass_by("digest")
        return await self.inner.digest(name, progress)

    async def install(self, row: Row, progress: Progress) -> Installed:
        def told(done: Bytes, total: Bytes, note: str = "") -> None:
            self.power.pass_by("progress")
            progress(done, total, note)

        self.power.pass_by("install")
        found = await self.inner.install(row, told)
        self.power.pass_by("installed")
        return found

    async def remove(self, name: str) -> Bytes:
        self.power.pass_by("remove")
        freed = await self.inner.remove(name)
        self.power.pass_by("removed")
        return freed

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        self.power.pass_by("clean")
        freed = await self.inner.clean_partials(names)
        self.power.pass_by("cleaned")
        return freed

    async def close(self) -> None:
        await self.inner.close()


@dataclass
class PoweredRecords:
    """A ``RecordStore`` that dies with the power."""

    inner: RecordStore
    power: Power

    async def load(self) -> Record:
        self.power.pass_by("load")
        return await self.inner.load()

    async def save(self, record: Record) -> None:
        self.power.pass_by("save")
        await self.inner.save(record)
        self.power.pass_by("saved")

    async def journal(self, line: dict[str, object]) -> None:
        self.power.pass_by("journal")
        await self.inner.journal(line)
        self.power.pass_by("journalled")

    async def history(self) -> tuple[dict[str, object], ...]:
        return await self.inner.history()

    async def others(self) -> tuple[Record, ...]:
        return await self.inner.others()

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        return self._locked(timeout_seconds)

    @asynccontextmanager
    async def _locked(self, timeout_seconds: float) -> AsyncIterator[None]:
        async with self.inner.lock(timeout_seconds=timeout_seconds):
            self.power.pass_by("locked")
            yield


def powered(world: World, power: Power) -> World:
    """The same world, every mutating port of it behind the power."""
    return replace(
        world,
        runtime=lambda desired, target: PoweredRuntime(world.runtime(desired, target), power),
        records=lambda desired: PoweredRecords(world.records(desired), power),
    )
