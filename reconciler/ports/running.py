"""A run as such: its time, who hears how it goes, and why it looks again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Literal, Protocol

from reconciler.domain.plan import Row
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import Bytes


class Clock(Protocol):
    """Time, as a value that tests can hold still."""

    def now(self) -> datetime:
        """UTC, timezone-aware. What dates are made of, and no durations: anybody may set it back or forward."""
        ...

    def elapsed(self) -> float:
        """Seconds since a moment that stays the same; never goes back, and nobody can set it."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class Reporter(Protocol):
    """Hears how an apply goes. Any number of listeners; none is fine too."""

    def step_started(self, row: Row) -> None: ...

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None: ...

    def step_finished(self, outcome: StepOutcome) -> None: ...

    def note(self, level: Literal["info", "warning"], message: str) -> None: ...

    def finished(self, report: Report) -> None: ...


class Wakeups(Protocol):
    """Why ``watch`` looks again. An event wakes, it never instructs: a missed one costs time and nothing else."""

    def __aiter__(self) -> AsyncIterator[Literal["changed", "tick", "stop"]]: ...
