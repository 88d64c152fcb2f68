"""What a step refuses by itself, whatever the plan says, and how long it waits for what may work later."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field

import pytest

from reconciler.domain.desired import Target
from reconciler.domain.observation import Serving
from reconciler.domain.plan import Action, Overrides, Reason, Row
from reconciler.domain.report import Report
from reconciler.engine.apply import apply
from reconciler.engine.reconcile import planned, reconcile, session
from reconciler.engine.world import Options, Planned
from reconciler.errors import Refused, Unreachable
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, Fakes, art, fakes, foreign, name_of, pin
from tests.fakes import FakeRuntime

ROUTER = Target(name="router", runtime="llama-server", endpoint="http://127.0.0.1:8080", preset="/presets.ini")


async def applied(here: Fakes, **changes: object) -> Report:
    """A plan whose first row was made another one, applied as it is."""
    async with session(here.world, OPTIONS) as at_work:
        plan = await planned(here.world, at_work.desired, at_work.books.record, at_work.runtimes, OPTIONS)
        sneaky: Row = plan.plan.changes[0].model_copy(update=changes)
        changed = plan.plan.model_copy(update={"changes": (sneaky,)})
        wrong = Planned(plan.desired, plan.record, plan.observation, changed)
        return await apply(wrong, at_work.books, at_work.runtimes, here.world, OPTIONS)


async def test_an_update_of_what_is_not_ours_is_refused_even_when_a_plan_asks_for_it() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(DELTA))
    report = await applied(here, action=Action.UPDATE, name=name_of(DELTA), artifact=art(DELTA, "other"))
    assert [one.code for one in report.outcomes] == ["not-owned"]
    assert here.runtime().mutations == []


async def test_what_stood_there_before_us_stays_foreign_however_the_step_ends() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(DELTA))
    here.runtime().fail_installs[name_of(DELTA)] = [Refused("no")]
    await applied(here, name=name_of(DELTA), artifact=art(DELTA))
    assert here.owned() == set()
    assert name_of(DELTA) in here.runtime().installed


@dataclass
class Telling(FakeRuntime):
    told: list[str] = field(default_factory=list)

    async def serve(self, name: str, wanted: Serving) -> None:
        self.told.append(name)


async def test_what_is_not_ours_is_not_told_how_to_serve() -> None:
    here = fakes(pin("a", ALPHA), targets=[ROUTER])
    runtime = Telling(ROUTER)
    runtime.put(foreign(DELTA))
    here.runtimes[ROUTER.key] = runtime
    report = await applied(
        here, action=Action.UPDATE, reason=Reason.SERVING, name=name_of(DELTA), serving=Serving(context=4096)
    )
    assert [one.code for one in report.outcomes] == ["not-owned"]
    assert runtime.told == []


async def test_the_hint_for_a_name_with_a_shell_in_it_is_one_word() -> None:
    here = fakes(pin("a", ALPHA))
    name = "acme/x/$(touch pwned) `id`;'.gguf"
    here.runtime().put(foreign(DELTA, name=name))
    report = await applied(here, action=Action.EVICT, name=name, slots=())
    (outcome,) = report.outcomes
    command = (outcome.hint or "").removeprefix("`").removesuffix("` takes it over")
    assert shlex.split(command) == ["localmodels", "adopt", name]


@pytest.mark.parametrize("asked", [61.0, 3600.0])
async def test_a_source_that_asks_for_a_longer_pause_than_we_take_is_not_asked_again(asked: float) -> None:
    """Coming back before it said would be no patience; the next run asks again."""
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Unreachable("429", code="rate-limited", retry_after_seconds=asked)]
    report = await reconcile(here.world, OPTIONS)
    assert [(one.status, one.code) for one in report.outcomes] == [("failed", "rate-limited")]
    assert here.clock.slept == []
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_an_eviction_that_may_work_later_is_tried_again_and_what_came_of_it_is_journalled() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await reconcile(here.world, OPTIONS)
    here.edit(pin("b", BETA))
    here.runtime().fail_removes[name_of(ALPHA)] = [Unreachable("busy"), Unreachable("busy")]
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.runtime().calls.count(f"remove {name_of(ALPHA)}") == 3
    here.edit()
    here.runtime().fail_removes[name_of(BETA)] = [Refused("no", code="refused")]
    report = await reconcile(here.world, Options(overrides=Overrides(allow_evictions=1)))
    assert [(one.status, one.code) for one in report.outcomes] == [("failed", "refused")]
    begun = next(line for line in reversed(here.store.lines) if line["event"] == "intent")
    assert ("failed", begun["intent"]["id"]) in [(line["event"], line.get("intentId")) for line in here.store.lines]
    assert here.owned() == {name_of(BETA)}, "a removal that was refused is still ours"
