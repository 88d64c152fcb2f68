"""The program's entry: ``--version`` answers before anything heavy is loaded."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (``docs/exit-codes.md``)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        from reconciler import __version__

        try:
            print(f"localmodels {__version__}", flush=True)  # noqa: T201 - this is what was asked for
        except OSError:
            pass  # the whole command line, asked the same, says why
        else:
            return 0
    _start_lightly()
    from reconciler.cli.run import run

    return run(given)


def _start_lightly() -> None:
    """Save what loading would spend on nothing: a fifth of a short run.

    What is loaded stays, so looking through it for garbage again and again finds none (100 ms of a plan); and plugins
    of other packages have no say in our documents, so they are not looked for (15 ms).
    """
    gc.set_threshold(300_000, 20, 100)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")


if __name__ == "__main__":
    sys.exit(main())
