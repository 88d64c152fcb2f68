"""The journal: one line of JSON per step begun and ended, appended and never rewritten.

Each line carries what a rebuild of the record would need: the whole intent before a step, the whole entry after it.
What does not belong here: what a line means (that is the engine's).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

JOURNAL_VERSION = 1
ROTATE_BYTES = 8 * 2**20
"""One older journal is kept beside the current one: at some 600 bytes a line, about 14,000 lines each."""


class Journal:
    """Lines appended to one file, each durable when ``append`` returns.

    A crash can leave half a line at the end; the next append starts on a line of its own, and reading skips the half.
    """

    def __init__(
        self,
        path: Path,
        *,
        opening: Callable[[], Mapping[str, object] | None] = lambda: None,
        rotate_bytes: int = ROTATE_BYTES,
    ) -> None:
        """Name the file; nothing is created before a line is written.

        Args:
            path: of the current journal.
            opening: the line that every new file begins with, so that what only older files say is never needed; None
                where there is nothing to say.
            rotate_bytes: a file of this size is set beside, and a new one begun.
        """
        self._path = path
        self._opening = opening
        self._rotate_bytes = rotate_bytes

    def append(self, line: Mapping[str, object]) -> None:
        """Append one line.

        Raises:
            OSError: the folder is not there, not writable or full.
        """
        self._rotate()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            lead = b"\n" if _ends_in_half_a_line(descriptor) else self._first_line(descriptor)
            _write_whole(descriptor, lead + _as_text(line))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Every whole line, oldest first; the older journal before the current one."""
        for path in (self._older, self._path):
            if path.exists():
                yield from _whole_lines(path)

    def _first_line(self, descriptor: int) -> bytes:
        opening = self._opening() if os.fstat(descriptor).st_size == 0 else None
        return _as_text(opening) if opening is not None else b""

    @property
    def _older(self) -> Path:
        return self._path.with_name(self._path.name + ".1")

    def _rotate(self) -> None:
        try:
            if self._path.stat().st_size >= self._rotate_bytes:
                self._path.replace(self._older)
        except FileNotFoundError:
            return


def _as_text(line: Mapping[str, object]) -> bytes:
    text = json.dumps({"v": JOURNAL_VERSION, **line}, ensure_ascii=False, separators=(",", ":"), default=str)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _write_whole(descriptor: int, content: bytes) -> None:
    """All of it, also where the system takes less at once."""
    while content:
        content = content[os.write(descriptor, content) :]


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
