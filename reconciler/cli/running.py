"""Running the engine from the command line: one event loop, stopped cleanly by Ctrl-C and SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Stopped(Exception):
    """A signal ended the run; ``exit_code`` is what the shell expects (130, 143)."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def run_to_end(work: Coroutine[Any, Any, T]) -> T:
    """Run in an event loop of its own and return what came of it.

    The result is handed over beside the loop's own task: when a loop ends, the standard library renders that task,
    result included, as text that nobody reads (90 ms for a plan).
    """
    results = []

    async def keep_result() -> None:
        results.append(await work)

    asyncio.run(keep_result())
    return results[0]


def run_stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; a signal cancels the work, which writes down where it stopped.

    Raises:
        Stopped: after SIGINT (130) or SIGTERM (143), once the work has ended.
    """
    return run_to_end(_until_signal(work))


async def _until_signal(work: Coroutine[Any, Any, T]) -> T:
    loop, received = asyncio.get_running_loop(), []
    task = loop.create_task(work)

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise Stopped(128 + received[0]) from None
        raise
