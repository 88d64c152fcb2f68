"""Plain aligned text, and colour where a terminal wants it. No library: ``plan`` must start fast."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import TextIO

_COLOURS = {"green": "32", "red": "31", "yellow": "33", "blue": "34", "dim": "2", "bold": "1"}


def wants_colour(stream: TextIO) -> bool:
    """A terminal that is not dumb, and ``NO_COLOR`` not set to anything."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_width() -> int:
    """Characters a line may have; 0 where nobody looks at a terminal, so that a pipe gets everything."""
    return shutil.get_terminal_size((0, 0)).columns


def paint(text: str, colour: str, *, stream: TextIO | None = None) -> str:
    """The text in a colour, where the stream (stdout) takes one."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if wants_colour(stream or sys.stdout) else text


def columns(rows: Sequence[Sequence[str]], *, indent: str = "  ", right: frozenset[int] = frozenset()) -> list[str]:
    """Rows as lines with aligned columns, two blanks apart, nothing after the last word.

    Args:
        rows: cells; rows may be shorter than the longest.
        indent: before every line.
        right: columns set flush right (numbers).
    """
    count = max((len(row) for row in rows), default=0)
    widths = [max((len(row[index]) for row in rows if index < len(row)), default=0) for index in range(count)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(widths[index]) if index in right else cell.ljust(widths[index]) for index, cell in enumerate(row)
        ]
        lines.append((indent + "  ".join(cells)).rstrip())
    return lines
