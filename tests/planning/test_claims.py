"""What a plan found in sync is written down as what the file calls it now."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import AdapterServing
from reconciler.planning.claims import with_claims
from tests.builders import record
from tests.planning.adapter_world import ALPHA, lora, ours, planned, recorded, serves, there, verdict

STANDS = {"models": [there()], "served": [serves()]}
AS_SQL = (AdapterServing(target="edge", name="sql"),)


@given(st.sampled_from(["sql", "tools"]), st.sampled_from(["coder", "acme/alpha-1b", ALPHA.repo]))
def test_an_adapter_in_sync_is_that_of_the_entry_that_asks_for_it(name: str, base: str) -> None:
    mine = record(ours(), adapters=(recorded(),))
    plan = planned(lora(name, base=base, serve=AS_SQL), mine=mine, says={name: verdict()}, **STANDS).plan
    assert plan.changes == ()
    after = with_claims(mine, plan)
    assert [(one.adapter, one.declared_base) for one in after.adapters] == [(name, base)]
    assert with_claims(after, plan) == after, "nothing is written twice"
    assert after == mine or (name, base) != ("sql", "coder")


def test_what_is_not_in_sync_keeps_the_name_it_was_attached_under() -> None:
    mine = record(ours(), adapters=(recorded(),))
    renamed = lora("tools", serve=AS_SQL)
    for says in ({"tools": verdict("sql 2")}, {"tools": "nobody answers"}):
        plan = planned(renamed, mine=mine, says=says, **STANDS).plan
        assert [one.adapter for one in with_claims(mine, plan).adapters] == ["sql"]
