"""The whole command line. What a command does stands in ``commands``, loaded when it is run."""

from __future__ import annotations

from copy import copy
from typing import Annotated, Any

import typer

from reconciler.cli.declared import change, look, lora, measure, work

WIDEST = 100
"""Columns of help text on a wide terminal."""

app = typer.Typer(
    name="localmodels",
    help="Keeps the local language models of a machine equal to what one committed YAML file asks for.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": WIDEST},
)


def command(first: str = "") -> Any:
    """The command line, ready for arguments.

    Args:
        first: the first argument. Where it names a command or a group, that one alone is made ready: reading the
            options of all of them takes 25 ms. Everything else (help, what is misspelt) gets the whole.
    """
    named = [one for one in app.registered_commands if one.callback and one.callback.__name__ == first]
    groups = [one for one in app.registered_groups if one.name == first]
    if not named and not groups:
        return typer.main.get_command(app)
    alone = copy(app)
    alone.registered_commands, alone.registered_groups = named, groups
    return typer.main.get_command(alone)


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


work.add_to(app)
look.add_to(app)
measure.add_to(app)
change.add_to(app)
lora.add_to(app)
