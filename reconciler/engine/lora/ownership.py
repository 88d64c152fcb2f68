"""Adapters taken over and let go, each by an explicit command. What a target serves stays as it is, either way.

An adapter is taken over only where its name, its base and every byte of it are what the file asks for. Its files are
held then like those of one that we attached, so that whatever happens to it later is no different.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.domain.adapter import (
    ADDRESS,
    Adapter,
    AdapterSource,
    AdapterVerdict,
    RecordAdapter,
    ServedAdapter,
    made_key_of_place,
)
from reconciler.domain.advice import quoted
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed, ObservedTarget, Unavailable
from reconciler.domain.plan import Reason, Row
from reconciler.engine.explain_adapter import rows_of, unknown_adapter
from reconciler.engine.look import find_adapter
from reconciler.engine.lora.attach import content_of, key_of
from reconciler.engine.lora.other_owners import owned_by, owner_of
from reconciler.engine.lora.verdict import local_source
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.reconcile import Session, planned
from reconciler.engine.world import Options, Planned, World, unheard
from reconciler.errors import OutsideError, PlanningError, ReconcilerError, RecordConflict, Unreachable, UsageError
from reconciler.lora.adapter_content import AdapterContent
from reconciler.planning.room import HOST


async def adopt_adapter(
    world: World, here: Session, name: str, target_name: str | None, plan: Planned
) -> RecordAdapter:
    """Take over an adapter of the file that a target serves as the file asks; ours already is ours.

    Args:
        world: the ports.
        here: the run, under the record's lock.
        name: in the file.
        target_name: where; None: on the only target where it is to be taken over.
        plan: made under the lock, with what the adapter's source is now.

    Raises:
        UsageError: the file has no such adapter, or nowhere, or in several places, it can be taken over.
        PlanningError: ``not-proven``: it may be another; ``unmanaged-conflict``: the target shows somebody else's hand.
        RecordConflict: another document's record owns it.
        OutsideError: its source or its target does not answer.
    """
    if not any(one.name == name for one in plan.desired.adapters):
        raise unknown_adapter(name, plan.desired)
    if target_name is not None and all(target.name != target_name for target in plan.desired.targets):
        raise UsageError(f"no target is called {target_name}", hint="see `localmodels status` for the targets")
    rows = [row for row, _ in rows_of(plan.plan, name) if target_name in (None, row.target)]
    matches = [row for row in rows if row.reason is Reason.UNMANAGED_MATCH]
    if len(matches) == 1:
        return await _Adoption.of(world, here, plan, matches[0]).done()
    if matches:
        places = ", ".join(row.target for row in matches)
        raise UsageError(f"{ADDRESS}{name} is served on several targets: {places}", hint="say which with --target")
    known = [one for one in plan.record.adapters if one.adapter == name]
    ours = next((one for one in known if target_name in (None, one.target_name)), None)
    if ours is not None:
        await here.books.replace(plan.record, event="recovered")  # a run that was cut off had attached it
        return ours
    raise _no_match(name, rows)


def _no_match(name: str, rows: Sequence[Row]) -> ReconcilerError:
    row = rows[0] if rows else None
    if row is not None and row.reason is Reason.TARGET_UNKNOWN:
        return Unreachable(f"{ADDRESS}{name} cannot be looked at: {row.message}", hint=row.hint)
    why = f"on {row.target}: {row.message or row.reason.value}" if row is not None else "no target is asked to"
    return UsageError(
        f"{ADDRESS}{name} is not served as the file asks, so it cannot be taken over ({why})",
        hint=f"`localmodels explain {quoted(ADDRESS + name)}` says what stands where",
    )


async def adopt_with_base(world: World, here: Session, plan: Planned, target_key: str, base: str) -> None:
    """Adapters of the file that stand on a model we take over come with it, as far as they can be shown to be it."""
    for row in plan.plan.kept:
        if row.adapter is None or row.reason is not Reason.UNMANAGED_MATCH:
            continue
        if (row.target_key, row.name) != (target_key, base):
            continue
        try:
            ours = await _Adoption.of(world, here, plan, row).done()
        except ReconcilerError as error:
            world.reporter.note(
                "warning", f"the adapter {row.adapter.name} on {row.target} is not ours: {error.message}"
            )
        else:
            world.reporter.note("info", f"the adapter {ours.name} on {ours.target_name} is ours with it")


async def planned_with_sources(world: World, here: Session, options: Options, asking: Options) -> Planned:
    """A plan that says what adapters are, for which somebody outside is asked only where this host does not know.

    Args:
        world: the ports.
        here: the run.
        options: ask nobody.
        asking: the same, and ask.
    """
    quiet = await planned(world, here.desired, here.books.record, here.runtimes, options)
    for answer in quiet.observation.answers:
        if isinstance(answer, Unavailable) and isinstance(answer.need, AdapterNeed) and answer.code == "offline":
            return await planned(world, here.desired, here.books.record, here.runtimes, asking)
    return quiet


async def disown_adapter(world: World, here: Session, name: str, target_name: str | None) -> RecordAdapter:
    """Let an adapter go: it is served on, its files stay while it is, and it is not ours any more.

    Raises:
        UsageError: the record has no such adapter, or has it on several targets.
    """
    known = [one for one in here.books.record.adapters if one.adapter == name]
    asked = [one for one in known if target_name in (None, one.target_name, one.target_key)]
    if not asked:
        raise UsageError(f"{ADDRESS}{name} is not ours", hint="`localmodels status` lists what is")
    if len({one.target_key for one in asked}) > 1:
        places = ", ".join(one.target_name for one in asked)
        raise UsageError(f"{ADDRESS}{name} is ours on several targets: {places}", hint="say which with --target")
    for one in asked:  # a candidate beside it too
        await let_go(world, here, one)
    return asked[0]


async def let_go(world: World, here: Session, ours: RecordAdapter) -> None:
    """Out of the record. Its files are somebody's first: nobody's run drops what is served on."""
    if world.adapters is not None:
        shop = Workshop(world, here.desired, here.runtimes)
        await shop.store.keep(ours.digest, shop.disowned_on(ours.target_key))
    await here.books.forget_adapter(ours.target_key, ours.name, event="disowned-adapter")


@dataclass(frozen=True, slots=True)
class _Adoption:
    """One adapter that somebody else attached, on its way into our record."""

    world: World
    here: Session
    row: Row
    adapter: Adapter
    verdict: AdapterVerdict
    target: ObservedTarget
    served: ServedAdapter
    shop: Workshop
    budget_left: int | None
    """Bytes; None: there is no budget for this host."""

    @classmethod
    def of(cls, world: World, here: Session, plan: Planned, row: Row) -> _Adoption:
        move, target = row.adapter, plan.observation.target(row.target)
        served = find_adapter(target, move.name) if move is not None and isinstance(target, ObservedTarget) else None
        adapter = next((one for one in here.desired.adapters if move is not None and one.name == move.adapter), None)
        verdict = move.verdict if move is not None else None
        if not isinstance(target, ObservedTarget) or served is None or adapter is None or verdict is None:
            raise UsageError(f"{row.address} is not what it was a moment ago", hint="try again")
        host = next((budget for budget in plan.plan.budgets if budget.scope == HOST), None)
        return cls(
            world=world,
            here=here,
            row=row,
            adapter=adapter,
            verdict=verdict,
            target=target,
            served=served,
            shop=Workshop(world, here.desired, here.runtimes, plan.observation),
            budget_left=host.limit_bytes - host.used_bytes if host is not None else None,
        )

    async def done(self) -> RecordAdapter:
        """Shown to be the one that the file means, its files held, and only then written down."""
        await self._refuse_another_owner()
        self._refuse_anothers_hand()
        content = await asyncio.to_thread(content_of, self.adapter, self.verdict, self.shop)
        await self._prove(content)
        path = await self._held(content)
        ours = RecordAdapter(
            target_key=self.target.key,
            target_name=self.target.name,
            adapter=self.adapter.name,
            name=self.served.name,
            base=self.row.name,
            declared_base=self.adapter.base,
            digest=self.verdict.digest,
            scale=self.served.scale if self.served.scale is not None else 1.0,
            path=path,
            bytes=self.verdict.bytes,
            attached_at=self.world.clock.now(),
            source=self.adapter.source,
            terms=self.adapter.terms,
        )
        await self.here.books.enter_adapter(ours, event="adopted-adapter")
        await self._drop_disowned()
        return ours

    # ------------------------------------------------------------------------------------------ whose it is

    async def _refuse_another_owner(self) -> None:
        other = await owner_of(self.world, self.here.desired, self.target.key, self.served.name)
        if other is not None:
            message, hint = owned_by(other, self.served.name, self.target.name)
            raise RecordConflict(message, hint=hint, details={"name": other.name, "recordSource": other.source})

    def _refuse_anothers_hand(self) -> None:
        if self.served.foreign:
            raise PlanningError(
                f"{self.served.name} on {self.target.name} is served by settings that are not ours: they could not be"
                " changed or taken out later",
                code="unmanaged-conflict",
                hint="take them out there, and `localmodels apply` attaches the adapter",
            )

    # ------------------------------------------------------------------------------------------ what it is

    async def _prove(self, content: AdapterContent) -> None:
        """Base and content, as far as the target and the files that it reads tell; what nobody can tell is a no."""
        if self.served.base is None:
            raise self._unproven("its target does not tell which model it stands on")
        if self.served.path is None:
            if self.served.digest != self.verdict.digest:  # by the hash of what the target took, where it tells one
                raise self._unproven("its target does not tell where it read it")
            return
        if (key := made_key_of_place(self.served.path)) is not None and self.verdict.format == "peft":
            await self._prove_made(key, self.served.path)
            return
        if self.served.digest is None and self.target.takes_adapters is None:
            raise self._unproven(
                f"it serves what stood at {self.served.path} when it was loaded, and cannot be given our copy instead"
            )
        here = next((one for one in self.here.desired.targets if one.name == self.target.name), Target(name=""))
        if not here.is_local:
            raise self._unproven(f"{self.served.path} is on another host")
        await asyncio.to_thread(self._compare, content, self.served.path)

    def _compare(self, content: AdapterContent, path: str) -> None:
        """Every file that the target reads, by its hash; a GGUF has another name where it is held. Blocks."""
        source = self.adapter.model_copy(update={"source": AdapterSource(path=path)})
        try:
            found = local_source(source, self.shop.ports.files).content
        except OutsideError as error:
            raise self._unproven(f"{path} cannot be read here") from error
        if _hashes(found) != _hashes(content):
            raise self._unproven(f"what lies in {path} is not what the source of the adapter holds")

    async def _prove_made(self, key: str, path: str) -> None:
        """A GGUF that was made of the source by this store, and is as it was made."""

        async def make(_: str) -> None:
            raise self._unproven(f"{path} is not a conversion that is held here, whole")

        made = await self.shop.store.converted(self.verdict.digest, key, make)
        if made != path or not self.served.holds(self.verdict.digest):
            raise self._unproven(f"{path} is no conversion of ours")

    def _unproven(self, why: str) -> PlanningError:
        return PlanningError(
            f"{self.served.name} on {self.target.name} cannot be shown to be {self.row.address}: {why}",
            code="not-proven",
            hint="it stays as it is, and somebody else's; unload it there, and `localmodels apply` attaches ours",
        )

    # ------------------------------------------------------------------------------------------ its files

    async def _held(self, content: AdapterContent) -> str:
        """Where it is served from, as one of ours: the place its target names, else our copy of it.

        We hold a copy whichever it is: repairs, budget and release count on that. What was loaded from a place that may
        change since is served from our copy by the next apply, and until then nobody says that it is in sync.
        """
        store = self.shop.store
        held = {one.digest for one in await store.held()}
        if content.digest not in held and self.budget_left is not None and content.bytes > self.budget_left:
            raise PlanningError(
                f"our copy of {self.row.address} has no room in pool.diskBudget",
                code="no-room",
                hint="raise it, or let something go first",
            )
        place = await store.hold(content, self.shop.holder, unheard)
        if self.served.path is not None:
            return self.served.path
        return await self._made_place(content) or place

    async def _made_place(self, content: AdapterContent) -> str | None:
        """Where the GGUF is that was made as the file asks, for a target that names no place; None: there is none."""

        async def make(_: str) -> None:
            raise self._unproven("nothing was made of it")

        converter = self.shop.ports.converter(self.here.desired)
        if self.verdict.format != "peft" or converter is None:
            return None
        try:
            return await self.shop.store.converted(content.digest, await key_of(converter, self.adapter), make)
        except ReconcilerError:
            return None

    async def _drop_disowned(self) -> None:
        """Nothing on this target needs the files as disowned ones any more, unless another name there does."""
        record = self.here.books.record
        others = [one for one in self.target.adapters if one.holds(self.verdict.digest)]
        if all(record.adapter(self.target.key, one.name) is not None for one in others):
            await self.shop.store.drop(self.verdict.digest, self.shop.disowned_on(self.target.key))


def _hashes(content: AdapterContent) -> list[str]:
    return sorted(file.sha256.lower() for file in content.files)
