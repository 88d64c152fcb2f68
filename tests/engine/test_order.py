"""Which step waits for which, and which does not happen where the one before it did not."""

from __future__ import annotations

from reconciler.domain.plan import Action, AdapterMove, AliasMove, Reason, Row
from reconciler.engine.order import replacements
from tests.builders import record

KEY, BASE = "llama-server|http://127.0.0.1:8080", "acme/alpha:Q4"


def naming(name: str, after: str | None) -> Row:
    return _row(reason=Reason.ALIAS, alias=AliasMove(name=name, before=None if after else BASE, after=after))


def adapting(name: str, after: str | None) -> Row:
    action = Action.ATTACH if after else Action.DETACH
    return _row(action=action, adapter=AdapterMove(adapter=name, name=name, base=BASE, after=after))


def _row(**changes: object) -> Row:
    row = Row(address="x", action=Action.UPDATE, reason=Reason.MISSING, target="edge", target_key=KEY, name=BASE)
    return row.model_copy(update=changes)


def test_a_name_is_made_only_where_the_adapter_that_had_it_went() -> None:
    assert replacements([adapting("sql", None), naming("sql", BASE)], record()) == (frozenset(), frozenset({0}))
    assert replacements([adapting("sql", None), naming("code", BASE)], record())[1] == frozenset()


def test_an_adapter_is_attached_only_where_the_name_that_it_gets_was_given_up() -> None:
    assert replacements([naming("sql", None), adapting("sql", "ab")], record()) == (frozenset(), frozenset({0}))
    assert replacements([naming("sql", BASE), adapting("sql", "ab")], record())[1] == frozenset()
