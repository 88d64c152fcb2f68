"""The lock: one writer per record, across processes and crashed owners.

The operating system holds the lock and lets go of it when its owner dies, however it dies; the file beside it only
says who that owner is, for the message.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reconciler.domain.units import show_duration
from reconciler.errors import RecordError, RecordLocked
from reconciler.ports import Clock

if TYPE_CHECKING:  # commands that only look take no lock
    from filelock import FileLock

POLL_SECONDS = 0.1


@asynccontextmanager
async def hold_lock(
    path: Path, clock: Clock, *, timeout_seconds: float, work: str = "this record"
) -> AsyncIterator[None]:
    """Hold the lock at ``path`` while the block runs.

    Args:
        path: the lock's file; the owner is written beside it as ``<path>.owner``.
        clock: tells when the lock was taken, and waits.
        timeout_seconds: how long to wait for another owner; 0 asks once.
        work: what its owner is at work on, for the message.

    Raises:
        RecordLocked: another run holds it; carries its process, host and age.
        RecordError: the folder cannot be written.
    """
    from filelock import FileLock

    lock = FileLock(path, thread_local=False)
    await _acquire(lock, path, clock, timeout_seconds, work)
    owner = path.with_name(path.name + ".owner")
    try:
        _write_owner(owner, clock)
        yield
    finally:
        with suppress(OSError):
            owner.unlink(missing_ok=True)
        lock.release()


async def _acquire(lock: FileLock, path: Path, clock: Clock, timeout_seconds: float, work: str) -> None:
    from filelock import Timeout

    waited = 0.0
    while True:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if waited >= timeout_seconds:
                raise _locked(path, clock, work) from None
        except OSError as error:
            raise RecordError(
                f"cannot write the lock {path}: {error.strerror or error}",
                hint="give the state directory to this user, or point LOCALMODELS_STATE_DIR elsewhere",
            ) from error
        else:
            return
        pause = min(POLL_SECONDS, timeout_seconds - waited)
        await (clock.sleep(pause) if pause > 0 else asyncio.sleep(0))
        waited += pause


def _write_owner(owner: Path, clock: Clock) -> None:
    """Who holds the lock, for the message only: failing to write it is no reason to stop."""
    text = json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": clock.now().isoformat()})
    with suppress(OSError):
        owner.write_text(text, encoding="utf-8")


def _locked(path: Path, clock: Clock, work: str) -> RecordLocked:
    details = _owner(path.with_name(path.name + ".owner"))
    who = "another run"
    if "pid" in details:
        who = f"process {details['pid']} on {details.get('host', 'this host')}"
    with suppress(KeyError, ValueError, TypeError):
        age = max(0.0, (clock.now() - datetime.fromisoformat(details["since"])).total_seconds())
        details["ageSeconds"] = age
        who = f"{who}, for {show_duration(age)}"
    return RecordLocked(
        f"another run is at work on {work} ({who})",
        hint="wait for it, or give --lock-timeout 10m",
        details={**details, "lock": str(path)},
    )


def _owner(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
