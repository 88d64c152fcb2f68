"""What is interrupted: each scenario is a machine brought to a state, and one command that is then cut short."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from reconciler.domain.plan import Overrides
from reconciler.domain.units import GB, Bytes
from reconciler.engine.destroy import destroy
from reconciler.engine.measure import MeasureQuestion, measure
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Options, World
from tests.builders import pool, target
from tests.engine.worlds import ALPHA, BETA, DELTA, GAMMA, Fakes, fakes, foreign, name_of, pin
from tests.measurements import FakeMeter, MemoryMeasurementStore

BOLD = Options(overrides=Overrides(allow_evictions=99))
TWO = (target(), target("other", path="/other"))

Command = Callable[[World], Awaitable[object]]


async def apply_it(world: World) -> object:
    return await reconcile(world, BOLD)


@dataclass(frozen=True)
class Scenario:
    """A machine before a command, the command, and how much its targets may hold at any instant."""

    prepare: Callable[[], Awaitable[Fakes]]
    command: Command = apply_it
    limit_gb: int = 100
    stands: frozenset[str] = frozenset()
    """At least one of these models is installed, whole, at every instant."""
    theirs: frozenset[str] = frozenset()
    """Installed by somebody else: there at every instant."""
    names_may_dangle: bool = False
    """Only where what a stable name stands for goes before its replacement comes."""


@dataclass
class Measuring(Fakes):
    """A machine that keeps what was measured on it."""

    kept: MemoryMeasurementStore = field(default_factory=MemoryMeasurementStore)

    @property
    def world(self) -> World:
        return replace(super().world, measurements=self.kept)


async def applied(here: Fakes) -> Fakes:
    await reconcile(here.world, BOLD)
    return here


async def empty() -> Fakes:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    here.runtime().put(foreign(DELTA))
    return here


async def on_two_targets() -> Fakes:
    return fakes(pin("a", ALPHA), pin("b", BETA, target="other"), pin("c", GAMMA, target="other"), targets=TWO)


async def not_wanted_any_more() -> Fakes:
    here = await applied(fakes(pin("a", ALPHA), pin("b", BETA)))
    here.runtime().put(foreign(DELTA))
    here.edit(pin("b", BETA))
    return here


async def to_be_swapped() -> Fakes:
    here = await applied(fakes(pin("a", ALPHA), pool=pool(disk_budget=Bytes(11 * GB))))
    here.edit(pin("a", BETA), pool=pool(disk_budget=Bytes(11 * GB)))
    return here


async def to_be_swapped_across_a_gap() -> Fakes:
    tight = pool(disk_budget=Bytes(6 * GB), allow_gap=True)
    here = await applied(fakes(pin("a", ALPHA), pool=tight))
    here.edit(pin("a", BETA), pool=tight)
    return here


async def drifted() -> Fakes:
    here = await applied(fakes(pin("a", ALPHA), pin("b", BETA)))
    here.runtime().put(foreign(ALPHA, "swapped"))
    return here


async def gone_by_hand() -> Fakes:
    here = await applied(fakes(pin("a", ALPHA), pin("b", BETA)))
    del here.runtime().installed[name_of(ALPHA)]
    here.edit(pin("b", BETA))
    return here


async def room_must_be_made() -> Fakes:
    tight = pool(disk_budget=Bytes(11 * GB), prune="pressure")
    here = await applied(fakes(pin("a", ALPHA), pin("b", BETA), pool=tight))
    here.edit(pin("b", BETA), pin("c", GAMMA), pool=tight)
    return here


async def named_and_swapped() -> Fakes:
    room = pool(disk_budget=Bytes(11 * GB))
    here = await applied(fakes(pin("a", ALPHA, alias="chat"), pool=room))
    here.edit(pin("a", BETA, alias="chat"), pool=room)
    return here


async def named_and_swapped_across_a_gap() -> Fakes:
    tight = pool(disk_budget=Bytes(6 * GB), allow_gap=True)
    here = await applied(fakes(pin("a", ALPHA, alias="chat"), pool=tight))
    here.edit(pin("a", BETA, alias="chat"), pool=tight)
    return here


async def name_not_wanted_any_more() -> Fakes:
    here = await applied(fakes(pin("a", ALPHA, alias="chat"), pin("b", BETA)))
    here.edit(pin("a", ALPHA), pin("b", BETA, alias="second"))
    return here


async def to_be_measured() -> Fakes:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(ALPHA))
    here.runtime().put(foreign(BETA))
    return Measuring(here.source, here.runtimes, here.store)


async def somebody_elses() -> Fakes:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(ALPHA))
    return here


SCENARIOS = {
    "install": Scenario(empty, theirs=frozenset({DELTA})),
    "two targets": Scenario(on_two_targets),
    "evict": Scenario(not_wanted_any_more, stands=frozenset({BETA}), theirs=frozenset({DELTA})),
    "swap": Scenario(to_be_swapped, limit_gb=11, stands=frozenset({ALPHA, BETA})),
    "gap": Scenario(to_be_swapped_across_a_gap, limit_gb=6),
    "update": Scenario(drifted, stands=frozenset({ALPHA})),
    "forget": Scenario(gone_by_hand, stands=frozenset({BETA})),
    "make room": Scenario(room_must_be_made, limit_gb=11, stands=frozenset({BETA})),
    "adopt": Scenario(
        somebody_elses, lambda world: adopt(world, name_of(ALPHA), None, BOLD), theirs=frozenset({ALPHA})
    ),
    "disown": Scenario(
        not_wanted_any_more,
        lambda world: disown(world, name_of(ALPHA), None, BOLD),
        stands=frozenset({ALPHA}),
        theirs=frozenset({DELTA}),
    ),
    "new name": Scenario(name_not_wanted_any_more, stands=frozenset({ALPHA})),
    "swap under a name": Scenario(named_and_swapped, limit_gb=11, stands=frozenset({ALPHA, BETA})),
    "gap under a name": Scenario(named_and_swapped_across_a_gap, limit_gb=6, names_may_dangle=True),
    "measure": Scenario(
        to_be_measured, lambda world: measure(world, FakeMeter, MeasureQuestion()), theirs=frozenset({ALPHA, BETA})
    ),
    "destroy": Scenario(not_wanted_any_more, lambda world: destroy(world, BOLD), theirs=frozenset({DELTA})),
}
