from __future__ import annotations

from reconciler.domain.desired import Slot
from reconciler.domain.observation import DigestNeed, Unavailable
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.world import Options
from reconciler.errors import Refused
from tests.engine.worlds import ALPHA, BETA, OPTIONS, SCORES, fakes, foreign, name_of, pin
from tests.fakes import FakeRuntime


async def test_only_picks_are_asked_about() -> None:
    here = fakes(Slot(name="g"))
    await plan_once(here.world, OPTIONS)
    assert [need.repo for need in here.catalog.asked if need.kind == "hub"] == [f"{BETA}-GGUF"]


async def test_an_unavailable_pick_gives_way_to_the_runner_up() -> None:
    here = fakes(Slot(name="g"))
    here.catalog.answers = {
        need: answer for need, answer in here.catalog.answers.items() if getattr(need, "repo", "") != f"{BETA}-GGUF"
    }
    seen = await plan_once(here.world, OPTIONS)
    assert [row.name for row in seen.plan.changes] == [name_of(ALPHA)]
    assert seen.plan.applicable


async def test_when_nothing_is_available_the_asking_ends() -> None:
    here = fakes(Slot(name="g"))
    here.catalog.answers.clear()
    seen = await plan_once(here.world, OPTIONS)
    assert len(here.catalog.asked) == len(SCORES)
    assert not seen.plan.changes


async def test_a_hub_that_does_not_answer_is_an_answer_too() -> None:
    here = fakes(pin("a", ALPHA))
    here.catalog.down = True
    seen = await plan_once(here.world, OPTIONS)
    assert [answer.code for answer in seen.observation.answers if isinstance(answer, Unavailable)] == ["unreachable"]
    assert not seen.plan.applicable or not seen.plan.changes


async def test_offline_the_hub_is_not_asked_and_files_are_read_all_the_same() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    runtime, asked = here.runtime(), len(here.catalog.asked)
    model = runtime.installed[name_of(ALPHA)]
    runtime.digests[name_of(ALPHA)] = "other content"
    runtime.put(model.model_copy(update={"digest": None, "stamp": "touched"}))
    seen = await plan_once(here.world, Options(ask=False))
    assert [answer.need for answer in seen.observation.answers] == [DigestNeed(target="local", name=name_of(ALPHA))]
    assert len(here.catalog.asked) == asked
    assert seen.observation.offline
    assert seen.plan.drift
    assert here.reporter.notes == [("info", f"reading {name_of(ALPHA)} on local to know its content")]


class Unreadable(FakeRuntime):
    async def digest(self, name: str, progress: object) -> tuple[str, str]:
        raise Refused("this target cannot tell")


async def test_content_that_nobody_can_tell_settles_the_plan() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtimes[here.runtime().on.key] = Unreadable(here.runtime().on)
    runtime.put(foreign(ALPHA, digest=None))
    seen = await plan_once(here.world, OPTIONS)
    assert not seen.plan.needs
