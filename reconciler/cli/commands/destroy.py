"""``destroy``: remove everything that one record owns, and nothing else."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path

from reconciler.cli.asking import agreed
from reconciler.cli.outcome import print_json
from reconciler.cli.reporting import Silent, reporter_for
from reconciler.cli.running import Stopped, run_stoppable
from reconciler.cli.views.plan import plan_text
from reconciler.cli.wiring import Wiring
from reconciler.domain.report import Report
from reconciler.engine.destroy import destroy
from reconciler.engine.verdict import DONE, FAILED, PARTLY, failures
from reconciler.engine.world import Options, Planned


def run_destroy(file: Path | None, *, yes: bool, dry: bool, lock_timeout_seconds: float, as_json: bool) -> int:
    """Show what would go, ask, and do it."""
    wiring = Wiring(file=file)
    declined: list[Planned] = []

    async def confirm(planned: Planned) -> bool:
        if not as_json:
            sys.stdout.write(plan_text(planned.plan, source=planned.desired.source) + "\n")
            sys.stdout.flush()
        said = await agreed("Remove all of this?", yes=yes, as_json=as_json)
        declined.extend([] if said else [planned])
        return said

    options = Options(lock_timeout_seconds=lock_timeout_seconds)
    try:
        with nullcontext(Silent()) if as_json else reporter_for(as_json=False) as reporter:
            report = run_stoppable(destroy(wiring.world(reporter), options, dry=dry, confirm=confirm))
    except Stopped as stopped:
        sys.stderr.write("stopped; what is left is still ours\n")
        return stopped.exit_code
    _show(report, dry=dry, declined=bool(declined), as_json=as_json)
    return DONE if dry or declined else _exit_code(report)


def _show(report: Report, *, dry: bool, declined: bool, as_json: bool) -> None:
    if as_json:
        print_json(report.model_dump(mode="json", by_alias=True), warnings=report.warnings)
    elif dry:
        sys.stdout.write(plan_text(report.plan) + "\n")
    elif declined:
        sys.stderr.write("nothing was changed\n")


def _exit_code(report: Report) -> int:
    """What stays because it is in use or cannot be reached is left to do: 1, or 3 where something went."""
    left = report.remaining or report.plan
    if failures(report) or left.deferred or left.blocked:
        return PARTLY if report.changed else FAILED
    return DONE
