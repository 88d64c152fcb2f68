"""Unfinished downloads in the arithmetic of a plan: each counted once, what nobody asks for goes first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.desired import Slot
from reconciler.domain.observation import ObservedTarget, PartialDownload
from reconciler.domain.plan import Plan
from reconciler.domain.record import Intent
from reconciler.domain.units import GB, Bytes
from reconciler.planning.room import Unfinished, resumable_bytes, unfinished
from tests.builders import (
    NOW,
    artifact,
    catalogue,
    desired,
    model,
    observation,
    observed,
    pool,
    record,
    settled,
    store_name,
    target,
)

WANTED = "acme/wanted-8b"
NAME = store_name(artifact(f"{WANTED}-GGUF"))
WANTED_GB = 5


def begun(*names: str) -> tuple[Intent, ...]:
    return tuple(
        Intent(id=name, action="install", target_key=target().key, target_name="local", name=name, begun_at=NOW)
        for name in names
    )


def holding(sizes: dict[str, int], *, free_gb: float = 500) -> ObservedTarget:
    partials = tuple(PartialDownload(name=name, bytes=Bytes(size)) for name, size in sorted(sizes.items()))
    there = {"partial_bytes": Bytes(sum(sizes.values())), "partial_names": tuple(sorted(sizes)), "partials": partials}
    return observed(free_gb=free_gb).model_copy(update=there)


def plan_for(ours: tuple[str, ...], there: ObservedTarget, *, budget: int = 100) -> Plan:
    want = desired(Slot(name="chat", model=WANTED), pool=pool(disk_budget=Bytes(budget * GB)))
    seen = observation(catalogue(model(WANTED, size_gb=WANTED_GB)), there)
    known = record().model_copy(update={"intents": begun(*ours)})
    return settled(want, seen, known)


SIZES = st.dictionaries(st.sampled_from([NAME, "stale", "theirs"]), st.integers(1, WANTED_GB * GB))


@given(SIZES, st.integers(4, 12))
def test_every_byte_counts_once_and_the_budget_holds(sizes: dict[str, int], budget: int) -> None:
    """Ours counts from the start; what is resumed is part of its row; what is stale goes; others' is no business."""
    plan = plan_for((NAME, "stale"), holding(sizes), budget=budget)
    (found,) = plan.budgets
    assert found.used_bytes == sizes.get(NAME, 0) + sizes.get("stale", 0)
    fetched = [row.bytes_down for row in plan.changes]
    assert bool(fetched) == (budget >= WANTED_GB)
    if fetched:
        assert found.peak_bytes == max(found.used_bytes, sum(fetched))
        assert found.after_bytes == sum(fetched) <= found.limit_bytes


@given(st.integers(1, WANTED_GB * GB), st.integers(1, WANTED_GB * GB))
def test_what_is_resumed_or_goes_first_needs_no_disk(arrived: int, stale: int) -> None:
    """A disk that is short by exactly what has arrived, or will go, is not short."""
    there = holding({NAME: arrived, "stale": stale}, free_gb=1)
    assert there.disk is not None
    least = 20 * GB + WANTED_GB * GB - arrived - stale
    for free, fits in ((least, True), (least - 1, False)):
        disk = there.disk.model_copy(update={"free_bytes": Bytes(free)})
        plan = plan_for((NAME, "stale"), there.model_copy(update={"disk": disk}))
        assert bool(plan.changes) == fits


def test_a_target_that_tells_no_sizes_by_name_has_all_of_it_under_what_was_begun_there() -> None:
    there = observed().model_copy(update={"partial_bytes": Bytes(7)})
    known = record()
    one, two = known.model_copy(update={"intents": begun("a")}), known.model_copy(update={"intents": begun("a", "b")})
    assert unfinished(known, (there,)) == {}, "not ours"
    assert unfinished(one, (there,)) == {("local", "a"): Unfinished(7, can_go=False)}
    assert unfinished(two, (there,)) == {("local", ""): Unfinished(7, can_go=False)}
    assert resumable_bytes(there, "a") == 0
    assert resumable_bytes(there.model_copy(update={"partial_names": ("a",)}), "a") == 7
