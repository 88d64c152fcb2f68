"""Which recorded content may stand in for a source, and for whom it has met the terms."""

from __future__ import annotations

from datetime import timedelta

import pytest

from reconciler.domain.adapter import Adapter, AdapterSource, AdapterVerdict, Gate, RecordAdapter
from reconciler.domain.finding import Finding
from reconciler.domain.observation import AdapterNeed, Unavailable
from reconciler.domain.plan import Plan, Reason, Row
from reconciler.planning.adapter_held import has_met_the_terms, recorded_content, settled_content
from reconciler.planning.make_plan import make_plan
from tests.builders import NOW, desired, observation, record
from tests.planning.adapter_world import (
    EDGE,
    error,
    known,
    look,
    lora,
    ours,
    pin,
    recorded,
    serves,
    there,
    verdict,
)

HERE = lora().source
LATER = NOW + timedelta(hours=1)


def of(name: str = "sql", content: str = "sql 1", **changes: object) -> RecordAdapter:
    return recorded(name, content).model_copy(update={"source": HERE, "terms": lora().terms, **changes})


def found(*attached: RecordAdapter, adapter: Adapter | None = None, name: str = "sql") -> RecordAdapter | None:
    return recorded_content(record(adapters=attached), adapter or lora(), EDGE.key, name)


def test_its_own_attachment_counts_before_another_of_the_same_source() -> None:
    own, other = of(), of("more", "sql 2", adapter="more", attached_at=LATER)
    assert found(own, other) == own
    assert found(other) == other
    assert found(other, of("most", "sql 3", adapter="most")) == other, "the latest"


def test_what_nobody_wrote_down_the_source_of_counts_for_its_own_name_only() -> None:
    old = of(source=None)
    assert found(old) == old
    assert found(old, name="more") is None


def test_another_source_or_another_adapter_under_the_name_does_not_count() -> None:
    assert found(of(source=AdapterSource(path="/adapters/else"))) is None
    assert found(of(adapter="notes", source=None)) is None
    assert found(of(source=AdapterSource()), adapter=lora(source=AdapterSource()), name="more") is None


def test_what_a_tag_means_is_the_newest_of_it_on_that_target_a_candidate_included() -> None:
    promoted, tried = of(), of("sql-candidate", "sql 2", adapter="sql", attached_at=LATER)
    mine = record(adapters=(promoted, tried, of("sql", "sql 3", target_key="vllm|elsewhere", attached_at=LATER)))
    assert settled_content(mine, lora(), EDGE.key) == tried
    assert settled_content(record(adapters=(of(source=None),)), lora(), EDGE.key) is None


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"terms": ""}, False),
        ({"name": "sql-candidate"}, False),
        ({"base": "another"}, False),
        ({"target_key": "vllm|elsewhere"}, False),
    ],
)
def test_terms_are_met_by_this_content_under_this_name_on_this_base(changes: dict[str, object], met: bool) -> None:
    one = of(**changes)
    assert has_met_the_terms(one, lora(), EDGE.key, "sql", recorded().base) == met
    assert not has_met_the_terms(one, lora(gate=Gate(receipt="/receipt.json")), EDGE.key, "sql", recorded().base)
    assert not has_met_the_terms(None, lora(), EDGE.key, "sql", recorded().base)


def test_how_it_is_served_and_where_it_lies_are_no_terms() -> None:
    assert lora().terms == lora("more", source=AdapterSource(path="/else"), convert="q8_0").terms
    assert lora().terms != lora(allow_pickle=True).terms


# ------------------------------------------------------------------------------------------------ in a plan


def plan_with(held: AdapterVerdict | None, *served: object, **how: object) -> Plan:
    need = AdapterNeed(adapter="sql", target="edge", base_id="acme/alpha-1b", base_name=recorded().base)
    away = Unavailable(need=need, code="unreachable", message="nobody answers", held=held)
    where = look([there()], served)  # type: ignore[arg-type]
    seen = observation(known(), where).model_copy(update={"answers": (away,)})
    want = desired(pin(), targets=(EDGE,), adapters=(lora(**how),))
    return make_plan(want, seen, record(ours(), adapters=(of(),)))


def one(plan: Plan) -> Row:
    (row,) = [row for row in (*plan.changes, *plan.kept, *plan.blocked) if row.adapter is not None]
    return row


def test_a_copy_that_fits_stands_in_only_where_something_is_to_be_done() -> None:
    held = verdict("sql 1", is_held_copy=True)
    assert one(plan_with(held)).reason is Reason.DRIFTED
    assert one(plan_with(held, serves())).reason is Reason.UNAVAILABLE
    assert one(plan_with(held, serves(scale=0.5))).reason is Reason.DRIFTED
    assert one(plan_with(None)).reason is Reason.UNAVAILABLE


def test_a_copy_that_does_not_fit_or_was_never_ours_does_not_stand_in() -> None:
    row = one(plan_with(verdict("sql 1", error(), is_held_copy=True)))
    assert (row.reason, "it has 4 layers" in row.message) == (Reason.UNAVAILABLE, True)
    assert one(plan_with(verdict("forged", is_held_copy=True))).reason is Reason.UNAVAILABLE


def test_a_copy_that_is_not_promoted_is_not_served() -> None:
    missing = Finding(code="receipt_missing", severity="error", message="there is no promotion receipt")
    held = verdict("sql 1", is_held_copy=True, unpromoted=(missing,))
    assert one(plan_with(held, gate=Gate(receipt="/receipt.json"))).reason is Reason.NOT_PROMOTED
