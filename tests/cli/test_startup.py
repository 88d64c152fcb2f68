"""What a command does not need, it does not load: seen in a process of its own, by what is in ``sys.modules``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("pydantic", "httpx", "typer", "rich", "jsonschema", "watchfiles", "deepdiff", "numpy", "ruamel", "psutil")
PROGRAM = """
import json, sys
from reconciler.__main__ import main
code = main(sys.argv[1:])
print(json.dumps({"code": code, "loaded": sorted(sys.modules)}), file=sys.stderr)
"""
FILE = """
localModels:
  name: light
  pool: {allowedOrgs: [Qwen]}
  targets: [{name: s, runtime: store, path: ./models}]
  hardware: {override: {platform: nvidia, vramGb: 24, bandwidthGbps: 1008, ramGb: 64}}
"""


def loaded(folder: Path, *words: str) -> set[str]:
    """The packages and modules that a run had loaded at its end."""
    environment = {f"LOCALMODELS_{kind}_DIR": str(folder / kind.lower()) for kind in ("STATE", "CACHE", "DATA")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": ""}
    command = [sys.executable, "-c", PROGRAM, *words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True)
    last = json.loads(done.stderr.splitlines()[-1])
    assert last["code"] == 0, done
    return set(last["loaded"])


def test_the_version_loads_nothing(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "--version") & set(HEAVY)


def test_help_loads_no_document(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "plan", "--help") & (
        set(HEAVY) - {"typer", "pydantic"}
    )  # typer looks for pydantic by itself


@pytest.mark.parametrize("words", [("plan", "--offline"), ("status",)], ids=" ".join)
def test_a_plan_that_asks_nobody_loads_only_what_it_is_made_of(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "localmodels.yaml").write_text(FILE)
    assert not loaded(tmp_path, *words) & (set(HEAVY) - {"pydantic", "typer"})


def test_a_plan_loads_neither_what_measures_nor_what_scores_nor_another_machine(tmp_path: Path) -> None:
    (tmp_path / "localmodels.yaml").write_text("\n".join(line for line in FILE.splitlines() if "hardware" not in line))
    needless = (
        "cli.commands.measure", "cli.commands.score", "cli.views.chart", "engine.measure",
        "integrations.hardware.simulate", "integrations.http", "ranking.scoring",
    )  # fmt: skip
    assert not loaded(tmp_path, "plan", "--offline") & {f"reconciler.{name}" for name in needless}


def test_nothing_is_loaded_that_watches_or_compares_before_it_is_needed(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "suggest", "--offline", "--hardware", "rtx-4090") & {"httpx", "watchfiles", "deepdiff"}
