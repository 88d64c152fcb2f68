"""The clock of one run: the system's, unless whoever starts the run holds another (a test, at a fixed moment)."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reconciler.ports import Clock

CLOCK: ContextVar[Clock | None] = ContextVar("clock", default=None)


def current_clock() -> Clock:
    """What ``Wiring`` takes its time from."""
    from reconciler.integrations.clock import SystemClock

    return CLOCK.get() or SystemClock()
