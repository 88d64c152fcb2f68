from __future__ import annotations

import pytest

from reconciler.domain.units import GB
from reconciler.engine.reconcile import reconcile
from reconciler.engine.status import Status, StatusTarget, status
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, DELTA, GAMMA, OPTIONS, fakes, foreign, name_of, pin
from tests.fakes import Crash


def standings(found: StatusTarget) -> dict[str, str]:
    return {model.name: model.standing for model in found.models}


async def test_everything_a_person_asks_of_a_machine() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA), pin("c", GAMMA))
    runtime = here.runtime()
    runtime.put(foreign(GAMMA))
    runtime.put(foreign(DELTA))
    await reconcile(here.world, OPTIONS)
    runtime.put(foreign(ALPHA, "swapped"))
    del runtime.installed[name_of(BETA)]
    runtime.partials["half"] = 5
    found = await status(here.world, OPTIONS)
    local = found.targets[0]
    assert standings(local) == {
        name_of(ALPHA): "drifted",
        name_of(BETA): "missing",
        name_of(GAMMA): "unmanaged-match",
        name_of(DELTA): "foreign",
    }
    assert (local.state, local.partial_bytes, local.partial_names) == ("observed", 5, ("half",))
    assert found.applied
    assert not found.in_sync
    assert found.budgets[0].limit_bytes == 100 * GB
    assert {drift.kind for drift in found.drift} == {"missing", "content-changed"}
    assert Status.model_validate_json(found.model_dump_json()) == found


async def test_it_asks_nobody_outside_and_writes_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    await status(here.world, OPTIONS)
    assert here.catalog.asked == []
    assert here.catalog.freshness == ["offline"]
    assert len(here.store.saved) == 1


async def test_in_sync_is_said() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    found = await status(here.world, OPTIONS)
    assert found.in_sync
    assert found.pending == 0
    assert standings(found.targets[0]) == {name_of(ALPHA): "ours"}


async def test_a_target_that_is_down_and_one_that_left_the_file() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="local"), pin("b", BETA, target="other"), targets=two)
    await reconcile(here.world, OPTIONS)
    here.edit(pin("a", ALPHA), targets=two[:1])
    here.runtime().unknown = "connection refused"
    found = await status(here.world, OPTIONS)
    assert [one.state for one in found.targets] == ["unknown", "orphaned"]
    assert found.targets[0].reason == "connection refused"
    assert standings(found.targets[0]) == {name_of(ALPHA): "unknown"}
    assert standings(found.targets[1]) == {name_of(BETA): "orphaned"}
    assert "destroy" in (found.targets[1].hint or "")


async def test_a_step_that_did_not_end_is_shown() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().partials[name_of(ALPHA)] = 9
    here.runtime().fail_installs[name_of(ALPHA)] = [Crash()]
    with pytest.raises(Crash):
        await reconcile(here.world, OPTIONS)
    found = await status(here.world, OPTIONS)
    assert [intent.name for intent in found.intents] == [name_of(ALPHA)]
