"""What a run comes to: exit codes, the JSON envelope, and errors as people read them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from reconciler.errors import (
    DesiredStateError,
    PlanningError,
    ReconcilerError,
    RecordLocked,
    StalePlan,
    TamperedPlan,
    UsageError,
)

SCHEMA_VERSION = "1"
EXIT_FAILED, EXIT_REFUSED, EXIT_LOCKED, EXIT_STALE, EXIT_USAGE = 1, 4, 5, 6, 64


def exit_code_of(error: ReconcilerError) -> int:
    """The exit code an error ends the run with."""
    if isinstance(error, UsageError):
        return EXIT_USAGE
    if isinstance(error, RecordLocked):
        return EXIT_LOCKED
    if isinstance(error, StalePlan | TamperedPlan):
        return EXIT_STALE
    if isinstance(error, PlanningError) and error.code == "refused-by-guard":
        return EXIT_REFUSED
    return EXIT_FAILED


def show_error(error: ReconcilerError, *, as_json: bool) -> None:
    """To stdout as an envelope with ``--json``, else to stderr: what happened, where, what to do."""
    if as_json:
        print_json(None, error=error)
        return
    lines = [_text_of(error)]
    if error.hint:
        lines.append(f"hint: {error.hint}")
    sys.stderr.write("\n".join(lines) + "\n")


def _text_of(error: ReconcilerError) -> str:
    if isinstance(error, DesiredStateError) and error.problems:
        from reconciler.integrations.files.problems import render_problems

        return render_problems(error)
    return f"error: {error.message}"


def print_json(data: Any, *, error: ReconcilerError | None = None, warnings: Iterable[str] = ()) -> None:
    """One envelope on one stdout."""
    envelope = {
        "schemaVersion": SCHEMA_VERSION,
        "ok": error is None,
        "data": data,
        "error": error_document(error) if error else None,
        "warnings": list(warnings),
    }
    sys.stdout.write(json.dumps(envelope, ensure_ascii=False, indent=2) + "\n")


def error_document(error: ReconcilerError) -> dict[str, Any]:
    """An error as JSON: code, message, hint, details; the problems of a file in ``details.problems``."""
    details = dict(error.details)
    if isinstance(error, DesiredStateError):
        details["problems"] = [
            {
                "path": problem.path,
                "message": problem.message,
                "line": problem.line,
                "column": problem.column,
                "hint": problem.hint,
            }
            for problem in error.problems
        ]
    return {"code": error.code, "message": error.message, "hint": error.hint, "details": details}
