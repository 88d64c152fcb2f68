"""One run of the command line: arguments in, an exit code out, every error as text or as JSON."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

from reconciler.cli.outcome import exit_code_of, print_failure_line, show_error
from reconciler.errors import ReconcilerError, UsageError

STREAMING = ("apply", "watch")
"""Commands whose ``--json`` is one object a line, also when they fail before they begin."""
EXIT_PIPE_CLOSED = 141
EXIT_INTERRUPTED = 130


def run(arguments: Sequence[str]) -> int:
    """Run ``localmodels`` with these arguments. Never raises for anything a person can cause."""
    try:
        return _outcome(list(arguments))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - nobody reads any more; stay silent at exit
        return EXIT_PIPE_CLOSED
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return EXIT_INTERRUPTED


def _outcome(arguments: list[str]) -> int:
    try:
        result = _invoke(arguments or ["--help"])
    except ReconcilerError as error:
        _show(error, arguments)
        return exit_code_of(error)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:  # noqa: BLE001 - a defect of ours: a person gets a sentence, the traceback on request
        unexpected = _unexpected(error)
        _show(unexpected, arguments)
        return exit_code_of(unexpected)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _invoke(arguments: list[str]) -> Any:
    """What the command returned; the parser's own complaints become ours."""
    import typer

    from reconciler.cli.app import command

    # typer has carried a click of its own for some versions: this is the ClickException of whichever it uses
    wrong: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        return command().main(args=arguments, prog_name="localmodels", standalone_mode=False)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except wrong as error:
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "localmodels"
        message = str(getattr(error, "format_message", error.__str__)())
        raise UsageError(message, hint=f"see {path} --help") from None


def _show(error: ReconcilerError, arguments: Sequence[str]) -> None:
    as_json = wants_json(arguments)
    if as_json and next((word for word in arguments if not word.startswith("-")), None) in STREAMING:
        print_failure_line(error)
    else:
        show_error(error, as_json=as_json)


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether this run answers in JSON, known even where the arguments cannot be parsed."""
    given = list(arguments)
    before = given[: given.index("--")] if "--" in given else given
    return "--json" in before or is_set(os.environ.get("LOCALMODELS_JSON"))


def is_set(text: str | None) -> bool:
    """A variable that says yes, as the parser reads it."""
    return (text or "").strip().lower() in ("1", "true", "t", "yes", "y", "on")


def _unexpected(error: Exception) -> ReconcilerError:
    """A defect as an error that says how to report it."""
    if is_set(os.environ.get("LOCALMODELS_DEBUG")):
        traceback.print_exception(error, file=sys.stderr)
    last = traceback.extract_tb(error.__traceback__)[-1:] if error.__traceback__ else []
    place = f" in {last[0].name}, line {last[0].lineno}" if last else ""
    return ReconcilerError(
        f"something that should not happen did: {type(error).__name__}: {error}{place}",
        code="internal",
        hint="this is a defect: run again with LOCALMODELS_DEBUG=1 and report what it prints",
    )
