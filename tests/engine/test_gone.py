"""A target whose list lacks what it answers for: nothing of ours is dropped on such a word."""

from __future__ import annotations

from dataclasses import dataclass

from reconciler.domain.observation import ObservedTarget, TargetObservation
from reconciler.domain.record import Intent
from reconciler.engine.gone import is_gone
from reconciler.engine.reconcile import reconcile
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, fakes, foreign, name_of, pin
from tests.fakes import FAKE_NOW, FakeRuntime


@dataclass
class ShortOfOne(FakeRuntime):
    """Lists everything but one."""

    hidden: str = ""

    async def observe(self) -> TargetObservation:
        seen = await super().observe()
        assert isinstance(seen, ObservedTarget)
        kept = tuple(model for model in seen.installed if model.name != self.hidden)
        return seen.model_copy(update={"installed": kept})


async def both_installed() -> Fakes:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    here.runtimes[target().key] = ShortOfOne(target())
    await reconcile(here.world, OPTIONS)
    here.edit(pin("b", BETA))
    return here


def hide(here: Fakes, name: str) -> None:
    runtime = here.runtime()
    assert isinstance(runtime, ShortOfOne)
    runtime.hidden = name


async def test_a_model_that_is_only_not_listed_is_not_forgotten() -> None:
    here = await both_installed()
    hide(here, name_of(ALPHA))
    report = await reconcile(here.world, OPTIONS)
    (outcome,) = report.outcomes
    assert (outcome.row.action, outcome.status, outcome.code) == ("forget", "failed", "target-unknown")
    assert name_of(ALPHA) in here.owned()
    hide(here, "")
    await reconcile(here.world, OPTIONS)
    assert here.owned() == set(here.runtime().installed) == {name_of(BETA)}


async def test_a_step_cut_short_is_not_closed_on_a_list_that_is_not_whole() -> None:
    here = await both_installed()
    entry = here.record.entry(target().key, name_of(ALPHA))
    begun = Intent(
        id="9", action="evict", target_key=target().key, target_name=target().name, name=name_of(ALPHA),
        begun_at=FAKE_NOW,
    )  # fmt: skip
    hide(here, name_of(ALPHA))
    await here.store.save(here.record.with_intent(begun))
    await reconcile(here.world, OPTIONS)
    assert here.record.entry(target().key, name_of(ALPHA)) == entry


async def test_nor_is_an_install_that_it_answers_for() -> None:
    here = await both_installed()
    was = here.record.entry(target().key, name_of(ALPHA))
    assert was is not None
    begun = Intent(
        id="9", action="install", target_key=target().key, target_name=target().name, name=name_of(ALPHA), entry=was,
        begun_at=FAKE_NOW,
    )  # fmt: skip
    hide(here, name_of(ALPHA))
    await here.store.save(here.record.without(target().key, name_of(ALPHA)).with_intent(begun))
    await reconcile(here.world, OPTIONS)
    assert [one.name for one in here.record.intents] == [name_of(ALPHA)], "what became of it stays open"
    hide(here, "")
    await reconcile(here.world, OPTIONS)
    assert here.record.intents == ()
    assert here.owned() == set(here.runtime().installed), "it was ours, and is found to be"


async def test_what_a_target_knows_nothing_of_is_gone() -> None:
    runtime = FakeRuntime(target())
    runtime.put(foreign(ALPHA))
    assert not await is_gone(runtime, name_of(ALPHA), "box")
    assert await is_gone(runtime, name_of(BETA), "box")
    assert await is_gone(None, name_of(ALPHA), "box")
