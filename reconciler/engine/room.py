"""The budget while steps run: what is used, and what running steps have reserved.

The planner promised that the plan fits when every step works; this holds it when one does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from reconciler.domain.plan import Action, Budget, Plan, Row
from reconciler.domain.units import show_bytes
from reconciler.errors import PlanningError


class Room:
    """Bytes used per budget, from the plan's own figures and the steps that ended since."""

    def __init__(self, plan: Plan, scopes: Mapping[str, str]) -> None:
        self._scopes = scopes
        self._budgets: dict[str, Budget] = {budget.scope: budget for budget in plan.budgets}
        self._used: dict[str, int] = {budget.scope: budget.used_bytes for budget in plan.budgets}

    @contextmanager
    def reserved(self, row: Row) -> Iterator[None]:
        """Keep room for what a row fetches while the block runs; what it fetched stays counted when it succeeds.

        Raises:
            PlanningError: code ``no-room``: with it, more would be held than the budget and the plan allow.
        """
        scope, size = self._scope(row), fetched_bytes(row)
        budget = self._budgets.get(scope)
        if budget is not None:
            limit = max(budget.limit_bytes, budget.peak_bytes)
            missing = self._used[scope] + size - limit
            if missing > 0:
                raise PlanningError(
                    f"{row.name} needs {show_bytes(size)}, {show_bytes(missing)} more than the budget holds now",
                    code="no-room",
                    hint="an eviction before it did not free what was planned; look at `localmodels plan` again",
                )
            self._used[scope] += size
        try:
            yield
        except BaseException:
            self._give_back(scope, size)
            raise
        if row.action is Action.UPDATE:
            self._give_back(scope, row.bytes_freed)

    def freed(self, row: Row) -> None:
        """An eviction succeeded."""
        self._give_back(self._scope(row), row.bytes_freed)

    def _give_back(self, scope: str, size: int) -> None:
        if scope in self._used:
            self._used[scope] -= size

    def _scope(self, row: Row) -> str:
        return self._scopes.get(row.target, row.target)


def fetched_bytes(row: Row) -> int:
    """What a row brings to its target: exact where it is resolved."""
    return row.artifact.bytes if row.artifact is not None else row.bytes_down
