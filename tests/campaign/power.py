"""A power cut at a chosen instant: every call through a port is an instant before it and one after it.

Once the power is off nothing works any more, so that a handler that runs on the way out cannot tidy up what a dead
process would have left. ``Power.instants`` says how many there were, and a test then cuts at each.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.measurement import Measurement, Measurements
from reconciler.domain.observation import Alias, Answer, HubNeed, Installed, RegistryNeed, TargetObservation
from reconciler.domain.plan import Row
from reconciler.domain.record import Record
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import Bytes
from reconciler.engine.world import World
from reconciler.ports import Catalog, MeasurementStore, Names, Progress, RecordStore, Reporter, Runtime
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

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        assert isinstance(self.inner, Names)
        self.power.pass_by("name")
        made = await self.inner.name(alias, model, context=context)
        self.power.pass_by("named")
        return made

    async def unname(self, alias: str) -> None:
        assert isinstance(self.inner, Names)
        self.power.pass_by("unname")
        await self.inner.unname(alias)
        self.power.pass_by("unnamed")

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


@dataclass
class PoweredCatalog:
    """A ``Catalog`` that dies with the power."""

    inner: Catalog
    power: Power

    async def candidates(
        self, desired: DesiredState, *, freshness: Literal["offline", "cached", "refresh"]
    ) -> Catalogue:
        self.power.pass_by("candidates")
        return await self.inner.candidates(desired, freshness=freshness)

    async def resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        self.power.pass_by("resolve")
        return await self.inner.resolve(need)


@dataclass
class PoweredReporter:
    """A ``Reporter`` that dies with the power: a terminal that is gone, in the middle of a step."""

    inner: Reporter
    power: Power

    def step_started(self, row: Row) -> None:
        self.power.pass_by("told of a start")
        self.inner.step_started(row)

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None:
        self.inner.step_progress(row, done, total, note)

    def step_finished(self, outcome: StepOutcome) -> None:
        self.power.pass_by("told of an end")
        self.inner.step_finished(outcome)

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        self.power.pass_by("told something")
        self.inner.note(level, message)

    def finished(self, report: Report) -> None:
        self.power.pass_by("told the report")
        self.inner.finished(report)


@dataclass
class PoweredMeasurements:
    """A ``MeasurementStore`` that dies with the power."""

    inner: MeasurementStore
    power: Power

    async def load(self, machine: str) -> Measurements:
        self.power.pass_by("load measurements")
        return await self.inner.load(machine)

    @asynccontextmanager
    async def _measuring(self, timeout_seconds: float) -> AsyncIterator[None]:
        async with self.inner.measuring(timeout_seconds=timeout_seconds):
            self.power.pass_by("measuring")
            yield

    def measuring(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        return self._measuring(timeout_seconds)

    async def add(self, measured: tuple[Measurement, ...]) -> tuple[str, ...]:
        self.power.pass_by("keep a measurement")
        notes = await self.inner.add(measured)
        self.power.pass_by("kept a measurement")
        return notes


def powered(world: World, power: Power) -> World:
    """The same world, every port of it behind the power that is more than reading a file or the machine."""
    kept = world.measurements
    return replace(
        world,
        catalog=lambda desired: PoweredCatalog(world.catalog(desired), power),
        runtime=lambda desired, target: PoweredRuntime(world.runtime(desired, target), power),
        records=lambda desired: PoweredRecords(world.records(desired), power),
        reporter=PoweredReporter(world.reporter, power),
        measurements=PoweredMeasurements(kept, power) if kept is not None else None,
    )
