"""The budget while steps run: what is used, and what running steps have reserved.

The planner promised that the plan fits when every step works; this holds it when one does not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from reconciler.domain.plan import Action, Budget, Plan, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import Corrupt, PlanningError
from reconciler.planning.room import HOST, Place, Unfinished


@dataclass(slots=True)
class Hold:
    """The room of one download while it runs."""

    arrived: int
    """Bytes of it on the disk, as far as was heard."""
    moved_at: float | None = None
    """When the last new byte was heard of, by ``Clock.elapsed``."""

    def heard(self, done: int, at: float) -> None:
        if done > self.arrived:
            self.arrived, self.moved_at = done, at


class Room:
    """Bytes used per budget, from the plan's own figures and the steps that ended since."""

    def __init__(
        self,
        plan: Plan,
        scopes: Mapping[str, str],
        begun: Mapping[Place, Unfinished] | None = None,
        *,
        adapters: Mapping[str, Bytes] | None = None,
    ) -> None:
        """Begin where the plan does.

        Args:
            plan: with the budgets as they were used.
            scopes: budget by target.
            begun: downloads of ours that are not whole; the plan counts them as used.
            adapters: bytes of the files of adapters that stand on this host, by digest; the plan counts them as used.
        """
        self._adapters: dict[str, int] = dict(adapters or {})
        self._fetching: Counter[str] = Counter()
        self._scopes = scopes
        self._begun = {place: half.bytes for place, half in (begun or {}).items()}
        self._budgets: dict[str, Budget] = {budget.scope: budget for budget in plan.budgets}
        self._used: dict[str, int] = {budget.scope: budget.used_bytes for budget in plan.budgets}

    @contextmanager
    def reserved(self, row: Row) -> Iterator[Hold]:
        """Keep room for what a row fetches while the block runs; what it fetched stays counted when it succeeds.

        Of a download that fails, what has arrived stays counted: it is kept for resuming. What had arrived before is
        part of what the row fetches, and counts once.

        Raises:
            PlanningError: code ``no-room``: with it, more would be held than the budget and the plan allow.
        """
        scope, size, place = self._scope(row), fetched_bytes(row), (row.target, row.name)
        before = self._begun.get(place, 0)
        budget = self._budgets.get(scope)
        if budget is not None:
            limit = max(budget.limit_bytes, budget.peak_bytes)
            missing = self._used[scope] + size - before - limit
            if missing > 0:
                raise PlanningError(
                    f"{row.name} needs {show_bytes(size)}, {show_bytes(missing)} more than the budget holds now",
                    code="no-room",
                    hint="an eviction before it did not free what was planned; look at `localmodels plan` again",
                )
            self._used[scope] += size - before
        hold = Hold(before)
        try:
            yield hold
        except BaseException as error:
            self._begun[place] = 0 if isinstance(error, Corrupt) else min(size, hold.arrived)
            self._give_back(scope, size - self._begun[place])
            raise
        self._begun.pop(place, None)
        if row.action is Action.UPDATE:
            self._give_back(scope, row.bytes_freed)

    def missing_for_files(self, digest: str, size: Bytes) -> int:
        """Bytes that this host's budget lacks for the files of an adapter, beside what is counted of them already."""
        budget = self._budgets.get(HOST)
        if budget is None:
            return 0
        more = max(0, size - self._adapters.get(digest, 0))
        return max(0, self._used[HOST] + more - max(budget.limit_bytes, budget.peak_bytes)) if more else 0

    @contextmanager
    def reserved_for_files(self, name: str, digest: str, size: Bytes) -> Iterator[None]:
        """Keep room for the files of an adapter, once however many targets share them.

        They stay counted however the block ends: a step that failed may have left them, until they are seen to be gone.

        Raises:
            PlanningError: code ``no-room``, as ``reserved``.
        """
        if missing := self.missing_for_files(digest, size):
            raise PlanningError(
                f"the adapter {name} needs {show_bytes(size)}, {show_bytes(Bytes(missing))} more than the budget holds",
                code="no-room",
                hint="what was to go before it is there still; look at `localmodels plan` again",
            )
        counted = self._adapters.get(digest, 0)
        self._adapters[digest] = max(size, counted)
        self._give_back(HOST, counted - self._adapters[digest])
        self._fetching[digest] += 1
        try:
            yield
        finally:
            self._fetching[digest] -= 1

    def files_gone(self, held: Collection[str]) -> None:
        """Only these adapters have files on this host, beside those that are being fetched."""
        for digest in [one for one in self._adapters if one not in held and not self._fetching[one]]:
            self._give_back(HOST, self._adapters.pop(digest))

    def freed(self, row: Row, freed: Bytes) -> None:
        """An eviction succeeded: what it really freed may be used again, which may be less than was planned."""
        self._give_back(self._scope(row), min(freed, row.bytes_freed))

    def cleaned(self, places: Iterable[Place]) -> None:
        """Unfinished downloads were thrown away."""
        for place in places:
            self._give_back(self._scopes.get(place[0], place[0]), self._begun.pop(place, 0))

    def _give_back(self, scope: str, size: int) -> None:
        if scope in self._used:
            self._used[scope] -= size

    def _scope(self, row: Row) -> str:
        return self._scopes.get(row.target, row.target)


def fetched_bytes(row: Row) -> int:
    """What a row brings to its target: exact where it is resolved."""
    return row.artifact.bytes if row.artifact is not None else row.bytes_down
