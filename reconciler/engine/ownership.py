"""Explicit commands on the record: take a model or an adapter over, let it go. A plan never does either.

Neither changes what a target has or serves.
"""

from __future__ import annotations

from dataclasses import replace

from reconciler.domain.adapter import ADDRESS, RecordAdapter
from reconciler.domain.advice import quoted
from reconciler.domain.observation import Alias, Installed, ObservedTarget, UnknownTarget
from reconciler.domain.record import RecordAlias, RecordEntry
from reconciler.engine.look import find, find_adapter, find_alias, recorded_alias, same_model
from reconciler.engine.reconcile import Session, session
from reconciler.engine.world import Options, Planned, Runtimes, World, unheard
from reconciler.errors import RecordConflict, Refused, Unreachable, UsageError


async def adopt(world: World, name: str, target_name: str | None, options: Options) -> RecordEntry | RecordAdapter:
    """Take over a model that is installed and not ours; from then on it is updated and evicted like any other.

    Stable names and adapters that the file asks for and that stand for it, or on it, come with it. ``reporter.note``
    tells each. An adapter by itself is taken over by its address, ``adapter/NAME``, where the file asks for it so.

    Args:
        world: the ports.
        name: as the target lists it, or the address of an adapter.
        target_name: where; None: on the only target that has it.
        options: what this run was asked for.

    Raises:
        UsageError: no target, or more than one, has a model of that name.
        RecordConflict: another document's record owns it already.
        PlanningError: ``not-proven``, ``unmanaged-conflict``: an adapter that may not be the one that the file means.
        Unreachable: the target does not answer.
    """
    from reconciler.engine.lora.ownership import adopt_adapter, planned_with_sources  # who only looks does not load it

    async with session(world, options) as here:
        plan = await planned_with_sources(world, here, quietly(options), _asking(options))
        if (adapter := name.removeprefix(ADDRESS)) != name:
            return await adopt_adapter(world, here, adapter, target_name, plan)
        target, found = _where(plan, name, target_name)
        _refuse_an_adapter(here, target, found)
        if find_alias(target, found.name) is not None and recorded_alias(plan.record, target.key, found.name):
            raise UsageError(f"{name} is a stable name of ours, and no model", hint="adopt the model it stands for")
        known = here.books.record.entry(target.key, found.name)
        if known is not None:
            await _adopt_what_stands_on(world, here, target, found, plan)
            return known
        await _refuse_another_owner(world, here, target, found.name)
        entry = await _entry(plan, here.runtimes, target, found)
        await here.books.enter(entry, event="adopted")
        await _adopt_what_stands_on(world, here, target, found, plan)
        return entry


def _refuse_an_adapter(here: Session, target: ObservedTarget, found: Installed) -> None:
    """An Ollama lists what we serve there as an adapter among its models; as a model of ours it would be evicted."""
    for adapter in here.desired.adapters:
        names = [one.name for one in adapter.serve if one.target == target.name]
        if any(same_model(target.key, name, found.name) for name in names):
            raise UsageError(
                f"{found.name} on {target.name} is an adapter of the file, and no model",
                hint=f"`localmodels adopt {quoted(ADDRESS + adapter.name)}` takes it over",
            )


async def _adopt_what_stands_on(
    world: World, here: Session, target: ObservedTarget, found: Installed, plan: Planned
) -> None:
    from reconciler.engine.lora.ownership import adopt_with_base

    await _adopt_names(world, here, target, found)
    await adopt_with_base(world, here, plan, target.key, found.name)


async def _adopt_names(world: World, here: Session, target: ObservedTarget, found: Installed) -> None:
    """Names of the file that stand for a model we take over come with it, unless the target shows another's hand."""
    asked = [slot.alias for slot in here.desired.slots if slot.alias and slot.target in (None, target.name)]
    records = (here.books.record, *await world.records(here.desired).others())
    for name in dict.fromkeys(asked):
        alias = find_alias(target, name)
        if alias is None or alias.foreign or not same_model(target.key, alias.model, found.name):
            continue
        if alias.model is None or any(recorded_alias(record, target.key, name) for record in records):
            continue
        made = RecordAlias(
            target_key=target.key,
            target_name=target.name,
            name=alias.name,
            model=alias.model,
            digest=alias.digest,
            context=alias.context,
            made_at=world.clock.now(),
        )
        await here.books.enter_alias(made, event="adopted-name")
        world.reporter.note("info", f"the name {alias.name} on {target.name} is ours with it")


async def _refuse_another_owner(world: World, here: Session, target: ObservedTarget, name: str) -> None:
    """A model with two owners would be evicted by one while the other needs it."""
    for other in await world.records(here.desired).others():
        if any(one.target_key == target.key and same_model(target.key, one.name, name) for one in other.entries):
            raise RecordConflict(
                f"{name} on {target.name} belongs to {other.name!r}, applied from {other.source or 'another file'}",
                hint=f"`localmodels disown {quoted(name)}` with the file of {other.name!r} lets it go first",
                details={"name": other.name, "recordSource": other.source},
            )


async def disown(world: World, name: str, target_name: str | None, options: Options) -> RecordEntry | RecordAdapter:
    """Let a model go: it stays where it is, and is foreign from now on. Works for targets that left the file.

    Stable names and adapters of ours that stand for it, or on it, go with it: nobody moves them any more.
    ``reporter.note`` tells each. An adapter by itself goes by its address (``adapter/NAME``), and is served on.

    Raises:
        UsageError: the record has no, or more than one, such entry.
    """
    from reconciler.engine.lora.ownership import disown_adapter, let_go

    async with session(world, options) as here:
        if (alone := name.removeprefix(ADDRESS)) != name:
            return await disown_adapter(world, here, alone, target_name)
        entry = _owned(here, name, target_name)
        await here.books.forget(entry.target_key, entry.name, event="disowned")
        for alias in here.books.record.aliases:
            if alias.target_key == entry.target_key and same_model(entry.target_key, alias.model, entry.name):
                await here.books.forget_alias(alias.target_key, alias.name, event="disowned-name")
                world.reporter.note("info", f"the name {alias.name} on {entry.target_name} is not ours any more either")
        for adapter in here.books.record.adapters:
            if adapter.target_key == entry.target_key and same_model(entry.target_key, adapter.base, entry.name):
                await let_go(world, here, adapter)
                text = f"the adapter {adapter.name} on {entry.target_name} is not ours any more either; it is served on"
                world.reporter.note("info", text)
        return entry


def quietly(options: Options) -> Options:
    """The same run without asking anybody outside: it is about what is installed."""
    return Options(
        freshness="offline",
        ask=False,
        take_over=options.take_over,
        lock_timeout_seconds=options.lock_timeout_seconds,
        target_timeout_seconds=options.target_timeout_seconds,
    )


def _asking(options: Options) -> Options:
    """The same run, and a Hub is asked what an adapter of the file is; the catalogue is not."""
    return replace(quietly(options), ask=True)


def _where(plan: Planned, name: str, target_name: str | None) -> tuple[ObservedTarget, Installed]:
    asked = [target for target in plan.observation.targets if target_name in (None, target.name)]
    if not asked:
        raise UsageError(f"no target is called {target_name}", hint="see `localmodels status` for the targets")
    held = [(target, found) for target in asked if isinstance(target, ObservedTarget) and (found := find(target, name))]
    if len(held) == 1:
        return held[0]
    if held:
        places = ", ".join(target.name for target, _ in held)
        raise UsageError(f"{name} is installed on several targets: {places}", hint="say which with --target")
    for target in asked:
        if isinstance(target, UnknownTarget):
            raise Unreachable(f"{target.name} cannot be looked at: {target.reason}", hint=target.hint)
        if (alias := find_alias(target, name)) is not None:
            raise _no_model(alias, target.name)
        if find_adapter(target, name) is not None:
            raise UsageError(
                f"{name} on {target.name} is a LoRA adapter, and no model",
                hint=f"`localmodels adopt {ADDRESS}NAME` takes one over by its name in the file",
            )
    raise UsageError(f"{name} is not installed", hint="`localmodels status` lists every model by its exact name")


def _no_model(alias: Alias, target: str) -> UsageError:
    """A name that a client would ask for, and no model to take over."""
    if alias.taken_by is not None:
        return UsageError(
            f"{alias.name} on {target} is {alias.taken_by}, and no model", hint="`localmodels status` lists every model"
        )
    if alias.model is None:
        hint = "it stands for nothing that is there: remove it there, and apply makes it where a slot asks for it"
    else:
        hint = (
            f"`localmodels adopt {quoted(alias.model)}` takes its model over, and a name that the file asks for with it"
        )
    return UsageError(f"{alias.name} on {target} is a stable name, and no model", hint=hint)


async def _entry(plan: Planned, runtimes: Runtimes, target: ObservedTarget, found: Installed) -> RecordEntry:
    row = next((row for row in plan.plan.kept if (row.target_key, row.name) == (target.key, found.name)), None)
    digest, stamp = found.digest, found.stamp
    if digest is None:
        try:
            digest, stamp = await runtimes[target.name].digest(found.name, unheard)
        except Refused:
            digest = None
    return RecordEntry(
        target_key=target.key,
        target_name=target.name,
        name=found.name,
        slots=row.slots if row is not None else (),
        model_id=(row.model_id if row is not None else None) or found.repo or found.name,
        quant=(row.quant if row is not None else None) or found.quant,
        digest=digest,
        stamp=stamp,
        bytes=found.bytes,
        installed_at=plan.observation.now,
        last_used_at=found.last_used_at,
        score=(row.evidence.score if row is not None else None) or 0.0,
        adopted=True,
    )


def _owned(here: Session, name: str, target_name: str | None) -> RecordEntry:
    entries = [
        entry
        for entry in here.books.record.entries
        if entry.name == name and target_name in (None, entry.target_name, entry.target_key)
    ]
    if len(entries) == 1:
        return entries[0]
    if not entries:
        adapter = next((one for one in here.books.record.adapters if name in (one.name, one.adapter)), None)
        if adapter is not None:
            raise UsageError(
                f"{name} is an adapter of ours on {adapter.target_name}, and no model",
                hint=f"`localmodels disown {quoted(ADDRESS + adapter.adapter)}` lets go of it",
            )
        raise UsageError(f"{name} is not ours", hint="`localmodels status` lists what is")
    places = ", ".join(entry.target_name for entry in entries)
    raise UsageError(f"{name} is ours on several targets: {places}", hint="say which with --target")
