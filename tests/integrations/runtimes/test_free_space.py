from __future__ import annotations

import os
from pathlib import Path

from reconciler.integrations.runtimes.free_space import free_bytes_of


async def test_free_bytes_are_those_this_user_may_write(tmp_path: Path) -> None:
    free, there = await free_bytes_of(tmp_path), os.statvfs(tmp_path)
    assert free is not None
    assert 0 < free <= there.f_bfree * there.f_frsize + 2**30


async def test_where_nothing_can_be_seen_nothing_is_told(tmp_path: Path) -> None:
    assert await free_bytes_of(None) is None
    assert await free_bytes_of(tmp_path / "gone") is None
