"""Remove everything that one record owns, and nothing else: an explicit command.

Targets that left the file are reached by what ownership is keyed by; a plan never touches those.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import get_args

from reconciler.domain.desired import DesiredState, RuntimeKind, Target
from reconciler.domain.observation import ObservedTarget, TargetObservation, UnknownTarget
from reconciler.domain.plan import Action, AliasMove, Plan, Reason, Row, Standing, Summary
from reconciler.domain.record import Record, RecordAlias, RecordEntry
from reconciler.domain.report import Report
from reconciler.domain.units import Bytes
from reconciler.engine.apply import run_steps, told
from reconciler.engine.look import by_key, find, find_alias, is_busy
from reconciler.engine.lora.release import released
from reconciler.engine.lora.removal import removal_of_adapter
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import look_at_targets
from reconciler.engine.ownership import quietly
from reconciler.engine.reconcile import Confirm, Session, planned, session
from reconciler.engine.verify import freed_otherwise, seen_again
from reconciler.engine.world import Options, Planned, Runtimes, World, opened
from reconciler.errors import PlanningError, UsageError
from reconciler.planning.adapter_holds import goes_with_base, others_in_words, others_on


async def destroy(world: World, options: Options, *, dry: bool = False, confirm: Confirm | None = None) -> Report:
    """Evict everything this record owns, on targets that left the file too where they answer.

    Fuses do not apply: this is what was asked for. A model in use stays, and stays ours.

    Args:
        world: the ports.
        options: what this run was asked for.
        dry: only say what would go.
        confirm: asked with the plan, under the lock.
    """
    async with session(world, options) as here, _everywhere(world, here) as (desired, runtimes):
        if not desired.enabled:
            raise PlanningError("enabled: false: nothing is changed", code="disabled", hint="set enabled: true first")
        base = await planned(world, here.desired, here.books.record, here.runtimes, quietly(options))
        targets = await look_at_targets(world, desired, runtimes, timeout_seconds=options.target_timeout_seconds)
        observation = base.observation.model_copy(update={"targets": targets})
        plan = _removal_plan(base.plan, base.record, targets)
        everything = Planned(desired, base.record, observation, plan)
        if dry or (confirm is not None and plan.changes and not await confirm(everything)):
            return Report(plan=plan)
        await here.books.replace(base.record, event="recovered")
        outcomes = await run_steps(everything, here.books, runtimes, world=world, options=options)
        outcomes, after, notes = await seen_again(
            everything, outcomes, here.books, runtimes=runtimes, world=world, options=options
        )
        remaining = _removal_plan(base.plan, here.books.record, after.targets)
        done = all(outcome.status == "done" for outcome in outcomes)
        shop = Workshop(world, desired, runtimes)
        released_not = await released(shop, here.books.record, after.targets)
        warnings = (*notes, *freed_otherwise(outcomes), *released_not)
        report = Report(plan=plan, outcomes=outcomes, verified=done, remaining=remaining, warnings=warnings)
        return told(report, world)


@asynccontextmanager
async def _everywhere(world: World, here: Session) -> AsyncIterator[tuple[DesiredState, Runtimes]]:
    """The file's targets, and those that only the record knows."""
    known = {target.key for target in here.desired.targets}
    names = {target.name for target in here.desired.targets}
    gone: dict[str, Target] = {}
    record = here.books.record
    places = [(entry.target_key, entry.target_name) for entry in record.entries]
    places += [(alias.target_key, alias.target_name) for alias in record.aliases]
    places += [(adapter.target_key, adapter.target_name) for adapter in record.adapters]
    for key, name in places:
        if key not in known and key not in gone:
            gone[key] = target_of_key(key, name if name not in names else key)
    without = here.desired.model_copy(update={"targets": tuple(gone.values())})
    async with opened(world, without) as orphaned:
        desired = here.desired.model_copy(update={"targets": (*here.desired.targets, *gone.values())})
        yield desired, {**here.runtimes, **orphaned}


def target_of_key(key: str, name: str) -> Target:
    """A target as it was configured, from what ownership is keyed by.

    Of targets that a person serves by hand a vLLM alone takes something of ours, its adapters: it is asked as one.

    Raises:
        UsageError: the record names a kind of runtime that this version does not know.
    """
    kind, _, place = key.partition("|")
    if kind not in get_args(RuntimeKind):
        raise UsageError(f"the record names a target of an unknown kind: {key}", hint="upgrade localmodels")
    where = "path" if kind == "store" else "endpoint" if "://" in place else "program"
    asked = {"program": "vllm", "is_asked": True} if kind == "advisory" and where == "endpoint" else {}
    return Target.model_validate({"name": name, "runtime": kind, where: place or None, **asked})


def _removal_plan(base: Plan, record: Record, targets: Sequence[TargetObservation]) -> Plan:
    """Adapters first, then names, then the models that they stand on or for."""
    rows = [removal_of_adapter(one, by_key(tuple(targets), one.target_key)) for one in record.adapters]
    rows += [_removal_of_name(alias, by_key(tuple(targets), alias.target_key)) for alias in record.aliases]
    stay = {(row.target_key, row.name): row for row in rows if row.adapter is not None and row.reason is Reason.IN_USE}
    rows += [_removal(entry, by_key(tuple(targets), entry.target_key), record, stay) for entry in record.entries]
    changes = [row for row in rows if row.action is not Action.KEEP]
    deferred = [row for row in rows if row.reason is Reason.IN_USE]
    blocked = [row for row in rows if row.reason in (Reason.TARGET_UNKNOWN, Reason.UNMANAGED_CONFLICT)]
    freed = Bytes(sum(row.bytes_freed for row in changes))
    return Plan(
        name=base.name,
        made_at=base.made_at,
        fingerprint=base.fingerprint,
        applicable=True,
        changes=tuple(changes),
        deferred=tuple(deferred),
        blocked=tuple(blocked),
        summary=Summary(
            evict=sum(row.action is Action.EVICT for row in changes),
            forget=sum(row.action is Action.FORGET for row in changes),
            named=sum(row.action is Action.UPDATE for row in changes),
            detach=sum(row.action is Action.DETACH for row in changes),
            deferred=len(deferred),
            blocked=len(blocked),
            bytes_freed=freed,
        ),
    )


def _removal(
    entry: RecordEntry,
    target: ObservedTarget | UnknownTarget | None,
    record: Record,
    stay: Mapping[tuple[str, str], Row],
) -> Row:
    """The row about a model of ours.

    Args:
        entry: what we installed.
        target: where, as it was seen; None: it is not configured.
        record: everything that is ours.
        stay: adapters of ours that stay, by the target's key and the base that they are served on.
    """
    found = find(target, entry.name) if isinstance(target, ObservedTarget) else None
    size = found.bytes if found is not None else Bytes(0)
    row = Row(
        address=f"target/{entry.target_name}/{entry.name}",
        action=Action.EVICT,
        reason=Reason.NOT_DESIRED,
        target=target.name if target is not None else entry.target_name,
        target_key=entry.target_key,
        name=entry.name,
        slots=entry.slots,
        model_id=entry.model_id,
        quant=entry.quant,
        before=Standing(name=entry.name, model_id=entry.model_id, digest=entry.digest, bytes=size),
        bytes_freed=size,
        ours=True,
        message="ours, and everything of ours is to go",
    )
    if not isinstance(target, ObservedTarget):
        reason = target.in_words if target is not None else "it is not configured"
        return _turned(row, Action.KEEP, Reason.TARGET_UNKNOWN, f"{entry.target_name} cannot be looked at: {reason}")
    if found is None:
        return _turned(row, Action.FORGET, Reason.GONE, "it is gone already").model_copy(update={"before": None})
    if is_busy(target, found):
        return _turned(row, Action.KEEP, Reason.IN_USE, "in use now: it stays, and stays ours")
    if (held := stay.get((entry.target_key, found.name))) and goes_with_base(entry.target_key):
        message = f"it stays, and stays ours: {held.address} is in use on it"
        return _turned(row, Action.KEEP, Reason.IN_USE, message)
    others = others_on(target, record, found.name)
    if why := found.held_by or (others_in_words(others) if others else None):
        return _turned(row, Action.KEEP, Reason.UNMANAGED_CONFLICT, f"it stays, and stays ours: {why}")
    return row


def _removal_of_name(alias: RecordAlias, target: ObservedTarget | UnknownTarget | None) -> Row:
    here = find_alias(target, alias.name) if isinstance(target, ObservedTarget) else None
    row = Row(
        address=f"target/{alias.target_name}/{alias.name}",
        action=Action.UPDATE,
        reason=Reason.ALIAS,
        target=target.name if target is not None else alias.target_name,
        target_key=alias.target_key,
        name=(here.model if here is not None else None) or alias.model,
        ours=True,
        alias=AliasMove(name=alias.name, before=here.model if here is not None else None),
        message="ours, and everything of ours is to go",
    )
    if not isinstance(target, ObservedTarget):
        reason = target.in_words if target is not None else "it is not configured"
        return _turned(row, Action.KEEP, Reason.TARGET_UNKNOWN, f"{alias.target_name} cannot be looked at: {reason}")
    if here is None:
        return _turned(row, Action.FORGET, Reason.GONE, "it is gone already")
    if here.is_foreign_to(alias.digest):
        return _turned(row, Action.FORGET, Reason.GONE, "what stands there now is not ours: it stays")
    if here.loaded:
        return _turned(row, Action.KEEP, Reason.IN_USE, "in use under this name now: it stays, and stays ours")
    return row


def _turned(row: Row, action: Action, reason: Reason, message: str) -> Row:
    freed = Bytes(0)
    return row.model_copy(update={"action": action, "reason": reason, "message": message, "bytes_freed": freed})
