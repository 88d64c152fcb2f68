"""One row of a plan, done: what is written down before and after it, how often it is tried, how it may end.

A step that fails is an outcome, not an exception; programming mistakes and a record that cannot be saved do come out.
What does not belong here: which step runs when (``apply``), and what it depends on (``order``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from reconciler.domain.advice import quoted
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import Installed, ObservedTarget, TargetObservation
from reconciler.domain.plan import Action, AdapterMove, AliasMove, Row
from reconciler.domain.record import Intent
from reconciler.domain.report import StepOutcome
from reconciler.domain.units import Bytes
from reconciler.engine.bookkeeping import Books
from reconciler.engine.disk import with_free_disk
from reconciler.engine.gone import prove_gone
from reconciler.engine.look import by_key, find, find_alias, recorded_alias
from reconciler.engine.recheck import refuse_what_is_not_allowed
from reconciler.engine.room import Hold, Room, fetched_bytes
from reconciler.errors import OutsideError, PlanningError, ReconcilerError, Unreachable
from reconciler.planning.adapter_holds import goes_with_base, others_in_words, others_on
from reconciler.planning.room import resumable_bytes
from reconciler.ports import Clock, HasDisk, Names, Progress, Reporter, Runtime, Serves, ServesAdapters

if TYPE_CHECKING:
    from reconciler.engine.lora.workshop import Workshop

ATTEMPTS = 3
PAUSE_SECONDS = 2.0
"""Before the second attempt; four times as long before the third. A source that says when is believed instead."""
MAX_PAUSE_SECONDS = 60.0
PATIENCE_SECONDS = 60.0
"""A step that tried for so long without a new byte has tried enough; pauses that a source asks for are not counted."""
MOST_JITTER = 0.5
"""Of a pause, added by chance."""

NOTHING = Bytes(0)
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Bench:
    """What every step of one apply shares."""

    desired: DesiredState
    books: Books
    room: Room
    clock: Clock
    reporter: Reporter
    jitter: Callable[[], float] = field(default=lambda: 0.0)
    seen: tuple[TargetObservation, ...] = ()
    """The touched targets as they were before the first step."""
    workshop: Workshop | None = None
    """Where adapters are looked into and held."""


async def take(row: Row, runtime: Runtime | None, bench: Bench) -> StepOutcome:
    """Do one row and say how it ended.

    Raises:
        RecordError: what was done could not be written down; the next run finds out by looking.
        asyncio.CancelledError: never; an interrupted step says so in its outcome, and the caller stops.
    """
    begun = bench.clock.elapsed()
    bench.reporter.step_started(row)
    try:
        did = await _do(row, runtime, bench)
        outcome = StepOutcome(row=row, status="done", bytes_down=did.came, bytes_freed=did.freed)
        if did.amiss is not None:
            said = f"it is installed, but not served as asked: {did.amiss.message}"
            outcome = failed(row, did.amiss).model_copy(update={"message": said, "bytes_down": did.came})
    except asyncio.CancelledError:
        outcome = StepOutcome(
            row=row,
            status="interrupted",
            code="interrupted",
            message="stopped before it was done; what has arrived is kept",
            hint="run `localmodels apply` again to go on from there",
        )
    except (OutsideError, PlanningError) as error:
        outcome = failed(row, error)
        if error.code == "in-use":
            outcome = skipped(row, error.code, error.message, error.hint)
    outcome = outcome.model_copy(update={"seconds": max(0.0, bench.clock.elapsed() - begun)})
    bench.reporter.step_finished(outcome)
    return outcome


def failed(row: Row, error: ReconcilerError) -> StepOutcome:
    return StepOutcome(row=row, status="failed", code=error.code, message=error.message, hint=error.hint)


def skipped(row: Row, code: str, message: str, hint: str | None = None) -> StepOutcome:
    return StepOutcome(row=row, status="skipped", code=code, message=message, hint=hint)


@dataclass(frozen=True, slots=True)
class _Did:
    """What a step that got there came to."""

    came: Bytes = NOTHING
    freed: Bytes = NOTHING
    amiss: OutsideError | None = None
    """What is amiss with it all the same."""


async def _do(row: Row, runtime: Runtime | None, bench: Bench) -> _Did:
    if row.action is Action.FORGET:
        if row.alias is None and row.adapter is None:
            await prove_gone(runtime, row.name, row.target)
        await _forget(row, bench)
        return _Did()
    if runtime is None:
        raise PlanningError(f"no target is called {row.target}", code="target-unknown", hint="plan again")
    if row.action is Action.EVICT:
        return _Did(freed=await _evict(row, runtime, bench))
    if row.alias is not None:
        await _name(row, row.alias, runtime, bench)
        return _Did()
    if row.adapter is not None:
        return _Did(came=await _adapt(row, row.adapter, runtime, bench))
    if row.only_serves:
        _refuse_what_is_not_ours(row, bench)
        await _serve(row, runtime)
        return _Did()
    return _Did(came=Bytes(fetched_bytes(row)), amiss=await _fetch(row, runtime, bench))


async def _fetch(row: Row, runtime: Runtime, bench: Bench) -> OutsideError | None:
    """Install it, and tell the target how to serve it; what that came to, where it came to nothing."""
    action: Literal["install", "update"] = "update" if row.action is Action.UPDATE else "install"
    refuse_what_is_not_allowed(row, bench.desired, bench.books.record)
    if action == "update":
        _refuse_what_is_not_ours(row, bench)
    with bench.room.reserved(row) as hold:
        intent = await bench.books.begin(row, action, existed=_is_foreign(row, bench))

        def progress(done: Bytes, total: Bytes, note: str = "") -> None:
            hold.heard(done, bench.clock.elapsed())
            bench.reporter.step_progress(row, done, total, note)

        found = await _attempts(lambda: _install(row, runtime, progress, hold, bench), intent, row, bench, hold)
        await bench.books.installed(intent, found)
    try:
        await _serve(row, runtime)
    except OutsideError as error:  # it is installed all the same, and the next plan has the rest
        return error
    return None


async def _install(row: Row, runtime: Runtime, progress: Progress, hold: Hold, bench: Bench) -> Installed:
    """Install it; a target that downloads by itself is stopped where the disk would not keep its reserve."""
    target = by_key(bench.seen, row.target_key)
    if not isinstance(runtime, HasDisk) or not isinstance(target, ObservedTarget) or target.disk is None:
        return await runtime.install(row, progress)
    there = max(hold.arrived, resumable_bytes(target, row.name))
    return await with_free_disk(
        lambda: runtime.install(row, progress),
        runtime,
        needed=fetched_bytes(row) - there,
        reserve=bench.desired.pool.must_stay_free(target.disk.total_bytes),
        name=row.name,
        clock=bench.clock,
    )


async def _serve(row: Row, runtime: Runtime) -> None:
    """Tell the target how; nothing to write down, because the next look shows what it was told."""
    if row.serving is not None and isinstance(runtime, Serves):
        await runtime.serve(row.name, row.serving)


async def _forget(row: Row, bench: Bench) -> None:
    if row.alias is not None:
        await bench.books.forget_alias(row.target_key, row.alias.name)
    elif row.adapter is not None:
        await bench.books.forget_adapter(row.target_key, row.adapter.name)
    else:
        await bench.books.forget(row.target_key, row.name)


async def _adapt(row: Row, move: AdapterMove, runtime: Runtime, bench: Bench) -> Bytes:
    """Attach, change or detach an adapter; the bytes that came for it."""
    from reconciler.engine.lora.attach import Adapting, adapt  # a file without adapters does not load it
    from reconciler.engine.lora.release import still_held

    def progress(done: Bytes, total: Bytes, note: str = "") -> None:
        bench.reporter.step_progress(row, done, total, note)

    if bench.workshop is None:
        raise PlanningError(f"nothing here can hold {move.adapter}", code="no-api", hint="plan again")
    tools = Adapting(bench.desired, bench.books, bench.workshop, progress, lambda s, i: _attempts(s, i, row, bench))
    if move.after is None or move.verdict is None:
        return await adapt(row, move, runtime, tools)
    size = move.verdict.bytes
    if bench.room.missing_for_files(move.after, size):
        bench.room.files_gone(await still_held(bench.workshop, bench.books))
    with bench.room.reserved_for_files(move.name, move.after, size):
        return await adapt(row, move, runtime, tools)


async def _name(row: Row, wanted: AliasMove, runtime: Runtime, bench: Bench) -> None:
    """Make, move or remove a stable name that is ours, or free."""
    if not isinstance(runtime, Names):
        raise PlanningError(f"{row.target} has no stable names", code="no-api", hint="plan again")
    await _refuse_a_name_of_others(row, wanted, runtime, bench)
    intent = await bench.books.begin_naming(row)
    after = wanted.after
    if after is None:
        await _attempts(lambda: runtime.unname(wanted.name), intent, row, bench)
        await bench.books.unnamed(intent)
        return
    found = await _attempts(lambda: runtime.name(wanted.name, after, context=wanted.context), intent, row, bench)
    await bench.books.named(intent, found)


async def _refuse_a_name_of_others(row: Row, wanted: AliasMove, runtime: Runtime, bench: Bench) -> None:
    """Look once more right before: a download may have taken hours, and a target does not know whose a name is.

    Raises:
        PlanningError: ``unmanaged-conflict``: it is not ours; ``not-found``: what it is to stand for is gone.
        Unreachable: the target does not answer now.
    """
    now = await runtime.observe()
    if not isinstance(now, ObservedTarget):
        raise Unreachable(f"{row.target} cannot be looked at: {now.reason}", hint=now.hint)
    here, ours = find_alias(now, wanted.name), recorded_alias(bench.books.record, row.target_key, wanted.name)
    if ours is None and (here is not None or wanted.after is None):
        raise PlanningError(
            f"the name {wanted.name} on {row.target} is not ours: it stays as it is",
            code="unmanaged-conflict",
            hint="remove it there, or give the slot another alias",
        )
    if wanted.after is not None and find(now, wanted.after) is None:
        raise PlanningError(
            f"{wanted.after} is not on {row.target} any more: {wanted.name} stays as it is",
            code="not-found",
            hint="plan again",
        )


async def _evict(row: Row, runtime: Runtime, bench: Bench) -> Bytes:
    """Remove it; the bytes that were really freed."""
    _refuse_what_is_not_ours(row, bench)
    await _refuse_what_others_stand_on(row, runtime, bench)
    intent = await bench.books.begin(row, "evict")
    freed = await _attempts(lambda: runtime.remove(row.name), intent, row, bench)
    await bench.books.evicted(intent)
    bench.room.freed(row, freed)
    return freed


async def _refuse_what_others_stand_on(row: Row, runtime: Runtime, bench: Bench) -> None:
    """Look once more right before: somebody may have attached an adapter to it since the plan, or let go of ours.

    Raises:
        PlanningError: ``unmanaged-conflict``: an adapter that is not ours would have nothing to stand on.
        Unreachable: the target does not answer now.
    """
    if not isinstance(runtime, ServesAdapters) or not goes_with_base(row.target_key):
        return
    now = await runtime.observe()
    if not isinstance(now, ObservedTarget):
        raise Unreachable(f"{row.target} cannot be looked at: {now.reason}", hint=now.hint)
    if others := others_on(now, bench.books.record, row.name):
        raise PlanningError(
            f"{row.name} on {row.target} stays: {others_in_words(others)}", code="unmanaged-conflict", hint="plan again"
        )


def _refuse_what_is_not_ours(row: Row, bench: Bench) -> None:
    if bench.books.record.entry(row.target_key, row.name) is None:
        raise PlanningError(
            f"{row.name} on {row.target} is not ours: it stays as it is",
            code="not-owned",
            hint=f"`localmodels adopt {quoted(row.name)}` takes it over",
        )


async def _attempts(
    step: Callable[[], Awaitable[Value]],
    intent: Intent,
    row: Row,
    bench: Bench,
    hold: Hold | None = None,
) -> Value:
    """Try what may work later a bounded number of times; every way out but success is journalled."""
    begun = bench.clock.elapsed()
    try:
        for attempt in range(1, ATTEMPTS):
            try:
                return await step()
            except Unreachable as error:
                moved_at = hold.moved_at if hold is not None and hold.moved_at is not None else begun
                quiet = bench.clock.elapsed() - moved_at
                if quiet >= PATIENCE_SECONDS and error.retry_after_seconds is None:
                    raise
                if (error.retry_after_seconds or 0.0) > MAX_PAUSE_SECONDS:
                    raise  # to come back sooner than it said would be no patience
                pause = _pause(error, attempt, bench.jitter())
                bench.reporter.note("warning", f"{row.name}: {error.message}; trying again in {pause:g} s")
                await bench.clock.sleep(pause)
        return await step()
    except asyncio.CancelledError:
        await bench.books.ended(intent, "interrupted", "interrupted")
        raise
    except OutsideError as error:
        await bench.books.ended(intent, "failed", error.code)
        raise


def _pause(error: Unreachable, attempt: int, jitter: float) -> float:
    """Seconds before the next attempt: what the source asked for, and never less; half as much again by chance."""
    asked = error.retry_after_seconds or PAUSE_SECONDS * 4 ** (attempt - 1)
    return float(min(MAX_PAUSE_SECONDS, asked * (1 + MOST_JITTER * jitter)))


def _is_foreign(row: Row, bench: Bench) -> bool:
    """Something that is not ours stands under the name already: whatever happens, it is not cleaned up."""
    target = by_key(bench.seen, row.target_key)
    there = isinstance(target, ObservedTarget) and find(target, row.name) is not None
    return there and bench.books.record.entry(row.target_key, row.name) is None
