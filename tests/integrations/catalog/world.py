"""What the tests of this folder share: a clock that stands still until told, and names for what is asked."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class StillClock:
    """Stands still; sleeping moves it and is written down."""

    def __init__(self, now: datetime = START) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.time

    def pass_hours(self, hours: float) -> None:
        self.time += timedelta(hours=hours)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += timedelta(seconds=seconds)
