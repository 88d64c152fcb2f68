"""Every command with its options. What a command does stands in ``commands``, loaded when it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import click
import typer

from reconciler.cli import options

app = typer.Typer(
    name="localmodels",
    help="Keeps the local language models of a machine equal to what one committed YAML file asks for.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def command() -> click.Command:
    """The whole command line."""
    return typer.main.get_command(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        from reconciler import __version__

        typer.echo(f"localmodels {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Keeps the local language models of a machine equal to what one committed YAML file asks for."""


@app.command()
def validate(file: options.File = None, json: options.Json = False) -> int:
    """Check the file, offline: every problem with its line, and nothing else happens."""
    from reconciler.cli.commands.validate import validate_file

    return validate_file(file, as_json=json)


@app.command()
def plan(
    file: options.File = None,
    json: options.Json = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the plan for a pull request.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Save the plan with what it was made from.")] = None,
    observation: Annotated[
        Path | None, typer.Option("--observation", help="Plan for the machine of a saved observation, offline.")
    ] = None,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit 2 when something would change.")
    ] = False,
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


@app.command()
def apply(
    saved: Annotated[Path | None, typer.Argument(help="A plan saved with plan --out: run exactly, or refused.")] = None,
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
    """Do what plan shows. Asks on a terminal; a saved plan is not asked about."""
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


@app.command()
def status(file: options.File = None, json: options.Json = False) -> int:
    """Show targets, what is installed, what is ours, what drifted, and the budget. Asks nobody outside."""
    from reconciler.cli.commands.status import show_status

    return show_status(file, as_json=json)
