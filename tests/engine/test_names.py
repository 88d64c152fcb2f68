"""Stable names, done: written down on either side of a step, moved before the old model goes, never anybody else's."""

from __future__ import annotations

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.plan import plan_text
from reconciler.cli.views.report import outcome_line, report_text
from reconciler.cli.views.status import status_text
from reconciler.domain.desired import Slot, Target
from reconciler.domain.observation import Alias
from reconciler.domain.plan import Reason
from reconciler.engine.destroy import destroy
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.saved_plan import apply_saved, parse, saved, text_of
from reconciler.engine.status import status
from reconciler.engine.verdict import exit_code_of_report
from reconciler.engine.which import fillings
from reconciler.errors import Refused, StalePlan, TamperedPlan, Unreachable, UsageError
from tests.engine.worlds import ALPHA, BETA, OPTIONS, Fakes, fakes, foreign, name_of, pin
from tests.fakes import Crash

OLD, NEW = name_of(ALPHA), name_of(BETA)
EMPTY = {"allow_empty": True}


def coder(model: str, **changes: object) -> Slot:
    return pin("coding", model, alias="coder", **changes)


async def applied(*slots: Slot) -> Fakes:
    here = fakes(*slots)
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    return here


def steps(here: Fakes) -> list[str]:
    return [call for call in here.runtime().calls if call != "observe"]


def codes(report: object) -> list[tuple[str, str | None]]:
    return [(one.status, one.code) for one in report.outcomes]  # type: ignore[attr-defined]


async def test_a_swap_names_the_new_one_before_the_old_one_goes_and_then_rests() -> None:
    here = await applied(coder(ALPHA))
    assert (here.runtime().aliases["coder"].model, here.record.aliases[0].model) == (OLD, OLD)
    here.edit(coder(BETA))
    here.runtime().calls.clear()
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert steps(here) == [f"install {NEW}", f"name coder {NEW}", f"remove {OLD}"]
    generation = here.record.generation
    again = await reconcile(here.world, OPTIONS)
    assert (again.outcomes, here.record.generation) == ((), generation)


async def test_what_fails_to_move_keeps_the_old_model() -> None:
    here = await applied(coder(ALPHA))
    here.edit(coder(BETA))
    here.runtime().fail_names["coder"] = [Refused("no", code="unmanaged-conflict")]
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("failed", "unmanaged-conflict"), ("skipped", "replacement-failed")]
    assert here.runtime().aliases["coder"].model == OLD
    assert "the name coder still stands for it" in report.outcomes[2].message
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.owned() == {NEW}


async def test_a_name_waits_for_a_model_that_does_not_come() -> None:
    here = await applied(coder(ALPHA))
    here.edit(coder(BETA))
    here.runtime().fail_installs[NEW] = [Refused("gone", code="not-found")]
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [
        ("failed", "not-found"),
        ("skipped", "replacement-failed"),
        ("skipped", "replacement-failed"),
    ]
    assert here.runtime().aliases["coder"].model == OLD


async def test_a_name_that_cannot_be_moved_in_use_is_left_for_the_next_run() -> None:
    here = await applied(coder(ALPHA))
    here.edit(coder(BETA))
    here.runtime().fail_names["coder"] = [Refused("busy", code="in-use")]
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("skipped", "in-use"), ("skipped", "in-use")]
    assert exit_code_of_report(report) == 0, "what waits for somebody's answer is no failure, nor what waits for that"


async def test_what_was_done_is_told_as_done() -> None:
    here = await applied(coder(ALPHA))
    here.edit(coder(BETA))
    told = [outcome_line(outcome) for outcome in (await reconcile(here.world, OPTIONS)).outcomes]
    assert f"named coder → {NEW} on local" in told
    here.edit(pin("coding", BETA))
    (outcome,) = (await reconcile(here.world, OPTIONS)).outcomes
    assert outcome_line(outcome) == "removed the name coder on local"


async def test_what_works_later_is_tried_again() -> None:
    here = fakes(coder(ALPHA))
    here.runtime().fail_names["coder"] = [Unreachable("busy"), Unreachable("busy")]
    assert (await reconcile(here.world, OPTIONS)).verified
    assert steps(here).count(f"name coder {OLD}") == 3


@pytest.mark.parametrize("at", ["intent", "done", "recorded"])
async def test_a_crash_on_either_side_of_a_move_is_told_apart_by_a_look(at: str) -> None:
    here = await applied(coder(ALPHA))
    here.edit(coder(BETA))
    if at == "done":
        here.runtime().crash_after = "coder"
    else:
        here.runtime().on_name = lambda *_: (_ for _ in ()).throw(Crash()) if at == "intent" else None
        if at == "recorded":
            here.runtime().crash_after = OLD
    with pytest.raises(BaseException) as raised:
        await reconcile(here.world, OPTIONS)
    assert isinstance(raised.value, Crash) or raised.group_contains(Crash)
    here.runtime().on_name = None
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert here.record.intents == ()
    assert [(one.name, one.model) for one in here.record.aliases] == [("coder", NEW)]
    assert here.owned() == set(here.runtime().installed) == {NEW}


async def test_a_crash_after_removing_is_not_a_name_of_somebody_else() -> None:
    here = await applied(coder(ALPHA))
    here.edit(pin("coding", ALPHA))
    here.runtime().crash_after = "coder"
    with pytest.raises(BaseException):  # noqa: B017 - in a group or not
        await reconcile(here.world, OPTIONS)
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (here.record.aliases, here.record.intents, here.runtime().aliases) == ((), (), {})


async def test_a_name_that_appears_while_we_download_is_not_taken() -> None:
    here = fakes(coder(ALPHA))
    runtime = here.runtime()
    runtime.put(foreign(BETA))
    runtime.on_install = lambda _: runtime.aliases.update(coder=Alias(name="coder", model=NEW))
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("failed", "unmanaged-conflict")]
    assert runtime.aliases["coder"].model == NEW
    assert here.record.aliases == ()


async def test_after_a_lost_record_the_name_is_left_as_it_is() -> None:
    here = await applied(coder(ALPHA))
    lost = fakes(coder(ALPHA))
    lost.runtimes = here.runtimes
    calls = len(steps(here))
    report = await reconcile(lost.world, OPTIONS)
    assert report.outcomes == ()
    assert len(steps(here)) == calls
    assert any("somebody else made it" in warning for warning in report.plan.warnings)


async def test_what_a_target_only_says_it_did_is_seen() -> None:
    here = await applied(coder(ALPHA))
    here.edit(pin("coding", ALPHA))
    here.runtime().removes_nothing = True
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("failed", "not-removed")]
    assert [one.name for one in here.record.aliases] == ["coder"], "what we failed to remove is still ours"


async def test_a_saved_plan_is_stale_once_the_name_moved_and_tampered_once_it_was_edited() -> None:
    here = await applied(coder(ALPHA), pin("other", BETA))
    here.edit(coder(BETA), pin("other", BETA))
    document = saved(await plan_once(here.world, OPTIONS))
    edited = text_of(document).replace('"after":"' + NEW, '"after":"' + OLD)
    with pytest.raises(TamperedPlan):
        await apply_saved(here.world, parse(edited), OPTIONS)
    here.runtime().aliases["coder"] = Alias(name="coder", model=NEW)
    with pytest.raises(StalePlan):
        await apply_saved(here.world, document, OPTIONS)


async def test_destroy_takes_the_names_first() -> None:
    here = await applied(coder(ALPHA))
    report = await destroy(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("done", None)]
    assert steps(here)[-2:] == ["unname coder", f"remove {OLD}"]
    assert (here.record.aliases, here.record.entries, here.runtime().aliases) == ((), (), {})


async def test_destroy_reaches_names_on_targets_that_left_the_file() -> None:
    here = await applied(coder(ALPHA))
    here.edit(targets=(Target(name="new", path="/elsewhere"),))
    plan = await plan_once(here.world, OPTIONS)
    assert any("the name coder on local is orphaned" in warning for warning in plan.plan.warnings)
    assert {one.standing for target in (await status(here.world, OPTIONS)).targets for one in target.aliases} == {
        "orphaned"
    }
    await destroy(here.world, OPTIONS)
    assert here.runtime().aliases == {}


async def test_disown_lets_the_names_of_a_model_go_with_it() -> None:
    here = await applied(coder(ALPHA))
    await disown(here.world, OLD, None, OPTIONS)
    assert (here.record.entries, here.record.aliases) == ((), ())
    assert here.runtime().aliases["coder"].model == OLD
    assert any("coder" in said for _, said in here.reporter.notes)


async def test_which_tells_a_name_that_does_not_stand_for_its_slots_model() -> None:
    here = await applied(coder(ALPHA), pin("chat", BETA))
    here.runtime().aliases["coder"] = Alias(name="coder", model=NEW)
    (found,) = await fillings(here.world, "coder", OPTIONS)
    assert (found.model, found.alias) == (OLD, None)
    assert found.alias_amiss == f"coder stands for {NEW}: see localmodels plan"
    here.runtime().aliases.clear()
    (found,) = await fillings(here.world, "coder", OPTIONS)
    assert "is not there" in (found.alias_amiss or "")


async def test_adopt_takes_a_name_that_the_file_asks_for_with_its_model() -> None:
    """After a record was lost for good, nothing else would make the name ours again."""
    here = await applied(coder(ALPHA))
    await disown(here.world, OLD, None, OPTIONS)
    here.runtime().aliases["theirs"] = Alias(name="theirs", model=OLD)
    await adopt(here.world, OLD, None, OPTIONS)
    assert [alias.name for alias in here.record.aliases] == ["coder"], "not what the file does not ask for"
    here.edit(coder(BETA))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert here.runtime().aliases["coder"].model == NEW


async def test_adopt_takes_the_name_of_a_model_that_is_ours_already() -> None:
    here = await applied(coder(ALPHA))
    await disown(here.world, OLD, None, OPTIONS)
    here.edit(pin("coding", ALPHA))
    await adopt(here.world, OLD, None, OPTIONS)
    assert here.record.aliases == (), "the file asks for none"
    here.edit(coder(ALPHA))
    await adopt(here.world, OLD, None, OPTIONS)
    assert [alias.name for alias in here.record.aliases] == ["coder"]


async def test_who_adopts_a_stable_name_is_told_what_to_adopt() -> None:
    here = await applied(coder(ALPHA))
    aliases = here.runtime().aliases
    with pytest.raises(UsageError, match="coder on local is a stable name, and no model") as raised:
        await adopt(here.world, "coder", None, OPTIONS)
    assert f"localmodels adopt {OLD}" in (raised.value.hint or "")
    aliases["coder"] = Alias(name="coder")
    with pytest.raises(UsageError) as raised:
        await adopt(here.world, "coder", None, OPTIONS)
    assert "stands for nothing" in (raised.value.hint or "")
    aliases["coder"] = Alias(name="coder", foreign=True, taken_by="the folder aliases/coder")
    with pytest.raises(UsageError, match="the folder aliases/coder, and no model"):
        await adopt(here.world, "coder", None, OPTIONS)
    (found,) = await fillings(here.world, "coder", OPTIONS)
    assert found.alias_amiss == "coder is taken by the folder aliases/coder: see localmodels plan"
    (name,) = (await status(here.world, OPTIONS)).targets[0].aliases
    assert name.standing == "foreign"


async def test_a_name_that_shows_another_hand_is_nobody_of_ours() -> None:
    here = await applied(coder(ALPHA))
    runtime = here.runtime()
    runtime.aliases["coder"] = runtime.aliases["coder"].model_copy(update={"foreign": True})
    here.edit(coder(BETA))
    plan = (await plan_once(here.world, OPTIONS)).plan
    (blocked,) = plan.blocked
    assert blocked.reason is Reason.UNMANAGED_CONFLICT
    assert "it was ours" in blocked.message
    await reconcile(here.world, OPTIONS)
    assert "coder" in runtime.aliases, "nobody took it out"
    here.edit(pin("coding", BETA))
    assert (await reconcile(here.world, OPTIONS)).verified, "it is forgotten, and stays"
    assert "coder" in runtime.aliases
    assert here.record.aliases == ()


async def test_a_model_of_somebodys_under_our_name_is_not_taken_for_the_name_once_its_origin_is_gone() -> None:
    """On an Ollama nothing but its content tells it from a name of ours then."""
    here = fakes(coder(ALPHA))
    runtime = here.runtime()
    runtime.lists_aliases = True
    await reconcile(here.world, OPTIONS)
    runtime.aliases["coder"] = Alias(name="coder", model=None, digest="theirs")
    plan = (await plan_once(here.world, OPTIONS)).plan
    assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]
    (name,) = (await status(here.world, OPTIONS)).targets[0].aliases
    assert name.standing == "foreign"
    for slots in ((coder(ALPHA),), (pin("coding", ALPHA),)):
        here.edit(*slots)
        await reconcile(here.world, OPTIONS)
        assert runtime.aliases["coder"].digest == "theirs"
    assert here.record.aliases == (), "no slot asks for it any more"


async def test_destroy_leaves_a_name_that_is_somebody_elses_by_now() -> None:
    here = await applied(coder(ALPHA))
    runtime = here.runtime()
    runtime.aliases["coder"] = runtime.aliases["coder"].model_copy(update={"foreign": True})
    await destroy(here.world, OPTIONS)
    assert "coder" in runtime.aliases
    assert here.record.aliases == ()


async def test_a_name_of_ours_is_not_adopted_as_a_model() -> None:
    ollama = Target(name="local", runtime="ollama", endpoint="http://127.0.0.1:11434")
    here = fakes(coder(ALPHA), targets=[ollama])
    runtime = here.runtime(ollama.key)
    runtime.lists_aliases = True
    assert (await reconcile(here.world, OPTIONS)).verified
    with pytest.raises(UsageError):
        await adopt(here.world, "coder:latest", None, OPTIONS)
    seen = await status(here.world, OPTIONS)
    assert [model.standing for target in seen.targets for model in target.models] == ["ours"]
    here.edit(coder(BETA), targets=(ollama,))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert len(runtime.installed) == 1


async def test_which_answers_to_the_name() -> None:
    here = await applied(coder(ALPHA))
    (found,) = await fillings(here.world, "coder", OPTIONS)
    assert (found.address, found.model, found.alias) == ("slot/coding[0]", OLD, "coder")
    assert found.alias_path == "/models/aliases/coder.gguf"


async def test_as_a_person_reads_it(snapshot: SnapshotAssertion) -> None:
    here = await applied(coder(ALPHA), pin("chat", BETA, alias="chatty"))
    runtime = here.runtime()
    runtime.aliases["theirs"] = Alias(name="theirs", model=OLD)
    here.edit(coder(BETA), pin("chat", BETA, alias="theirs"))
    shown = [plan_text((await plan_once(here.world, OPTIONS)).plan)]
    shown.append(status_text(await status(here.world, OPTIONS), now=here.clock.now()))
    shown.append(report_text(await reconcile(here.world, OPTIONS)))
    runtime.fail_names["coder"] = [Refused("busy", code="in-use", hint="wait")]
    here.edit(coder(ALPHA))
    shown.append(report_text(await reconcile(here.world, OPTIONS)))
    assert "\n\n-----\n\n".join(shown) == snapshot
