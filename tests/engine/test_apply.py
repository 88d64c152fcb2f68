"""What apply promises: nothing that works is lost, everything is written down, what cannot go on does not stop the rest."""

from __future__ import annotations

import asyncio

import pytest

from reconciler.domain.desired import Slot
from reconciler.domain.plan import Action, Overrides
from reconciler.domain.report import Report
from reconciler.domain.units import GB, Bytes
from reconciler.engine.apply import apply
from reconciler.engine.reconcile import plan_once, planned, reconcile, session
from reconciler.engine.world import Options, Planned
from reconciler.errors import (
    Corrupt,
    OutOfSpace,
    PlanningError,
    RecordConflict,
    RecordError,
    RecordLocked,
    Refused,
    StalePlan,
    Unreachable,
)
from tests.builders import pool, target
from tests.engine.worlds import ALPHA, BETA, DELTA, GAMMA, OPTIONS, Fakes, desired, fakes, foreign, name_of, pin
from tests.fakes import Crash


async def applied(here: Fakes, options: Options = OPTIONS) -> Report:
    return await reconcile(here.world, options)


def statuses(report: Report) -> dict[str, str]:
    return {f"{one.row.action.value} {one.row.name}": one.status for one in report.outcomes}


def code_of(report: Report, name: str) -> str | None:
    return next(one.code for one in report.outcomes if one.row.name == name)


async def test_an_install_is_written_down_before_and_after_and_seen_afterwards() -> None:
    here = fakes(pin("a", ALPHA))
    report = await applied(here)
    assert report.verified
    assert report.remaining is not None
    assert report.remaining.in_sync
    assert here.store.events == ["intent", "installed", "noted"]
    before, after = here.store.saved[1], here.store.saved[2]
    assert [intent.name for intent in before.intents] == [name_of(ALPHA)]
    assert not before.entries
    assert not after.intents
    assert after.entry(target().key, name_of(ALPHA)) is not None
    assert here.record.applied_digest == here.source.desired.digest  # type: ignore[union-attr]
    assert here.reporter.reports == [report]


async def test_the_record_is_saved_after_every_step() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    counts = [(len(saved.entries), len(saved.intents)) for saved in here.store.saved]
    assert counts == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 0)]


async def test_a_second_apply_changes_nothing_and_writes_nothing() -> None:
    here = fakes(pin("a", ALPHA), Slot(name="g"))
    await applied(here)
    saves, lines = len(here.store.saved), len(here.store.lines)
    report = await applied(here)
    assert not report.outcomes
    assert report.verified
    assert (len(here.store.saved), len(here.store.lines)) == (saves, lines)
    assert len(here.runtime().mutations) == 2


async def test_a_failed_install_never_costs_the_old_model() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit(pin("a", BETA))
    here.runtime().fail_installs[name_of(BETA)] = [Refused("gated", code="gated")]
    report = await applied(here)
    assert statuses(report) == {f"install {name_of(BETA)}": "failed", f"evict {name_of(ALPHA)}": "skipped"}
    assert code_of(report, name_of(ALPHA)) == "replacement-failed"
    assert set(here.runtime().installed) == {name_of(ALPHA)}
    assert here.owned() == {name_of(ALPHA)}
    assert not report.verified
    assert here.record.applied_digest != here.source.desired.digest  # type: ignore[union-attr]
    assert (await applied(here)).verified
    assert here.owned() == set(here.runtime().installed) == {name_of(BETA)}


async def test_a_replacement_is_there_before_what_it_replaces_goes() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit(pin("a", BETA))
    await applied(here)
    assert here.runtime().mutations[-2:] == [f"install {name_of(BETA)}", f"remove {name_of(ALPHA)}"]


async def test_with_a_gap_the_eviction_goes_first() -> None:
    tight = pool(disk_budget=Bytes(6 * GB), allow_gap=True)
    here = fakes(pin("a", ALPHA), pool=tight)
    await applied(here)
    here.edit(pin("a", BETA), pool=tight)
    report = await applied(here)
    assert report.verified
    assert here.runtime().mutations[-2:] == [f"remove {name_of(ALPHA)}", f"install {name_of(BETA)}"]
    assert here.runtime().peak_bytes <= 6 * GB


async def test_what_does_not_depend_on_a_failed_step_goes_on() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA), pin("c", GAMMA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Corrupt("wrong bytes")]
    report = await applied(here)
    assert statuses(report)[f"install {name_of(ALPHA)}"] == "failed"
    assert code_of(report, name_of(ALPHA)) == "corrupt"
    assert here.owned() == {name_of(BETA), name_of(GAMMA)}
    assert report.changed
    assert report.failed


async def test_what_may_work_later_is_tried_again_a_few_times() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Unreachable("503"), Unreachable("429", retry_after_seconds=7)]
    report = await applied(here)
    assert report.verified
    assert here.clock.slept == [2.0, 7]
    here.edit(pin("b", BETA))
    here.runtime().fail_installs[name_of(BETA)] = [Unreachable("down")] * 5
    report = await applied(here)
    assert code_of(report, name_of(BETA)) == "unreachable"
    assert len(here.runtime().fail_installs[name_of(BETA)]) == 2


async def test_a_clear_no_is_not_tried_again() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [OutOfSpace("full"), OutOfSpace("full")]
    report = await applied(here)
    assert code_of(report, name_of(ALPHA)) == "out-of-space"
    assert here.clock.slept == []


async def test_one_mutation_at_a_time_per_target_and_targets_in_parallel() -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(
        pin("a", ALPHA, target="local"), pin("b", BETA, target="local"), pin("c", GAMMA, target="other"), targets=two
    )
    first, second = here.runtimes.values()
    first.stall = asyncio.Event()
    running = asyncio.ensure_future(applied(here))
    await first.started.wait()
    await second.started.wait()
    first.stall.set()
    report = await running
    assert report.verified
    assert first.most_at_once == second.most_at_once == 1


async def test_an_install_waits_for_room_that_another_target_makes() -> None:
    two = (target(), target("other", path="/other"))
    tight = pool(disk_budget=Bytes(6 * GB))
    here = fakes(pin("a", ALPHA, target="local"), targets=two, pool=tight)
    await applied(here)
    here.edit(pin("b", BETA, target="other"), targets=two, pool=tight)
    order: list[str] = []
    first, second = here.runtimes.values()
    second.on_install = lambda row: order.append(f"{row.name} while {sorted(first.installed)}")
    report = await applied(here)
    assert report.verified
    assert order == [f"{name_of(BETA)} while []"]


async def test_room_that_was_not_freed_is_not_used() -> None:
    tight = pool(disk_budget=Bytes(6 * GB))
    here = fakes(pin("a", ALPHA), pool=tight)
    await applied(here)
    here.edit(pin("b", BETA), pool=tight)
    here.runtime().fail_removes[name_of(ALPHA)] = [Refused("not removable")]
    report = await applied(here)
    assert code_of(report, name_of(BETA)) == "no-room"
    assert here.owned() == set(here.runtime().installed) == {name_of(ALPHA)}


async def test_a_model_that_came_into_use_is_kept_and_waits() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    here.edit(pin("b", BETA))
    runtime = here.runtime()
    plan = await plan_once(here.world, OPTIONS)
    assert [row.action for row in plan.plan.changes] == [Action.EVICT]
    runtime.fail_removes[name_of(ALPHA)] = [Refused("loaded", code="in-use")]
    report = await applied(here)
    assert code_of(report, name_of(ALPHA)) == "in-use"
    assert report.outcomes[0].status == "skipped"
    assert name_of(ALPHA) in here.owned()


async def test_s1_an_eviction_in_use_is_deferred_and_visible() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    here.edit(pin("b", BETA))
    runtime = here.runtime()
    runtime.put(runtime.installed[name_of(ALPHA)].model_copy(update={"loaded": True}))
    report = await applied(here)
    assert report.remaining is not None
    assert [row.name for row in report.remaining.deferred] == [name_of(ALPHA)]
    assert name_of(ALPHA) in runtime.installed


async def test_f8_what_the_file_does_not_allow_is_refused_before_any_fetch() -> None:
    here = fakes(pin("a", ALPHA), pool=pool(allowed_orgs=("someone-else",)))
    await applied(here)
    assert here.runtime().mutations == []
    assert here.owned() == set()


async def test_the_policy_is_asked_again_about_what_is_really_fetched() -> None:
    here = fakes(pin("a", ALPHA))
    async with session(here.world, OPTIONS) as at_work:
        plan = await planned(here.world, at_work.desired, at_work.books.record, at_work.runtimes, OPTIONS)
        narrowed = desired(pin("a", ALPHA), pool=pool(allowed_orgs=("else",)))
        sneaky = Planned(narrowed, plan.record, plan.observation, plan.plan)
        report = await apply(sneaky, at_work.books, at_work.runtimes, here.world, OPTIONS)
    assert code_of(report, name_of(ALPHA)) == "not-allowed"
    assert here.runtime().mutations == []


async def test_f9_disabled_observes_and_changes_nothing() -> None:
    here = fakes(pin("a", ALPHA), enabled=False)
    report = await applied(here)
    assert report.plan.held
    assert not report.outcomes
    assert here.runtime().mutations == []
    assert len(here.store.saved) == 1
    assert here.store.lines == []


async def test_f10_a_model_removed_by_hand_is_forgotten_when_nothing_wants_it() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    del here.runtime().installed[name_of(ALPHA)]
    here.edit(pin("b", BETA))
    report = await applied(here)
    assert statuses(report) == {f"forget {name_of(ALPHA)}": "done"}
    assert here.owned() == {name_of(BETA)}
    assert "forgotten" in here.store.events


async def test_f10_a_model_removed_by_hand_comes_back_when_it_is_wanted() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.runtime().installed.clear()
    assert (await applied(here)).verified
    assert set(here.runtime().installed) == {name_of(ALPHA)}


async def test_f11_a_source_that_has_no_such_model_changes_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    here.catalog.answers.clear()
    report = await applied(here)
    assert report.plan.blocked or report.plan.unfilled
    assert here.runtime().mutations == []


async def test_s5_the_budget_is_held_by_the_engine_not_by_the_runtime() -> None:
    here = fakes(Slot(name="g", count=3), pool=pool(disk_budget=Bytes(11 * GB)))
    await applied(here)
    assert here.runtime().peak_bytes <= 11 * GB
    assert len(here.owned()) == 2


async def test_s6_a_target_that_is_down_changes_nothing_and_says_so() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().unknown = "connection refused"
    report = await applied(here)
    assert here.runtime().mutations == []
    assert report.plan.blocked
    assert len(here.store.saved) <= 2
    assert here.owned() == set()


async def test_an_unknown_target_is_never_pruned() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    here.runtime().unknown = "half an answer"
    here.edit(pin("b", BETA))
    report = await applied(here)
    assert not report.changed
    assert here.owned() == {name_of(ALPHA), name_of(BETA)}


async def test_s7_a_failed_download_keeps_its_bytes_and_its_owner() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [Refused("no")]
    runtime.partials[name_of(ALPHA)] = 100
    await applied(here)
    assert [intent.name for intent in here.record.intents] == [name_of(ALPHA)]
    assert name_of(ALPHA) in runtime.partials


async def test_an_unfinished_download_that_nobody_wants_any_more_is_thrown_away_and_no_other() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.fail_installs[name_of(ALPHA)] = [OutOfSpace("full")]
    runtime.partials |= {name_of(ALPHA): 100, "somebody/elses": 7}
    await applied(here)
    here.edit(pin("b", BETA))
    await applied(here)
    assert set(runtime.partials) == {"somebody/elses"}
    assert not here.record.intents


async def test_ctrl_c_is_an_outcome_and_the_next_run_goes_on() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    runtime = here.runtime()
    runtime.stall = asyncio.Event()
    running = asyncio.ensure_future(applied(here))
    await runtime.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    report = here.reporter.reports[-1]
    assert [one.status for one in report.outcomes] == ["interrupted", "skipped"]
    assert here.store.events == ["intent", "interrupted"]
    assert name_of(ALPHA) in runtime.partials
    assert runtime.closed == 1
    runtime.stall = None
    assert (await applied(here)).verified
    assert here.owned() == {name_of(ALPHA), name_of(BETA)}
    assert not here.record.intents


async def test_two_applies_at_once_are_one_writer() -> None:
    here = fakes(pin("a", ALPHA))
    runtime = here.runtime()
    runtime.stall = asyncio.Event()
    running = asyncio.ensure_future(applied(here))
    await runtime.started.wait()
    with pytest.raises(RecordLocked):
        await applied(here)
    runtime.stall.set()
    assert (await running).verified


@pytest.mark.parametrize("model", [ALPHA, BETA])
async def test_a_crash_between_intent_and_outcome_is_finished_by_the_next_run(model: str) -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    here.runtime().crash_after = name_of(model)
    with pytest.raises(Crash):
        await applied(here)
    assert here.record.intents
    assert name_of(model) not in here.owned()
    report = await applied(here)
    assert report.verified
    assert here.owned() == set(here.runtime().installed) == {name_of(ALPHA), name_of(BETA)}
    assert not here.record.intents
    assert len(here.runtime().mutations) == 2


async def test_a_crash_after_an_eviction_forgets_what_is_gone() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit(pin("a", BETA))
    here.runtime().crash_after = name_of(ALPHA)
    with pytest.raises(Crash):
        await applied(here)
    assert name_of(ALPHA) in here.owned()
    assert (await applied(here)).verified
    assert here.owned() == {name_of(BETA)}


async def test_a_crash_before_anything_arrived_leaves_nothing_behind() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Crash()]
    with pytest.raises(Crash):
        await applied(here)
    here.edit(pin("b", BETA))
    assert (await applied(here)).verified
    assert here.owned() == {name_of(BETA)}
    assert not here.record.intents


async def test_a_plan_after_a_crash_shows_the_truth_and_writes_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().crash_after = name_of(ALPHA)
    with pytest.raises(Crash):
        await applied(here)
    saves = len(here.store.saved)
    seen = await plan_once(here.world, OPTIONS)
    assert seen.plan.in_sync
    assert [row.ours for row in seen.plan.kept] == [True]
    assert len(here.store.saved) == saves


async def test_a_record_that_cannot_be_saved_stops_the_run_and_loses_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().on_install = lambda row: here.store.fail_saves.append(RecordError("disk full"))
    with pytest.raises(RecordError):
        await applied(here)
    here.runtime().on_install = None
    assert (await applied(here)).verified
    assert here.owned() == {name_of(ALPHA)}
    assert len(here.runtime().mutations) == 1


@pytest.mark.parametrize("where", ["install", "evict", "name"])
@pytest.mark.parametrize(
    "surprise", [ValueError("ours"), RecordError("disk full"), OSError(5, "io"), asyncio.CancelledError(), Crash()]
)
async def test_whatever_a_step_raises_nobody_waits_for_it_for_ever(where: str, surprise: BaseException) -> None:
    two = (target(), target("other", path="/other"))
    here = fakes(pin("a", ALPHA, target="local"), pin("g", GAMMA, target="other"), targets=two)
    await applied(here)
    slots = (
        pin("b", BETA, target="local", alias="b"),
        pin("g", DELTA, target="other", alias="g"),
        pin("d", ALPHA, target="other"),
    )
    here.edit(*slots, targets=two)
    first, second = here.runtimes.values()
    first.fail_installs = {name_of(BETA): [surprise]} if where == "install" else {}
    first.fail_removes = {name_of(ALPHA): [surprise]} if where == "evict" else {}
    first.fail_names = {"b": [surprise]} if where == "name" else {}
    async with asyncio.timeout(10):
        with pytest.raises(type(surprise)):
            await applied(here)
    first.fail_installs = first.fail_removes = first.fail_names = {}
    assert (await applied(here)).verified, "what is half done is finished, and nothing holds the lock"
    assert set(first.installed) == {name_of(BETA)}
    assert set(second.installed) == {name_of(ALPHA), name_of(DELTA)}


async def test_what_is_not_ours_is_never_touched() -> None:
    here = fakes(pin("a", ALPHA), pool=pool(prune="always"))
    here.runtime().put(foreign(DELTA))
    await applied(here)
    here.edit()
    await applied(here, Options(overrides=Overrides(allow_evictions=9)))
    assert set(here.runtime().installed) == {name_of(DELTA)}
    assert here.owned() == set()


async def test_a_refused_plan_does_nothing_and_carries_its_numbers() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit()
    with pytest.raises(PlanningError) as caught:
        await applied(here)
    assert caught.value.code == "refused-by-guard"
    assert caught.value.details["refused"][0]["rule"] == "fuses.allowEmpty"
    assert caught.value.hint is not None
    assert set(here.runtime().installed) == {name_of(ALPHA)}
    await applied(here, Options(overrides=Overrides(allow_evictions=1)))
    assert here.runtime().installed == {}


async def test_offline_nothing_is_fetched_on_a_snapshots_word() -> None:
    here = fakes(pin("a", ALPHA))
    with pytest.raises(PlanningError) as caught:
        await applied(here, Options(ask=False))
    assert caught.value.code == "plan-not-applicable"
    assert here.catalog.asked == []
    assert here.runtime().mutations == []


async def test_a_world_that_moved_while_a_person_was_asked_is_stale() -> None:
    here = fakes(pin("a", ALPHA))

    async def yes(plan: Planned) -> bool:
        here.runtime().put(foreign(ALPHA, "other"))
        return True

    with pytest.raises(StalePlan) as caught:
        await reconcile(here.world, OPTIONS, confirm=yes)
    assert caught.value.details["moved"] == [f"{name_of(ALPHA)} on local appeared"]
    assert here.runtime().mutations == []


async def test_a_plan_that_is_not_confirmed_changes_nothing() -> None:
    here = fakes(pin("a", ALPHA))
    asked: list[Planned] = []

    async def no(plan: Planned) -> bool:
        asked.append(plan)
        return False

    report = await reconcile(here.world, OPTIONS, confirm=no)
    assert len(asked) == 1
    assert not report.outcomes
    assert here.runtime().mutations == []
    assert here.store.events == []


async def test_the_record_of_another_file_is_refused_unless_taken_over() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit(pin("b", BETA), source="/elsewhere/localmodels.yaml")
    with pytest.raises(RecordConflict) as caught:
        await applied(here)
    assert "--take-over" in (caught.value.hint or "")
    with pytest.raises(RecordConflict):
        await plan_once(here.world, OPTIONS)
    assert (await applied(here, Options(take_over=True))).verified
    assert here.record.source == "/elsewhere/localmodels.yaml"


async def test_a_file_that_only_moved_takes_the_record_over() -> None:
    """The same bytes at another place: nothing to install, and the record is the new place's all the same."""
    here = fakes(pin("a", ALPHA))
    await applied(here)
    moved = here.source.desired.model_copy(update={"source": "/elsewhere/localmodels.yaml"})
    here.source.desired = moved
    assert (await applied(here, Options(take_over=True))).outcomes == ()
    assert here.record.source == "/elsewhere/localmodels.yaml"
    assert (await applied(here)).verified


async def test_a_removal_that_did_not_happen_is_still_ours() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    await applied(here)
    here.edit(pin("b", BETA))
    here.runtime().removes_nothing = True
    report = await applied(here)
    assert code_of(report, name_of(ALPHA)) == "not-removed"
    assert here.owned() == {name_of(ALPHA), name_of(BETA)}


async def test_other_content_under_our_name_is_brought_back() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.runtime().put(foreign(ALPHA, "swapped"))
    report = await applied(here)
    assert statuses(report) == {f"update {name_of(ALPHA)}": "done"}
    assert report.verified


async def test_a_touched_file_is_read_once_and_then_known() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    runtime = here.runtime()
    model = runtime.installed[name_of(ALPHA)]
    runtime.digests[name_of(ALPHA)] = model.digest or ""
    runtime.put(model.model_copy(update={"digest": None, "stamp": "touched"}))
    assert (await applied(here)).plan.in_sync
    assert (await applied(here)).plan.in_sync
    assert runtime.calls.count(f"digest {name_of(ALPHA)}") == 1


async def test_steps_that_failed_lately_are_left_for_later() -> None:
    here = fakes(pin("a", ALPHA), pin("b", BETA))
    report = await applied(here, Options(postponed=frozenset({(target().key, name_of(ALPHA))})))
    assert code_of(report, name_of(ALPHA)) == "backing-off"
    assert here.owned() == {name_of(BETA)}


async def test_a_model_moves_to_another_slot_without_a_byte() -> None:
    here = fakes(pin("a", ALPHA))
    await applied(here)
    here.edit(pin("renamed", ALPHA))
    report = await applied(here)
    assert not report.outcomes
    assert [entry.slots for entry in here.record.entries] == [("slot/renamed[0]",)]


async def test_a_failed_step_that_left_nothing_is_closed_by_the_second_look() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().fail_installs[name_of(ALPHA)] = [Corrupt("thrown away")]
    report = await applied(here)
    assert not here.record.intents
    assert report.warnings == (f"the install of {name_of(ALPHA)} on local left nothing behind",)


async def test_an_eviction_of_what_is_not_ours_is_refused_even_when_a_plan_asks_for_it() -> None:
    here = fakes(pin("a", ALPHA))
    here.runtime().put(foreign(DELTA))
    async with session(here.world, OPTIONS) as at_work:
        plan = await planned(here.world, at_work.desired, at_work.books.record, at_work.runtimes, OPTIONS)
        sneaky = plan.plan.changes[0].model_copy(update={"action": Action.EVICT, "name": name_of(DELTA), "slots": ()})
        wrong = Planned(
            plan.desired, plan.record, plan.observation, plan.plan.model_copy(update={"changes": (sneaky,)})
        )
        report = await apply(wrong, at_work.books, at_work.runtimes, here.world, OPTIONS)
    assert code_of(report, name_of(DELTA)) == "not-owned"
    assert name_of(DELTA) in here.runtime().installed
    assert here.runtime().mutations == []
