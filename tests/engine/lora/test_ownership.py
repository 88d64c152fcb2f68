"""Adapters let go and taken up again: nothing is served otherwise, and what is taken up was shown to be the file's."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing, AdapterSource, RecordAdapter, ServedAdapter
from reconciler.domain.desired import Pool
from reconciler.domain.plan import Action, Plan, Reason
from reconciler.domain.units import Bytes
from reconciler.engine.destroy import destroy
from reconciler.engine.ownership import adopt, disown
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.replay import replay
from reconciler.engine.world import Planned
from reconciler.errors import PlanningError, ReconcilerError, RecordConflict, Unreachable, UsageError
from tests.campaign.power import Power
from tests.engine.lora.adapting import EDGE, NEW, OLD, Room, applied, coder, codes, raised_crash, room
from tests.engine.lora.test_power import powered
from tests.engine.worlds import BETA, OPTIONS
from tests.fakes import Crash

SQL = "adapter/sql"
Says = list[tuple[str, str, str, str]]


async def disowned(here: Room) -> Room:
    await applied(here)
    await disown(here.world, SQL, None, OPTIONS)
    return here


def says(plan: Plan) -> Says:
    parts = (plan.changes, plan.kept, plan.held, plan.deferred, plan.blocked, plan.unfilled)
    return [(row.address, row.name, row.action.value, row.reason.value) for rows in parts for row in rows]


async def said(here: Room) -> Says:
    return says((await plan_once(here.world, OPTIONS)).plan)


def of_adapters(rows: Says) -> list[str]:
    return [reason for address, _, _, reason in rows if address.startswith("adapter/")]


async def holders(here: Room) -> list[tuple[str, ...]]:
    return [one.holders for one in await here.held()]


async def test_let_go_it_is_served_on_and_taken_up_again_it_is_as_before(here: Room) -> None:
    await applied(here)
    before, plan, (ours,), held = here.fakes.record, await said(here), here.fakes.record.adapters, await holders(here)
    assert await disown(here.world, SQL, None, OPTIONS) == ours
    assert of_adapters(await said(here)) == ["unmanaged-match"]
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (len(await here.held()), here.steps()) == (1, [])
    taken = await adopt(here.world, SQL, None, OPTIONS)
    assert taken == ours.model_copy(update={"attached_at": taken.attached_at})  # type: ignore[union-attr]
    assert (await said(here), of_adapters(plan), here.steps()) == (plan, ["in-sync"], [])
    assert here.fakes.record.entries == before.entries
    assert await holders(here) == held, "nobody holds them as disowned any more"
    assert replay("default", here.fakes.store.lines).record.adapters == here.fakes.record.adapters


async def test_taken_up_it_is_like_any_other_of_ours(here: Room) -> None:
    await adopt((await disowned(here)).world, SQL, None, OPTIONS)
    here.gguf(rank=2)
    await applied(here)
    assert len(await here.held()) == 1
    here.edit()
    assert (await reconcile(here.world, OPTIONS)).verified
    assert (here.steps(), here.runtime.adapters, await here.held()) == ([f"detach sql {OLD}"], {}, ())


async def test_twice_is_once(here: Room) -> None:
    first = await adopt((await disowned(here)).world, SQL, None, OPTIONS)
    generation = here.fakes.record.generation
    assert await adopt(here.world, SQL, "edge", OPTIONS) == first
    assert here.fakes.record.generation == generation
    await disown(here.world, SQL, "edge", OPTIONS)
    with pytest.raises(UsageError, match="adapter/sql is not ours"):
        await disown(here.world, SQL, None, OPTIONS)


async def test_a_base_and_what_stands_on_it_go_and_come_together(here: Room) -> None:
    await applied(here)
    plan = await said(here)
    await disown(here.world, OLD, None, OPTIONS)
    assert here.fakes.record.adapters == ()
    await adopt(here.world, OLD, None, OPTIONS)
    assert [one.name for one in here.fakes.record.adapters] == ["sql"]
    assert await said(here) == plan
    assert ("info", "the adapter sql on edge is ours with it") in here.fakes.reporter.notes


async def test_a_base_comes_without_what_cannot_be_shown(here: Room) -> None:
    await applied(here)
    await disown(here.world, OLD, None, OPTIONS)
    serve(here, foreign=True)
    await adopt(here.world, OLD, None, OPTIONS)
    assert (here.fakes.record.adapters, len(here.fakes.record.entries)) == ((), 1)
    assert any("is served by settings that are not ours" in text for level, text in here.fakes.reporter.notes)


# ------------------------------------------------------------------------------------------------ what is shown


def serve(here: Room, **changes: object) -> None:
    here.runtime.adapters["sql"] = here.runtime.adapters["sql"].model_copy(update=changes)


async def test_what_is_read_from_the_source_itself_is_held_too(here: Room) -> None:
    """As a vLLM that a person told to load it: nobody knows what stood there then, so apply serves our copy instead."""
    await reconcile(here.world, OPTIONS)
    source, digest = str(here.folder / "sql.gguf"), here.runtime.adapters["sql"].digest
    here.edit()
    await applied(here)
    here.runtime.adapters["sql"] = ServedAdapter(name="sql", base=OLD, path=source, scale=0.5)
    here.edit(adapters=(here.lora(),))
    assert (of_adapters(await said(here)), await here.held()) == (["unmanaged-match"], ())
    ours = await adopt(here.world, SQL, None, OPTIONS)
    assert isinstance(ours, RecordAdapter)
    assert (ours.scale, ours.digest, [one.digest for one in await here.held()]) == (0.5, digest, [digest])
    assert of_adapters(await said(here)) == ["drifted"]
    await applied(here)
    now = here.runtime.adapters["sql"]
    assert (ours.path, now.scale, digest in (now.path or "")) == (source, 1.0, True)
    assert of_adapters(await said(here)) == ["in-sync"]
    here.edit()
    await reconcile(here.world, OPTIONS)
    assert (await here.held(), Path(source).is_file()) == ((), True), "what is theirs stays"


async def test_without_room_for_our_copy_it_stays_theirs(here: Room) -> None:
    await test_what_is_read_from_the_source_itself_is_held_too(here)
    here.runtime.adapters["sql"] = ServedAdapter(name="sql", base=OLD, path=str(here.folder / "sql.gguf"))
    here.edit(adapters=(here.lora(),), pool=Pool(disk_budget=Bytes(5 * 10**9), allowed_orgs=("acme",)))
    with pytest.raises(PlanningError) as raised:
        await adopt(here.world, SQL, None, OPTIONS)
    assert (raised.value.code, await here.held(), here.fakes.record.adapters) == ("no-room", (), ())


def _another_file(here: Room) -> None:
    place = here.folder / "other" / "adapters" / str(here.runtime.adapters["sql"].digest) / "files" / "adapter.gguf"
    place.parent.mkdir(parents=True)
    shutil.copyfile(here.gguf("other", rank=2), place)
    serve(here, path=str(place))


def _gone(here: Room) -> None:
    serve(here, path="/nowhere/adapters/sql.gguf")


def _no_base(here: Room) -> None:
    serve(here, base=None)


def _elsewhere(here: Room) -> None:
    far = EDGE.model_copy(update={"is_local": False})
    here.edit(adapters=(here.lora(),), targets=(far,))


def _damaged(here: Room) -> None:
    with Path(str(here.runtime.adapters["sql"].path)).open("ab") as file:
        file.write(b"x")


def _theirs(here: Room) -> None:
    serve(here, foreign=True)


async def test_what_was_loaded_from_a_place_that_may_change_stays_theirs_where_ours_cannot_be_given(here: Room) -> None:
    await disowned(here)
    serve(here, path=str(here.folder / "sql.gguf"), digest=None)
    here.runtime.takes_adapters = None
    assert of_adapters(await said(here)) == ["unmanaged-match"]
    with pytest.raises(PlanningError, match="when it was loaded, and cannot be given our copy instead"):
        await adopt(here.world, SQL, None, OPTIONS)


async def test_another_scale_than_the_files_is_the_next_plans_business(here: Room) -> None:
    await disowned(here)
    serve(here, scale=0.5)
    await adopt(here.world, SQL, None, OPTIONS)
    assert of_adapters(await said(here)) == ["serving"]
    await applied(here)
    assert here.runtime.adapters["sql"].scale == 1.0


async def test_on_a_target_that_names_no_place_a_conversion_is_found_again(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    await applied(here)
    (ours,) = here.fakes.record.adapters
    await disown(here.world, SQL, None, OPTIONS)
    serve(here, path=None, scale=None)
    await adopt(here.world, SQL, None, OPTIONS)
    assert here.fakes.record.adapters[0].path == ours.path
    here.converter.version = "two"
    await disown(here.world, SQL, None, OPTIONS)
    await adopt(here.world, SQL, None, OPTIONS)
    assert (here.converter.made, len(await here.held())) == (1, 1)


@pytest.mark.parametrize(
    ("change", "code", "why"),
    [
        (_another_file, "not-proven", "is not what the source of the adapter holds"),
        (_gone, "not-proven", "cannot be read here"),
        (_no_base, "not-proven", "does not tell which model it stands on"),
        (_elsewhere, "not-proven", "is on another host"),
        (_damaged, "not-proven", "is not what the source of the adapter holds"),
        (_theirs, "unmanaged-conflict", "served by settings that are not ours"),
    ],
)
async def test_what_cannot_be_shown_to_be_it_stays_somebody_elses(
    here: Room, change: Callable[[Room], None], code: str, why: str
) -> None:
    await disowned(here)
    change(here)
    record, held = here.fakes.record, await holders(here)
    with pytest.raises(PlanningError, match=why) as raised:
        await adopt(here.world, SQL, None, OPTIONS)
    assert (raised.value.code, here.fakes.record, await holders(here)) == (code, record, held)
    assert raised.value.hint


async def test_a_conversion_of_ours_is_shown_by_its_seal(here: Room) -> None:
    here.edit(adapters=(here.lora(source=AdapterSource(path=here.peft())),))
    await applied(here)
    (ours,), plan = here.fakes.record.adapters, await said(here)
    await disown(here.world, SQL, None, OPTIONS)
    made = Path(ours.path)
    whole = made.read_bytes()
    made.write_bytes(whole[:-1] + b"!")
    with pytest.raises(PlanningError, match="is not a conversion that is held here, whole"):
        await adopt(here.world, SQL, None, OPTIONS)
    made.write_bytes(whole)
    await adopt(here.world, SQL, None, OPTIONS)
    assert (await said(here), here.fakes.record.adapters[0].path, here.converter.made) == (plan, ours.path, 1)


async def test_what_a_target_knows_by_its_hash_alone_is_shown_by_that(here: Room) -> None:
    """As an Ollama, which names no place."""
    await disowned(here)
    serve(here, path=None, scale=None)
    await adopt(here.world, SQL, None, OPTIONS)
    assert of_adapters(await said(here)) == ["in-sync"]
    await disown(here.world, SQL, None, OPTIONS)
    serve(here, digest=None)
    here.runtime.takes_adapters = None
    assert of_adapters(await said(here)) == ["unmanaged-match"], "what it holds cannot be told"
    with pytest.raises(PlanningError, match="does not tell where it read it"):
        await adopt(here.world, SQL, None, OPTIONS)


async def test_the_hub_is_asked_only_where_nobody_here_knows(here: Room) -> None:
    await applied(here)
    folder = here.folder / "remote"
    folder.mkdir()
    shutil.copyfile(here.folder / "sql.gguf", folder / "sql.gguf")
    here.hub.repos["acme/sql"] = folder
    for revision, asks in (("v1", True), ("c" * 40, False)):
        here.edit(adapters=(here.lora(source=AdapterSource(repo="acme/sql", revision=revision)),))
        await disown(here.world, SQL, None, OPTIONS)
        here.hub.asked = 0
        await adopt(here.world, SQL, None, OPTIONS)
        assert bool(here.hub.asked) is asks, "of a pinned commit that we hold nobody has to be asked"
        assert of_adapters(await said(here)) == ["in-sync"]


# ------------------------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize(
    ("name", "target", "kind", "why"),
    [
        ("adapter/sqk", None, UsageError, "no adapter of the file is called sqk"),
        (SQL, "far", UsageError, "no target is called far"),
        ("sql", None, UsageError, "is a LoRA adapter, and no model"),
    ],
)
async def test_what_is_asked_for_wrongly(
    here: Room, name: str, target: str | None, kind: type[ReconcilerError], why: str
) -> None:
    await disowned(here)
    with pytest.raises(kind, match=why):
        await adopt(here.world, name, target, OPTIONS)


async def test_what_is_not_served_so_is_not_taken_over_and_told_why(here: Room) -> None:
    await disowned(here)
    serve(here, digest="0" * 64, path="/theirs.gguf")
    with pytest.raises(UsageError, match=r"another adapter is served as sql from /theirs\.gguf"):
        await adopt(here.world, SQL, None, OPTIONS)
    here.runtime.adapters.clear()
    with pytest.raises(UsageError, match="is not served as the file asks"):
        await adopt(here.world, SQL, None, OPTIONS)
    here.runtime.unknown = "no answer"
    with pytest.raises(Unreachable, match="cannot be looked at"):
        await adopt(here.world, SQL, None, OPTIONS)
    here.runtime.unknown = None
    here.edit(adapters=(here.lora(absent=True),))
    with pytest.raises(UsageError, match="no target is asked to"):
        await adopt(here.world, SQL, None, OPTIONS)


async def test_another_document_keeps_what_is_its_own(here: Room) -> None:
    await applied(here)
    theirs = here.fakes.record.model_copy(update={"name": "theirs", "source": "/theirs.yaml"})
    await disown(here.world, SQL, None, OPTIONS)
    here.fakes.store.neighbours = (theirs,)
    with pytest.raises(RecordConflict, match=r"belongs to 'theirs', applied from /theirs\.yaml"):
        await adopt(here.world, SQL, None, OPTIONS)


async def test_two_names_of_one_content_are_let_go_one_by_one(here: Room) -> None:
    serving = tuple(AdapterServing(target="edge", name=name) for name in ("sql", "other"))
    here.edit(adapters=(here.lora(serve=serving[:1]), here.lora("other", source=here.lora().source, serve=serving[1:])))
    await applied(here)
    plan = await said(here)
    for name in ("sql", "other"):
        await disown(here.world, f"adapter/{name}", None, OPTIONS)
    await adopt(here.world, SQL, None, OPTIONS)
    assert len((await holders(here))[0]) == 2, "the other one is disowned still"
    await adopt(here.world, "adapter/other", None, OPTIONS)
    assert (await said(here), len((await holders(here))[0])) == (plan, 1)


# ------------------------------------------------------------------------------------------------ the base


async def test_a_base_stays_under_a_disowned_adapter_until_it_is_taken_up_or_away(here: Room) -> None:
    await disowned(here)
    here.edit(coder(BETA))
    report = await reconcile(here.world, OPTIONS)
    assert here.steps() == [f"install {NEW}"]
    assert report.remaining is not None
    assert [(row.name, row.reason) for row in report.remaining.blocked if row.adapter is None] == [
        (OLD, Reason.UNMANAGED_CONFLICT)
    ]
    here.runtime.adapters.clear()
    await reconcile(here.world, OPTIONS)
    assert OLD not in here.runtime.installed


async def test_destroy_leaves_a_base_under_it(here: Room) -> None:
    await disowned(here)
    report = await destroy(here.world, OPTIONS)
    assert [(row.name, row.reason) for row in report.plan.blocked] == [(OLD, Reason.UNMANAGED_CONFLICT)]
    assert (list(here.runtime.installed), list(here.runtime.adapters)) == ([OLD], ["sql"])


async def test_destroy_leaves_one_of_ours_in_use_and_the_base_under_it(here: Room) -> None:
    await applied(here)
    idle = here.runtime.adapters["sql"]
    here.runtime.adapters["sql"] = idle.model_copy(update={"loaded": True})
    report = await destroy(here.world, OPTIONS)
    told = [(row.address.partition("/")[0], row.name, row.reason) for row in report.plan.deferred]
    assert told == [("adapter", OLD, Reason.IN_USE), ("target", OLD, Reason.IN_USE)]
    assert "adapter/sql is in use on it" in report.plan.deferred[1].message
    assert (report.outcomes, here.steps()) == ((), [])
    here.runtime.adapters["sql"] = idle
    assert (await destroy(here.world, OPTIONS)).verified
    assert (here.runtime.adapters, here.runtime.installed) == ({}, {})


async def test_what_was_attached_since_the_plan_stops_the_eviction(here: Room) -> None:
    here.edit()
    await applied(here)
    here.edit(coder(BETA))

    async def meanwhile(found: Planned) -> bool:
        assert [row.action for row in found.plan.changes] == [Action.INSTALL, Action.EVICT]
        here.runtime.adapters["theirs"] = ServedAdapter(name="theirs", base=OLD)
        return True

    report = await reconcile(here.world, OPTIONS, confirm=meanwhile)
    assert codes(report) == [("done", None), ("failed", "unmanaged-conflict")]
    assert "adapter theirs, which is not ours, is served on it" in report.outcomes[1].message
    assert OLD in here.runtime.installed
    assert OLD in {entry.name for entry in here.fakes.record.entries}


# ------------------------------------------------------------------------------------------------ power


@pytest.mark.parametrize("story", ["disown", "adopt"])
async def test_power_lost_while_it_changes_hands_loses_nothing(tmp_path: Path, story: str) -> None:
    async def ready(name: str) -> Room:
        (tmp_path / name).mkdir()
        here = await applied(room(tmp_path / name))
        if story == "adopt":
            await disown(here.world, SQL, None, OPTIONS)
        return here

    act = disown if story == "disown" else adopt
    here, power = await ready("whole"), Power()
    await act(powered(here, power), SQL, None, OPTIONS)
    assert power.instants > 3
    for cut in range(power.instants):
        here = await ready(str(cut))
        with pytest.raises(BaseException) as raised:
            await act(powered(here, Power(cut_at=cut)), SQL, None, OPTIONS)
        assert raised_crash(raised, Crash)
        here.fakes.store._lock = type(here.fakes.store._lock)()
        await reconcile(here.world, OPTIONS)
        assert Path(str(here.runtime.adapters["sql"].path)).is_file(), f"{cut}: what is served is held"
        await adopt(here.world, SQL, None, OPTIONS)
        assert of_adapters(await said(here)) == ["in-sync"]
        here.edit()
        await reconcile(here.world, OPTIONS)
        assert (here.runtime.adapters, await here.held()) == ({}, ())


async def test_what_a_run_that_was_cut_off_attached_is_ours_already(here: Room) -> None:
    here.runtime.crash_after = "sql"
    with pytest.raises(BaseException) as raised:
        await reconcile(here.world, OPTIONS)
    assert raised_crash(raised, Crash)
    here.runtime.crash_after = None
    here.fakes.store._lock = type(here.fakes.store._lock)()
    assert here.fakes.record.adapters == ()
    ours = await adopt(here.world, SQL, None, OPTIONS)
    assert (here.fakes.record.adapters, here.fakes.record.intents) == ((ours,), ())


# ------------------------------------------------------------------------------------------------ any machine


@st.composite
def machines(draw: st.DrawFn) -> tuple[list[tuple[str, str, float]], list[str]]:
    """(name, source, scale) of each adapter; and what is disowned and adopted, in order."""
    names = draw(st.lists(st.sampled_from(["sql", "chat", "notes"]), min_size=1, unique=True))
    adapters = [
        (name, draw(st.sampled_from(["sql", "chat", "peft"])), draw(st.sampled_from([1.0, 0.5, 0.0]))) for name in names
    ]
    let_go = draw(st.lists(st.sampled_from([*(f"adapter/{name}" for name in names), OLD]), min_size=1, unique=True))
    return adapters, let_go


@settings(max_examples=15, deadline=None)
@given(machine=machines(), data=st.data())
def test_disown_and_adopt_change_nothing_of_what_a_plan_says(
    machine: tuple[list[tuple[str, str, float]], list[str]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_there_and_back(Path(folder), *machine, data))


async def _there_and_back(
    folder: Path, adapters: list[tuple[str, str, float]], let_go: list[str], data: st.DataObject
) -> None:
    here = room(folder)
    here.gguf("chat", rank=2)
    sources = {"sql": here.lora().source, "chat": here.lora("chat").source, "peft": AdapterSource(path=here.peft())}
    here.edit(
        adapters=[
            here.lora(name, source=sources[source], serve=(AdapterServing(target="edge", name=name, scale=scale),))
            for name, source, scale in adapters
        ]
    )
    await applied(here)
    plan, held = await said(here), await here.held()
    ours = [one.model_copy(update={"attached_at": None}) for one in here.fakes.record.adapters]
    let = [name for name in let_go if OLD not in let_go[: let_go.index(name)]]
    for name in let:
        await disown(here.world, name, None, OPTIONS)
    if data.draw(st.booleans()):
        await reconcile(here.world, OPTIONS)
    for name in data.draw(st.permutations(let)):
        await adopt(here.world, name, None, OPTIONS)
    assert await said(here) == plan
    assert [one.model_copy(update={"attached_at": None}) for one in here.fakes.record.adapters] == ours
    assert (await here.held(), here.steps()) == (held, [])
    here.edit()
    await reconcile(here.world, OPTIONS)
    assert (here.runtime.adapters, await here.held()) == ({}, ())
