"""What a report or a plan comes to, as an exit code: the stable API of ``docs/exit-codes.md``."""

from __future__ import annotations

from reconciler.domain.plan import Plan, Reason
from reconciler.domain.report import Report, StepOutcome

DONE, FAILED, PENDING, PARTLY, REFUSED = 0, 1, 2, 3, 4
WAITING = frozenset({"in-use", "backing-off"})
"""Skipped for now, on purpose: no failure."""


def failures(report: Report) -> tuple[StepOutcome, ...]:
    """The steps that should have happened and did not."""
    return tuple(
        outcome
        for outcome in report.outcomes
        if outcome.status != "done" and not (outcome.status == "skipped" and outcome.code in WAITING)
    )


def exit_code_of_report(report: Report) -> int:
    """0 done · 1 failed and nothing changed · 3 something changed and something failed · 4 a slot is not met."""
    left = report.remaining or report.plan
    failed = bool(failures(report)) or any(row.reason is Reason.TARGET_UNKNOWN for row in left.blocked)
    if failed:
        return PARTLY if report.changed else FAILED
    return REFUSED if left.blocked or left.unfilled else DONE


def exit_code_of_plan(plan: Plan, *, detailed: bool) -> int:
    """0, or with ``--detailed-exitcode``: 2 apply would change something · 4 it would be refused, or could not help."""
    if not detailed:
        return DONE
    if plan.refused:
        return REFUSED
    if plan.changes:
        return PENDING
    return REFUSED if plan.blocked or plan.unfilled else DONE
