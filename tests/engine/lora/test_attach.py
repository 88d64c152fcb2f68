"""Adapters, done: written down on either side of a step, held by content, detached only where ours, never a base's end."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

from reconciler.cli.views.plan import plan_text
from reconciler.cli.views.report import report_text
from reconciler.cli.views.status import status_text
from reconciler.domain.adapter import (
    AdapterServing,
    AdapterSource,
    Expected,
    Gate,
    ServedAdapter,
    outtype_of_place,
)
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed
from reconciler.engine.destroy import destroy
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.rebuild import rebuild
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.replay import replay
from reconciler.engine.saved_plan import apply_saved, parse, saved, text_of
from reconciler.engine.status import status
from reconciler.errors import PlanningError, RecordUnreadable, Refused, StalePlan, TamperedPlan, Unreachable, UsageError
from tests.engine.lora.adapting import NEW, OLD, Room, applied, coder, codes, raised_crash
from tests.engine.worlds import BETA, OPTIONS
from tests.fakes import Crash


async def test_it_is_attached_after_its_base_and_then_everything_rests(here: Room) -> None:
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert here.steps() == [f"install {OLD}", f"attach sql {OLD}"]
    (ours,), served = here.fakes.record.adapters, here.runtime.adapters["sql"]
    assert (ours.digest, ours.path, ours.declared_base) == (served.digest, served.path, "coder")
    assert Path(ours.path).read_bytes() == (here.folder / "sql.gguf").read_bytes()
    assert [(one.digest, one.holders) for one in await here.held()] == [
        (ours.digest, ("default /home/someone/localmodels.yaml",))
    ]
    generation = here.fakes.record.generation
    again = await reconcile(here.world, OPTIONS)
    assert (again.outcomes, here.fakes.record.generation, again.plan.in_sync) == ((), generation, True)


async def test_other_content_and_another_scale_change_what_is_served(here: Room) -> None:
    before = (await applied(here)).fakes.record.adapters[0]
    here.gguf(rank=2)
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"attach sql {OLD}"])
    after = here.fakes.record.adapters[0]
    assert [one.digest for one in await here.held()] == [after.digest] != [before.digest]
    scaled = here.lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),))
    here.edit(adapters=(scaled,))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (here.runtime.adapters["sql"].scale, here.fakes.record.adapters[0].scale) == (0.5, 0.5)


async def test_it_is_detached_and_its_files_go_and_its_base_stays(here: Room) -> None:
    await applied(here)
    here.edit()
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"detach sql {OLD}"])
    assert (here.fakes.record.adapters, await here.held(), here.runtime.adapters) == ((), (), {})
    assert OLD in here.runtime.installed


@pytest.mark.parametrize("failure", [Refused("no", code="adapter-refused"), Refused("no room"), Unreachable("busy")])
async def test_what_fails_leaves_base_and_old_adapter(here: Room, failure: Exception) -> None:
    await applied(here)
    digest = here.fakes.record.adapters[0].digest
    here.gguf(rank=2)
    here.runtime.fail_adapters["sql"] = [failure] * (3 if isinstance(failure, Unreachable) else 1)
    report = await reconcile(here.world, OPTIONS)
    assert [status for status, _ in codes(report)] == ["failed"]
    assert here.runtime.adapters["sql"].digest == here.fakes.record.adapters[0].digest == digest
    assert [one.digest for one in await here.held()] == [digest], "what did not come is not kept"
    assert here.fakes.record.intents == ()
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_a_broken_adapter_does_not_hold_its_base_back(here: Room) -> None:
    (here.folder / "sql.gguf").write_bytes(b"GGUF but not really")
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None)]
    assert [(row.reason.value, row.adapter is not None) for row in report.remaining.blocked] == [  # type: ignore[union-attr]
        ("adapter-rejected", True)
    ]
    assert (OLD in here.runtime.installed, here.runtime.adapters, await here.held()) == (True, {}, ())


async def test_in_use_waits_for_the_next_run(here: Room) -> None:
    await applied(here)
    here.edit()
    here.runtime.fail_adapters["sql"] = [Refused("busy", code="in-use")]
    assert codes(await reconcile(here.world, OPTIONS)) == [("skipped", "in-use")]
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_it_waits_for_a_base_that_does_not_come(here: Room) -> None:
    here.runtime.fail_installs[OLD] = [Refused("gone", code="not-found")]
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("failed", "not-found"), ("skipped", "replacement-failed")]
    assert "the adapter sql waits" in report.outcomes[1].message


@pytest.mark.parametrize("at", ["intent", "done", "held"])
async def test_a_crash_while_it_is_attached_is_told_apart_by_a_look(here: Room, at: str) -> None:
    if at == "done":
        here.runtime.crash_after = "sql"
    elif at == "intent":
        here.runtime.on_attach = lambda _: (_ for _ in ()).throw(Crash())
    else:
        here.converter.fail = [Crash()]
        here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    with pytest.raises(BaseException) as raised:
        await reconcile(here.world, OPTIONS)
    assert raised_crash(raised, Crash)
    assert [intent.action for intent in here.fakes.record.intents] == ["attach"]
    here.runtime.on_attach = None
    report = await reconcile(here.world, OPTIONS)
    assert report.verified
    assert (len(here.fakes.record.adapters), here.fakes.record.intents) == (1, ())
    assert len(await here.held()) == 1


async def test_a_crash_after_detaching_is_not_an_adapter_of_somebody_else(here: Room) -> None:
    await applied(here)
    here.edit()
    here.runtime.crash_after = "sql"
    with pytest.raises(BaseException) as raised:
        await reconcile(here.world, OPTIONS)
    assert raised_crash(raised, Crash)
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (here.fakes.record.adapters, here.fakes.record.intents, await here.held()) == ((), (), ())


async def test_what_a_crash_left_held_goes_where_nobody_wants_it_any_more(here: Room) -> None:
    here.runtime.on_attach = lambda _: (_ for _ in ()).throw(Crash())
    with pytest.raises(BaseException):  # noqa: B017 - in a group or not
        await reconcile(here.world, OPTIONS)
    assert len(await here.held()) == 1
    here.runtime.on_attach = None
    here.edit(coder(BETA))
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (await here.held(), here.fakes.record.intents) == ((), ())


async def test_an_adapter_of_somebody_else_is_left_alone(here: Room) -> None:
    theirs = ServedAdapter(name="sql", base=OLD, path="/theirs/a.gguf", scale=1.0)
    here.runtime.on_install = lambda _: here.runtime.adapters.update(sql=theirs)
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("failed", "unmanaged-conflict")]
    assert (here.runtime.adapters["sql"], here.fakes.record.adapters) == (theirs, ())


async def test_a_server_that_forgot_is_given_it_again(here: Room) -> None:
    await applied(here)
    here.runtime.forgets_adapters = True
    here.runtime.restart()
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"attach sql {OLD}"])


async def test_what_a_target_only_says_it_did_is_seen(here: Room) -> None:
    await applied(here)
    here.edit()
    here.runtime.removes_nothing = True
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("failed", "not-removed")]
    assert [one.name for one in here.fakes.record.adapters] == ["sql"], "what we failed to detach is still ours"
    assert len(await here.held()) == 1


async def test_it_follows_its_base_and_only_then_the_old_one_goes(here: Room) -> None:
    here.edit(adapters=(here.lora(on_base_change="follow"),))
    await applied(here)
    here.edit(coder(BETA), adapters=(here.lora(on_base_change="follow"),))
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"install {NEW}", f"attach sql {NEW}", f"remove {OLD}"])


async def test_an_old_base_stays_while_its_adapter_does_not_move(here: Room) -> None:
    here.edit(adapters=(here.lora(on_base_change="follow"),))
    await applied(here)
    here.edit(coder(BETA), adapters=(here.lora(on_base_change="follow"),))
    here.runtime.fail_adapters["sql"] = [Refused("no", code="adapter-refused")]
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None), ("failed", "adapter-refused"), ("skipped", "replacement-failed")]
    assert "the adapter sql still stands on it" in report.outcomes[2].message
    assert here.runtime.adapters["sql"].base == OLD


async def test_peft_becomes_gguf_once(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    await applied(here)
    path = here.runtime.adapters["sql"].path or ""
    assert path.endswith(".gguf")
    here.runtime.forgets_adapters = True
    here.runtime.restart()
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (here.converter.made, here.runtime.adapters["sql"].path) == (1, path)


async def test_another_element_type_is_made_and_attached_anew(here: Room) -> None:
    peft = here.lora(source=AdapterSource(path=here.peft()))
    here.edit(adapters=(peft,))
    await applied(here)
    here.edit(adapters=(peft.model_copy(update={"convert": "q8_0"}),))
    here.runtime.on_attach = lambda _: (_ for _ in ()).throw(Crash())
    with pytest.raises(BaseException) as raised:
        await reconcile(here.world, OPTIONS)
    assert raised_crash(raised, Crash)
    here.runtime.on_attach = None
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, len(report.outcomes)) == (True, 1), "what stood before the crash is not taken for the new"
    assert outtype_of_place(here.runtime.adapters["sql"].path or "") == "q8_0"
    assert (await reconcile(here.world, OPTIONS)).plan.in_sync


async def test_without_a_converter_it_is_told_and_the_base_serves(here: Room) -> None:
    here.converter.missing = True
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    report = await reconcile(here.world, OPTIONS)
    assert codes(report) == [("done", None)]
    assert "no converter here" in report.remaining.blocked[0].message  # type: ignore[union-attr]


async def test_files_that_change_between_plan_and_apply_are_not_attached(here: Room) -> None:
    async def changed(_: object) -> bool:
        here.gguf(rank=2)
        return True

    report = await reconcile(here.world, OPTIONS, confirm=changed)
    assert codes(report) == [("done", None), ("failed", "content-changed")]
    assert here.runtime.adapters == {}


async def test_a_saved_plan_is_stale_once_the_target_serves_otherwise_and_tampered_once_edited(here: Room) -> None:
    await applied(here)
    here.gguf(rank=2)
    document = saved(await plan_once(here.world, OPTIONS))
    with pytest.raises(TamperedPlan):
        await apply_saved(here.world, parse(text_of(document).replace('"scale":1.0', '"scale":9.0')), OPTIONS)
    here.runtime.adapters.clear()
    with pytest.raises(StalePlan):
        await apply_saved(here.world, document, OPTIONS)


async def test_destroy_detaches_first(here: Room) -> None:
    await applied(here)
    report = await destroy(here.world, OPTIONS)
    assert (report.verified, here.steps()) == (True, [f"detach sql {OLD}", f"remove {OLD}"])
    assert (here.fakes.record.adapters, await here.held()) == ((), ())


async def test_a_target_that_left_the_file_keeps_what_is_ours_until_destroy(here: Room) -> None:
    await applied(here)
    here.edit(targets=(Target(name="new", path="/elsewhere"),))
    assert here.steps() == []
    seen = await status(here.world, OPTIONS)
    assert [(one.name, one.standing) for target in seen.targets for one in target.adapters] == [("sql", "orphaned")]
    await destroy(here.world, OPTIONS)
    assert here.runtime.adapters == {}


async def test_disown_lets_the_adapters_of_a_base_go_with_it_and_their_files_stay_while_they_are_served(
    here: Room,
) -> None:
    await applied(here)
    await disown(here.world, OLD, None, OPTIONS)
    assert (here.fakes.record.adapters, list(here.runtime.adapters)) == ((), ["sql"])
    here.edit()
    await reconcile(here.world, OPTIONS)
    assert len(await here.held()) == 1


async def test_a_bare_name_is_no_adapter_and_its_address_is_told(here: Room) -> None:
    await applied(here)
    with pytest.raises(UsageError, match="is an adapter of ours on edge") as raised:
        await disown(here.world, "sql", None, OPTIONS)
    assert "disown adapter/sql" in (raised.value.hint or "")
    await disown(here.world, OLD, None, OPTIONS)
    with pytest.raises(UsageError, match="is a LoRA adapter, and no model"):
        await adopt(here.world, "sql", None, OPTIONS)


async def test_disowned_files_stay_while_their_target_is_not_in_the_file_and_go_once_it_serves_them_no_more(
    here: Room,
) -> None:
    await applied(here)
    await disown(here.world, OLD, None, OPTIONS)
    here.edit(targets=(Target(name="new", path="/elsewhere"),))
    await reconcile(here.world, OPTIONS)
    assert len(await here.held()) == 1, "nobody can see whether they are served"
    here.edit()
    await reconcile(here.world, OPTIONS)
    assert len(await here.held()) == 1, "they are"
    here.runtime.adapters.clear()
    await reconcile(here.world, OPTIONS)
    assert await here.held() == ()


async def test_the_journal_leads_to_the_same_record(here: Room) -> None:
    await applied(here)
    assert replay("default", here.fakes.store.lines).record.adapters == here.fakes.record.adapters
    here.edit()
    await reconcile(here.world, OPTIONS)
    assert replay("default", here.fakes.store.lines).record.adapters == ()


async def test_a_lost_record_is_made_again_with_its_adapters(here: Room) -> None:
    await applied(here)
    ours = here.fakes.record.adapters

    async def yes(_: object) -> bool:
        return True

    here.fakes.store.saved.append(here.fakes.record.model_copy(update={"generation": 0, "adapters": (), "entries": ()}))
    found = await rebuild(here.world, OPTIONS, agree=yes)
    assert [(one.kind, one.name) for one in found.owned] == [("model", OLD), ("adapter", "sql")]
    assert here.fakes.record.adapters == ours


async def test_as_a_person_reads_it(here: Room, snapshot: SnapshotAssertion) -> None:
    here.edit(adapters=(here.lora(), here.lora("chat")))
    shown = [plan_text((await plan_once(here.world, OPTIONS)).plan)]
    shown.append(report_text(await reconcile(here.world, OPTIONS)))
    here.runtime.adapters["theirs"] = ServedAdapter(name="theirs", base=OLD, loaded=True)
    here.edit(adapters=(here.lora(serve=(AdapterServing(target="edge", name="sql", scale=0.5),)),))
    here.runtime.fail_adapters["sql"] = [
        Refused("the weights are not taken", code="adapter-refused", hint="look at its log")
    ]
    shown.append(status_text(await status(here.world, OPTIONS), now=here.fakes.clock.now()))
    shown.append(report_text(await reconcile(here.world, OPTIONS)))
    assert "\n\n-----\n\n".join(shown).replace(str(here.folder), "/adapters") == snapshot


async def test_an_adapter_that_its_target_lists_as_a_model_too_is_shown_once(here: Room) -> None:
    await applied(here)
    listed = here.runtime.installed[OLD].model_copy(update={"name": "sql"})
    here.runtime.installed["sql"] = listed
    (target,) = (await status(here.world, OPTIONS)).targets
    assert ([one.name for one in target.models], [one.name for one in target.adapters]) == ([OLD], ["sql"])
    here.runtime.adapters.clear()
    (target,) = (await status(here.world, OPTIONS)).targets
    assert [(one.name, one.standing) for one in target.models] == [(OLD, "ours"), ("sql", "foreign")]


async def test_status_tells_whose_adapters_are_there(here: Room) -> None:
    await applied(here)
    here.runtime.adapters["theirs"] = ServedAdapter(name="theirs", base=OLD)
    here.runtime.adapters["sql"] = here.runtime.adapters["sql"].model_copy(update={"scale": 0.3})
    (target,) = (await status(here.world, OPTIONS)).targets
    assert [(one.name, one.standing) for one in target.adapters] == [("sql", "drifted"), ("theirs", "foreign")]


def receipt(here: Room, **changes: object) -> Gate:
    weights = sha256((here.folder / "sql.gguf").read_bytes()).hexdigest()
    document = {
        "kind": "promotion_probe_matrix_receipt",
        "created_at": here.fakes.clock.now().isoformat(),
        "trials": 5,
        "artifacts": [{"name": "sql.gguf", "sha256": weights}],
        "cases": [{"case": "no_tool_answer", "status": "pass"}],
        **changes,
    }
    path = here.folder / "receipt.json"
    path.write_text(json.dumps(document))
    return Gate(receipt=str(path), max_age_seconds=86400, minimum_trials=5)


async def test_what_is_promoted_is_attached(here: Room) -> None:
    here.edit(adapters=(here.lora(gate=receipt(here)),))
    await applied(here)
    assert "sql" in here.runtime.adapters


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"cases": [{"case": "no_tool_answer", "status": "fail"}]}, "did not pass"),
        ({"artifacts": []}, "which weights"),
        ({"artifacts": [{"sha256": "0" * 64}]}, "other weights"),
        ({"created_at": datetime(2020, 1, 1, tzinfo=UTC).isoformat()}, "older than"),
        ({"trials": 4}, "4 times"),
    ],
)
async def test_what_is_not_promoted_is_not(here: Room, changes: dict[str, object], why: str) -> None:
    here.edit(adapters=(here.lora(gate=receipt(here, **changes)),))
    report = await reconcile(here.world, OPTIONS)
    (row,) = report.remaining.blocked  # type: ignore[union-attr]
    assert row.reason.value == "not-promoted"
    assert why in row.message
    assert here.runtime.adapters == {}


async def test_a_receipt_that_is_gone_by_now_stops_a_saved_plan(here: Room) -> None:
    here.edit(adapters=(here.lora(gate=receipt(here)),))
    document = saved(await plan_once(here.world, OPTIONS))
    (here.folder / "receipt.json").unlink()
    report = await apply_saved(here.world, document, OPTIONS)
    assert codes(report) == [("done", None), ("failed", "not-promoted")]
    assert here.runtime.adapters == {}


async def test_expectations_forbid_or_warn(here: Room) -> None:
    wrong = here.lora(expect=Expected(rank=16))
    here.edit(adapters=(wrong,))
    report = await reconcile(here.world, OPTIONS)
    assert "rank: the file expects 16, and it is 4" in report.remaining.blocked[0].message  # type: ignore[union-attr]
    here.edit(adapters=(wrong.model_copy(update={"on_mismatch": "warn"}),))
    assert (await reconcile(here.world, OPTIONS)).verified
    answers = (await plan_once(here.world, OPTIONS)).observation.answers
    (verdict,) = [one.adapter for one in answers if isinstance(one.need, AdapterNeed)]  # type: ignore[union-attr]
    assert ("expect_rank", "warning") in [(one.code, one.severity) for one in verdict.findings]  # type: ignore[union-attr]


async def test_a_pickle_is_refused_unless_it_is_allowed(here: Room) -> None:
    place = Path(here.peft())
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    here.runtime.takes_adapters = "peft"
    pickled = here.lora(source=AdapterSource(path=str(place)), on_mismatch="warn")
    here.edit(adapters=(pickled,))
    report = await reconcile(here.world, OPTIONS)
    assert "pickle" in report.remaining.blocked[0].message  # type: ignore[union-attr]
    here.edit(adapters=(pickled.model_copy(update={"allow_pickle": True}),))
    assert (await reconcile(here.world, OPTIONS)).verified


async def test_a_hub_adapter_of_a_stranger_is_not_even_asked_for(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(repo="stranger/sql", revision="v1")),))
    report = await reconcile(here.world, OPTIONS)
    assert [row.reason.value for row in report.remaining.blocked] == ["not-allowed"]  # type: ignore[union-attr]
    assert here.hub.asked == 0


async def test_a_plan_that_names_another_source_than_the_file_attaches_nothing(here: Room) -> None:
    from reconciler.engine.lora.attach import _refuse_strangers

    adapter = here.lora(source=AdapterSource(repo="acme/sql"))
    desired = here.fakes.source.desired
    with pytest.raises(PlanningError):
        _refuse_strangers("other/sql", "https://huggingface.co", adapter, desired)  # type: ignore[arg-type]


async def test_a_record_that_cannot_be_read_loses_no_adapter(here: Room) -> None:
    await applied(here)

    async def unreadable() -> object:
        raise RecordUnreadable("torn", details={"path": "/aside"})

    here.fakes.store.load = unreadable  # type: ignore[method-assign, assignment]
    with pytest.raises(RecordUnreadable):
        await reconcile(here.world, OPTIONS)
    assert (len(await here.held()), list(here.runtime.adapters)) == (1, ["sql"])
