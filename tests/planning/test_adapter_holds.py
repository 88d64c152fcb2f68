"""An adapter that stands on a model keeps it there: by what the file says now, however it names adapter and base."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing, Gate
from reconciler.domain.desired import Fuses, Slot
from reconciler.domain.plan import Action, Overrides, Plan
from tests.builders import record
from tests.planning.adapter_world import (
    ALPHA,
    BETA,
    base_name,
    error,
    lora,
    ours,
    pin,
    planned,
    recorded,
    said,
    serves,
    there,
    verdict,
    why,
)

MODEL_IDS = ("acme/alpha-1b", ALPHA.repo, base_name(ALPHA))
"""What a file may call the base by, beside its slot."""
GOES_ON = ["install beta", "update sql to beta", "evict alpha"]
EXPIRED = (error("the receipt is of 2026-01-01, and maxAge is 30d"),)


def rejudged(adapter: object, how: str = "swap", *, on_beta: object = None, declared: str = "coder") -> Plan:
    """Its base is to go: for a better one (``swap``), for another pin, or with its slot (``out``)."""
    slots = {"swap": (Slot(name="coder"),), "pin": (pin(BETA),), "out": ()}[how]
    return planned(
        adapter,  # type: ignore[arg-type]
        slots=slots,
        models=[there()],
        served=[serves()],
        mine=record(ours(), adapters=(recorded(declared_base=declared),)),
        scores={"alpha": 60, "beta": 90},
        says={(adapter.name, base_name(BETA)): on_beta or verdict(), adapter.name: verdict()},  # type: ignore[attr-defined]
        overrides=Overrides(accept=("coder",)) if how == "swap" else None,
        fuses=Fuses(allow_empty=True),
    ).plan


def gate(on_missing: str = "block") -> Gate:
    return Gate(receipt="/r.json", on_missing=on_missing)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ follow


@pytest.mark.parametrize("how", ["swap", "pin"])
def test_what_is_not_promoted_any_more_cannot_follow(how: str) -> None:
    plan = rejudged(lora(on_base_change="follow", gate=gate()), how, on_beta=verdict("sql 1", unpromoted=EXPIRED))
    assert said(plan.changes) == ([] if how == "swap" else ["install beta"])
    (row,) = [row for row in (*plan.held, *plan.kept) if row.adapter is None and row.reason == "held-by-adapter"]
    assert "cannot follow: the receipt is of 2026-01-01" in row.message


def test_what_only_warns_of_its_promotion_follows() -> None:
    plan = rejudged(lora(on_base_change="follow", gate=gate("warn")), on_beta=verdict("sql 1", unpromoted=EXPIRED))
    assert said(plan.changes) == GOES_ON


@pytest.mark.parametrize(("content", "follows"), [("sql 1", True), ("sql 2", False)])
def test_other_content_that_is_only_a_candidate_does_not_take_the_place_of_what_was_promoted(
    content: str, follows: bool
) -> None:
    adapter = lora(on_base_change="follow", gate=gate("serve-as-candidate"))
    plan = rejudged(adapter, on_beta=verdict(content, unpromoted=EXPIRED))
    assert said(plan.changes) == (GOES_ON if follows else [])


@pytest.mark.parametrize("how", ["swap", "pin", "out"])
@pytest.mark.parametrize("base", MODEL_IDS)
@pytest.mark.parametrize("change", ["hold", "follow"])
def test_a_base_that_is_named_as_a_model_is_held(change: str, base: str, how: str) -> None:
    """No slot takes another model for it, so there is nothing that it could follow."""
    plan = rejudged(lora(base=base, on_base_change=change), how, declared=base)
    assert said(plan.changes) == (["install beta"] if how == "pin" else [])
    assert not plan.blocked
    assert not [row.message for row in (*plan.kept, *plan.held) if "or `follow`" in row.message]


@pytest.mark.parametrize("base", MODEL_IDS)
def test_a_base_that_is_named_as_a_model_is_let_go_by_drop(base: str) -> None:
    plan = rejudged(lora(base=base, on_base_change="drop"), declared=base)
    assert said(plan.changes) == ["install beta", "detach sql from alpha", "evict alpha"]


# ------------------------------------------------------------------------------------------------ what is asked for


@pytest.mark.parametrize("how", ["swap", "pin"])
def test_an_entry_with_another_name_that_serves_the_same_one_holds_its_base(how: str) -> None:
    renamed = lora("tools", serve=(AdapterServing(target="edge", name="sql"),))
    assert said(rejudged(renamed, how).changes) == (["install beta"] if how == "pin" else [])


def test_a_candidate_holds_its_base_too() -> None:
    adapter = lora(gate=gate("serve-as-candidate"))
    mine = record(ours(), adapters=(recorded("sql-candidate", adapter="sql"),))
    told = planned(adapter, slots=(pin(BETA),), models=[there()], served=[serves("sql-candidate")], mine=mine)
    assert "evict alpha" not in said(told.plan.changes)
    plain = planned(lora(), slots=(pin(BETA),), models=[there()], served=[serves("sql-candidate")], mine=mine)
    assert "evict alpha" in said(plain.plan.changes), "nothing asks for a candidate any more"


@pytest.mark.parametrize("how", ["swap", "pin", "out"])
@pytest.mark.parametrize("base", MODEL_IDS)
def test_another_word_for_the_base_that_it_stands_on_moves_nothing(base: str, how: str) -> None:
    """The slot's name gave way to the model's, while its slot takes another one: it is held as it was."""
    assert said(rejudged(lora(base=base), how, declared="coder").changes) == (["install beta"] if how == "pin" else [])


VERDICTS = st.sampled_from(
    [
        verdict(),
        verdict("sql 2"),
        verdict("sql 1", error()),
        verdict("sql 1", unpromoted=EXPIRED),
        verdict("sql 2", unpromoted=EXPIRED),
        "nobody answers",
    ]
)
ENTRIES = st.builds(
    lora,
    st.sampled_from(["sql", "tools"]),
    base=st.sampled_from(["coder", *MODEL_IDS]),
    on_base_change=st.sampled_from(["hold", "follow", "drop"]),
    gate=st.none() | st.builds(gate, st.sampled_from(["block", "warn", "serve-as-candidate"])),
    serve=st.just((AdapterServing(target="edge", name="sql"),)),
)


@given(ENTRIES, st.sampled_from(["swap", "pin", "out"]), VERDICTS, st.booleans())
def test_only_drop_costs_an_attachment_and_no_row_says_that_it_stays_where_it_goes(
    adapter: object, how: str, on_beta: object, same: bool
) -> None:
    plan = rejudged(adapter, how, on_beta=on_beta, declared=adapter.base if same else "coder")  # type: ignore[attr-defined]
    goes = any(row.action is Action.DETACH for row in plan.changes)
    assert not goes or adapter.on_base_change == "drop"  # type: ignore[attr-defined]
    rows = (*plan.kept, *plan.held, *plan.deferred, *plan.blocked)
    assert not goes or not [row.message for row in rows if row.adapter is not None and "stays" in row.message]
    assert not [row for row in plan.held if goes and why([row])]
