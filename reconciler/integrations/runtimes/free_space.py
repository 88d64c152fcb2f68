"""How much may still be written where a server on this host keeps its models."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path


async def free_bytes_of(folder: Path | None) -> int | None:
    """Bytes that this user may still write there; None where there is no such folder, or nobody can tell."""
    return None if folder is None else await asyncio.to_thread(_free, folder)


def _free(folder: Path) -> int | None:
    try:
        there = os.statvfs(folder)
    except OSError:
        return None
    return there.f_bavail * there.f_frsize
