"""Between the plan and the first step the world is looked at again: what came into use or fell silent stays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reconciler.domain.observation import Alias, ObservedTarget, TargetObservation, UnknownTarget
from reconciler.domain.plan import Action
from reconciler.domain.report import Report
from reconciler.domain.units import Bytes
from reconciler.engine.apply import apply
from reconciler.engine.reconcile import planned, reconcile, session
from reconciler.engine.world import Planned
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, fakes, name_of, pin
from tests.fakes import FakeRuntime


@dataclass
class Obedient(FakeRuntime):
    """Removes whatever it is told to, in use or not; silent after so many looks."""

    looks: int = 10**6

    async def observe(self) -> TargetObservation:
        self.looks -= 1
        if self.looks < 0:
            return UnknownTarget(name=self.on.name, key=self.on.key, reason="down")
        return await super().observe()

    async def remove(self, name: str) -> Bytes:
        self.installed[name] = self.installed[name].model_copy(update={"loaded": False})
        return await super().remove(name)


async def one_too_many() -> tuple[Fakes, Obedient]:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    runtime = here.runtimes[target().key] = Obedient(target())
    await reconcile(here.world, OPTIONS)
    here.edit(pin("b", BETA))
    return here, runtime


async def after_planning(here: Fakes, meanwhile: Callable[[], object]) -> Report:
    """Plan, let something happen, apply."""
    async with session(here.world, OPTIONS) as at_work:
        plan = await planned(here.world, at_work.desired, at_work.books.record, at_work.runtimes, OPTIONS)
        assert [row.action for row in plan.plan.changes] == [Action.EVICT]
        meanwhile()
        return await apply(plan, at_work.books, at_work.runtimes, here.world, OPTIONS)


async def test_what_came_into_use_is_not_even_asked_to_go() -> None:
    here, runtime = await one_too_many()
    busy = runtime.installed[name_of(ALPHA)].model_copy(update={"loaded": True})
    report = await after_planning(here, lambda: runtime.put(busy))
    assert [(one.status, one.code) for one in report.outcomes] == [("skipped", "in-use")]
    assert f"remove {name_of(ALPHA)}" not in runtime.calls
    assert name_of(ALPHA) in here.owned()


async def test_nor_is_what_is_in_use_under_a_name_that_stands_for_it() -> None:
    here, runtime = await one_too_many()
    served = Alias(name="theirs", model=name_of(ALPHA), loaded=True)
    report = await after_planning(here, lambda: runtime.aliases.update(theirs=served))
    assert [(one.status, one.code) for one in report.outcomes] == [("skipped", "in-use")]
    assert f"remove {name_of(ALPHA)}" not in runtime.calls


async def test_nothing_is_done_on_a_target_that_fell_silent() -> None:
    here, runtime = await one_too_many()
    report = await after_planning(here, lambda: setattr(runtime, "looks", 0))
    assert [(one.status, one.code) for one in report.outcomes] == [("skipped", "target-unknown")]
    assert f"remove {name_of(ALPHA)}" not in runtime.calls
    assert name_of(ALPHA) in here.owned()


async def test_an_entry_is_never_forgotten_on_the_word_of_a_target_that_was_unknown() -> None:
    here, runtime = await one_too_many()
    async with session(here.world, OPTIONS) as at_work:
        plan = await planned(here.world, at_work.desired, at_work.books.record, at_work.runtimes, OPTIONS)
        del runtime.installed[name_of(ALPHA)]
        (there,) = plan.observation.targets
        assert isinstance(there, ObservedTarget)
        silent = UnknownTarget(name=there.name, key=there.key, reason="down")
        forget = plan.plan.changes[0].model_copy(update={"action": Action.FORGET})
        sneaky = Planned(
            plan.desired,
            plan.record,
            plan.observation.model_copy(update={"targets": (silent,)}),
            plan.plan.model_copy(update={"changes": (forget,)}),
        )
        report = await apply(sneaky, at_work.books, at_work.runtimes, here.world, OPTIONS)
    assert [(one.status, one.code) for one in report.outcomes] == [("skipped", "target-unknown")]
    assert name_of(ALPHA) in here.owned()
