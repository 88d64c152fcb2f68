"""Writes what the documentation says by the code's own word: ``docs/commands.md`` from ``--help``.

``python scripts/build_docs.py`` rewrites it; a test compares.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent.parent / "docs"
COLUMNS = "100"
HEAD = """\
# Commands

What `localmodels COMMAND --help` prints, for every command. Every flag is a variable too; data goes to standard output,
everything else to standard error; `--json` prints one envelope on success and on failure
(`{schemaVersion, ok, data, error, warnings}`), and `apply` and `watch` one object a line, first `version`, last
`report`. Exit codes: [exit-codes.md](exit-codes.md). Error codes: [errors.md](errors.md).

Directories: `LOCALMODELS_STATE_DIR` holds record and journal, `LOCALMODELS_CACHE_DIR` what is safe to delete,
`LOCALMODELS_DATA_DIR` the implied store and the observations you added; else the platform's own (XDG on Linux).
`LOCALMODELS_DEBUG=1` prints the traceback of a defect. `NO_COLOR` turns colour off.
"""


def commands_text() -> str:
    """The whole page."""
    from reconciler.cli.app import command

    os.environ["COLUMNS"] = COLUMNS
    sections = [HEAD, *(_section(path, one) for path, one in _every(command(), ()))]
    return "\n".join(sections)


def _every(group: Any, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    found = [(path, group)]
    for name, one in getattr(group, "commands", {}).items():
        found += _every(one, (*path, name))
    return found


def _section(path: tuple[str, ...], one: Any) -> str:
    words = " ".join(("localmodels", *path))
    context = one.context_class(one, info_name=words, max_content_width=int(COLUMNS), terminal_width=100)
    context.help_option_names = ["-h", "--help"]
    text = "\n".join(line.rstrip() for line in one.get_help(context).splitlines())
    return f"## {words}\n\n```text\n{text}\n```\n"


if __name__ == "__main__":
    (DOCS / "commands.md").write_text(commands_text(), encoding="utf-8")
