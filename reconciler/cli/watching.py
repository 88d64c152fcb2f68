"""How ``watch`` tells what it sees: plans as they change, or one JSON object a line."""

from __future__ import annotations

import sys
from typing import Literal

from reconciler.cli.outcome import error_document, error_text
from reconciler.cli.reporting import Events, Lines, dump
from reconciler.cli.streams import one_line
from reconciler.cli.views.plan import plan_text
from reconciler.cli.views.report import report_text
from reconciler.domain.report import Report
from reconciler.engine.watch import Pass

WHY = {
    "start": "first look",
    "changed": "the file changed",
    "interval": "looked again",
    "refresh": "ranked again",
    "retry": "tried again",
}


class WatchEvents(Events):
    """The events of ``watch``: a ``pass`` for each look, and one ``report`` when it ends."""

    def __init__(self) -> None:
        super().__init__()
        self._passes = 0

    def finished(self, report: Report) -> None:
        """The pass tells it."""

    def passed(self, one: Pass) -> None:
        self._passes += 1
        self._write(
            "pass",
            why=one.why,
            at=one.at.isoformat(),
            repeated=one.repeated,
            lastGood=one.last_good,
            plan=dump(one.planned.plan) if one.planned else None,
            report=dump(one.report) if one.report else None,
            error=error_document(one.error) if one.error else None,
        )

    def ended(self, exit_code: int | None) -> None:
        self._write("report", ok=True, data={"passes": self._passes, "exitCode": exit_code or 0}, error=None)


class WatchLines(Lines):
    """The same for a person: plans and reports on stdout as they change, what is wrong on stderr."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: frozenset[str] = frozenset()
        self._noted: set[str] = set()

    def finished(self, report: Report) -> None:
        """The pass tells it."""

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        """A warning once; what a step says of itself each time."""
        if level == "info" or message not in self._noted:
            super().note(level, message)
        self._noted |= {message} if level == "warning" else set()

    def passed(self, one: Pass) -> None:
        when = f"{one.at.astimezone():%H:%M:%S}"
        if one.error is not None:
            self._say(f"{when} {error_text(one.error)}")
            if one.last_good:
                self._say("the last valid file stays in force until this is mended")
            return
        if one.repeated:
            return
        warnings = _warnings_of(one)
        if one.report is not None:  # a plan shows its own
            for warning in warnings:
                if warning not in self._warned:
                    self._say(one_line(f"warning: {warning}"))
        held = " (of the last valid file)" if one.last_good else ""
        sys.stdout.write(f"--- {when} {WHY[one.why]}{held}\n{_of_pass(one, self._warned)}\n")
        sys.stdout.flush()
        self._warned = frozenset(warnings)

    def ended(self, exit_code: int | None) -> None:
        self._say("stopped" if exit_code else "ended")


def _warnings_of(one: Pass) -> tuple[str, ...]:
    if one.planned is not None:
        return one.planned.plan.warnings
    return (one.report.remaining or one.report.plan).warnings if one.report is not None else ()


def _of_pass(one: Pass, warned: frozenset[str]) -> str:
    """What the pass came to; a warning that stood in the one before is told once, until it changes."""
    if one.planned is not None:
        new = tuple(warning for warning in one.planned.plan.warnings if warning not in warned)
        plan = one.planned.plan.model_copy(update={"warnings": new})
        return plan_text(plan, source=one.planned.desired.source)
    return report_text(one.report) if one.report is not None else ""
