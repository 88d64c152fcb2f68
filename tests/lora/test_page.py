"""``docs/lora.md`` says what the code says: every finding, every provider."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reconciler.lora.route_table import Provider
from tests.lora.tables import TABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "lora.md").read_text(encoding="utf-8")
FOUND = re.compile(r"\b(?:error|warning|note)\(\s*\"([a-z_0-9]+)\"")
PLAN = ("reconciler/engine/lora/plan.py", "reconciler/lora/plan_findings.py", "reconciler/lora/launch.py")


def rows(section: str) -> set[str]:
    """Every word in backquotes in the first cell of a table's rows."""
    body = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {
        word
        for line in body.splitlines()
        if line.startswith("| `")
        for word in re.findall(r"`(\w+)`", line.split(" | ")[0])
    }


def test_every_finding_of_a_plan_is_documented_and_no_other() -> None:
    in_code = {code for name in PLAN for code in FOUND.findall((ROOT / name).read_text(encoding="utf-8"))}
    assert rows("`lora plan`") == in_code


@pytest.mark.parametrize("one", [one for one in TABLE.providers if one.kind != "external"], ids=lambda one: one.id)
def test_every_provider_is_documented_with_its_flag_and_its_ranks(one: Provider) -> None:
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `{one.id}` |")]
    assert (one.lora_modules_arg or "no") in row
    assert all(str(rank) in row for rank in one.allowed_ranks or ())
