"""Which row of a plan waits for which: one step at a time per target, targets in parallel, room before it is used.

Pure, and only about rows that apply has: the plan's own order is the planner's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.domain.desired import DesiredState
from reconciler.domain.names import same_stable_name
from reconciler.domain.plan import Action, Row
from reconciler.domain.record import Record
from reconciler.engine.look import same_model


def slots_of(row: Row, record: Record) -> frozenset[str]:
    """The slots a row is about: those it fills, or those its model filled when it was recorded."""
    entry = record.entry(row.target_key, row.name)
    return frozenset(row.slots) | frozenset(entry.slots if entry is not None else ())


def replacements(rows: Sequence[Row], record: Record) -> tuple[frozenset[int], ...]:
    """For each row, the rows before it whose success it depends on.

    An eviction needs what takes its place, and the names that stood for its model to stand for it no more; a name needs
    the model it will stand for; and it is removed only where the eviction behind it may happen.
    """
    found = []
    for index, row in enumerate(rows):
        mine = slots_of(row, record) if row.action is Action.EVICT else frozenset()
        if row.alias is not None and row.alias.after is None:
            mine = frozenset(row.slots)
        found.append(frozenset(earlier for earlier in range(index) if _rests_on(row, mine, rows[earlier])))
    return tuple(found)


def _rests_on(row: Row, slots: frozenset[str], earlier: Row) -> bool:
    if (earlier.fetches or earlier.only_serves) and slots & set(earlier.slots):
        return True
    if earlier.target_key != row.target_key:
        return False
    if _gives_up_the_name_of(earlier, row):
        return True
    if earlier.adapter is not None:
        stands = (earlier.adapter.rebased_from or earlier.adapter.base) if _takes_away(earlier) else None
        return row.action is Action.EVICT and same_model(row.target_key, stands, row.name)
    if row.adapter is not None:
        return row.adapter.after is not None and earlier.fetches and earlier.name == row.adapter.base
    if row.action is Action.EVICT and earlier.alias is not None and earlier.action is Action.UPDATE:
        return earlier.alias.before is not None and same_model(row.target_key, earlier.alias.before, row.name)
    return row.alias is not None and row.alias.after is not None and earlier.fetches and earlier.name == row.name


def _gives_up_the_name_of(earlier: Row, row: Row) -> bool:
    """An adapter goes and a model gets its name, or the other way round: only one of them may have it."""
    if earlier.adapter is not None and row.alias is not None and row.alias.after is not None:
        return earlier.adapter.after is None and same_stable_name(row.target_key, earlier.adapter.name, row.alias.name)
    if earlier.alias is not None and row.adapter is not None and row.adapter.after is not None:
        return earlier.alias.after is None and same_stable_name(row.target_key, earlier.alias.name, row.adapter.name)
    return False


def _takes_away(row: Row) -> bool:
    """An adapter leaves the base that it stood on."""
    move = row.adapter
    return move is not None and (move.after is None or move.rebased_from is not None)


def waits(rows: Sequence[Row], record: Record, scopes: Mapping[str, str]) -> tuple[frozenset[int], ...]:
    """For each row, the rows before it that must have ended, one way or another.

    Args:
        rows: in the plan's order.
        record: what the models of evictions filled.
        scopes: budget by target name; an install waits for the evictions that make room in its budget.
    """
    replaced = replacements(rows, record)
    found = []
    for index, row in enumerate(rows):
        before = set(replaced[index])
        for earlier in range(index):
            other = rows[earlier]
            makes_room = (
                row.fetches
                and other.action is Action.EVICT
                and scopes.get(other.target, other.target) == scopes.get(row.target, row.target)
            )
            if other.target_key == row.target_key or makes_room or _shares_the_host(row, other, scopes):
                before.add(earlier)
        found.append(frozenset(before))
    return tuple(found)


def _shares_the_host(row: Row, earlier: Row, scopes: Mapping[str, str]) -> bool:
    """Files of an adapter stand on this host, whoever serves it: they come once what is before them has its room."""
    if row.adapter is None or row.adapter.after is None or not row.bytes_down:
        return False
    if earlier.adapter is not None:
        return _takes_away(earlier)
    return (earlier.fetches or earlier.action is Action.EVICT) and scopes.get(earlier.target) == "host"


def budget_scopes(desired: DesiredState) -> dict[str, str]:
    """By target name: ``host`` for targets of this host that share the pool's budget, else the target itself."""
    return {
        target.name: "host" if target.is_local and target.disk_budget is None else target.name
        for target in desired.targets
    }
