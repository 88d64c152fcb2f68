"""The journal: one line of JSON per step begun and ended, appended and never rewritten.

Each line carries what a rebuild of the record would need: the whole intent before a step, the whole entry after it.
What does not belong here: what a line means (that is the engine's).
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

JOURNAL_VERSION = 1
ROTATE_BYTES = 8 * 2**20
"""One older journal is kept beside the current one: at some 600 bytes a line, about 14,000 lines each."""


class Journal:
    """Lines appended to one file, each durable when ``append`` returns.

    A crash can leave half a line at the end; the next append starts on a line of its own, and reading skips the half.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def append(self, line: Mapping[str, object]) -> None:
        """Append one line.

        Raises:
            OSError: the folder is not there, not writable or full.
        """
        self._rotate()
        text = json.dumps({"v": JOURNAL_VERSION, **line}, ensure_ascii=False, separators=(",", ":"), default=str)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            lead = b"\n" if _ends_in_half_a_line(descriptor) else b""
            os.write(descriptor, lead + text.encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first; the older journal before the current one."""
        for path in (self._older, self._path):
            if path.exists():
                yield from _whole_lines(path)

    @property
    def _older(self) -> Path:
        return self._path.with_name(self._path.name + ".1")

    def _rotate(self) -> None:
        try:
            if self._path.stat().st_size >= ROTATE_BYTES:
                self._path.replace(self._older)
        except FileNotFoundError:
            return


def _ends_in_half_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def _whole_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for text in file:
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict):
                yield line
