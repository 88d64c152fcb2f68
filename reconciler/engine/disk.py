"""The free disk while a target downloads by itself: looked at before, and every few seconds until it is there.

A store checks its own writes. A server does not know what must stay free, and another program may fill the disk at any
moment: then its download is stopped while there is still room, and what has arrived is the server's to keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from reconciler.domain.observation import Installed
from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import OutOfSpace
from reconciler.ports import Clock, HasDisk

LOOK_SECONDS = 2.0
"""At 1 GB/s a disk fills by 2 GB between two looks: a tenth of what stays free by default."""


async def with_free_disk(
    install: Callable[[], Awaitable[Installed]],
    disk: HasDisk,
    *,
    needed: int,
    reserve: Bytes,
    name: str,
    clock: Clock,
) -> Installed:
    """Run an install for as long as the disk keeps its reserve.

    Args:
        install: the download.
        disk: where it goes.
        needed: bytes still to come.
        reserve: bytes that must stay free, ``pool.minFreeDisk``.
        name: of the model, for a person.
        clock: sleeps between two looks.

    Raises:
        OutOfSpace: there is no room for it, or the disk filled up meanwhile; it was stopped.
    """
    free = await disk.free_disk_bytes()
    if free is not None and needed > 0 and free - needed < reserve:
        raise _short(f"{name} needs {show_bytes(Bytes(needed))} more, and {show_bytes(Bytes(free))} are free", reserve)
    running = asyncio.ensure_future(install())
    watching = asyncio.create_task(_until_short(disk, reserve, clock))
    try:
        await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended = await _stopped(running, watching)
    if ended or not watching.done() or watching.cancelled():
        return running.result()
    raise _short(f"{name} was stopped: the disk has filled up to {show_bytes(Bytes(watching.result()))} free", reserve)


async def _until_short(disk: HasDisk, reserve: Bytes, clock: Clock) -> int:
    """Free bytes, once they are fewer than must stay."""
    while True:
        await clock.sleep(LOOK_SECONDS)
        free = await disk.free_disk_bytes()
        if free is not None and free < reserve:
            return free


async def _stopped(running: asyncio.Future[Installed], watching: asyncio.Task[int]) -> bool:
    """End both, and wait for that; whether the install came to an end of its own, good or bad."""
    for task in (running, watching):
        task.cancel()
    await asyncio.gather(running, watching, return_exceptions=True)
    return not running.cancelled()


def _short(what: str, reserve: Bytes) -> OutOfSpace:
    return OutOfSpace(
        f"{what}, of which {show_bytes(reserve)} must stay free",
        hint="free some disk or lower pool.minFreeDisk, then apply again",
        details={"reserveBytes": reserve},
    )
