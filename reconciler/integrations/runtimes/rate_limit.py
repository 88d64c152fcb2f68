"""One limit of bytes a second over every download that shares it."""

from __future__ import annotations

from reconciler.ports import Clock


class RateLimit:
    """A token bucket over every download that shares it.

    Args:
        bytes_per_second: None lets everything through.
        clock: tells the time and sleeps.
        burst_seconds: how much unused time may be made up for.
    """

    def __init__(self, bytes_per_second: int | None, clock: Clock, *, burst_seconds: float = 0.25) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._burst_seconds = burst_seconds
        self._paid_until: float | None = None

    async def take(self, count: int) -> None:
        """Wait until ``count`` more bytes may pass."""
        if not self._rate:
            return
        now = self._clock.elapsed()
        floor = now - self._burst_seconds
        begin = floor if self._paid_until is None else max(self._paid_until, floor)
        self._paid_until = begin + count / self._rate
        wait = self._paid_until - now
        if wait > 0:
            await self._clock.sleep(wait)
