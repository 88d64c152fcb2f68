"""A name that goes from an adapter to a model, or the other way: one plan does both, in the order in which they can be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing, Gate
from reconciler.domain.observation import Alias
from reconciler.domain.plan import Reason, Row
from reconciler.domain.record import RecordAlias
from tests.builders import NOW, pool, record
from tests.planning.adapter_world import (
    ALPHA,
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
    why,
)

STANDS = {"models": [there()], "served": [serves()], "mine": record(ours(), adapters=(recorded(),))}
NAMED = {
    "models": [there()],
    "mine": record(
        ours(),
        aliases=(
            RecordAlias(target_key=EDGE.key, target_name="edge", name="sql", model=base_name(ALPHA), made_at=NOW),
        ),
    ),
}


def named(**changes: object) -> dict[str, object]:
    return {"aliases": (Alias(name="sql", model=base_name(ALPHA)).model_copy(update=changes),)}


def in_words(rows: tuple[Row, ...]) -> list[str]:
    """As ``said``, names too."""
    return [
        f"{'name' if row.alias.after else 'unname'} {row.alias.name}" if row.alias else said([row])[0] for row in rows
    ]


def test_an_adapter_goes_before_a_model_gets_its_name() -> None:
    told = planned(slots=(pin(alias="sql"),), **STANDS)
    assert in_words(told.plan.changes) == ["detach sql from alpha", "name sql"]
    assert not told.plan.blocked


def test_a_model_gives_its_name_up_before_an_adapter_gets_it() -> None:
    told = planned(lora(), **NAMED, look_changes=named())
    assert in_words(told.plan.changes) == ["unname sql", "attach sql to alpha"]
    assert not told.plan.blocked


def test_two_names_that_change_places_do_so_at_once() -> None:
    mine = NAMED["mine"].model_copy(update={"adapters": (recorded("code", "sql 1"),)})  # type: ignore[attr-defined]
    told = planned(
        lora(), slots=(pin(alias="code"),), models=[there()], served=[serves("code")], mine=mine, look_changes=named()
    )
    words = in_words(told.plan.changes)
    assert sorted(words) == ["attach sql to alpha", "detach code from alpha", "name code", "unname sql"]
    assert words.index("detach code from alpha") < words.index("name code")
    assert words.index("unname sql") < words.index("attach sql to alpha")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"served": [serves(content="theirs", path="/theirs/a.gguf")]}, "somebody else's"),
        ({"look_changes": {"takes_adapters": None}}, "cannot be told"),
        ({"pool": pool(prune="never")}, "prune: never"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_an_adapter_that_stays_keeps_its_name(changes: dict[str, object], reason: str) -> None:
    plan = planned(slots=(pin(alias="sql"),), **{**STANDS, **changes}).plan
    blocked = [row for row in plan.blocked if row.adapter is None]
    assert [(row.reason, "is taken by the adapter sql" in row.message) for row in blocked] == [
        (Reason.UNMANAGED_CONFLICT, True)
    ], reason
    assert "name sql" not in in_words(plan.changes)


def test_a_name_waits_for_an_adapter_that_is_in_use() -> None:
    plan = planned(slots=(pin(alias="sql"),), **{**STANDS, "served": [serves(loaded=True)]}).plan
    assert (plan.changes, plan.blocked) == ((), ())
    assert sorted(row.address for row in plan.deferred) == ["adapter/sql", "slot/coder[0]"]


def test_an_adapter_that_the_file_asks_for_keeps_its_name_as_a_candidate_too() -> None:
    gate = Gate(receipt="/r.json", on_missing="serve-as-candidate")
    candidate = {
        "models": [there()],
        "served": [serves("sql-candidate")],
        "mine": record(ours(), adapters=(recorded("sql-candidate", adapter="sql"),)),
    }
    slots = (pin(alias="sql-candidate"),)
    plan = planned(lora(gate=gate, on_base_change="drop"), slots=slots, **candidate).plan
    assert [row.reason for row in plan.blocked] == [Reason.UNMANAGED_CONFLICT]
    words = in_words(planned(lora(), slots=slots, **candidate).plan.changes)
    assert words.index("detach sql-candidate from alpha") < words.index("name sql-candidate")


def test_a_name_that_somebody_else_made_is_not_given_up() -> None:
    plan = planned(lora(), models=[there()], mine=record(ours()), look_changes=named(foreign=True)).plan
    assert (plan.changes, why(plan.blocked)) == ((), [("sql", "unmanaged-conflict")])


NAMES = ("a", "b", "c")


@given(
    st.permutations(NAMES),
    st.lists(st.sampled_from(["adapter", "alias", ""]), min_size=3, max_size=3),
    st.lists(st.sampled_from(["adapter", "alias", ""]), min_size=3, max_size=3),
)
def test_whatever_names_become_no_name_is_two_things_at_any_step(
    order: list[str], before: list[str], wanted: list[str]
) -> None:
    was, will = dict(zip(order, before, strict=True)), dict(zip(NAMES, wanted, strict=True))
    aliases = [name for name in NAMES if was[name] == "alias"][:1]  # one slot has one name
    adapters = [name for name in NAMES if was[name] == "adapter"]
    slot = next((name for name in NAMES if will[name] == "alias"), None)
    model = base_name(ALPHA)
    told = planned(
        *(
            lora(name, source=lora("sql").source, serve=(AdapterServing(target="edge", name=name),))
            for name in NAMES
            if will[name] == "adapter"
        ),
        slots=(pin(alias=slot),),
        models=[there()],
        served=[serves(name) for name in adapters],
        look_changes={"aliases": tuple(Alias(name=name, model=model) for name in aliases)},
        mine=record(
            ours(),
            adapters=tuple(recorded(name, "sql 1") for name in adapters),
            aliases=tuple(
                RecordAlias(target_key=EDGE.key, target_name="edge", name=name, model=model, made_at=NOW)
                for name in aliases
            ),
        ),
    )
    assert not told.plan.blocked
    answering = [*aliases, *adapters]
    for row in told.plan.changes:
        name = row.alias.name if row.alias else row.adapter.name if row.adapter else ""
        goes = row.alias.after is None if row.alias else row.adapter is not None and row.adapter.after is None
        answering = [one for one in answering if one != name] if goes else [*answering, name]
        if row.action.value == "update" and row.adapter:
            answering = list(dict.fromkeys(answering))
        assert len(answering) == len(set(answering)), in_words(told.plan.changes)
    assert sorted(answering) == sorted(
        [*(name for name in NAMES if will[name] == "adapter"), *([slot] if slot else [])]
    )
