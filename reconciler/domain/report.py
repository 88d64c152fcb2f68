"""What an apply did: one outcome per step, and how to go on."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.document import Frozen
from reconciler.domain.plan import Plan, Row
from reconciler.domain.units import Bytes


class StepOutcome(Frozen):
    """One step of an apply, ended one way or another. A failed step is an outcome, not an exception."""

    row: Row
    status: Literal["done", "failed", "skipped", "interrupted"]
    code: str | None = None
    """Of the error, from the closed list."""
    message: str = ""
    hint: str | None = None
    bytes_down: Bytes = Bytes(0)
    bytes_freed: Bytes = Bytes(0)
    """By an eviction, as the target found it afterwards; ``row.bytes_freed`` is what was planned."""
    seconds: float = 0.0


class Report(Frozen):
    """The whole apply."""

    plan: Plan
    """The plan that was applied."""
    outcomes: tuple[StepOutcome, ...] = ()
    verified: bool = False
    """A second observation sees what the plan promised."""
    remaining: Plan | None = None
    """The plan made from that second observation."""
    warnings: tuple[str, ...] = ()

    @property
    def changed(self) -> bool:
        return any(outcome.status == "done" or outcome.bytes_down for outcome in self.outcomes)

    @property
    def failed(self) -> bool:
        return any(outcome.status in ("failed", "skipped", "interrupted") for outcome in self.outcomes)
