"""How a run tells what it does: bars on a terminal, a line now and then elsewhere, one JSON object a line."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from reconciler import __version__
from reconciler.cli.outcome import SCHEMA_VERSION, error_document
from reconciler.cli.streams import drawing, harmless, harmless_json, one_line
from reconciler.cli.views.report import change_words, outcome_line, report_text
from reconciler.domain.plan import Action, Plan, Row
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import Bytes, show_bytes, show_duration
from reconciler.errors import ReconcilerError

SECONDS_BETWEEN_LINES = 3.0
GO_ON = "what was fetched so far is kept, and the next apply goes on from there"


class Silent:
    """Says nothing: for commands that only look."""

    def step_started(self, row: Row) -> None: ...

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None: ...

    def step_finished(self, outcome: StepOutcome) -> None: ...

    def note(self, level: Literal["info", "warning"], message: str) -> None: ...

    def finished(self, report: Report) -> None: ...


class Events:
    """One JSON object a line on stdout: first ``version``, last ``report``."""

    def __init__(self) -> None:
        self._last = 0.0
        self._ended = False
        self._write("version", version=__version__, schemaVersion=SCHEMA_VERSION)

    def step_started(self, row: Row) -> None:
        self._write("stepStarted", row=dump(row))

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None:
        now = time.monotonic()
        if now - self._last < 1.0 and done < total:
            return
        self._last = now
        self._write("stepProgress", address=row.address, name=row.name, doneBytes=done, totalBytes=total, note=note)

    def step_finished(self, outcome: StepOutcome) -> None:
        self._write("stepFinished", outcome=dump(outcome))

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        self._write("note", level=level, message=message)

    def finished(self, report: Report) -> None:
        self._write("report", ok=not report.failed, data=dump(report), error=None)

    def failed(self, error: ReconcilerError) -> None:
        self._write("report", ok=False, data=None, error=error_document(error))

    def stopped(self) -> None:
        """The last line of a run that a signal ended, unless its report was given already."""
        if not self._ended:
            self.failed(ReconcilerError("stopped by a signal", code="interrupted", hint=GO_ON))

    def _write(self, kind: str, **fields: Any) -> None:
        self._ended = self._ended or kind == "report"
        sys.stdout.write(harmless_json(json.dumps({"type": kind, **fields}, ensure_ascii=False)) + "\n")
        sys.stdout.flush()


def dump(value: Row | StepOutcome | Report | Plan) -> Any:
    return value.model_dump(mode="json", by_alias=True)


class Lines:
    """Lines on stderr every few seconds; the report on stdout."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, str], tuple[float, int]] = {}
        self._said: dict[tuple[str, str], float] = {}

    def step_started(self, row: Row) -> None:
        key = (row.target, row.name)
        self._said[key] = time.monotonic()
        self._begun.pop(key, None)
        self._say(one_line(f"{change_words(row)} on {row.target}"))

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None:
        key, now = (row.target, row.name), time.monotonic()
        self._begun.setdefault(key, (now, done))
        if now - self._said.get(key, 0.0) < SECONDS_BETWEEN_LINES:
            return
        self._said[key] = now
        words = progress_words(done, total, now - self._begun[key][0], self._begun[key][1])
        self._say(one_line(f"{row.name}: {words} {note}"))

    def step_finished(self, outcome: StepOutcome) -> None:
        self._say(outcome_line(outcome))

    def note(self, level: Literal["info", "warning"], message: str) -> None:
        text = one_line(message)
        self._say(text if level == "info" else f"warning: {text}")

    def finished(self, report: Report) -> None:
        sys.stdout.write(report_text(report) + "\n")
        sys.stdout.flush()

    def stopped(self) -> None:
        self._say(f"stopped; {GO_ON}")

    def failed(self, error: ReconcilerError) -> None:
        self._say(f"error: {one_line(error.message)}")

    def _say(self, line: str) -> None:
        sys.stderr.write(line.rstrip() + "\n")
        sys.stderr.flush()


class Bars(Lines):
    """A bar per download on a terminal: bytes, rate, time left."""

    def __init__(self) -> None:
        super().__init__()
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(file=drawing(sys.stderr)),
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[tuple[str, str], Any] = {}

    def step_started(self, row: Row) -> None:
        if row.action not in (Action.INSTALL, Action.UPDATE) or row.alias is not None:
            super().step_started(row)
            return
        key = (row.target, row.name)
        self._progress.start()  # not before: until then a person may be asked, and read what they are asked about
        self._tasks[key] = self._progress.add_task(
            one_line(row.name.rpartition("/")[2]), total=row.bytes_down or None, note=""
        )

    def step_progress(self, row: Row, done: Bytes, total: Bytes, note: str = "") -> None:
        task = self._tasks.get((row.target, row.name))
        if task is not None:
            self._progress.update(task, completed=done, total=total or None, note=one_line(note))

    def finished(self, report: Report) -> None:
        self._progress.stop()
        super().finished(report)

    def close(self) -> None:
        self._progress.stop()

    def _say(self, line: str) -> None:
        self._progress.console.print(harmless(line.rstrip()), markup=False, highlight=False)


def progress_words(done: int, total: int, seconds: float, begun_at: int) -> str:
    """``1.2 GB of 5.0 GB, 98.0 MB/s, 39s left``; the rate counts what this run fetched."""
    words = f"{show_bytes(done)} of {show_bytes(total)}"
    rate = (done - begun_at) / seconds if seconds > 0 else 0.0
    if rate <= 0:
        return words
    return f"{words}, {show_bytes(int(rate))}/s, {show_duration(max(1.0, (total - done) / rate))} left"


def progress_for() -> Lines | Bars:
    """For a person: bars on a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


@contextmanager
def reporter_for(*, as_json: bool) -> Iterator[Events | Lines | Bars]:
    """The reporter that fits where the output goes."""
    reporter = Events() if as_json else progress_for()
    try:
        yield reporter
    finally:
        if isinstance(reporter, Bars):
            reporter.close()
