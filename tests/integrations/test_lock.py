from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.errors import RecordError, RecordLocked
from reconciler.integrations.lock import hold_lock
from tests.fakes import FixedClock

HOLDER = """
import asyncio, sys
from pathlib import Path
from reconciler.integrations.clock import SystemClock
from reconciler.integrations.lock import hold_lock

async def hold():
    async with hold_lock(Path(sys.argv[1]), SystemClock(), timeout_seconds=0):
        print("held", flush=True)
        await asyncio.sleep(60)

asyncio.run(hold())
"""


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


async def test_another_owner_is_named_with_its_age(tmp_path: Path) -> None:
    clock = FixedClock()
    async with hold_lock(tmp_path / "lock", clock, timeout_seconds=0):
        clock.forward(90)
        with pytest.raises(RecordLocked) as caught:
            async with hold_lock(tmp_path / "lock", clock, timeout_seconds=0):
                pass
    assert caught.value.details["pid"] == os.getpid()
    assert caught.value.details["ageSeconds"] == 90
    assert "1m30s" in caught.value.message
    assert "--lock-timeout" in (caught.value.hint or "")


@pytest.mark.parametrize("jump", [-365 * 86_400.0, 365 * 86_400.0])
async def test_a_clock_that_was_set_neither_frees_it_nor_makes_it_older_than_that(tmp_path: Path, jump: float) -> None:
    clock = FixedClock()
    async with hold_lock(tmp_path / "lock", clock, timeout_seconds=0):
        clock.jump(jump)
        with pytest.raises(RecordLocked) as caught:
            async with hold_lock(tmp_path / "lock", clock, timeout_seconds=1):
                pass
    assert sum(clock.slept) == pytest.approx(1)
    assert caught.value.details["ageSeconds"] == pytest.approx(max(0.0, jump), abs=2)


async def test_it_waits_as_long_as_it_was_told(tmp_path: Path) -> None:
    clock = FixedClock()
    async with hold_lock(tmp_path / "lock", clock, timeout_seconds=0):
        with pytest.raises(RecordLocked):
            async with hold_lock(tmp_path / "lock", clock, timeout_seconds=1):
                pass
    assert sum(clock.slept) == pytest.approx(1)


async def test_it_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        async with hold_lock(tmp_path / "lock", FixedClock(), timeout_seconds=0):
            assert (tmp_path / "lock.owner").exists()
    assert not (tmp_path / "lock.owner").exists()


async def test_another_process_holds_it_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    process = holder(path)
    try:
        with pytest.raises(RecordLocked) as caught:
            async with hold_lock(path, FixedClock(), timeout_seconds=0):
                pass
        assert caught.value.details["pid"] == process.pid
    finally:
        process.kill()
        process.communicate()
    async with hold_lock(path, FixedClock(), timeout_seconds=0):
        pass


async def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError) as caught:
        async with hold_lock(tmp_path / "file" / "lock", FixedClock(), timeout_seconds=0):
            pass
    assert not isinstance(caught.value, RecordLocked)
