"""How ``watch`` tells what it sees: plans as they change, or one JSON object a line."""

from __future__ import annotations

import sys

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

    def finished(self, report: Report) -> None:
        """The pass tells it."""

    def passed(self, one: Pass) -> None:
        when = f"{one.at.astimezone():%H:%M:%S}"
        if one.error is not None:
            self._say(f"{when} {error_text(one.error)}")
            if one.last_good:
                self._say("the last valid file stays in force until this is mended")
            return
        if one.repeated:
            return
        if one.report is not None:  # a plan shows its own
            for warning in (one.report.remaining or one.report.plan).warnings:
                self._say(one_line(f"warning: {warning}"))
        held = " (of the last valid file)" if one.last_good else ""
        sys.stdout.write(f"--- {when} {WHY[one.why]}{held}\n{_of_pass(one)}\n")
        sys.stdout.flush()

    def ended(self, exit_code: int | None) -> None:
        self._say("stopped" if exit_code else "ended")


def _of_pass(one: Pass) -> str:
    if one.planned is not None:
        return plan_text(one.planned.plan, source=one.planned.desired.source)
    return report_text(one.report) if one.report is not None else ""
