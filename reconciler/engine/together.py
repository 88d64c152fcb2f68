"""Several things at once, and an error as it was raised: one place for what ``asyncio`` wraps."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

Value = TypeVar("Value")
Other = TypeVar("Other")


async def together(steps: Iterable[Coroutine[Any, Any, Value]]) -> tuple[Value, ...]:
    """Run all of them at once; results in the order given.

    The first to raise stops the others, and its exception comes out as it is, not inside a group.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step) for step in steps]
    except BaseExceptionGroup as failed:
        raise _first(failed) from failed
    return tuple(task.result() for task in tasks)


async def both(one: Coroutine[Any, Any, Value], two: Coroutine[Any, Any, Other]) -> tuple[Value, Other]:
    """``together``, for two things of different kinds."""
    try:
        async with asyncio.TaskGroup() as group:
            first, second = group.create_task(one), group.create_task(two)
    except BaseExceptionGroup as failed:
        raise _first(failed) from failed
    return first.result(), second.result()


def _first(failed: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = failed.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
