"""``docs/origin.md`` leaves nothing of the origin out, and names only tests that exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "origin.md"

COUNTS = {
    "F": 11, "S": 7, "Q": 5, "O": 4, "D": 14,
    "cpu-": 5, "macos-": 5, "nvidia-": 5, "detector-": 10,
    "client-": 13, "cache-": 9,
    "quants-": 8, "vram-": 11, "speed-": 9, "evidence-": 11, "recency-": 10, "merge-": 11, "snapshot-": 6,
    "sources-": 10, "algorithm-": 18, "parity-": 2, "smoke-": 1,
    "state-": 10, "eviction-": 9, "manager-": 29,
    "errors-": 5, "interface-": 2, "advisory-": 5, "install-": 8, "evict-": 3, "list-": 5, "inspect-": 5,
}  # fmt: skip
"""How many criteria, decisions and lines of its test inventory the origin has at 0.2.0, by the beginning of the code."""
LORA_COUNTS = {
    "lora-common-": 9,
    "lora-plan-": 41,
    "lora-inspect-": 32,
    "lora-export-": 43,
    "lora-preflight-": 29,
    "lora-facts-": 10,
    "lora-weakness-": 14,
    "lora-later-": 10,
    "lora-untested-": 11,
}
"""How many behaviours each part of the second origin has: what its commands share, and each of them."""
LORA_TESTS = (*range(1, 18),)
"""Lines of its test inventory that have a row."""
EXPECTED = {f"{kind}{number}" for kind, count in (COUNTS | LORA_COUNTS).items() for number in range(1, count + 1)}
EXPECTED |= {"N4"} | {f"lora-test-{number}" for number in LORA_TESTS}

ROW = re.compile(r"^\| (?P<code>[^|]+?) \| (?P<promise>[^|]+?) \| (?P<shown>.+?) \|$", re.MULTILINE)
REFERENCE = re.compile(r"`(tests/[^`]+)`")


def rows(text: str) -> list[tuple[str, str]]:
    """(code, last column) of every table row, headers left out."""
    found = [(match["code"], match["shown"]) for match in ROW.finditer(text)]
    return [(code, shown) for code, shown in found if code != "code" and not set(code) <= {"-"}]


@cache
def named_tests(path: str) -> dict[str, ast.AST]:
    """Every test of a file by ``name`` or ``Class::name``."""
    file = ROOT / path
    if not file.is_file():
        return {}
    found: dict[str, ast.AST] = {}
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        members = [(f"{node.name}::", each) for each in node.body] if isinstance(node, ast.ClassDef) else [("", node)]
        for prefix, each in members:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test"):
                found[f"{prefix}{each.name}"] = each
    return found


def problem_of(reference: str) -> str | None:
    """Why a named test is not there; None when it is. Of a case in brackets every word must stand in the decorators."""
    path, _, name = reference.partition("::")
    name, _, case = name.partition("[")
    test = named_tests(path).get(name)
    if not isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
        return f"{reference}: no such test"
    values = [
        str(each.value)
        for decorator in test.decorator_list
        for each in ast.walk(decorator)
        if isinstance(each, ast.Constant)
    ]
    if case and not any(value and case.startswith(value) for value in values):
        return f"{reference}: no such case"
    return None


def problems_of(text: str) -> list[str]:
    """Everything that is wrong with the document."""
    found = rows(text)
    codes = [code for code, _ in found]
    problems = [f"{code}: no row" for code in sorted(EXPECTED - set(codes))]
    problems += [f"{code}: unknown" for code in codes if code not in EXPECTED]
    problems += [f"{code}: more than once" for code in sorted({code for code in codes if codes.count(code) > 1})]
    for code, shown in found:
        if not REFERENCE.search(shown) and not re.match(r"(changed: |later \()", shown):
            problems.append(f"{code}: neither a test, nor 'changed: why', nor 'later (what)'")
    problems += [
        problem for reference in REFERENCE.findall(text) if "::" in reference and (problem := problem_of(reference))
    ]
    return problems


@pytest.mark.parametrize("page", ["reliability.md", "origin.md"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    references = [one for one in REFERENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8")) if "::" in one]
    assert len(references) > 10
    assert [problem for one in references if (problem := problem_of(one))] == []


def test_every_behaviour_of_the_origin_has_a_row_whose_tests_exist() -> None:
    assert problems_of(DOCUMENT.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("| F8 |", "| F8b |", "F8: no row"),
        ("| F8 |", "| F8b |", "F8b: unknown"),
        ("| F8 |", "| F9 |", "F9: more than once"),
        ("test_darwin_path", "test_darwin_road", "tests/integrations/hardware/test_detector.py::test_darwin_road: no such test"),
        ("[rtx-4090-24gb]", "[rtx-5090]", "tests/ranking/test_rank.py::test_parity_with_the_origins_fixtures[rtx-5090]: no such case"),
        ("TestPins::", "TestPens::", "tests/planning/test_make_plan.py::TestPens::test_a_pin_that_is_gone_is_blocked_and_says_so: no such test"),
        ("later (dashboard)", "soon (dashboard)", "O3: neither a test, nor 'changed: why', nor 'later (what)'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(old: str, new: str, problem: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert old in text
    assert problem in problems_of(text.replace(old, new))
