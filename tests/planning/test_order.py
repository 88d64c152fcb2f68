"""Which of our models go first where room is needed, and what happens where even that is not enough."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.desired import Slot
from reconciler.domain.plan import Plan, Reason
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import GB, Bytes
from tests.builders import (
    NOW,
    artifact,
    catalogue,
    desired,
    entry,
    installed,
    model,
    observation,
    observed,
    pool,
    record,
    settled,
)

WANTED = "acme/wanted-8b"


def owned(name: str, *, gb: int = 5, score: float = 0, used: int | None = None, age: int = 3) -> RecordEntry:
    """One of ours that no slot asks for; ``used`` and ``age`` count days back."""
    last = None if used is None else NOW - timedelta(days=used)
    return entry(
        artifact(f"acme/{name}-GGUF", size=gb * GB),
        model_id=f"acme/{name}",
        score=score,
        last_used_at=last,
        installed_at=NOW - timedelta(days=age),
    )


def plan_for(*entries: RecordEntry, budget: int, wants: bool = True, wanted_gb: int = 5) -> Plan:
    """Under ``prune: pressure``, with one slot for a model of ``wanted_gb`` or with none."""
    slots = (Slot(name="chat", model=WANTED),) if wants else ()
    want = desired(*slots, pool=pool(disk_budget=Bytes(budget * GB), prune="pressure"))
    there = (installed(one.artifact) for one in entries)  # type: ignore[arg-type]
    seen = observation(catalogue(model(WANTED, size_gb=wanted_gb)), observed(*there))
    return settled(want, seen, record(*entries))


def evicted(plan: Plan) -> list[str]:
    return [row.model_id.removeprefix("acme/") for row in plan.changes if row.action.value == "evict" and row.model_id]


def test_where_there_is_room_nothing_goes() -> None:
    plan = plan_for(owned("old"), budget=50)
    assert evicted(plan) == []
    assert [row.reason for row in plan.kept] == [Reason.PRUNE_OFF]


def test_one_that_is_just_enough_goes_alone() -> None:
    assert evicted(plan_for(owned("low", score=1), owned("high", score=2), budget=10)) == ["low"]


def test_as_many_go_as_are_needed_lowest_score_first() -> None:
    three = owned("low", score=10), owned("mid", score=20), owned("high", score=30)
    plan = plan_for(*three, budget=15, wanted_gb=10)
    assert evicted(plan) == ["low", "mid"]
    assert [row.model_id for row in plan.changes] == ["acme/low", "acme/mid", WANTED]
    assert plan.budgets[0].after_bytes == 15 * GB


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (owned("first"), owned("second", used=90)),
        (owned("first", used=90), owned("second", used=1)),
        (owned("first", age=30), owned("second", age=3)),
        (owned("first", used=9, age=30), owned("second", used=9, age=3)),
    ],
    ids=["never-used", "longest-unused", "oldest", "oldest-of-equally-used"],
)
def test_equal_scores_go_by_last_use_and_then_by_age(first: RecordEntry, second: RecordEntry) -> None:
    assert evicted(plan_for(first, second, budget=10)) == ["first"]
    assert evicted(plan_for(second, first, budget=10)) == ["first"]


def test_where_all_of_them_are_not_enough_none_goes() -> None:
    """Changed from the origin, which listed every entry with the shortfall: what does not help is not evicted."""
    plan = plan_for(owned("a"), owned("b"), budget=10, wanted_gb=20)
    assert plan.changes == ()
    assert [(row.reason, row.evidence.missing_bytes) for row in plan.blocked] == [(Reason.NO_ROOM, 10 * GB)]


def test_without_anything_of_ours_the_whole_shortfall_is_named() -> None:
    plan = plan_for(budget=8, wanted_gb=20)
    assert plan.blocked[0].evidence.missing_bytes == 12 * GB


def test_nothing_wanted_evicts_nothing() -> None:
    assert evicted(plan_for(owned("a"), owned("b"), budget=50, wants=False)) == []


@given(st.permutations([owned("low", score=1), owned("mid", score=2), owned("high", score=3)]))
def test_the_order_of_the_record_does_not_matter(entries: list[RecordEntry]) -> None:
    assert evicted(plan_for(*entries, budget=15, wanted_gb=10)) == ["low", "mid"]
