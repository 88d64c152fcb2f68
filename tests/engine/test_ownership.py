from __future__ import annotations

import pytest

from reconciler.domain.plan import Reason
from reconciler.domain.units import Bytes
from reconciler.engine.destroy import destroy, target_of_key
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Planned
from reconciler.errors import PlanningError, RecordConflict, Unreachable, UsageError
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, fakes, foreign, name_of, pin


async def test_a_match_is_adopted_and_then_ours_like_any_other() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(ALPHA))
    await reconcile(here.world, OPTIONS)
    assert here.owned() == set()
    entry = await adopt(here.world, name_of(ALPHA), None, OPTIONS)
    assert entry.adopted
    assert entry.slots == ("slot/a[0]",)
    assert entry.model_id == ALPHA
    assert here.store.events[-1] == "adopted"
    assert (await reconcile(here.world, OPTIONS)).plan.in_sync
    here.edit(pin("b", BETA))
    await reconcile(here.world, OPTIONS)
    assert set(here.runtime().installed) == {name_of(BETA)}


async def test_adopting_twice_is_adopting_once() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(ALPHA))
    first = await adopt(here.world, name_of(ALPHA), None, OPTIONS)
    saves = len(here.store.saved)
    assert await adopt(here.world, name_of(ALPHA), "local", OPTIONS) == first
    assert len(here.store.saved) == saves


async def test_content_that_only_reading_tells_is_read_once_when_adopted() -> None:
    here = fakes()
    here.runtime().put(foreign(ALPHA, digest=None))
    here.runtime().digests[name_of(ALPHA)] = "abc"
    entry = await adopt(here.world, name_of(ALPHA), None, OPTIONS)
    assert (entry.digest, entry.stamp) == ("abc", "theirs")


async def test_what_cannot_be_adopted_says_why() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(targets=two)
    with pytest.raises(UsageError, match="not installed"):
        await adopt(here.world, "nothing", None, OPTIONS)
    with pytest.raises(UsageError, match="no target is called"):
        await adopt(here.world, "nothing", "nowhere", OPTIONS)
    for runtime in here.runtimes.values():
        runtime.put(foreign(ALPHA))
    with pytest.raises(UsageError, match="several targets: local, other"):
        await adopt(here.world, name_of(ALPHA), None, OPTIONS)
    assert (await adopt(here.world, name_of(ALPHA), "other", OPTIONS)).target_name == "other"
    here.runtimes[two[0].key].unknown = "down"
    with pytest.raises(Unreachable):
        await adopt(here.world, name_of(ALPHA), "local", OPTIONS)


async def test_disown_lets_go_and_touches_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    calls = len(here.runtime().calls)
    await disown(here.world, name_of(ALPHA), None, OPTIONS)
    assert here.owned() == set()
    assert len(here.runtime().calls) == calls
    assert here.store.events[-1] == "disowned"
    here.edit(pin("b", BETA))
    await reconcile(here.world, OPTIONS)
    assert name_of(ALPHA) in here.runtime().installed
    with pytest.raises(UsageError, match="is not ours"):
        await disown(here.world, name_of(ALPHA), None, OPTIONS)


async def test_destroy_removes_what_is_ours_and_nothing_else() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    here.runtime().put(foreign(DELTA))
    await reconcile(here.world, OPTIONS)
    preview = await destroy(here.world, OPTIONS, dry=True)
    assert len(preview.plan.changes) == 2
    assert preview.plan.summary.bytes_freed == Bytes(10 * 10**9)
    assert len(here.runtime().installed) == 3
    report = await destroy(here.world, OPTIONS)
    assert report.verified
    assert set(here.runtime().installed) == {name_of(DELTA)}
    assert here.owned() == set()
    assert not (await destroy(here.world, OPTIONS)).plan.changes


async def test_destroy_leaves_what_somebody_elses_settings_hold_and_says_what_to_do() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    runtime = here.runtime()
    runtime.put(runtime.installed[name_of(ALPHA)].model_copy(update={"held_by": "take the section theirs out"}))
    report = await destroy(here.world, OPTIONS)
    assert [(row.reason, "section theirs" in row.message) for row in report.plan.blocked] == [
        (Reason.UNMANAGED_CONFLICT, True)
    ]
    assert here.owned() == {name_of(ALPHA)}


async def test_destroy_asks_and_takes_no_for_an_answer() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)

    async def no(plan: Planned) -> bool:
        return False

    await destroy(here.world, OPTIONS, confirm=no)
    assert here.owned() == {name_of(ALPHA)}


async def test_destroy_reaches_targets_that_left_the_file() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="other"), pin("b", BETA), targets=two)
    await reconcile(here.world, OPTIONS)
    here.edit(pin("b", BETA), targets=two[:1])
    await reconcile(here.world, OPTIONS)
    assert here.runtimes[two[1].key].installed
    await destroy(here.world, OPTIONS)
    assert not here.runtimes[two[1].key].installed
    assert here.owned() == set()


async def test_what_is_in_use_or_out_of_reach_stays_ours() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="other"), pin("b", BETA, target="local"), targets=two)
    await reconcile(here.world, OPTIONS)
    here.runtimes[two[1].key].unknown = "down"
    runtime = here.runtime()
    runtime.put(runtime.installed[name_of(BETA)].model_copy(update={"loaded": True}))
    report = await destroy(here.world, OPTIONS)
    assert [row.name for row in report.plan.blocked] == [name_of(ALPHA)]
    assert [row.name for row in report.plan.deferred] == [name_of(BETA)]
    assert here.owned() == {name_of(ALPHA), name_of(BETA)}


async def test_disabled_destroys_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    here.edit(pin("a", ALPHA), enabled=False)
    with pytest.raises(PlanningError, match="enabled: false"):
        await destroy(here.world, OPTIONS)


@pytest.mark.parametrize("key", ["store|/models", "ollama|http://127.0.0.1:11434", "advisory|vllm"])
def test_a_target_comes_back_from_its_key(key: str) -> None:
    assert target_of_key(key, "gone").key == key


def test_a_key_of_another_time_is_a_clear_error() -> None:
    with pytest.raises(UsageError):
        target_of_key("mainframe|x", "gone")


async def test_what_another_document_owns_is_not_taken_over() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    theirs = here.record.model_copy(update={"name": "other", "source": "/home/someone/other.yaml"})
    here.store.neighbours = (theirs,)
    await disown(here.world, name_of(ALPHA), None, OPTIONS)
    with pytest.raises(RecordConflict, match=r"belongs to 'other', applied from /home/someone/other.yaml"):
        await adopt(here.world, name_of(ALPHA), None, OPTIONS)
    here.store.neighbours = (theirs.model_copy(update={"entries": ()}),)
    assert (await adopt(here.world, name_of(ALPHA), None, OPTIONS)).name == name_of(ALPHA)
