"""One run of the command line: arguments in, an exit code out, every error as text or as JSON."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from reconciler.cli.now import CLOCK
from reconciler.cli.outcome import EXIT_FAILED, exit_code_of, is_set, print_failure_line, show_error, unexpected
from reconciler.cli.streams import OutputLost, ReaderGone, safe_streams, silence_output
from reconciler.errors import ReconcilerError, UsageError

if TYPE_CHECKING:
    from reconciler.ports import Clock

STREAMING = ("apply", "watch")
"""Commands whose ``--json`` is one object a line, also when they fail before they begin."""
EXIT_PIPE_CLOSED = 141
EXIT_INTERRUPTED = 130


def run(arguments: Sequence[str], *, clock: Clock | None = None) -> int:
    """Run ``localmodels`` with these arguments. Never raises for anything a person can cause.

    Args:
        arguments: without the program's name.
        clock: what the run takes for the time; None: the system's.
    """
    held = CLOCK.set(clock)
    try:
        with safe_streams():
            return _answered(list(arguments))
    finally:
        CLOCK.reset(held)


def _answered(arguments: list[str]) -> int:
    try:
        return _outcome(arguments)
    except ReaderGone:
        silence_output()
        return EXIT_PIPE_CLOSED
    except OutputLost as error:
        silence_output()
        sys.stderr.write(f"error: the output cannot be written: {error}\n")
        return EXIT_FAILED
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        return EXIT_INTERRUPTED


def _outcome(arguments: list[str]) -> int:
    try:
        result = _invoke(arguments or ["--help"])
    except ReconcilerError as error:
        _show(error, arguments)
        sys.stdout.flush()
        return exit_code_of(error)
    except (KeyboardInterrupt, OutputLost, ReaderGone):
        raise
    except Exception as error:  # noqa: BLE001 - a defect of ours: a person gets a sentence, the traceback on request
        defect = unexpected(error)
        _show(defect, arguments)
        sys.stdout.flush()
        return exit_code_of(defect)
    sys.stdout.flush()
    return result if isinstance(result, int) else 0


def _invoke(arguments: list[str]) -> Any:
    """What the command returned; the parser's own complaints become ours."""
    import typer

    from reconciler.cli.app import command

    # typer has carried a click of its own for some versions: this is the ClickException of whichever it uses
    wrong: type[Exception] = typer.BadParameter.__mro__[2]
    try:
        return command(arguments[0]).main(args=arguments, prog_name="localmodels", standalone_mode=False)
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
