"""Run a plan: one step at a time per target, targets in parallel, each written down, success as seen afterwards.

``apply`` expects to hold the record's lock (``session`` takes it). It obeys the plan's guard, asks the policy again,
and begins nothing that depends on a step that failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from reconciler.domain.observation import ObservedTarget, TargetObservation
from reconciler.domain.plan import Action, Row
from reconciler.domain.report import Report, StepOutcome
from reconciler.engine.bookkeeping import Books
from reconciler.engine.look import find, find_adapter, find_alias, recorded_alias
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import look_at_targets
from reconciler.engine.order import budget_scopes, replacements, waits
from reconciler.engine.recheck import in_use_now, refuse_what_is_refused, refuse_what_moved, unknown_now
from reconciler.engine.room import Room, fetched_bytes
from reconciler.engine.steps import Bench, skipped, take
from reconciler.engine.together import together
from reconciler.engine.verdict import WAITING
from reconciler.engine.verify import cleaned, verified_report
from reconciler.engine.world import Options, Planned, Runtimes, World
from reconciler.planning.room import half_fetched_adapters, held_adapters, unfinished


async def apply(planned: Planned, books: Books, runtimes: Runtimes, world: World, options: Options) -> Report:
    """Do what the plan says, and report what happened to each row.

    Args:
        planned: the plan with what it was made from.
        books: the record, under its lock.
        runtimes: of every target of the file.
        world: the ports.
        options: what this run was asked for.

    Raises:
        PlanningError: the plan is refused or not applicable; nothing was touched.
        StalePlan: what the plan relied on is not there any more; nothing was touched.
        RecordError: a step could not be written down.
        asyncio.CancelledError: stopped; the report was given to the reporter before.
    """
    if not planned.desired.enabled:
        return told(Report(plan=planned.plan, verified=True, remaining=planned.plan), world)
    refuse_what_is_refused(planned.plan)
    await books.settle()
    outcomes = await run_steps(planned, books, runtimes, world=world, options=options)
    report = await verified_report(planned, outcomes, books, runtimes=runtimes, world=world, options=options)
    return told(report, world)


async def run_steps(
    planned: Planned, books: Books, runtimes: Runtimes, *, world: World, options: Options
) -> tuple[StepOutcome, ...]:
    """Every row of the plan, ended one way or another.

    Raises:
        StalePlan: before the first step, when a name the plan touches is not as it was.
        asyncio.CancelledError: stopped; the report was given to the reporter before.
    """
    rows = planned.plan.changes
    touched = frozenset(row.target for row in rows if row.action is not Action.FORGET) | _half_way(planned, books)
    seen = await look_at_targets(
        world, planned.desired, runtimes, only=touched, timeout_seconds=options.target_timeout_seconds
    )
    refuse_what_moved(rows, planned.observation, seen)
    bench = Bench(
        desired=planned.desired,
        books=books,
        room=await _cleared(planned, books, runtimes, seen, world),
        jitter=world.jitter,
        clock=world.clock,
        reporter=world.reporter,
        seen=seen,
        workshop=Workshop(world, planned.desired, runtimes, planned.observation, planned.record),
    )
    run = _Run(rows, planned, bench, runtimes, options)
    try:
        await run.all()
    except asyncio.CancelledError:
        told(Report(plan=planned.plan, outcomes=run.outcomes, warnings=("stopped",)), world)
        raise
    return run.outcomes


def _half_way(planned: Planned, books: Books) -> frozenset[str]:
    """Targets with a download that this record began and does not know to have ended."""
    begun = {intent.target_key for intent in books.record.intents if intent.action in ("install", "update")}
    return frozenset(target.name for target in planned.desired.targets if target.key in begun)


async def _cleared(
    planned: Planned, books: Books, runtimes: Runtimes, seen: tuple[TargetObservation, ...], world: World
) -> Room:
    """The room to work in. What has arrived of models that nothing asks for any more goes before anything is fetched.

    The plan counts on that room.
    """
    before = unfinished(books.record, seen)
    halves = half_fetched_adapters(planned.observation, planned.record)
    adapters = {**halves, **held_adapters(planned.record)}
    room = Room(planned.plan, budget_scopes(planned.desired), before, adapters=adapters)
    if any(row.action in (Action.INSTALL, Action.UPDATE) and fetched_bytes(row) for row in planned.plan.changes):
        for warning in await cleaned(planned.plan, seen, books, runtimes):
            world.reporter.note("warning", warning)
        room.cleaned(before.keys() - unfinished(books.record, seen).keys())
    return room


def told(report: Report, world: World) -> Report:
    """The report, after the reporter heard it."""
    world.reporter.finished(report)
    return report


@dataclass
class _Run:
    """The rows of one plan on their way."""

    rows: tuple[Row, ...]
    planned: Planned
    bench: Bench
    runtimes: Runtimes
    options: Options
    _ended: dict[int, StepOutcome] = field(default_factory=dict)

    @property
    def outcomes(self) -> tuple[StepOutcome, ...]:
        """One per row, in the plan's order; what was not begun is skipped."""
        stopped = "not begun: the run was stopped"
        return tuple(
            self._ended.get(index) or skipped(row, "interrupted", stopped) for index, row in enumerate(self.rows)
        )

    async def all(self) -> None:
        """Every row, each once what it waits for has ended. Rows only wait for rows before them."""
        record, scopes = self.bench.books.record, budget_scopes(self.planned.desired)
        before, replaced = waits(self.rows, record, scopes), replacements(self.rows, record)
        over = [asyncio.Event() for _ in self.rows]

        async def one(index: int) -> None:
            for earlier in before[index]:
                await over[earlier].wait()
            outcome = await self._run(index, replaced[index])
            self._ended[index] = outcome
            over[index].set()
            if outcome.status == "interrupted":
                raise asyncio.CancelledError

        await together(one(index) for index in range(len(self.rows)))

    async def _run(self, index: int, replaced_by: frozenset[int]) -> StepOutcome:
        row = self.rows[index]
        if refused := self._reason_to_skip(row, replaced_by):
            self.bench.reporter.step_finished(refused)
            return refused
        return await take(row, self.runtimes.get(row.target), self.bench)

    def _reason_to_skip(self, row: Row, replaced_by: frozenset[int]) -> StepOutcome | None:
        missing = [self.rows[index] for index in sorted(replaced_by) if self._ended[index].status != "done"]
        if missing:
            return skipped(row, self._why_skipped(replaced_by), _why_it_stays(row, missing))
        if row.subject in self.options.postponed:
            return skipped(row, "backing-off", "failed lately with the same input; it is tried again later")
        if row.action is Action.FORGET:
            return None if self._is_gone(row) else skipped(row, "target-unknown", f"{row.target} was not seen whole")
        if unknown := unknown_now(row, self.bench.seen):
            return skipped(row, "target-unknown", unknown.reason, unknown.hint)
        if in_use_now(row, self.bench.seen):
            words = f"{row.name} is in use now; the eviction of {row.name} waits for the next run"
            if row.alias is not None:
                words = f"{row.alias.name} answers somebody now; the name waits for the next run"
            return skipped(row, "in-use", words)
        return None

    def _why_skipped(self, replaced_by: frozenset[int]) -> str:
        """What only waits makes nothing fail: neither does what waits for it."""
        codes = {outcome.code or "" for index in replaced_by if (outcome := self._ended[index]).status != "done"}
        return min(codes) if codes <= WAITING else "replacement-failed"

    def _is_gone(self, row: Row) -> bool:
        """A target that answered whole does not list it: the only word on which an entry is forgotten."""
        target = self.planned.observation.target(row.target)
        if not isinstance(target, ObservedTarget):
            return False
        if row.alias is not None:
            here = find_alias(target, row.alias.name)
            ours = recorded_alias(self.planned.record, target.key, row.alias.name)
            return here is None or (ours is not None and here.is_foreign_to(ours.digest))
        if row.adapter is not None:
            served, mine = (
                find_adapter(target, row.adapter.name),
                self.planned.record.adapter(target.key, row.adapter.name),
            )
            return served is None or (mine is not None and served.is_foreign_to(mine))
        return find(target, row.name) is None


def _why_it_stays(row: Row, missing: Sequence[Row]) -> str:
    """What an eviction, or a change of a name, would have needed first."""
    names = [one.alias.name for one in missing if one.alias is not None]
    adapters = [one.adapter.name for one in missing if one.adapter is not None]
    models = [one.name for one in missing if one.alias is None and one.adapter is None]
    if row.alias is not None and row.alias.after is not None:
        if adapters:
            return f"the name {row.alias.name} waits: the adapter {', '.join(adapters)} has it still"
        return f"the name {row.alias.name} stays as it is: {', '.join(models)} did not arrive"
    if row.adapter is not None:
        if names:
            return f"the adapter {row.adapter.name} waits: {', '.join(names)} is the name of a model still"
        return f"the adapter {row.adapter.name} waits: {', '.join(models)} did not arrive"
    if adapters:
        return f"kept: the adapter {', '.join(adapters)} still stands on it"
    if names:
        return f"kept: the name {', '.join(names)} still stands for it"
    return f"kept: {', '.join(models)} did not arrive to take its place"
