"""The commands of the daily work: from a first file to a machine that is kept as it says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli import options

Markdown = Annotated[
    bool, typer.Option("--markdown", envvar="LOCALMODELS_MARKDOWN", help="Print the plan for a pull request.")
]
PlanOut = Annotated[
    Path | None,
    typer.Option(
        "--out", envvar="LOCALMODELS_PLAN_OUT", help="Save the plan with what it was made from, for apply FILE."
    ),
]
SavedObservation = Annotated[
    Path | None,
    typer.Option(
        "--observation", envvar="LOCALMODELS_OBSERVATION", help="Plan for the machine of a saved observation, offline."
    ),
]
Detailed = Annotated[
    bool,
    typer.Option(
        "--detailed-exitcode",
        envvar="LOCALMODELS_DETAILED_EXITCODE",
        help="Exit 2 when something would change, 4 when it would be refused or nothing can fill a slot.",
    ),
]
ManyFiles = Annotated[
    list[Path] | None,
    typer.Argument(metavar="FILE", help="Files to check, all in one run; with -f, that one too."),
]
SavedPlan = Annotated[
    Path | None,
    typer.Argument(metavar="[PLAN]", help="A plan saved with plan --out: run exactly as it is, or refused."),
]


def add_to(app: typer.Typer) -> None:
    """Every command of this file, in the order help shows them."""
    for one in (init, validate, plan, apply, watch, status, observe):
        app.command()(one)


def init(
    out: Annotated[
        Path | None, typer.Option("--out", envvar="LOCALMODELS_INIT_OUT", help="Where to; else localmodels.yaml here.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", envvar="LOCALMODELS_FORCE", help="Replace a file that is there.")
    ] = False,
    hardware: options.Machine = None,
    json: options.Json = False,
) -> int:
    """Write a commented file, fitted to this machine."""
    from reconciler.cli.commands.init import write_starter

    return write_starter(out, force=force, machine=hardware, as_json=json)


def validate(
    context: typer.Context, files: ManyFiles = None, file: options.File = None, json: options.Json = False
) -> int:
    """Check the file, offline: every problem with its line.

    Nothing else happens. Exits 1 when one of several files is not valid.
    """
    from reconciler.cli.commands.validate import validate_file, validate_files

    if files:
        source = context.get_parameter_source("file")
        is_written = source is not None and source.name == "COMMANDLINE"
        return validate_files([file, *files] if file and is_written else files, as_json=json)
    return validate_file(file, as_json=json)


def plan(
    file: options.File = None,
    json: options.Json = False,
    markdown: Markdown = False,
    out: PlanOut = None,
    observation: SavedObservation = None,
    detailed_exitcode: Detailed = False,
    offline: options.Offline = False,
    refresh: options.Refresh = False,
    hardware: options.Machine = None,
    accept: options.Accept = None,
    allow_evictions: options.AllowEvictions = None,
    take_over: options.TakeOver = False,
) -> int:
    """Show what would change, and why. Changes nothing."""
    from reconciler.cli.commands.plan import PlanArguments, show_plan

    return show_plan(
        PlanArguments(
            file=file,
            as_json=json,
            as_markdown=markdown,
            out=out,
            observation=observation,
            detailed=detailed_exitcode,
            offline=offline,
            refresh=refresh,
            machine=hardware,
            accept=tuple(accept or ()),
            allow_evictions=allow_evictions,
            take_over=take_over,
        )
    )


def apply(
    saved: SavedPlan = None,
    file: options.File = None,
    json: options.Json = False,
    yes: options.Yes = False,
    offline: options.Offline = False,
    refresh: options.Refresh = False,
    accept: options.Accept = None,
    allow_evictions: options.AllowEvictions = None,
    take_over: options.TakeOver = False,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Do what plan shows.

    Asks on a terminal, needs --yes elsewhere; a saved plan is run exactly as it is, or refused, without asking.
    """
    from reconciler.cli.commands.apply import ApplyArguments, run_apply

    return run_apply(
        ApplyArguments(
            file=file,
            saved=saved,
            as_json=json,
            yes=yes,
            offline=offline,
            refresh=refresh,
            accept=tuple(accept or ()),
            allow_evictions=allow_evictions,
            take_over=take_over,
            lock_timeout_seconds=lock_timeout,
        )
    )


def watch(
    file: options.File = None,
    json: options.Json = False,
    apply: Annotated[
        bool, typer.Option("--apply", envvar="LOCALMODELS_APPLY", help="Keep the machine as the file says.")
    ] = False,
    offline: options.Offline = False,
    take_over: options.TakeOver = False,
    lock_timeout: options.LockTimeout = 0.0,
) -> int:
    """Plan at every change of the file; with --apply, do it.

    Looks again at every interval of the file too, ranks again when refresh.interval says so, and ends on Ctrl-C or
    SIGTERM. A file that is not valid leaves the last valid one in force.
    """
    from reconciler.cli.commands.watch import WatchArguments, run_watch

    return run_watch(
        WatchArguments(
            file=file,
            as_json=json,
            apply=apply,
            offline=offline,
            take_over=take_over,
            lock_timeout_seconds=lock_timeout,
        )
    )


def status(file: options.File = None, json: options.Json = False) -> int:
    """Show targets, models, whose they are, and the budget.

    Asks nobody but the targets; exits 1 when one of them does not answer.
    """
    from reconciler.cli.commands.status import show_status

    return show_status(file, as_json=json)


def observe(
    out: Annotated[
        Path, typer.Option("--out", envvar="LOCALMODELS_OBSERVE_OUT", help="The file to write; - for standard output.")
    ],
    file: options.File = None,
    json: options.Json = False,
    offline: options.Offline = False,
    refresh: options.Refresh = False,
) -> int:
    """Save what is seen here, for plan --observation.

    The file holds the machine, the targets, the catalogue, the record, and the answers about the picks of the
    moment: with it, a pull request can be planned for this machine anywhere, offline.
    """
    from reconciler.cli.commands.observe import save_observation

    return save_observation(file, out, offline=offline, refresh=refresh, as_json=json)
