"""``measure``: the command that lets models run, to see how fast they are here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from reconciler.cli import options

Models = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        envvar="LOCALMODELS_MODEL",
        metavar="GLOB",
        help="Only what is installed under such a name, or of such a model or repository. May be given again.",
    ),
]
Runs = Annotated[
    int,
    typer.Option("--runs", envvar="LOCALMODELS_RUNS", metavar="N", min=1, max=20, help="How often each one answers."),
]
MaxTime = Annotated[
    float,
    typer.Option(
        "--max-time",
        envvar="LOCALMODELS_MAX_TIME",
        metavar="SECONDS",
        parser=options.seconds_from(1.0),
        help="For one model, loading included.",
    ),
]
TotalTime = Annotated[
    float,
    typer.Option(
        "--total-time",
        envvar="LOCALMODELS_TOTAL_TIME",
        metavar="SECONDS",
        parser=options.seconds_from(1.0),
        help="For all of them together.",
    ),
]
_LEAST_CONTEXT = 512
"""The prompt and its answer must have room."""


def _context(word: str) -> int | Literal["max"]:
    found = options.context_from(word)
    if found != "max" and found < _LEAST_CONTEXT:
        raise typer.BadParameter(f"{found} tokens are too few to measure with: at least {_LEAST_CONTEXT}")
    return found


LoadedContext = Annotated[
    Any,  # a number or max: not a type that typer knows
    typer.Option(
        "--context",
        envvar="LOCALMODELS_CONTEXT",
        metavar="TOKENS",
        parser=_context,
        help="Context to load with, or max: as much as fits; else what its slot asks, else 4096.",
    ),
]
Server = Annotated[
    Path | None,
    typer.Option(
        "--llama-server",
        envvar="LOCALMODELS_LLAMA_SERVER",
        metavar="PROGRAM",
        help="Loads the files of a store; else the llama-server on the path.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", envvar="LOCALMODELS_DRY_RUN", help="Only show what would be measured, and what not."),
]


def add_to(app: typer.Typer) -> None:
    """The one command of this file."""
    app.command()(measure)


def measure(
    file: options.File = None,
    json: options.Json = False,
    target: options.TargetName = None,
    model: Models = None,
    runs: Runs = 3,
    context: LoadedContext = None,
    max_time: MaxTime = 60.0,
    total_time: TotalTime = 600.0,
    llama_server: Server = None,
    lock_timeout: options.LockTimeout = 0.0,
    dry_run: DryRun = False,
) -> int:
    """Measure how fast the installed models are here.

    From then on what was measured goes before what is estimated on this machine, and corrects the estimates of models
    like it. Nothing is installed or removed; what is in use is left alone. Exits 3 when some could not be measured, 1
    when none could.
    """
    from reconciler.cli.commands.measure import MeasureArguments, run_measure

    return run_measure(
        MeasureArguments(
            file=file,
            as_json=json,
            target=target,
            models=tuple(model or ()),
            runs=runs,
            context=context,
            max_seconds=max_time,
            total_seconds=total_time,
            server=llama_server,
            lock_timeout_seconds=lock_timeout,
            dry_run=dry_run,
        )
    )
