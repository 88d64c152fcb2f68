"""After the steps: look again, close what a look can close, and say what is left. Success is what is seen here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import (
    Answer,
    DigestNeed,
    Observation,
    ObservedTarget,
    Resolved,
    TargetObservation,
)
from reconciler.domain.plan import Action, AliasMove, Plan, Reason, Row
from reconciler.domain.record import Record, RecordEntry
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import show_bytes
from reconciler.engine.bookkeeping import Books
from reconciler.engine.look import by_key, find, find_alias, is_recorded, recorded_alias, same_model
from reconciler.engine.lora.release import released
from reconciler.engine.lora.settled import adapter_as_seen, not_so
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import look_at_targets
from reconciler.engine.recover import recover, swept
from reconciler.engine.resolve import resolved_plan
from reconciler.engine.together import together
from reconciler.engine.world import Options, Planned, Runtimes, World
from reconciler.errors import OutsideError
from reconciler.planning.claims import with_claims

NOTEWORTHY_BYTES = 5 * 10**6
"""A manifest, a template and a note of our own ride along with the weights; beyond this a difference is told."""


async def verified_report(
    planned: Planned,
    outcomes: tuple[StepOutcome, ...],
    books: Books,
    *,
    runtimes: Runtimes,
    world: World,
    options: Options,
) -> Report:
    """The report of a run that came to its end.

    A run that had nothing to do looks no second time.
    """
    workshop = Workshop(world, planned.desired, runtimes)
    if not outcomes:
        await released(workshop, books.record, planned.observation.targets)
        await books.replace(_kept_up(books.record, planned, planned.plan, done=planned.plan.in_sync), event="noted")
        return Report(plan=planned.plan, verified=True, remaining=planned.plan)
    outcomes, observation, notes = await seen_again(
        planned, outcomes, books, runtimes=runtimes, world=world, options=options
    )
    remaining, observation = await resolved_plan(
        world,
        planned.desired,
        observation,
        books.record,
        overrides=planned.plan.overrides,
        runtimes=runtimes,
        ask=options.ask,
        settled=options.freshness == "offline",
    )
    done = remaining.in_sync and all(outcome.status == "done" for outcome in outcomes)
    after = Planned(planned.desired, books.record, observation, remaining)
    await books.replace(_kept_up(books.record, after, remaining, done=done), event="noted")
    warnings = (*notes, *freed_otherwise(outcomes), *await cleaned(remaining, observation.targets, books, runtimes))
    warnings = (*warnings, *await released(workshop, books.record, observation.targets))
    return Report(plan=planned.plan, outcomes=outcomes, verified=done, remaining=remaining, warnings=warnings)


async def seen_again(
    planned: Planned,
    outcomes: Sequence[StepOutcome],
    books: Books,
    *,
    runtimes: Runtimes,
    world: World,
    options: Options,
) -> tuple[tuple[StepOutcome, ...], Observation, tuple[str, ...]]:
    """The outcomes as a second look has them, that look, and what it made of steps that did not get there."""
    observation = await _fresh(planned, outcomes, runtimes, world, options)
    recovery = await recover(books.record, observation.targets, runtimes, now=observation.now)
    before = books.record
    await books.replace(recovery.record, event="recovered")
    warnings = await swept(before, recovery.record, observation.targets, runtimes)
    corrected = await _as_seen(planned.record, outcomes, observation, books)
    return corrected, observation, (*recovery.notes, *warnings)


async def _fresh(
    planned: Planned, outcomes: Sequence[StepOutcome], runtimes: Runtimes, world: World, options: Options
) -> Observation:
    """The observation with every target that a step was tried on read anew; its answers still hold."""
    tried = frozenset(outcome.row.target for outcome in outcomes)
    now = world.clock.now()
    fresh = await look_at_targets(
        world, planned.desired, runtimes, only=tried, timeout_seconds=options.target_timeout_seconds
    )
    by_name = {target.name: target for target in fresh}
    targets = tuple(by_name.get(target.name, target) for target in planned.observation.targets)
    answers = tuple(answer for answer in planned.observation.answers if _still_holds(answer, by_name))
    room = await Workshop(world, planned.desired, runtimes).room(planned.record)
    update = {"now": now, "targets": targets, "answers": answers, **room}
    return planned.observation.model_copy(update=update)


def _still_holds(answer: Answer, fresh: Mapping[str, TargetObservation]) -> bool:
    """An answer about installed content holds as long as the content was not touched."""
    need = answer.need
    if not isinstance(need, DigestNeed) or need.target not in fresh:
        return True
    target = fresh[need.target]
    found = find(target, need.name) if isinstance(target, ObservedTarget) else None
    return isinstance(answer, Resolved) and found is not None and answer.stamp == found.stamp


async def _as_seen(
    before: Record, outcomes: Sequence[StepOutcome], observation: Observation, books: Books
) -> tuple[StepOutcome, ...]:
    """The outcomes, corrected where the second look says otherwise. What we failed to remove is still ours."""
    corrected = []
    for outcome in outcomes:
        row, target = outcome.row, by_key(observation.targets, outcome.row.target_key)
        if row.alias is not None and isinstance(target, ObservedTarget):
            corrected.append(await _name_as_seen(before, outcome, row.alias, target, books))
            continue
        if row.adapter is not None and isinstance(target, ObservedTarget):
            corrected.append(await adapter_as_seen(before, outcome, row.adapter, target, books))
            continue
        if outcome.status == "done" and row.action is Action.EVICT and isinstance(target, ObservedTarget):
            entry, found = before.entry(row.target_key, row.name), find(target, row.name)
            if entry is not None and found is not None and is_recorded(entry, found):
                await books.enter(entry, event="restored")
                corrected.append(
                    not_so(outcome, "not-removed", f"{row.target} said it was removed, and lists it still")
                )
                continue
        if outcome.status == "done" and _is_missing(row, target):
            corrected.append(not_so(outcome, "not-installed", f"{row.target} said it was installed, and has it not"))
            continue
        corrected.append(outcome)
    return tuple(corrected)


async def _name_as_seen(
    before: Record, outcome: StepOutcome, wanted: AliasMove, target: ObservedTarget, books: Books
) -> StepOutcome:
    """The outcome of a step about a stable name. What we failed to remove is still ours."""
    if outcome.status != "done" or outcome.row.action is Action.FORGET:
        return outcome
    here, later = find_alias(target, wanted.name), recorded_alias(books.record, target.key, wanted.name)
    if wanted.after is None:
        ours = recorded_alias(before, target.key, wanted.name)
        if here is None or ours is None or later is not None:  # gone, or made again by a later step
            return outcome
        await books.enter_alias(ours, event="restored")
        return not_so(outcome, "not-removed", f"{target.name} said the name {wanted.name} is gone, and lists it still")
    if here is not None and same_model(target.key, here.model, wanted.after):
        return outcome
    return not_so(outcome, "not-installed", f"{target.name} said {wanted.name} stands for {wanted.after}; it does not")


def _is_missing(row: Row, target: TargetObservation | None) -> bool:
    fetched = row.action in (Action.INSTALL, Action.UPDATE)
    return fetched and isinstance(target, ObservedTarget) and find(target, row.name) is None


def _kept_up(record: Record, planned: Planned, plan: Plan, *, done: bool) -> Record:
    """The record with what this run learned of models that stay: their slots and stamps, and that the file is met.

    Equal to ``record`` when nothing was learned, so that a second apply writes nothing.
    """
    record = with_claims(record, plan)
    for row in plan.kept:
        entry = record.entry(row.target_key, row.name)
        if entry is not None and row.ours:
            fresh = _refreshed(entry, row, planned.observation)
            record = record if fresh == entry else record.with_entry(fresh)
        record = _with_terms(record, row, planned.desired)
    update: dict[str, object] = {}
    if done and record.applied_digest != planned.desired.digest:
        update["applied_digest"] = planned.desired.digest
    if planned.observation.catalogue.origin == "live" and _asked_anew(record, planned.observation):
        update["last_refresh_at"] = planned.observation.now
    return record.model_copy(update=update) if update else record


def _refreshed(entry: RecordEntry, row: Row, observation: Observation) -> RecordEntry:
    """An entry whose stamp changed. A stamp is believed where the content was read and is the recorded one."""
    answer = observation.answer(DigestNeed(target=row.target, name=row.name))
    stamp = entry.stamp
    if isinstance(answer, Resolved) and answer.stamp is not None and answer.digest == entry.digest:
        stamp = answer.stamp
    if stamp == entry.stamp:
        return entry
    score = entry.score if row.evidence.score is None else row.evidence.score
    return entry.model_copy(update={"stamp": stamp, "score": score})


def _with_terms(record: Record, row: Row, desired: DesiredState) -> Record:
    """An adapter in sync with its source has met what the file asks of it now, wherever the file has it from."""
    move = row.adapter
    ours = record.adapter(row.target_key, move.name) if move is not None else None
    if move is None or ours is None or row.reason is not Reason.IN_SYNC or move.verdict is None:
        return record
    adapter = next((one for one in desired.adapters if one.name == move.adapter), None)
    shown = not move.verdict.is_held_copy and not move.verdict.unpromoted and move.verdict.digest == ours.digest
    if adapter is None or not shown:
        return record
    fresh = ours.model_copy(update={"source": adapter.source, "terms": adapter.terms})
    return record if fresh == ours else record.with_adapter(fresh)


def _asked_anew(record: Record, observation: Observation) -> bool:
    last = record.last_refresh_at
    return last is None or last.date() < observation.now.date()


def freed_otherwise(outcomes: Sequence[StepOutcome]) -> tuple[str, ...]:
    """Evictions that freed another amount than the plan said, and why that may be."""
    evicted = [one for one in outcomes if one.status == "done" and one.row.action is Action.EVICT]
    return tuple(
        f"evicting {one.row.name} on {one.row.target} freed {show_bytes(one.bytes_freed)}, not the "
        f"{show_bytes(one.row.bytes_freed)} planned: {_why_otherwise(one)}"
        for one in evicted
        if abs(one.bytes_freed - one.row.bytes_freed) > NOTEWORTHY_BYTES
    )


def _why_otherwise(outcome: StepOutcome) -> str:
    if outcome.bytes_freed > outcome.row.bytes_freed:
        return "files went with it that it alone still referred to"
    return "other models share its files, another name keeps them, or it was gone already"


async def cleaned(
    remaining: Plan, targets: tuple[TargetObservation, ...], books: Books, runtimes: Runtimes
) -> tuple[str, ...]:
    """Throw away unfinished downloads of this record that no plan asks for any more; nobody else's."""
    wanted = {(row.target_key, row.name) for row in (*remaining.changes, *remaining.blocked, *remaining.held)}
    stale = [intent for intent in books.record.intents if (intent.target_key, intent.name) not in wanted]

    async def clean(target: ObservedTarget) -> tuple[str, ...]:
        ours = {intent.name for intent in stale if intent.target_key == target.key} & set(target.partial_names)
        runtime = runtimes.get(target.name)
        if not ours or runtime is None:
            return ()
        try:
            await runtime.clean_partials(frozenset(target.partial_names) - ours)
        except OutsideError as error:
            return (f"unfinished downloads on {target.name} were not cleaned: {error.message}",)
        record = books.record
        for intent in stale:
            if intent.target_key == target.key and intent.name in ours:
                record = record.without_intent(intent.id)
        await books.replace(record, event="cleaned")
        return ()

    found = await together(clean(target) for target in targets if isinstance(target, ObservedTarget))
    return tuple(warning for warnings in found for warning in warnings)
