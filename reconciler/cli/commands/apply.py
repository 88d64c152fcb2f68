"""``apply``: do what ``plan`` shows, or run a saved plan exactly."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.cli.asking import agreed
from reconciler.cli.freshness import freshness_of
from reconciler.cli.outcome import exit_code_of, unexpected
from reconciler.cli.reporting import reporter_for
from reconciler.cli.running import Stopped, run_stoppable
from reconciler.cli.views.plan import plan_text
from reconciler.cli.wiring import Wiring
from reconciler.domain.plan import Overrides
from reconciler.domain.report import Report
from reconciler.engine.reconcile import reconcile
from reconciler.engine.world import Options, Planned
from reconciler.errors import ReconcilerError, UsageError
from reconciler.ports import Reporter


@dataclass(frozen=True, slots=True)
class ApplyArguments:
    """What the command line was given."""

    file: Path | None
    saved: Path | None
    as_json: bool
    yes: bool
    offline: bool
    refresh: bool
    accept: tuple[str, ...]
    allow_evictions: int | None
    take_over: bool
    lock_timeout_seconds: float


def run_apply(arguments: ApplyArguments) -> int:
    """Apply, and say what happened to every row."""
    from reconciler.engine.verdict import exit_code_of_report

    if arguments.saved is not None and (arguments.accept or arguments.allow_evictions is not None):
        raise UsageError(
            "a saved plan carries its own --accept and --allow-evictions",
            hint="give them to plan --out, or apply without FILE",
        )
    with reporter_for(as_json=arguments.as_json) as reporter:
        try:
            report = run_stoppable(_report(arguments, Wiring(file=arguments.file), reporter))
        except Stopped as stopped:
            reporter.stopped()
            return stopped.exit_code
        except ReconcilerError as error:
            if arguments.as_json:
                reporter.failed(error)
                return exit_code_of(error)
            raise
        except Exception as error:
            if not arguments.as_json:
                raise
            defect = unexpected(error)
            reporter.failed(defect)
            return exit_code_of(defect)
    if report is None:
        sys.stderr.write("nothing was changed\n")
        return 0
    return exit_code_of_report(report)


async def _report(arguments: ApplyArguments, wiring: Wiring, reporter: Reporter) -> Report | None:
    options = Options(
        freshness=freshness_of(offline=arguments.offline, refresh=arguments.refresh),
        ask=not arguments.offline,
        overrides=Overrides(accept=arguments.accept, allow_evictions=arguments.allow_evictions),
        take_over=arguments.take_over,
        lock_timeout_seconds=arguments.lock_timeout_seconds,
    )
    if arguments.saved is not None:
        from reconciler.engine.saved_plan import apply_saved, parse

        document = parse(_content(arguments.saved))
        wiring = _beside_its_file(wiring, document.desired.source)
        overridden = Options(
            freshness=options.freshness,
            ask=options.ask,
            overrides=document.plan.overrides,
            take_over=options.take_over,
            lock_timeout_seconds=options.lock_timeout_seconds,
        )
        return await apply_saved(wiring.world(reporter), document, overridden)
    declined = []

    async def confirm(planned: Planned) -> bool:
        agreed = await _agreed(planned, arguments)
        declined.extend([] if agreed else [planned])
        return agreed

    report = await reconcile(wiring.world(reporter), options, confirm=confirm)
    return None if declined else report


def _beside_its_file(wiring: Wiring, source: str) -> Wiring:
    """A saved plan is of one file: that one is read wherever the command is run, unless another is named."""
    named = wiring.file is not None or bool(wiring.environment.get("LOCALMODELS_FILE"))
    return wiring if named or not Path(source).is_file() else replace(wiring, file=Path(source))


async def _agreed(planned: Planned, arguments: ApplyArguments) -> bool:
    """Show the plan; go on at once with ``--yes``, else ask on a terminal, else refuse to guess."""
    if not arguments.as_json:
        sys.stdout.write(plan_text(planned.plan, source=planned.desired.source) + "\n")
        sys.stdout.flush()
    if arguments.yes or planned.plan.refused or not planned.plan.applicable:
        return True
    return await agreed("Do this?", yes=False, as_json=arguments.as_json)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"the plan cannot be read: {path}: {error.strerror}", code="file-unreadable") from error
