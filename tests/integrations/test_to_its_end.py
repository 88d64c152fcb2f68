"""Work that is waited for, whatever becomes of whoever waits."""

from __future__ import annotations

import asyncio
import threading

import pytest

from reconciler.errors import Refused
from reconciler.integrations.to_its_end import to_its_end


async def test_it_returns_what_the_work_returns_and_raises_what_it_raises() -> None:
    assert await to_its_end(asyncio.to_thread(lambda: 3)) == 3

    async def fails() -> None:
        raise Refused("no")

    with pytest.raises(Refused, match="no"):
        await to_its_end(fails())


async def test_cancelled_it_ends_behind_the_thread_that_writes() -> None:
    may_end, wrote = threading.Event(), []

    def write() -> None:
        may_end.wait(5)
        wrote.append("late")

    waiting = asyncio.create_task(to_its_end(asyncio.to_thread(write)))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert wrote == ["late"]


async def test_cancelled_what_the_work_raises_gives_way() -> None:
    may_end = asyncio.Event()

    async def fails() -> None:
        await may_end.wait()
        raise Refused("no")

    waiting = asyncio.create_task(to_its_end(fails()))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.sleep(0)
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
