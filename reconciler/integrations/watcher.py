"""Wakes ``watch`` when the desired state's file may have changed, and at every interval.

The folder is watched, not the file: an editor saves by renaming another file over it, Git replaces it, and Kubernetes
swaps a symbolic link beside it. An event only makes us look: what counts is whether the file is another one now.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from time import monotonic
from typing import Literal, Protocol

from watchfiles import awatch

Wakeup = Literal["changed", "tick", "stop"]

STEP_MILLISECONDS = 20
"""A change is reported once a step passes without another: two steps from the save to us at most."""
DEBOUNCE_MILLISECONDS = 250
"""The longest that a run of changes is gathered for."""
LOOK_SECONDS = 5.0
"""How often we look without being told: file systems over a network tell nothing."""


class StopEvent(Protocol):
    """An ``asyncio.Event``, ``anyio.Event`` or ``threading.Event``."""

    def is_set(self) -> bool: ...

    def set(self) -> None: ...


class FolderWatch:
    """The ``Wakeups`` of one file: ``changed``, ``tick`` at every interval, ``stop`` at the end.

    Read against watchfiles 1.3.0. The file's identity is taken when this is made: what changes between that moment
    and the first wake-up is not missed.
    """

    def __init__(self, path: Path, interval_seconds: float, stop_event: StopEvent) -> None:
        self._path = path.absolute()
        self._interval_seconds = interval_seconds
        self._stop_event = stop_event
        self._seen = _identity(self._path)

    def __aiter__(self) -> AsyncIterator[Wakeup]:
        return self._wakeups()

    async def _wakeups(self) -> AsyncGenerator[Wakeup, None]:
        tick_at = monotonic() + self._interval_seconds
        while not self._stop_event.is_set():
            folders = _folders(self._path)
            async with aclosing(self._looks(folders)) as looks:
                async for _ in looks:
                    if self._is_another():
                        yield "changed"
                    if monotonic() >= tick_at:
                        tick_at = monotonic() + self._interval_seconds
                        yield "tick"
                    if _folders(self._path) != folders:
                        break
        yield "stop"

    async def _looks(self, folders: frozenset[tuple[Path, int]]) -> AsyncGenerator[object, None]:
        """Something happened in the folders, or nothing did for a while; ends when a folder went away meanwhile."""
        pause_seconds = min(LOOK_SECONDS, self._interval_seconds)
        watching = awatch(
            *sorted(folder for folder, _ in folders),
            watch_filter=None,
            debounce=DEBOUNCE_MILLISECONDS,
            step=STEP_MILLISECONDS,
            stop_event=self._stop_event,
            rust_timeout=max(1, round(pause_seconds * 1000)),
            yield_on_timeout=True,
            recursive=False,
            ignore_permission_denied=True,
        )
        with suppress(FileNotFoundError):
            async with aclosing(watching):
                async for _ in watching:
                    yield _

    def _is_another(self) -> bool:
        now = _identity(self._path)
        was, self._seen = self._seen, now
        return now != was


def _identity(path: Path) -> tuple[object, ...] | None:
    """What tells one content of a file from another without reading it; None when there is no file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - one call, links followed
    except OSError:
        return None
    return (os.path.realpath(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _folders(path: Path) -> frozenset[tuple[Path, int]]:
    """The folder of the file and, where the file is a link, of what it stands for; each with its inode.

    A folder that is gone (a checkout being replaced) is stood for by its nearest parent that is there.
    """
    found = set()
    for folder in (path.parent, Path(os.path.realpath(path)).parent):
        there = next((place for place in (folder, *folder.parents) if place.is_dir()), None)
        if there is not None:
            found.add((there, there.stat().st_ino))
    return frozenset(found)
