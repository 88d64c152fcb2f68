"""Load the desired state, observe the machine, plan, apply, record: the whole program on one screen."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from reconciler.domain.adapter import address_of
from reconciler.domain.desired import DesiredState
from reconciler.domain.names import nearest
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.domain.report import Report
from reconciler.engine.bookkeeping import Books, claimed
from reconciler.engine.lora.release import released
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import observe
from reconciler.engine.recover import recover, swept
from reconciler.engine.resolve import resolved_plan
from reconciler.engine.world import Options, Planned, Runtimes, World, opened
from reconciler.errors import UsageError

Confirm = Callable[[Planned], Awaitable[bool]]
"""Asked once, under the lock, with the plan as it will run."""


async def plan_once(world: World, options: Options) -> Planned:
    """What ``apply`` would do now. Takes no lock and changes nothing, the record included."""
    desired = await world.source.load()
    record = claimed(await world.records(desired).load(), desired, take_over=options.take_over)
    async with opened(world, desired) as runtimes:
        return await planned(world, desired, record, runtimes, options)


async def reconcile(world: World, options: Options, *, confirm: Confirm | None = None) -> Report:
    """One pass: under the lock, everything is looked at again, planned and done.

    A plan that is not confirmed is reported without outcomes.
    """
    from reconciler.engine.apply import apply  # what only plans does not load what acts

    async with session(world, options) as here:
        plan = await planned(world, here.desired, here.books.record, here.runtimes, options)
        if plan.desired.enabled:
            before = here.books.record
            await swept(before, plan.record, plan.observation.targets, here.runtimes)
            await here.books.replace(plan.record, event="recovered")
            if any(intent.adapter is not None for intent in before.intents):
                await released(Workshop(world, here.desired, here.runtimes), plan.record, plan.observation.targets)
        if confirm is not None and plan.plan.changes and not await confirm(plan):
            return Report(plan=plan.plan)
        return await apply(plan, here.books, here.runtimes, world, options)


async def planned(world: World, desired: DesiredState, record: Record, runtimes: Runtimes, options: Options) -> Planned:
    """Observe, close what a crash left open (in memory), and plan until nothing more needs asking."""
    refuse_unknown_slots(desired, options.overrides)
    observation = await observe(
        world,
        desired,
        freshness=options.freshness,
        runtimes=runtimes,
        timeout_seconds=options.target_timeout_seconds,
    )
    observation = observation.model_copy(update=await Workshop(world, desired, runtimes).room(record))
    if desired.enabled and record.intents:
        recovery = await recover(record, observation.targets, runtimes, now=observation.now)
        record = recovery.record
        observation = observation.model_copy(update={"warnings": (*observation.warnings, *recovery.notes)})
    plan, observation = await resolved_plan(
        world,
        desired,
        observation,
        record,
        overrides=options.overrides,
        runtimes=runtimes,
        ask=options.ask,
        ask_upstream=options.freshness == "refresh",
        settled=options.freshness == "offline",
    )
    return Planned(desired, record, observation, plan)


def refuse_unknown_slots(desired: DesiredState, overrides: Overrides) -> None:
    """``--accept`` names a slot of this file, or an adapter by its address, or nothing is done at all.

    Raises:
        UsageError: no slot is called so.
    """
    known = {name for slot in desired.slots for name in (slot.name, *slot.addresses)}
    known |= {address_of(adapter.name) for adapter in desired.adapters}
    for wanted in overrides.accept:
        if wanted not in known:
            near = ", ".join(nearest(wanted, sorted(known))) or "this file has no slots"
            raise UsageError(
                f"no slot or adapter is called {wanted}", code="unknown-slot", hint=f"--accept takes: {near}"
            )


@dataclass(frozen=True, slots=True)
class Session:
    """One writer at work: the file as it is under the lock, its record and its targets."""

    desired: DesiredState
    books: Books
    runtimes: Runtimes


@asynccontextmanager
async def session(world: World, options: Options) -> AsyncIterator[Session]:
    """Lock first, then load: what was read before a wait for the lock may be old.

    Raises:
        RecordLocked: another run is the writer. RecordConflict: the record is another file's.
    """
    desired = await world.source.load()
    store = world.records(desired)
    async with store.lock(timeout_seconds=options.lock_timeout_seconds):
        desired = await _still(world, desired)
        found = await store.load()
        record = claimed(found, desired, take_over=options.take_over)
        books = Books(record, store, world.clock, unsaved=record.generation != found.generation)
        async with opened(world, desired) as runtimes:
            yield Session(desired, books, runtimes)


async def _still(world: World, before: DesiredState) -> DesiredState:
    """The file as it is now; before, when it became another document meanwhile: that one has another lock."""
    now = await world.source.load()
    return now if now.name == before.name else before
