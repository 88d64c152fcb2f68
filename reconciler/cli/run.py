"""One run of the command line: arguments in, an exit code out, every error as text or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from reconciler.cli.outcome import EXIT_USAGE, exit_code_of, show_error
from reconciler.errors import ReconcilerError, UsageError


def run(arguments: Sequence[str]) -> int:
    """Run ``localmodels`` with these arguments. Never raises for anything a person can cause."""
    as_json = "--json" in arguments or os.environ.get("LOCALMODELS_JSON", "") not in ("", "0", "false")
    from reconciler.cli.app import command

    try:
        result = command().main(args=list(arguments), prog_name="localmodels", standalone_mode=False)
    except click.exceptions.Abort:
        sys.stderr.write("stopped\n")
        return 130
    except click.UsageError as error:
        hint = f"{error.ctx.command_path} --help" if error.ctx else "localmodels --help"
        show_error(UsageError(error.format_message(), hint=hint), as_json=as_json)
        return EXIT_USAGE
    except click.ClickException as error:
        show_error(UsageError(error.format_message()), as_json=as_json)
        return EXIT_USAGE
    except ReconcilerError as error:
        show_error(error, as_json=as_json)
        return exit_code_of(error)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - nobody reads any more; stay silent at exit
        return 141
    return result if isinstance(result, int) else 0
