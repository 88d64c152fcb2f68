"""Models that stay because an adapter stands on them: nothing goes from under one that is not ours."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.desired import Target
from reconciler.domain.plan import Action, Reason
from reconciler.domain.units import Bytes
from reconciler.planning.adapter_holds import goes_with_base
from tests.builders import pool, record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    EDGE,
    base_name,
    lora,
    ours,
    pin,
    planned,
    recorded,
    said,
    serves,
    there,
)

OLLAMA = Target(name="edge", runtime="ollama", endpoint="http://127.0.0.1:11434")


def test_a_base_of_ours_is_not_evicted_from_under_an_adapter_that_is_not() -> None:
    plan = planned(slots=(), models=[there()], served=[serves()], mine=record(ours())).plan
    assert plan.changes == ()
    (row,) = plan.blocked
    assert (row.action, row.reason, row.name, row.ours) == (
        Action.KEEP, Reason.UNMANAGED_CONFLICT, base_name(ALPHA), True,
    )  # fmt: skip
    assert row.message == (
        "nothing in the file asks for it, and stays: adapter sql, which is not ours, is served on it: "
        "take it away there first"
    )
    assert (row.bytes_freed, row.after) == (0, row.before)


def test_a_swap_brings_the_new_model_and_the_old_one_stays_with_it() -> None:
    plan = planned(slots=(pin(BETA),), models=[there()], served=[serves(), serves("chat")], mine=record(ours())).plan
    assert said(plan.changes) == ["install beta"]
    assert [row.message.partition(": ")[2] for row in plan.blocked] == [
        "adapters chat, sql, which are not ours, are served on it: take them away there first"
    ]


@pytest.mark.parametrize("gap", [False, True])
def test_where_both_have_no_room_nothing_changes_and_both_rows_say_why(gap: bool) -> None:
    small = pool(disk_budget=Bytes(6 * 10**9), allow_gap=gap)
    plan = planned(slots=(pin(BETA),), models=[there()], served=[serves()], mine=record(ours()), pool=small).plan
    assert (plan.changes, sorted(row.reason.value for row in plan.blocked)) == ((), ["no-room", "unmanaged-conflict"])


@pytest.mark.parametrize("why", [{"never": ("*alpha*",)}, {"allowed_families": ("nobody",)}])
def test_neither_policy_takes_a_base_from_under_another(why: dict[str, object]) -> None:
    """As with a section of a user's own, a person has to act first."""
    plan = planned(slots=(), models=[there()], served=[serves()], mine=record(ours()), pool=pool(**why)).plan
    assert (plan.changes, [row.reason for row in plan.blocked]) == ((), [Reason.UNMANAGED_CONFLICT])


def test_ours_goes_with_its_base_and_what_somebody_put_in_its_place_stays() -> None:
    mine = record(ours(), adapters=(recorded(),))
    assert said(planned(slots=(), models=[there()], served=[serves()], mine=mine).plan.changes) == [
        "detach sql from alpha", "evict alpha",
    ]  # fmt: skip
    other = serves(content="theirs", path="/elsewhere")
    plan = planned(slots=(), models=[there()], served=[other], mine=mine).plan
    assert said(plan.changes) == ["forget sql from alpha"]
    assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]


def test_what_stands_elsewhere_or_nobody_knows_where_holds_nothing() -> None:
    for served in (serves(on=BETA), serves().model_copy(update={"base": None})):
        plan = planned(slots=(), models=[there()], served=[served], mine=record(ours())).plan
        assert said(plan.changes) == ["evict alpha"]


def test_on_ollama_it_shares_the_weights_and_outlives_its_base() -> None:
    mine = record(ours(target_key=OLLAMA.key))
    plan = planned(slots=(), models=[there()], served=[serves()], mine=mine, target=OLLAMA).plan
    assert said(plan.changes) == ["evict alpha"]
    assert [goes_with_base(target.key) for target in (OLLAMA, EDGE)] == [False, True]


def test_a_base_that_is_no_ones_slot_stays_for_the_disowned_adapter_of_the_file() -> None:
    adapter = lora(base="acme/alpha-1b-GGUF")
    plan = planned(adapter, slots=(), models=[there()], served=[serves()], mine=record(ours())).plan
    assert plan.changes == ()
    assert [row.reason for row in plan.kept if row.adapter] == [Reason.UNMANAGED_MATCH]
    assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]


_NAMES = st.sampled_from(["sql", "chat", "notes"])


@settings(max_examples=60, deadline=None)
@given(on=st.dictionaries(_NAMES, st.sampled_from([ALPHA, BETA])), known=st.sets(_NAMES), wanted=st.booleans())
def test_no_plan_evicts_a_model_that_anybody_elses_adapter_stands_on(
    on: dict[str, object], known: set[str], wanted: bool
) -> None:
    served = [serves(name, f"{name} 1", base) for name, base in on.items()]
    mine = record(
        ours(ALPHA),
        ours(BETA, "slot/other[0]"),
        adapters=tuple(recorded(name, f"{name} 1", on.get(name, ALPHA)) for name in sorted(known)),
    )
    told = planned(slots=(pin(),) if wanted else (), models=[there(ALPHA), there(BETA)], served=served, mine=mine)
    evicted = {row.name for row in told.plan.changes if row.action is Action.EVICT}
    others = {one.base for one in served if one.name not in known}
    assert not evicted & others
    kept = {row.name for row in told.plan.blocked if row.reason is Reason.UNMANAGED_CONFLICT}
    asked = {base_name(ALPHA)} if wanted else set()
    assert evicted | kept | asked == {base_name(ALPHA), base_name(BETA)}
