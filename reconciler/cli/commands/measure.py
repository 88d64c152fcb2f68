"""``measure``: let the installed models answer, and keep how fast they were."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Lines, Silent
from reconciler.cli.running import Stopped, run_stoppable
from reconciler.cli.streams import one_line
from reconciler.cli.views.measure import measure_text
from reconciler.cli.wiring import Wiring
from reconciler.engine.measure import MeasureReport, measure
from reconciler.engine.verdict import DONE, FAILED, PARTLY
from reconciler.errors import OutsideError, ReconcilerError, UsageError
from reconciler.planning.measuring import MeasureQuestion


@dataclass(frozen=True, slots=True)
class MeasureArguments:
    """What the command line was given."""

    file: Path | None
    as_json: bool
    target: str | None
    models: tuple[str, ...]
    runs: int
    context: int | Literal["max"] | None
    max_seconds: float
    total_seconds: float
    server: Path | None
    lock_timeout_seconds: float
    dry_run: bool


def run_measure(arguments: MeasureArguments) -> int:
    """Measure, and print what came of each model. A signal stops the model that runs, and keeps what was measured."""
    wiring = Wiring(file=arguments.file)
    question = MeasureQuestion(
        target=arguments.target,
        models=arguments.models,
        runs=arguments.runs,
        context=arguments.context,
        max_seconds=arguments.max_seconds,
        total_seconds=arguments.total_seconds,
        lock_timeout_seconds=arguments.lock_timeout_seconds,
        dry_run=arguments.dry_run,
    )
    _check_server(wiring, arguments.server)
    world = wiring.world(Silent() if arguments.as_json else Lines())
    try:
        report = run_stoppable(measure(world, lambda target: wiring.meter(target, arguments.server), question))
    except Stopped as stopped:
        _tell_stopped(as_json=arguments.as_json)
        return stopped.exit_code
    failed = failure_of(report)
    if arguments.as_json:
        print_json(report.model_dump(mode="json", by_alias=True), error=failed, warnings=report.notes)
    else:
        sys.stderr.write("".join(one_line(f"note: {note}") + "\n" for note in report.notes))
        sys.stdout.write(measure_text(report) + "\n")
    if failed is None:
        return DONE
    return PARTLY if report.of("measured") else FAILED


def _check_server(wiring: Wiring, server: Path | None) -> None:
    """A program that was named, and is none, is wrong before anything is looked at."""
    from reconciler.integrations.runtimes.llama_server_program import HOW_TO, named_program

    if server is not None and named_program(server, wiring.environment.get("PATH")) is None:
        raise UsageError(f"--llama-server {server} is not a program", hint=HOW_TO)


def failure_of(report: MeasureReport) -> OutsideError | None:
    """The error of a run in which something failed; what was measured stands beside it."""
    failed = report.of("failed")
    if not failed:
        return None
    return OutsideError(
        "; ".join(f"{row.name or row.target}: {row.reason}" for row in failed),
        code="not-measured",
        hint=next((row.hint for row in failed if row.hint), None),
        details={"failed": [{"target": row.target, "name": row.name, "code": row.code} for row in failed]},
    )


def _tell_stopped(*, as_json: bool) -> None:
    message = "stopped by a signal; what was measured before is kept, and nothing is left running"
    if as_json:
        print_json(None, error=ReconcilerError(message, code="interrupted"))
    else:
        sys.stderr.write(message + "\n")
