"""How much other work this host has, so that what is measured now is slower than it could be."""

from __future__ import annotations

import asyncio

LOOK_SECONDS = 0.5


async def other_load() -> float:
    """Share of the processors that is in use, over half a second; asked before any work of ours begins."""
    import psutil

    return await asyncio.to_thread(psutil.cpu_percent, LOOK_SECONDS) / 100
