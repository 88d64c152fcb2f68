"""A short run of the fuzzer, in a process of its own; ``make fuzz SECONDS=600`` is a long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from reconciler.errors import ReconcilerError
from tests.fuzz.doors import DOORS

SECONDS = 10
MOST_BYTES = 300 * 2**20
PROGRAM = Path(__file__).with_name("run.py")


def test_no_input_gives_a_traceback_or_hangs_and_memory_stays_bounded() -> None:
    chosen = ["--seed", "7", "--each", "400"] if os.environ.get("CI") else ["--seconds", str(SECONDS)]
    words = [sys.executable, str(PROGRAM), *chosen]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not found["defects"], f"seed {found['seed']}: {json.dumps(found['defects'], indent=1)[:4000]}"
    assert set(found["tried"]) == set(DOORS)
    assert min(found["tried"].values()) > 0
    assert found["peakBytes"] < MOST_BYTES


@pytest.mark.parametrize("name", DOORS)
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"", b"\x00" * 1000], ids=["[", "{", "none", "nul"]
)
def test_what_is_nested_too_deep_or_nothing_at_all_is_refused_in_words(name: str, content: bytes) -> None:
    with suppress(ReconcilerError):
        DOORS[name].read(content)
