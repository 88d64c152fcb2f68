"""What we hold of an adapter stands in for a source that cannot be read now: only recorded content, never anything new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from reconciler.domain.adapter import (
    Adapter,
    AdapterServing,
    AdapterSource,
    Expected,
    ExpectedContract,
    Gate,
)
from reconciler.domain.observation import Unavailable
from reconciler.domain.plan import Action, Overrides, Plan, Reason, Row
from reconciler.engine.lora.verdict import local_source
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.status import status
from reconciler.engine.world import Freshness, Options, unheard
from reconciler.errors import Corrupt, Refused, Unreachable, UsageError
from reconciler.planning.make_plan import make_plan
from tests.engine.lora.adapting import FakeHub, Room, codes, hub_lora
from tests.engine.test_watch import watching
from tests.engine.worlds import OPTIONS

OFFLINE: Freshness = "offline"


async def served(here: Room, adapter: Adapter | None = None) -> Adapter:
    """It was attached, and its server has forgotten it since."""
    wanted = adapter or here.lora()
    here.edit(adapters=(wanted,))
    report = await reconcile(here.world, OPTIONS)
    assert list(here.runtime.adapters) == ["sql"], report
    restarted(here)
    return wanted


def restarted(here: Room) -> None:
    here.runtime.adapters.clear()
    here.runtime.calls.clear()


def row_of(plan: Plan) -> Row:
    (row,) = [
        row for row in (*plan.changes, *plan.kept, *plan.held, *plan.blocked, *plan.deferred) if row.adapter is not None
    ]
    return row


async def planned(here: Room, options: Options = OPTIONS) -> Row:
    return row_of((await plan_once(here.world, options)).plan)


def lose(here: Room) -> None:
    (here.folder / "sql.gguf").unlink()


async def back(here: Room, options: Options = OPTIONS) -> None:
    report = await reconcile(here.world, options)
    assert (codes(report), report.verified) == ([("done", None)], True)
    assert list(here.runtime.adapters) == ["sql"]


# ------------------------------------------------------------------------------------------------ it stands in


async def test_a_server_that_forgot_is_given_what_we_hold_where_the_source_is_gone(here: Room) -> None:
    await served(here)
    lose(here)
    plan = (await plan_once(here.world, OPTIONS)).plan
    row = row_of(plan)
    assert (row.action, row.reason, plan.applicable) == (Action.ATTACH, Reason.DRIFTED, True)
    assert row.adapter is not None
    assert [(one.code, one.severity) for one in row.adapter.findings] == [("held_copy", "warning")]
    assert row.hint == "put it back, or correct source.path of adapter sql"
    assert "stands in for its source" in row.message
    (told,) = [line for line in plan.warnings if line.startswith("adapter/sql")]
    assert "sql.gguf is not there" in told
    before = here.fakes.record.adapters
    await back(here)
    (ours,) = here.fakes.record.adapters
    assert ours.model_copy(update={"attached_at": before[0].attached_at}) == before[0]
    again = await planned(here)
    assert (again.action, again.reason) == (Action.KEEP, Reason.UNAVAILABLE)


async def test_status_tells_of_the_copy_that_stands_in(here: Room) -> None:
    await served(here)
    lose(here)
    seen = await status(here.world, OPTIONS)
    (edge,) = seen.targets
    assert [(one.standing, [told.code for told in one.findings]) for one in edge.adapters] == [
        ("missing", ["held_copy"])
    ]
    assert not seen.in_sync


async def test_what_drifted_is_repaired_and_a_new_scale_is_set(here: Room) -> None:
    wanted = await served(here)
    lose(here)
    await back(here)
    found = here.runtime.adapters["sql"]
    here.runtime.adapters["sql"] = found.model_copy(update={"scale": 0.5})
    assert (await planned(here)).reason is Reason.DRIFTED
    await back(here)
    louder = (AdapterServing(target="edge", name="sql", scale=0.25),)
    here.edit(adapters=(wanted.model_copy(update={"serve": louder}),))
    assert (await planned(here)).reason is Reason.SERVING
    await back(here)
    assert here.runtime.adapters["sql"].scale == 0.25


def hub_that(error: Exception) -> FakeHub:
    class Silent(FakeHub):
        async def look(self, repo: str, revision: str | None, *, pickles: bool) -> object:  # type: ignore[override]
            raise error

    return Silent()


async def of_a_hub(here: Room) -> None:
    """Attached from a Hub by a tag, as if it had been fetched."""
    here.runtime.takes_adapters = "peft"
    here.hub.repos["acme/sql"] = Path(here.peft())
    here.hub.endpoint = here.fakes.source.desired.hub.endpoint
    wanted = hub_lora("acme/sql", "v1")
    await held_of_hub(here, "acme/sql")
    here.edit(adapters=(wanted,))
    assert (await reconcile(here.world, OPTIONS)).verified
    restarted(here)


async def held_of_hub(here: Room, repo: str) -> None:
    local = local_source(here.lora(source=AdapterSource(path=str(here.hub.repos[repo]))), here.ports.files).content
    found = await here.hub.look(repo, "v1", pickles=False)
    await here.store.hold(local, "a test", unheard)
    await here.store.hold(local.model_copy(update={"folder": None, "artifact": found.artifact}), "a test", unheard)


AWAY = [
    Unreachable("the Hub does not answer"),
    Refused("gone", code="not-found"),
    Refused("no", code="gated"),
    Refused("no", code="unauthorised"),
]


@pytest.mark.parametrize("error", AWAY)
async def test_a_hub_that_cannot_be_read_now_costs_nothing(here: Room, error: Exception) -> None:
    await of_a_hub(here)
    here.hub = hub_that(error)
    assert (await planned(here)).action is Action.ATTACH
    await back(here)


@pytest.mark.parametrize("error", [Corrupt("nonsense"), Refused("it is disabled", code="not-installable")])
async def test_a_source_that_answers_and_is_wrong_is_no_reason_to_serve_what_was(here: Room, error: Exception) -> None:
    await of_a_hub(here)
    here.hub = hub_that(error)
    assert (await planned(here)).reason is Reason.UNAVAILABLE
    assert (await reconcile(here.world, OPTIONS)).plan.changes == ()


async def test_offline_what_is_held_is_attached_without_a_warning(here: Room) -> None:
    await of_a_hub(here)
    here.hub = hub_that(AssertionError("nobody is asked"))
    quiet = replace(OPTIONS, freshness=OFFLINE, ask=False)
    plan = (await plan_once(here.world, quiet)).plan
    row = row_of(plan)
    assert row.adapter is not None
    assert [one.severity for one in row.adapter.findings] == ["note"]
    assert not [line for line in plan.warnings if line.startswith("adapter/sql")]
    await back(here, quiet)


async def test_another_target_of_the_same_source_is_served_from_it_too(here: Room) -> None:
    first = await served(here)
    lose(here)
    second = first.model_copy(update={"name": "more", "serve": (AdapterServing(target="edge", name="more"),)})
    here.edit(adapters=(first, second))
    report = await reconcile(here.world, OPTIONS)
    assert (report.verified, sorted(here.runtime.adapters)) == (True, ["more", "sql"])


# ------------------------------------------------------------------------------------------------ it does not


async def test_a_source_that_is_wrong_now_is_rejected_as_ever(here: Room) -> None:
    await served(here)
    (here.folder / "sql.gguf").write_bytes(b"GGUF nonsense")
    assert (await planned(here)).reason is Reason.ADAPTER_REJECTED
    here.gguf(rank=8)
    row = await planned(here)
    assert row.adapter is not None
    assert (row.action, row.adapter.findings) == (Action.ATTACH, ())


async def test_a_folder_that_was_emptied_is_wrong_and_not_away(here: Room) -> None:
    here.runtime.takes_adapters = "peft"
    source = Path(here.peft())
    await served(here, here.lora(source=AdapterSource(path=str(source))))
    for one in source.iterdir():
        one.unlink()
    assert (await planned(here)).reason is Reason.ADAPTER_REJECTED


async def test_what_was_never_attached_waits_for_its_source(here: Room) -> None:
    lose(here)
    row = await planned(here)
    assert (row.reason, row.action) == (Reason.UNAVAILABLE, Action.KEEP)


async def test_another_source_in_the_file_asks_for_something_else(here: Room) -> None:
    wanted = await served(here)
    lose(here)
    here.edit(adapters=(wanted.model_copy(update={"source": AdapterSource(path=str(here.folder / "new.gguf"))}),))
    row = await planned(here)
    assert (row.action, row.reason) == (Action.KEEP, Reason.UNAVAILABLE)
    assert "new.gguf is not there" in row.message


async def test_a_source_that_moved_and_was_seen_in_sync_is_the_source(here: Room) -> None:
    wanted = await served(here)
    await back(here)
    elsewhere = here.folder / "elsewhere"
    elsewhere.mkdir()
    (here.folder / "sql.gguf").rename(elsewhere / "sql.gguf")
    here.edit(adapters=(wanted.model_copy(update={"source": AdapterSource(path=str(elsewhere / "sql.gguf"))}),))
    report = await reconcile(here.world, OPTIONS)
    assert (report.plan.changes, here.fakes.record.adapters[0].source) == (
        (), AdapterSource(path=str(elsewhere / "sql.gguf")),
    )  # fmt: skip
    saved = here.fakes.record
    await reconcile(here.world, OPTIONS)
    assert here.fakes.record == saved, "what is known already is not written again"
    restarted(here)
    shutil.rmtree(elsewhere)
    await back(here)


async def test_a_copy_that_is_damaged_stands_in_for_nothing(here: Room) -> None:
    await served(here)
    lose(here)
    (held,) = await here.held()
    copy = here.folder / "data" / "adapters" / held.digest / "files" / "adapter.gguf"
    copy.write_bytes(copy.read_bytes()[:-1] + b"!")
    assert (await planned(here)).reason is Reason.UNAVAILABLE


async def test_a_copy_that_goes_between_plan_and_step_attaches_nothing(here: Room) -> None:
    await served(here)
    lose(here)
    (held,) = await here.held()

    async def confirm(_: object) -> bool:
        shutil.rmtree(here.folder / "data" / "adapters" / held.digest)
        return True

    report = await reconcile(here.world, OPTIONS, confirm=confirm)  # type: ignore[arg-type]
    assert codes(report) == [("failed", "content-changed")]
    assert here.runtime.adapters == {}


async def test_the_copy_is_judged_by_what_the_file_expects_now(here: Room) -> None:
    wanted = await served(here)
    lose(here)
    here.edit(adapters=(wanted.model_copy(update={"expect": Expected(max_rank=2)}),))
    row = await planned(here)
    assert row.reason is Reason.UNAVAILABLE
    assert "the copy that we hold does not stand in for it" in row.message
    assert "at most 2" in row.message


async def test_an_observation_that_somebody_wrote_attaches_nothing_that_was_never_ours(here: Room) -> None:
    await served(here)
    lose(here)
    seen = await plan_once(here.world, OPTIONS)
    (answer,) = [one for one in seen.observation.answers if isinstance(one, Unavailable)]
    assert answer.held is not None
    forged = answer.model_copy(update={"held": answer.held.model_copy(update={"digest": "f" * 64})})
    others = tuple(one for one in seen.observation.answers if one is not answer)
    observation = seen.observation.model_copy(update={"answers": (*others, forged)})
    assert row_of(make_plan(seen.desired, observation, seen.record)).reason is Reason.UNAVAILABLE


# ------------------------------------------------------------------------------------------------ its papers


def manifest(here: Room) -> Path:
    path = here.folder / "papers" / "sql.manifest.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"contract": {"base_model": "acme/alpha-1b"}}))
    return path


def with_contract(here: Room) -> Adapter:
    return here.lora(contract=ExpectedContract(manifest=str(manifest(here))), on_mismatch="warn")


def receipt(here: Room, *, made: str = "2026-11-20T00:00:00Z") -> Path:
    path = here.folder / "papers" / "receipt.json"
    path.parent.mkdir(exist_ok=True)
    weights = sha256((here.folder / "sql.gguf").read_bytes()).hexdigest()
    found = {"artifacts": [{"sha256": weights}], "cases": [{"case": "a", "status": "pass"}], "created_at": made}
    path.write_text(json.dumps(found))
    return path


def without_papers(here: Room) -> None:
    shutil.rmtree(here.folder / "papers")


@pytest.mark.parametrize("source_too", [True, False])
async def test_a_contract_that_went_away_is_a_warning_for_what_has_met_it(here: Room, *, source_too: bool) -> None:
    await served(here, with_contract(here))
    without_papers(here)
    if source_too:
        lose(here)
    plan = (await plan_once(here.world, OPTIONS)).plan
    row = row_of(plan)
    assert (row.action, row.reason) == (Action.ATTACH, Reason.DRIFTED)
    assert any("its contract cannot be read now" in line for line in plan.warnings)
    await back(here)


async def test_new_content_is_not_attached_while_its_contract_cannot_be_read(here: Room) -> None:
    await served(here, with_contract(here))
    without_papers(here)
    here.gguf(rank=8)
    assert (await planned(here)).reason is Reason.UNAVAILABLE


async def test_a_contract_that_was_named_since_is_not_taken_as_met(here: Room) -> None:
    wanted = await served(here)
    lose(here)
    named = ExpectedContract(manifest=str(here.folder / "never.json"))
    here.edit(adapters=(wanted.model_copy(update={"contract": named}),))
    assert (await planned(here)).reason is Reason.UNAVAILABLE


@pytest.mark.parametrize("lost", ["folder", "unreadable"])
async def test_a_receipt_that_went_away_is_a_warning_for_what_was_promoted(here: Room, lost: str) -> None:
    paper = receipt(here)
    await served(here, here.lora(gate=Gate(receipt=str(paper))))
    lose(here)
    without_papers(here)
    if lost == "unreadable":
        paper.mkdir(parents=True)
    plan = (await plan_once(here.world, OPTIONS)).plan
    assert row_of(plan).action is Action.ATTACH
    assert any("its promotion receipt cannot be read now" in line for line in plan.warnings)
    await back(here)


def taken_out(_: Room, paper: Path, gate: Gate) -> Gate:
    paper.unlink()
    return gate


def too_old_perhaps(here: Room, _: Path, gate: Gate) -> Gate:
    without_papers(here)
    return gate.model_copy(update={"max_age_seconds": 86400.0 * 30})


def of_another_file(here: Room, _: Path, gate: Gate) -> Gate:
    without_papers(here)
    return gate.model_copy(update={"receipt": str(here.folder / "others" / "receipt.json")})


@pytest.mark.parametrize("change", [taken_out, too_old_perhaps, of_another_file])
async def test_a_gate_that_is_not_met_any_more_is_not_passed_by_a_copy(
    here: Room, change: Callable[[Room, Path, Gate], Gate]
) -> None:
    paper = receipt(here)
    gate = Gate(receipt=str(paper))
    wanted = await served(here, here.lora(gate=gate))
    lose(here)
    here.edit(adapters=(wanted.model_copy(update={"gate": change(here, paper, gate)}),))
    assert (await planned(here)).reason is Reason.NOT_PROMOTED
    assert (await reconcile(here.world, OPTIONS)).plan.changes == ()


async def test_a_receipt_with_an_age_is_asked_for_again(here: Room) -> None:
    """Whether it has grown too old, nobody can tell without it."""
    paper = receipt(here)
    await served(here, here.lora(gate=Gate(receipt=str(paper), max_age_seconds=86400.0 * 300)))
    lose(here)
    without_papers(here)
    assert (await planned(here)).reason is Reason.NOT_PROMOTED


# ------------------------------------------------------------------------------------------------ conversions


async def test_a_conversion_that_is_held_needs_no_converter(here: Room) -> None:
    source = here.peft()
    await served(here, here.lora(source=AdapterSource(path=source)))
    path = here.fakes.record.adapters[0].path
    here.converter.missing = True
    await back(here)
    assert (here.converter.made, here.fakes.record.adapters[0].path) == (1, path)
    restarted(here)
    shutil.rmtree(source)
    await back(here)
    assert here.runtime.adapters["sql"].path == path


async def test_another_converter_makes_nothing_of_a_copy_that_stands_in(here: Room) -> None:
    source = here.peft()
    await served(here, here.lora(source=AdapterSource(path=source)))
    here.converter.version = "two"
    shutil.rmtree(source)
    await back(here)
    assert here.converter.made == 1


async def test_another_element_type_needs_a_converter_as_ever(here: Room) -> None:
    wanted = await served(here, here.lora(source=AdapterSource(path=here.peft())))
    here.converter.missing = True
    here.edit(adapters=(wanted.model_copy(update={"convert": "q8_0"}),))
    assert (await planned(here)).reason is Reason.ADAPTER_REJECTED


# ------------------------------------------------------------------------------------------------ who is asked


async def test_a_drift_pass_asks_the_hub_nothing_of_what_is_attached(here: Room) -> None:
    await of_a_hub(here)
    await back(here)
    asked = here.hub.asked
    drift = replace(OPTIONS, freshness=OFFLINE)
    row = await planned(here, drift)
    assert (row.reason, here.hub.asked) == (Reason.IN_SYNC, asked)
    restarted(here)
    await back(here, drift)
    assert here.hub.asked == asked
    assert (await planned(here, replace(OPTIONS, freshness="refresh"))).reason is Reason.IN_SYNC
    assert here.hub.asked == asked + 1


async def test_watch_asks_the_hub_when_it_starts_and_when_the_ranking_is_due(here: Room) -> None:
    await of_a_hub(here)
    await back(here)
    before, told = here.hub.asked, []
    async with watching(here) as at:  # type: ignore[arg-type]
        await at.next_pass()
        for seconds in (300, 300, 2 * 86400):
            here.fakes.clock.forward(seconds)
            at.wakeups.send("tick")
            told.append(((await at.next_pass()).why, here.hub.asked - before))
    assert told == [("interval", 1), ("interval", 1), ("refresh", 2)]


async def test_a_drift_pass_asks_for_what_the_file_names_anew(here: Room) -> None:
    await of_a_hub(here)
    await back(here)
    asked = here.hub.asked
    here.edit(adapters=(hub_lora("acme/sql", "v2"),))
    assert (await planned(here, replace(OPTIONS, freshness=OFFLINE))).reason is Reason.IN_SYNC
    assert here.hub.asked == asked + 1


async def test_a_tag_that_moved_is_seen_when_the_hub_is_asked_again(here: Room) -> None:
    await of_a_hub(here)
    await back(here)
    weights = here.hub.repos["acme/sql"] / "adapter_config.json"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert (await planned(here, replace(OPTIONS, freshness=OFFLINE))).reason is Reason.IN_SYNC
    row = await planned(here)
    assert (row.action, row.reason) == (Action.KEEP, Reason.UPSTREAM_MOVED)
    assert row.message.startswith("acme/sql offers other content as v1 now (")
    assert row.hint == "`localmodels apply --accept adapter/sql` takes it"


async def test_a_tag_that_moved_is_not_followed_before_a_person_takes_it(here: Room) -> None:
    """Nor is what it means now attached by a repair."""
    await of_a_hub(here)
    await back(here)
    (was,) = here.fakes.record.adapters
    weights = here.hub.repos["acme/sql"] / "adapter_config.json"
    weights.write_bytes(weights.read_bytes() + b" ")
    assert (await reconcile(here.world, OPTIONS)).outcomes == ()
    restarted(here)
    await back(here)
    assert [one.digest for one in here.fakes.record.adapters] == [was.digest]
    row = await planned(here, replace(OPTIONS, overrides=Overrides(accept=("adapter/sql",))))
    assert (row.action, row.reason) == (Action.UPDATE, Reason.UPSTREAM_MOVED)
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.after != was.digest) == (was.digest, True)


async def test_accept_takes_the_address_of_an_adapter_of_the_file_alone(here: Room) -> None:
    await of_a_hub(here)
    with pytest.raises(UsageError, match="no slot or adapter is called adapter/notes"):
        await planned(here, replace(OPTIONS, overrides=Overrides(accept=("adapter/notes",))))
