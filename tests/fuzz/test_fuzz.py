"""A short run of the fuzzer, in a process of its own; ``make fuzz SECONDS=600`` is a long one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.fuzz.doors import DOORS

SECONDS = 10
MOST_BYTES = 300 * 2**20
PROGRAM = Path(__file__).with_name("run.py")


def test_no_input_gives_a_traceback_or_hangs_and_memory_stays_bounded() -> None:
    words = [
        sys.executable,
        str(PROGRAM),
        "--seconds",
        str(SECONDS),
        *(["--seed", "7"] if os.environ.get("CI") else []),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert not found["defects"], f"seed {found['seed']}: {json.dumps(found['defects'], indent=1)[:4000]}"
    assert set(found["tried"]) == set(DOORS)
    assert min(found["tried"].values()) > 0
    assert found["peakBytes"] < MOST_BYTES
