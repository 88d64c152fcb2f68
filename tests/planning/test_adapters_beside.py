"""Adapters beside other things of a plan: other targets, other bases, names, budgets; and what exactly their rows say."""

from __future__ import annotations

import pytest

from reconciler.domain.adapter import AdapterServing
from reconciler.domain.desired import Target
from reconciler.domain.observation import AdapterNeed, Alias, DiskSpace, Installed, PartialDownload
from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.record import Record, RecordAlias
from reconciler.domain.units import GB, Bytes
from tests.builders import NOW, desired, observation, pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    MB,
    SIZE,
    Told,
    base_name,
    digest,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    planned,
    recorded,
    said,
    serves,
    settled,
    there,
    verdict,
    why,
)

FAR = Target(name="far", runtime="llama-server", endpoint="http://127.0.0.1:9090", preset="/etc/far.ini")
STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
TWO_BASES = (pin(), pin(BETA, name="chat"))


def on_two(
    *adapters: object, slots: tuple[object, ...], edge: object = None, far: object = None, mine: Record | None = None
) -> Told:
    """A plan for two llama-servers of this host."""
    want = desired(*slots, targets=(EDGE, FAR), adapters=adapters)  # type: ignore[arg-type]
    there_too = (far or look()).model_copy(update={"name": "far", "key": FAR.key})  # type: ignore[attr-defined]
    return settled(want, observation(known(), edge or look(), there_too), mine or record(), {})


def called(name: str, **changes: object) -> Installed:
    return there().model_copy(update={"name": name, **changes})


def rows_of(told: Told) -> tuple[Row, ...]:
    plan = told.plan
    return tuple(row for row in (*plan.changes, *plan.kept, *plan.held, *plan.deferred, *plan.blocked) if row.adapter)


# ------------------------------------------------------------------------------------------------ which model is its base


def test_a_base_is_looked_for_on_the_adapter_s_own_target() -> None:
    """Its slot is filled elsewhere: there it would have to stand too."""
    adapter = lora(serve=(AdapterServing(target="far", name="sql"),))
    told = on_two(adapter, slots=(pin(target="edge"),))
    assert [(row.target, row.reason) for row in rows_of(told)] == [("far", Reason.BASE_MISSING)]
    here_too = on_two(adapter, slots=(pin(target="edge"),), far=look([there()]))
    assert [(row.target, row.action) for row in rows_of(here_too)] == [("far", Action.ATTACH)]


def test_a_model_of_a_cloud_is_no_base() -> None:
    named = lora(base=ALPHA.repo)
    cloud = called("cloud", remote=True)
    assert why(planned(named, slots=(), models=[cloud]).plan.blocked) == [("sql", "base-missing")]
    assert said(planned(named, slots=(), models=[called("mine")]).plan.changes) == ["attach sql to mine"]


@pytest.mark.parametrize(("repo", "asked"), [(ALPHA.repo, ALPHA.repo), (None, base_name(ALPHA))])
def test_a_base_that_no_slot_names_is_known_by_its_repository_else_by_its_name(repo: str | None, asked: str) -> None:
    told = planned(lora(base=base_name(ALPHA)), slots=(), models=[there(repo=repo)])
    (need,) = {one.need for one in told.seen.answers if isinstance(one.need, AdapterNeed)}
    assert (need.base_id, need.base_name) == (asked, base_name(ALPHA))


def test_of_several_models_of_one_repository_the_first_by_name_is_its_base() -> None:
    models = [called("b"), called("a")]
    for seen in (models, models[::-1]):
        assert said(planned(lora(base=ALPHA.repo), slots=(), models=seen).plan.changes) == ["attach sql to a"]


def test_what_does_not_come_to_another_target_is_nothing_to_this_one() -> None:
    """The same model is blocked there and comes here."""
    other = there(BETA).model_copy(update={"name": base_name(ALPHA)})
    slots = (pin(target="edge"), pin(name="coder2", target="far"))
    told = on_two(lora(), slots=slots, far=look([other]))
    assert [(row.target, row.reason) for row in told.plan.blocked if row.adapter is None] == [
        ("far", Reason.UNMANAGED_CONFLICT)
    ]
    assert [(row.target, row.action) for row in rows_of(told)] == [("edge", Action.ATTACH)]


def test_a_base_that_is_only_named_anew_stays_where_it_is() -> None:
    told = planned(lora(), slots=(pin(alias="code"),), models=[there()], mine=record(ours()))
    first, second = told.plan.changes
    assert (first.alias is not None, second.adapter is not None) == (True, True), "the name first, then the adapter"
    assert second.action is Action.ATTACH


def test_a_name_that_goes_is_not_waited_for() -> None:
    kept = Alias(name="code", model=base_name(ALPHA))
    owned = RecordAlias(target_key=EDGE.key, target_name="edge", name="code", model=base_name(ALPHA), made_at=NOW)
    mine = record(ours(), aliases=(owned,))
    told = planned(lora(), models=[there()], mine=mine, look_changes={"aliases": (kept,)})
    assert [row.adapter is not None for row in told.plan.changes] == [True, False]


# ------------------------------------------------------------------------------------------------ whose name it is


def test_a_model_that_comes_to_another_target_takes_no_name_here() -> None:
    adapter = lora(serve=(AdapterServing(target="edge", name=base_name(BETA)),))
    told = on_two(adapter, slots=(pin(target="edge"), pin(BETA, name="chat", target="far")))
    assert [row.action for row in rows_of(told)] == [Action.ATTACH]
    here = on_two(adapter, slots=(pin(target="edge"), pin(BETA, name="chat", target="edge")))
    (row,) = rows_of(here)
    assert (row.reason, "is taken by a model" in row.message) == (Reason.UNMANAGED_CONFLICT, True)


def test_a_name_that_is_a_stable_name_is_taken() -> None:
    alias = Alias(name="sql", model=base_name(ALPHA))
    told = planned(lora(), models=[there()], mine=record(ours()), look_changes={"aliases": (alias,)})
    (row,) = rows_of(told)
    assert (row.reason, "is taken by a stable name" in row.message) == (Reason.UNMANAGED_CONFLICT, True)


@pytest.mark.parametrize(("base", "match"), [(None, True), (base_name(ALPHA), True), (base_name(BETA), False)])
def test_another_s_of_the_same_content_is_a_match_unless_it_stands_on_another_base(
    base: str | None, match: bool
) -> None:
    theirs = serves(path="/theirs/sql.gguf").model_copy(update={"base": base})
    plan = planned(lora(), models=[there(), there(BETA)], served=[theirs], mine=record(ours())).plan
    assert why(plan.kept) == ([("sql", "unmanaged-match")] if match else [])
    assert why(plan.blocked) == ([] if match else [("sql", "unmanaged-conflict")])
    assert [row.ours for row in (*plan.kept, *plan.blocked) if row.adapter is not None] == [False]


def test_what_stands_is_told_as_ours() -> None:
    assert [row.ours for row in planned(lora(), **STANDS).plan.kept if row.adapter is not None] == [True]


# ------------------------------------------------------------------------------------------------ what holds a base


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lora("notes", on_base_change="hold"), id="of-another-adapter"),
        pytest.param(lora("sql", absent=True), id="that-is-absent"),
        pytest.param(lora("sql", serve=(AdapterServing(target="far", name="sql"),)), id="served-elsewhere"),
        pytest.param(lora("sql", base="chat", on_base_change="hold"), id="of-another-base"),
    ],
)
def test_only_what_the_file_still_says_of_an_attached_adapter_holds_its_base(other: object) -> None:
    slots = (pin(BETA),)
    drop = () if getattr(other, "name", "") == "sql" else (lora("sql", on_base_change="drop"),)
    told = planned(other, *drop, slots=slots, **STANDS)  # type: ignore[arg-type]
    assert "evict alpha" in said(told.plan.changes), [row.message for row in told.plan.held]


def test_an_attachment_of_before_the_file_s_base_was_written_down_holds_too() -> None:
    mine = record(ours(), adapters=(recorded(declared_base=""),))
    told = planned(lora(), slots=(pin(BETA),), **{**STANDS, "mine": mine})
    assert "evict alpha" not in said(told.plan.changes)
    assert why(told.plan.held) == [("sql", "held-by-adapter")]


def test_one_that_its_target_lost_holds_no_base_that_its_slot_has_left() -> None:
    """It is attached to what the slot holds now, so that the next plan finds nothing left to do."""
    mine = record(ours(), ours(BETA, "slot/old[0]"), adapters=(recorded(on=BETA),))
    plan = planned(lora(), models=[there(), there(BETA)], mine=mine).plan
    assert said(plan.changes) == ["attach sql to alpha", "evict beta"]
    served = planned(lora(), models=[there(), there(BETA)], mine=mine, served=[serves(on=BETA)]).plan
    assert said(served.changes) == []


def test_adapters_of_others_are_named_in_one_order() -> None:
    theirs = [serves(name, name, path=f"/theirs/{name}") for name in ("b", "a")]
    told = [planned(slots=(), models=[there()], mine=record(ours()), served=seen) for seen in (theirs, theirs[::-1])]
    first, second = ([row.message for row in one.plan.blocked] for one in told)
    assert first == second
    assert "adapters a, b, which are not ours" in first[0]


# ------------------------------------------------------------------------------------------------ what the rows say


def test_an_update_names_what_is_served_now_as_what_it_replaces() -> None:
    (row,) = planned(lora(), **{**STANDS, "served": [serves(digest=digest("other"))]}).plan.changes
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.after) == (digest("other"), digest())


def test_an_update_of_what_tells_no_content_names_what_was_recorded() -> None:
    (row,) = planned(
        lora(), **{**STANDS, "served": [serves(digest=None, path=None)]}, says={"sql": verdict("sql 2")}
    ).plan.changes
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.after) == (digest(), digest("sql 2"))


def test_a_new_one_replaces_nothing_and_stands_on_nothing_before() -> None:
    (row,) = planned(lora(), models=[there()], mine=record(ours())).plan.changes
    assert row.adapter is not None
    assert (row.adapter.before, row.adapter.rebased_from) == (None, None)


def test_a_detach_is_of_the_base_it_really_stands_on() -> None:
    """So that it comes before that base goes."""
    both = record(ours(), ours(BETA, "slot/chat[0]"), adapters=(recorded(),))
    (row,) = planned(slots=TWO_BASES, models=[there(), there(BETA)], served=[serves(on=BETA)], mine=both).plan.changes
    assert (row.action, row.name, row.adapter and row.adapter.base) == (
        Action.DETACH, base_name(BETA), base_name(BETA),
    )  # fmt: skip


def test_ours_at_its_own_place_is_detached_whatever_became_of_its_bytes() -> None:
    rotten = serves().model_copy(update={"digest": digest("rotten")})
    assert said(planned(**{**STANDS, "served": [rotten]}).plan.changes) == ["detach sql from alpha"]


def test_all_that_speaks_against_one_is_counted() -> None:
    flaws = [error(f"flaw {number}") for number in range(5)]
    (row,) = planned(lora(), says={"sql": verdict("sql 1", *flaws)}).plan.blocked
    assert "flaw 0; flaw 1; flaw 2" in row.message
    assert "2 more" in row.message
    (row,) = planned(lora(), says={"sql": verdict("sql 1", *flaws[:3])}).plan.blocked
    assert "more" not in row.message


def test_why_it_is_forgotten_is_said() -> None:
    gone = planned(**{**STANDS, "served": []}).plan.changes[0]
    theirs = planned(**{**STANDS, "served": [serves(content="theirs", path="/theirs/sql.gguf")]}).plan.changes[0]
    assert gone.message == "it is gone; nothing in the file asks for it"
    assert "somebody serves another as sql" in theirs.message


# ------------------------------------------------------------------------------------------------ order


def test_only_adapters_of_a_base_that_goes_go_before_it() -> None:
    mine = record(ours(), ours(BETA, "slot/chat[0]"), adapters=(recorded(), recorded("notes", "notes 1", on=BETA)))
    told = planned(
        slots=(pin(BETA, name="chat"),),
        models=[there(), there(BETA)],
        served=[serves(), serves("notes", "notes 1", on=BETA)],
        mine=mine,
    )
    assert said(told.plan.changes) == ["detach sql from alpha", "evict alpha", "detach notes from beta"]


def test_an_adapter_that_is_detached_for_its_base_waits_for_what_replaces_the_base() -> None:
    """Both go only once the successor is there."""
    told = planned(slots=(pin(BETA),), **STANDS)
    (detach,) = [row for row in told.plan.changes if row.adapter is not None]
    (evict,) = [row for row in told.plan.changes if row.action is Action.EVICT]
    assert detach.slots == evict.slots == ("slot/coder[0]",)


# ------------------------------------------------------------------------------------------------ room


def test_what_is_detached_counts_no_more() -> None:
    (budget,) = planned(**STANDS).plan.budgets
    assert (budget.used_bytes, budget.after_bytes) == (5 * GB + SIZE, 5 * GB)


def test_what_is_forgotten_counts_no_more_either() -> None:
    (budget,) = planned(**{**STANDS, "served": []}).plan.budgets
    assert budget.after_bytes == 5 * GB


def test_files_that_another_adapter_still_uses_are_not_freed() -> None:
    shared = record(ours(), adapters=(recorded(), recorded("notes", "sql 1")))
    served = [serves(), serves("notes", "sql 1")]
    told = planned(lora(), **{**STANDS, "mine": shared, "served": served})
    (row,) = told.plan.changes
    assert (said([row]), row.bytes_freed) == (["detach notes from alpha"], 0)
    assert told.plan.budgets[0].after_bytes == 5 * GB + SIZE
    both = planned(**{**STANDS, "mine": shared, "served": served}).plan
    assert sorted(row.bytes_freed for row in both.changes) == [0, SIZE], "freed by the last of them"
    assert both.budgets[0].after_bytes == 5 * GB


def test_an_update_needs_room_for_both_and_leaves_one() -> None:
    told = planned(lora(), **STANDS, says={"sql": verdict("sql 2", bytes=Bytes(SIZE + MB))})
    (budget,) = told.plan.budgets
    assert (budget.peak_bytes, budget.after_bytes) == (5 * GB + 2 * SIZE + MB, 5 * GB + SIZE + MB)


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_room_is_counted_to_the_byte(spare: int, fits: bool) -> None:
    exact = pool(disk_budget=Bytes(5 * GB + SIZE + spare))
    plan = planned(lora(), models=[there()], mine=record(ours()), pool=exact).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]


def half(content: str = "sql 1", size: int = 60 * MB) -> tuple[PartialDownload, ...]:
    return (PartialDownload(name=digest(content), bytes=Bytes(size)),)


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_what_has_arrived_of_an_adapter_counts_once(spare: int, fits: bool) -> None:
    """It is in the budget before, and part of what comes."""
    exact = pool(disk_budget=Bytes(5 * GB + SIZE + spare))
    plan = planned(lora(), models=[there()], mine=record(ours()), pool=exact, halves=half()).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]
    assert plan.budgets[0].used_bytes == 5 * GB + 60 * MB
    if fits:
        assert (plan.budgets[0].after_bytes, plan.changes[0].bytes_down) == (5 * GB + SIZE, SIZE - 60 * MB)


def test_what_has_arrived_of_another_adapter_takes_room() -> None:
    exact = pool(disk_budget=Bytes(5 * GB + SIZE + 60 * MB))
    one = {"models": [there()], "mine": record(ours()), "pool": exact}
    (budget,) = planned(lora(), halves=half("other"), **one).plan.budgets
    assert (budget.used_bytes, budget.after_bytes) == (5 * GB + 60 * MB, 5 * GB + 60 * MB + SIZE)
    plan = planned(lora(), halves=half("other", 61 * MB), **one).plan
    assert why(plan.blocked) == [("sql", "no-room")]


def test_what_has_arrived_leaves_a_model_less_room() -> None:
    tight = pool(disk_budget=Bytes(5 * GB + 59 * MB))
    assert planned(lora(), pool=tight, halves=half()).plan.changes == ()
    enough = pool(disk_budget=Bytes(5 * GB + 60 * MB))
    assert said(planned(lora(), pool=enough, halves=half()).plan.changes) == ["install alpha"]


def test_a_damaged_copy_that_is_fetched_again_counts_once() -> None:
    mine = record(ours(), adapters=(recorded(),))
    plan = planned(lora(), models=[there()], served=[serves()], mine=mine, halves=half()).plan
    assert plan.budgets[0].used_bytes == 5 * GB + SIZE


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_the_disk_is_counted_to_the_byte(spare: int, fits: bool) -> None:
    plenty = pool(min_free_disk=Bytes(GB))
    disk = look().disk
    assert disk is not None
    tight = disk.model_copy(update={"free_bytes": Bytes(GB + SIZE + spare)})
    plan = planned(lora(), models=[there()], mine=record(ours()), pool=plenty, look_changes={"disk": tight}).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]
    if not fits:
        assert "on the disk" in plan.blocked[-1].message


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_a_model_that_comes_takes_its_disk_once_whoever_shares_it(spare: int, fits: bool) -> None:
    disk = look().disk
    assert disk is not None
    tight = disk.model_copy(update={"free_bytes": Bytes(GB + 5 * GB + SIZE + spare)})
    want = desired(pin(target="edge"), targets=(EDGE, FAR), adapters=(lora(),), pool=pool(min_free_disk=Bytes(GB)))
    targets = (look(disk=tight), look(disk=tight).model_copy(update={"name": "far", "key": FAR.key}))
    plan = settled(want, observation(known(), *targets), record(), {}).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]


@pytest.mark.parametrize(("spare", "fits"), [(0, True), (-1, False)])
def test_a_model_that_comes_before_it_takes_its_disk_first(spare: int, fits: bool) -> None:
    disk = look().disk
    assert disk is not None
    tight = disk.model_copy(update={"free_bytes": Bytes(GB + 5 * GB + SIZE + spare)})
    plan = planned(lora(), pool=pool(min_free_disk=Bytes(GB)), look_changes={"disk": tight}).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]


# ------------------------------------------------------------------------------------------------ by hand


def test_a_command_by_hand_has_no_adapter_of_another_base() -> None:
    """A vLLM serves one base: another one is another server's."""
    gpu = Target(name="edge", runtime="advisory", program="vllm", endpoint="http://127.0.0.1:8000")
    mine = record(ours(target_key=gpu.key), ours(BETA, "slot/chat[0]", target_key=gpu.key))
    by_hand = serves("tests", digest=None, path="/adapters/tests", on=BETA)
    plan = planned(
        lora(),
        lora("notes", base="chat"),
        lora("tests", base="chat"),
        slots=TWO_BASES,
        models=[there(), there(BETA)],
        served=[by_hand],
        mine=mine,
        target=gpu,
        look_changes={"takes_adapters": None},
    ).plan
    commands = {row.adapter.name: row.command or "" for row in plan.blocked if row.adapter is not None}
    assert [f"{name}=/adapters/{name}" in commands["sql"] for name in ("sql", "notes", "tests")] == [True, False, False]
    assert [f"{name}=/adapters/{name}" in commands["notes"] for name in ("sql", "notes", "tests")] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize(("free", "fits"), [(SIZE + GB, True), (SIZE + GB - 1, False)])
def test_the_disk_that_holds_adapters_counts_whatever_a_target_has_free(free: int, fits: bool) -> None:
    own = DiskSpace(device="tmpfs", total_bytes=Bytes(10 * GB), free_bytes=Bytes(free))
    roomy = pool(min_free_disk=Bytes(GB))
    plan = planned(lora(), models=[there()], mine=record(ours()), pool=roomy, adapter_disk=own).plan
    assert why(plan.changes if fits else plan.blocked) == [("sql", "missing" if fits else "no-room")]
    if not fits:
        assert plan.blocked[0].message == "1 B missing on the disk that holds adapters"
