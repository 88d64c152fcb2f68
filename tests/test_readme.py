"""The documentation says what the program does: commands as ``--help``, error and exit codes as the code has them."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from reconciler.cli import outcome, run
from reconciler.engine import verdict

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "scripts" / "build_docs.py"
spec = importlib.util.spec_from_file_location("build_docs", SCRIPT)
assert spec is not None
assert spec.loader is not None
build_docs = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build_docs)

_CODE = re.compile(r'(?:\bcode=|\bdefault_code: ClassVar\[str\] = |\bdefault_code = |\bcode, hint = )"([a-z-]+)"')
_OUTCOME = re.compile(r'\b(?:skipped|not_so)\(\w+, "([a-z-]+)"')


def codes_in_the_code() -> set[str]:
    found: set[str] = set()
    for path in (ROOT / "reconciler").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        found |= {match[1] for pattern in (_CODE, _OUTCOME) for match in pattern.finditer(text)}
    return found


def documented_codes() -> set[str]:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## The origin's codes")[0]
    return set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE))


def test_every_command_stands_in_the_documentation_as_its_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", build_docs.COLUMNS)
    written = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    assert written == build_docs.commands_text(), "run: python scripts/build_docs.py"


def test_the_list_of_error_codes_is_closed() -> None:
    in_code, documented = codes_in_the_code(), documented_codes()
    assert in_code - documented == set(), "not in docs/errors.md"
    assert documented - in_code - {"no-room", "backing-off", "replacement-failed"} == set(), "in docs/errors.md only"


def test_every_code_of_the_origin_is_mapped_to_ours() -> None:
    table = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").partition("## The origin's codes")[2]
    rows = re.findall(r"^\| `(\w+)`.*\| (.+) \|$", table, re.MULTILINE)
    origin = {
        "HF_NOT_FOUND", "HF_UNAUTHORIZED", "HF_UNAVAILABLE", "HF_NETWORK", "HF_PARSE", "advisory_only",
        "failed_target_missing", "installer_unavailable", "install_failed", "not_in_pool", "parse_failed",
        "not_allowed", "budget_exceeded", "fetch_failed",
    }  # fmt: skip
    assert {name for name, _ in rows} == origin
    ours = {code for _, cell in rows for code in re.findall(r"`([a-z-]+)`", cell)}
    assert ours - documented_codes() <= {"forget"}


def test_exit_codes_are_documented() -> None:
    text = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    documented = {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    used = {verdict.DONE, verdict.FAILED, verdict.PENDING, verdict.PARTLY, verdict.REFUSED}
    used |= {outcome.EXIT_FAILED, outcome.EXIT_REFUSED, outcome.EXIT_LOCKED, outcome.EXIT_STALE, outcome.EXIT_USAGE}
    assert documented == used | {run.EXIT_PIPE_CLOSED, run.EXIT_INTERRUPTED, 143}
