"""Ask what the plan still needs to know, and plan again, until it needs nothing.

Only selected picks are asked about: the planner says what it needs, an unavailable pick gives way to the runner-up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import (
    AdapterNeed,
    Answer,
    DigestNeed,
    HubNeed,
    Need,
    Observation,
    RegistryNeed,
    Resolved,
    Unavailable,
)
from reconciler.domain.plan import Overrides, Plan
from reconciler.domain.record import Record
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.together import together
from reconciler.engine.world import Runtimes, World, unheard
from reconciler.errors import OutsideError, PlanningError, Refused, Unreachable
from reconciler.planning.make_plan import make_plan
from reconciler.planning.upstream import upstream_needs
from reconciler.ports import Catalog

MAX_ROUNDS = 64
"""Each round answers every open need at once; a file whose picks are all unavailable takes one round per runner-up."""
MAX_ASKED_AT_ONCE = 8


async def resolved_plan(
    world: World,
    desired: DesiredState,
    observation: Observation,
    record: Record,
    *,
    overrides: Overrides,
    runtimes: Runtimes,
    ask: bool,
    ask_upstream: bool = False,
    settled: bool = False,
) -> tuple[Plan, Observation]:
    """The plan that needs nothing more, and the observation with every answer it was made from.

    Args:
        world: the ports.
        desired: what the file declares.
        observation: may hold answers already; those are not asked again.
        record: what we own.
        overrides: what a person allowed for this one plan.
        runtimes: of every target of the file, for reading what is installed.
        ask: False keeps to this host: only installed files and adapters of this host are read, and the plan may stay
            inapplicable.
        ask_upstream: ask too whether what is in sync has moved on at its source.
        settled: ask nobody what a tag means of which an adapter is attached already.

    Raises:
        PlanningError: the planner never settles; a defect of ours, stopped before it asks for ever.
    """
    if not ask:
        observation = observation.model_copy(update={"offline": True})
    shop = Workshop(world, desired, runtimes, record=record, settled=settled, accepted=overrides.accept)
    asker = _Asker(world, desired, shop)
    if ask and ask_upstream:
        observation = await _answered(asker, observation, upstream_needs(desired, record))
    for _ in range(MAX_ROUNDS):
        plan = make_plan(desired, observation, record, overrides=overrides)
        open_needs = [need for need in plan.needs if ask or isinstance(need, DigestNeed | AdapterNeed)]
        if not open_needs:
            return plan, observation
        again = [need for need in open_needs if observation.answer(need) is not None]
        if again:
            break
        observation = await _answered(asker, observation, open_needs)
    raise PlanningError(
        "the plan does not settle: it keeps asking for what was already answered or for ever more",
        hint="this is a defect: please report it with `localmodels observe --out observation.json`",
        details={"needs": [need.model_dump(mode="json", by_alias=True) for need in plan.needs]},
    )


async def _answered(asker: _Asker, observation: Observation, needs: Iterable[Need]) -> Observation:
    """The observation with an answer to each of these needs."""
    open_needs = [need for need in dict.fromkeys(needs) if observation.answer(need) is None]
    answers = await together(asker.answer(need, observation) for need in open_needs)
    return observation.model_copy(update={"answers": (*observation.answers, *answers)})


class _Asker:
    """Puts each need to whoever can answer it: the catalogue, or the target that holds the model."""

    def __init__(self, world: World, desired: DesiredState, workshop: Workshop) -> None:
        self._world = world
        self._desired = desired
        self._runtimes = workshop.runtimes
        self._workshop = workshop
        self._catalog: Catalog | None = None
        self._at_once = asyncio.Semaphore(MAX_ASKED_AT_ONCE)
        self._reading = {name: asyncio.Lock() for name in self._runtimes}

    async def answer(self, need: Need, observation: Observation) -> Answer:
        if isinstance(need, DigestNeed):
            return await self._read(need)
        if isinstance(need, AdapterNeed):
            async with self._at_once:
                return await self._workshop.answer(need, observation)
        return await self._resolve(need)

    async def _resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        self._catalog = self._catalog or self._world.catalog(self._desired)
        async with self._at_once:
            try:
                return await self._catalog.resolve(need)
            except OutsideError as error:
                return _unavailable(need, error)

    async def _read(self, need: DigestNeed) -> Answer:
        runtime = self._runtimes.get(need.target)
        if runtime is None:
            return Unavailable(need=need, code="not-found", message=f"no target is called {need.target}")
        async with self._reading[need.target]:
            self._world.reporter.note("info", f"reading {need.name} on {need.target} to know its content")
            try:
                digest, stamp = await runtime.digest(need.name, unheard)
            except OutsideError as error:
                return _unavailable(need, error)
        return Resolved(need=need, digest=digest, stamp=stamp)


def _unavailable(need: Need, error: OutsideError) -> Unavailable:
    if isinstance(error, Unreachable):
        return Unavailable(need=need, code="unreachable", message=error.message)
    if isinstance(error, Refused):
        return Unavailable(need=need, code="not-found", message=error.message)
    return Unavailable(need=need, code="corrupt", message=error.message)
