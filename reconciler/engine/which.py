"""What fills a slot now: where a program finds the model, and under what name."""

from __future__ import annotations

import posixpath

from reconciler.domain.desired import DEFAULT_CONTEXT, DesiredState, Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.names import nearest, store_link
from reconciler.domain.observation import Installed, ObservedTarget, UnknownTarget
from reconciler.domain.plan import Plan, Row
from reconciler.engine.look import find, find_alias, same_model
from reconciler.engine.ownership import quietly
from reconciler.engine.reconcile import plan_once
from reconciler.engine.world import Options, Planned, World
from reconciler.errors import PlanningError, Unreachable, UsageError


class Filling(Frozen):
    """One address of a slot and the model that stands there."""

    address: str
    target: str
    runtime: str
    model: str
    """As the target calls it."""
    alias: str | None = None
    """The stable name that stands for it now, where the slot has one."""
    alias_amiss: str | None = None
    """Why the slot's alias cannot be used for it now, where it does not stand for it."""
    path: str | None = None
    """Of the file (shard 1), in a store."""
    alias_path: str | None = None
    """The same through the alias: it stays when the model is swapped."""
    url: str | None = None
    """Of the server."""
    context: int | None = None
    """Tokens the slot asks for; what the server really gives where that is less."""
    model_id: str | None = None
    quant: str | None = None
    ours: bool = False
    drift: str | None = None
    """What is wrong with it, where it is not what was installed."""


async def fillings(world: World, slot: str, options: Options) -> tuple[Filling, ...]:
    """Every address of a slot, or the one that is named, be it by the slot's alias.

    Raises:
        UsageError: the file has no such slot.
        PlanningError: code ``slot-unfilled``: nothing that is installed fills it.
        Unreachable: the target that should hold it does not answer.
    """
    planned = await plan_once(world, quietly(options))
    return tuple(_filling(planned, address) for address in _addresses(planned.desired, slot))


def _addresses(desired: DesiredState, asked: str) -> tuple[str, ...]:
    every = {address: slot for slot in desired.slots for address in slot.addresses}
    if asked in every or f"slot/{asked}" in every:
        return (asked if asked in every else f"slot/{asked}",)
    name = asked.removeprefix("slot/")
    slot = next((slot for slot in desired.slots if slot.name == name), None)
    if slot is None and (named := [slot for slot in desired.slots if slot.alias == name]):
        return tuple(address for slot in named for address in slot.addresses)
    if slot is None:
        names = [name for slot in desired.slots for name in (slot.name, slot.alias) if name]
        near = nearest(name, names, 1)
        hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(names) or 'no slot'}"
        raise UsageError(f"no slot is called {name}", code="unknown-slot", hint=hint)
    return slot.addresses


def _filling(planned: Planned, address: str) -> Filling:
    for name, target_name in _standing(planned, address):
        target = next((one for one in planned.desired.targets if one.name == target_name), None)
        seen = planned.observation.target(target_name)
        if isinstance(seen, UnknownTarget):
            raise Unreachable(f"target {target_name} cannot be looked at: {seen.reason}", hint=seen.hint)
        if target is not None and seen is not None and (model := find(seen, name)) is not None:
            return _described(planned, address, target, seen, model)
    waiting = _pending(planned.plan, address)
    raise PlanningError(
        f"nothing that is installed fills {address}{f': {waiting}' if waiting else ''}",
        code="slot-unfilled",
        hint="see localmodels plan",
    )


def _standing(planned: Planned, address: str) -> list[tuple[str, str]]:
    """(name, target) of what fills the address now: as the plan keeps it, else as it was recorded."""
    plan = planned.plan
    kept = [(row.name, row.target) for row in plan.kept if address in row.slots]
    staying = [row for row in (*plan.held, *plan.deferred, *plan.blocked) if address in (row.address, *row.slots)]
    before = [(row.before.name, row.target) for row in staying if row.before is not None]
    recorded = [(entry.name, entry.target_name) for entry in planned.record.entries if address in entry.slots]
    return [*kept, *before, *recorded]


def _described(planned: Planned, address: str, target: Target, seen: ObservedTarget, model: Installed) -> Filling:
    entry = planned.record.entry(target.key, model.name)
    slot = next(slot for slot in planned.desired.slots if address in slot.addresses)
    row = next((row for row in planned.plan.kept if (row.target, row.name) == (target.name, model.name)), None)
    alias, folder = _alias(slot, seen, model), target.path if target.runtime == "store" else None
    link = store_link(alias, model.name, files=len(model.files) or 1) if alias else None
    return Filling(
        address=address,
        target=target.name,
        runtime=target.runtime,
        model=model.name,
        alias=alias,
        alias_amiss=_amiss(slot, seen) if slot.alias and alias is None else None,
        path=posixpath.join(folder, model.name) if folder else None,
        alias_path=posixpath.join(folder, link) if folder and link else None,
        url=target.endpoint if target.runtime != "store" else None,
        context=_context(slot, row, model, seen),
        model_id=entry.model_id if entry else (row.model_id if row else model.repo),
        quant=entry.quant if entry else model.quant,
        ours=entry is not None,
        drift=_drift(planned.plan, target.name, model.name),
    )


def _alias(slot: Slot, seen: ObservedTarget, model: Installed) -> str | None:
    """The slot's alias, where it stands for this model now."""
    here = find_alias(seen, slot.alias) if slot.alias is not None else None
    return slot.alias if here is not None and same_model(seen.key, here.model, model.name) else None


def _amiss(slot: Slot, seen: ObservedTarget) -> str:
    here = find_alias(seen, slot.alias or "")
    if here is not None and here.taken_by is not None:
        return f"{slot.alias} is taken by {here.taken_by}: see localmodels plan"
    stands = "is not there" if here is None else f"stands for {here.model or 'nothing that is there'}"
    return f"{slot.alias} {stands}: see localmodels plan"


def _drift(plan: Plan, target: str, name: str) -> str | None:
    changed = any(one.kind == "content-changed" and (one.target, one.name) == (target, name) for one in plan.drift)
    return "is not what was installed: its content changed" if changed else None


def _context(slot: Slot, row: Row | None, model: Installed, seen: ObservedTarget) -> int:
    asked = slot.context_tokens or (row.evidence.context if row is not None else None) or DEFAULT_CONTEXT
    served = model.model_context or seen.served_context
    return min(asked, served) if served else asked


def _pending(plan: Plan, address: str) -> str:
    for row in (*plan.changes, *plan.blocked, *plan.unfilled, *plan.deferred, *plan.held):
        if address in (row.address, *row.slots):
            return row.message or f"{row.action.value} of {row.name or row.model_id} is pending"
    return ""
