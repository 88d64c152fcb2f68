"""Work that must not stop half way, also where whoever waits for it is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from reconciler.errors import OutsideError

T = TypeVar("T")


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What it returns. Cancelled meanwhile, this waits once more for its end, and is cancelled then.

    A thread cannot be cancelled: one that writes late would undo what is written after it.

    Args:
        work: begun here.

    Raises:
        asyncio.CancelledError: as above; what the work raised by then is not told.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with suppress(OutsideError):
            await asyncio.shield(task)
        raise
