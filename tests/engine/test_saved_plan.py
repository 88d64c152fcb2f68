from __future__ import annotations

import json

import pytest

from reconciler.domain.desired import Slot
from reconciler.domain.plan import Overrides
from reconciler.domain.units import GIB, Bytes
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import SavedPlan, apply_saved, moved_since, parse, refuse_if_tampered, saved, text_of
from reconciler.engine.world import Options
from reconciler.errors import PlanningError, StalePlan, TamperedPlan
from tests.builders import target
from tests.engine.worlds import ALPHA, BETA, DELTA, OPTIONS, Fakes, art, fakes, foreign, name_of, pin
from tests.fakes import plain_hardware


async def document(here: Fakes, options: Options = OPTIONS) -> SavedPlan:
    return parse(text_of(saved(await plan_once(here.world, options))))


async def test_a_saved_plan_is_the_same_after_a_round_trip() -> None:
    here = fakes(pin("a", ALPHA), Slot(name="g"))
    plan = await plan_once(here.world, OPTIONS)
    again = parse(text_of(saved(plan)))
    assert again.plan == plan.plan
    assert again.observation == plan.observation
    refuse_if_tampered(again)


async def test_it_is_applied_exactly_and_asks_nobody_again() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    asked = len(here.catalog.asked)
    report = await apply_saved(here.world, plan, OPTIONS)
    assert report.verified
    assert report.plan == plan.plan
    assert len(here.catalog.asked) == asked
    assert here.owned() == {name_of(ALPHA)}


async def test_it_is_applied_once() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    await apply_saved(here.world, plan, OPTIONS)
    with pytest.raises(StalePlan) as caught:
        await apply_saved(here.world, plan, OPTIONS)
    assert any("the record went from generation" in moved for moved in caught.value.details["moved"])


async def test_time_and_free_memory_do_not_make_it_stale() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.clock.forward(3 * 86_400)
    here.probe.hardware = plain_hardware().model_copy(update={"ram_free_bytes": Bytes(1)})
    here.runtime().free_bytes -= 1000
    assert (await apply_saved(here.world, plan, OPTIONS)).verified


async def test_the_file_moved() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.edit(pin("a", BETA))
    await _stale(here, plan, "the desired state's file was edited")


async def test_a_target_moved() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.runtime().put(foreign(DELTA))
    await _stale(here, plan, "what is installed on local changed")


async def test_a_target_went_away() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.runtime().unknown = "down"
    await _stale(here, plan, "what is installed on local changed")


async def test_the_machine_moved() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.probe.hardware = plain_hardware().model_copy(update={"ram_bytes": Bytes(32 * GIB)})
    await _stale(here, plan, "the machine has other devices or memory")


async def test_the_record_moved() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    await reconcile(here.world, OPTIONS)
    await _stale(here, plan, "the record went from generation 0 to 4")


async def test_it_is_of_one_document_and_says_of_which() -> None:
    here = fakes(pin("a", ALPHA))
    plan = await document(here)
    here.source.desired = here.source.desired.model_copy(update={"name": "other"})
    with pytest.raises(StalePlan) as caught:
        await apply_saved(here.world, plan, OPTIONS)
    assert "it is a plan of another document" in caught.value.message
    assert here.runtime().mutations == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"desired": "x"}, "the desired state's file was edited"),
        ({"record_generation": 9}, "the record went from generation 0 to 9"),
        ({"targets": ()}, "what is installed on local changed"),
        ({"hardware": "x"}, "the machine has other devices or memory"),
        ({"policy": "x"}, "the policy of this run is another"),
    ],
)
async def test_each_part_of_what_it_relied_on_is_compared(changed: dict[str, object], said: str) -> None:
    plan = await document(fakes(pin("a", ALPHA)))
    now = plan.plan.fingerprint.model_copy(update=changed)
    assert moved_since(plan, plan.desired, plan.plan.fingerprint) == ()
    assert moved_since(plan, plan.desired, now) == (said,)


async def _stale(here: Fakes, plan: SavedPlan, what: str) -> None:
    before = list(here.runtime().mutations)
    with pytest.raises(StalePlan) as caught:
        await apply_saved(here.world, plan, OPTIONS)
    assert what in caught.value.details["moved"]
    assert here.runtime().mutations == before


async def test_an_edited_plan_is_refused() -> None:
    here = fakes(pin("a", ALPHA))
    raw = json.loads(text_of(await document(here)))
    raw["plan"]["changes"][0]["artifact"] = json.loads(art(DELTA).model_dump_json())
    with pytest.raises(TamperedPlan) as caught:
        await apply_saved(here.world, parse(json.dumps(raw)), OPTIONS)
    assert caught.value.details["different"] == ["changes"]
    assert caught.value.message.endswith("leads to: changes differs")
    assert here.runtime().mutations == []


async def test_an_eviction_that_was_written_in_is_refused() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(DELTA))
    raw = json.loads(text_of(await document(here)))
    row = {**raw["plan"]["changes"][0], "action": "evict", "name": name_of(DELTA), "artifact": None}
    raw["plan"]["changes"].append(row)
    with pytest.raises(TamperedPlan):
        await apply_saved(here.world, parse(json.dumps(raw)), OPTIONS)
    assert name_of(DELTA) in here.runtime().installed


async def test_another_hub_that_was_written_into_plan_and_answers_is_refused() -> None:
    here = fakes(pin("a", ALPHA))
    text = text_of(await document(here))
    raw = json.loads(text)
    evil = json.dumps(raw["observation"]["answers"]).replace("hub.example", "evil.example")
    raw["observation"]["answers"] = json.loads(evil)
    raw["plan"]["changes"] = json.loads(json.dumps(raw["plan"]["changes"]).replace("hub.example", "evil.example"))
    report = await apply_saved(here.world, parse(json.dumps(raw)), OPTIONS)
    assert [one.code for one in report.outcomes] == ["not-allowed"]
    assert here.runtime().mutations == []


async def test_a_policy_that_was_widened_in_the_file_only_is_stale() -> None:
    here = fakes(pin("a", ALPHA))
    raw = json.loads(text_of(await document(here)))
    raw["desired"]["pool"]["allowedOrgs"] = ["acme", "evil"]
    with pytest.raises(PlanningError):
        await apply_saved(here.world, parse(json.dumps(raw)), OPTIONS)


async def test_what_a_person_allowed_is_part_of_it() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    here.edit()
    plan = await document(here, Options(overrides=Overrides(allow_evictions=1)))
    assert (await apply_saved(here.world, plan, OPTIONS)).verified
    assert here.runtime().installed == {}


async def test_a_refused_plan_stays_refused_when_saved() -> None:
    here = fakes(pin("a", ALPHA))
    await reconcile(here.world, OPTIONS)
    here.edit()
    plan = await document(here)
    with pytest.raises(PlanningError) as caught:
        await apply_saved(here.world, plan, OPTIONS)
    assert caught.value.code == "refused-by-guard"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": "localmodels-plan", "formatVersion": "9.0"}', "\x00"])
def test_what_is_no_plan_is_said_to_be_none(text: str) -> None:
    with pytest.raises(PlanningError) as caught:
        parse(text)
    assert caught.value.code == "plan-unreadable"


async def test_a_target_that_left_the_file_is_named() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA), targets=two)
    plan = await document(here)
    here.edit(pin("a", ALPHA), targets=two[:1])
    await _stale(here, plan, "what is installed on other changed")


async def test_a_plan_that_contradicts_itself_is_refused() -> None:
    here = fakes(pin("a", ALPHA))
    raw = json.loads(text_of(await document(here)))
    raw["desired"]["slots"][0]["target"] = "nowhere"
    with pytest.raises(TamperedPlan):
        await apply_saved(here.world, parse(json.dumps(raw)), OPTIONS)
    assert here.runtime().mutations == []
