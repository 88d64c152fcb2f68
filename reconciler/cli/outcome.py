"""What a run comes to: exit codes, the JSON envelope, and errors as people read them."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterable
from typing import Any

from reconciler.cli.streams import harmless_json, one_line
from reconciler.errors import (
    DesiredStateError,
    OutsideError,
    PlanningError,
    ReconcilerError,
    RecordLocked,
    StalePlan,
    TamperedPlan,
    UsageError,
)

SCHEMA_VERSION = "1"
REFUSED_CODES = frozenset({"refused-by-guard", "disabled", "not-allowed", "slot-unfilled"})
EDIT_REFUSED = "edit-refused"
"""An edit that the command line asks for would make a valid file invalid: wrong usage, with the file's problems."""
EXIT_FAILED, EXIT_REFUSED, EXIT_LOCKED, EXIT_STALE, EXIT_USAGE = 1, 4, 5, 6, 64


def exit_code_of(error: ReconcilerError) -> int:
    """The exit code an error ends the run with."""
    if isinstance(error, UsageError) or error.code == EDIT_REFUSED:
        return EXIT_USAGE
    if isinstance(error, RecordLocked):
        return EXIT_LOCKED
    if isinstance(error, StalePlan | TamperedPlan):
        return EXIT_STALE
    if isinstance(error, PlanningError) and error.code in REFUSED_CODES:
        return EXIT_REFUSED
    return EXIT_FAILED


def show_error(error: ReconcilerError, *, as_json: bool) -> None:
    """To stdout as an envelope with ``--json``, else to stderr: what happened, where, what to do."""
    if as_json:
        print_json(None, error=error)
        return
    sys.stderr.write(error_text(error) + "\n")


def error_text(error: ReconcilerError) -> str:
    """An error as a person reads it; a file's problems one by one, each with its place."""
    if isinstance(error, DesiredStateError) and error.problems:
        from reconciler.integrations.files.problems import render_problems

        text = render_problems(error)
    else:
        text = f"error: {one_line(error.message)}"
    return f"{text}\nhint: {one_line(error.hint)}" if error.hint else text


def print_json(data: Any, *, error: ReconcilerError | None = None, warnings: Iterable[str] = ()) -> None:
    """One envelope on one stdout."""
    envelope = {
        "schemaVersion": SCHEMA_VERSION,
        "ok": error is None,
        "data": data,
        "error": error_document(error) if error else None,
        "warnings": list(warnings),
    }
    sys.stdout.write(harmless_json(json.dumps(envelope, ensure_ascii=False, indent=2)) + "\n")


def print_failure_line(error: ReconcilerError) -> None:
    """The same for a command that prints one object a line, when it fails before its first."""
    from reconciler import __version__

    first = {"type": "version", "version": __version__, "schemaVersion": SCHEMA_VERSION}
    last = {"type": "report", "ok": False, "data": None, "error": error_document(error)}
    sys.stdout.write("".join(harmless_json(json.dumps(line, ensure_ascii=False)) + "\n" for line in (first, last)))


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
                "file": problem.file or error.file,
            }
            for problem in error.problems
        ]
    return {"code": error.code, "message": error.message, "hint": error.hint, "details": details}


def unknown_targets(found: Iterable[tuple[str, str, str | None]]) -> OutsideError | None:
    """The error of a look that did not see every target; what was seen stands beside it.

    Args:
        found: name, reason and hint of each target that did not answer.
    """
    missed = list(found)
    if not missed:
        return None
    return OutsideError(
        "; ".join(f"target {name} is unknown: {reason}" for name, reason, _ in missed),
        code="target-unknown",
        hint=next((hint for _, _, hint in missed if hint), None),
        details={"targets": [name for name, _, _ in missed]},
    )


def is_set(text: str | None) -> bool:
    """A variable that says yes, as the parser reads it."""
    return (text or "").strip().lower() in ("1", "true", "t", "yes", "y", "on")


def unexpected(error: Exception) -> ReconcilerError:
    """A defect as an error that says how to report it."""
    if is_set(os.environ.get("LOCALMODELS_DEBUG")):
        traceback.print_exception(error, file=sys.stderr)
    last = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    place = f" in {last[0].name}, line {last[0].lineno}" if last else ""
    return ReconcilerError(
        f"something that should not happen did: {type(error).__name__}: {error}{place}",
        code="internal",
        hint="this is a defect: run again with LOCALMODELS_DEBUG=1 and report what it prints",
    )
