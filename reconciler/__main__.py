"""The program's entry: ``--version`` answers before anything heavy is loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code (``docs/exit-codes.md``)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given in (["--version"], ["-V"]):
        from reconciler import __version__

        print(f"localmodels {__version__}")  # noqa: T201 - this is what was asked for
        return 0
    from reconciler.cli.run import run

    return run(given)


if __name__ == "__main__":
    sys.exit(main())
