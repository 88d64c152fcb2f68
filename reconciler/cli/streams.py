"""The three streams of a run, made safe: one that is closed leads nowhere, one that cannot be written is told apart."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from reconciler.cli.views.table import wants_colour

_OBEYED = re.compile(r"(?!\x1b\[[0-9;]*m|\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal obeys rather than shows, but new lines, tabs and colours; and what turns the order of letters."""


def harmless(text: str) -> str:
    r"""The text without what a terminal would obey: names that others chose are printed, and may hold anything.

    >>> harmless("a\x1b[2Jb \x1b[31mred\x1b[0m")
    'a�[2Jb \x1b[31mred\x1b[0m'
    """
    return _OBEYED.sub("�", text)


def colourless(text: str) -> str:
    r"""Harmless, without colours too: where no colour is ours.

    >>> colourless("\x1b[31mred\r\n")
    '�[31mred\r\n'
    """
    return harmless(text).replace("\x1b", "�")


def harmless_line(text: str) -> str:
    r"""One line of what somebody else wrote: harmless, and without anything that would look like a line of ours.

    >>> harmless_line("base\x1b[2J\nerror: none")
    'base�[2J�error: none'
    """
    return "".join(letter if letter.isprintable() else "�" for letter in text)


def one_line(text: str) -> str:
    r"""The same, with blanks for what may well be a sentence of several lines.

    >>> one_line("it says:\n\x1b[31mno")
    'it says: �[31mno'
    """
    return text if text.isprintable() else harmless_line(re.sub(r"\r\n|[\n\t]", " ", text))


def harmless_json(text: str) -> str:
    """A JSON document that says the same, with such letters escaped: outside its strings there are none."""
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class OutputLost(Exception):
    """Standard output takes nothing more. No OSError: those that do the work have answers of their own to these."""


class ReaderGone(Exception):
    """Nobody reads standard output any more. No OSError: the parser of options would answer to one itself."""


class GuardedStream:
    """A text stream whose failures to write are ours to tell; everything else is the stream's own."""

    def __init__(self, stream: Any, *, vital: bool, draws: bool = False) -> None:
        """Wrap a stream.

        Args:
            stream: what is written to.
            vital: the run has no point without it (standard output); else what cannot be said is left unsaid.
            draws: whoever writes may move the cursor, and answers for every name that it writes.
        """
        self._stream = stream
        self._vital = vital
        self._draws = draws

    def drawing(self) -> GuardedStream:
        """The same stream for one who draws on it."""
        return GuardedStream(self._stream, vital=self._vital, draws=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it.

        Raises:
            OutputLost: it cannot be written, and it is vital.
            ReaderGone: nobody reads any more, and it is vital.
        """
        with self._told():
            self._stream.write(text if self._draws else self._shown(text))
        return len(text)

    def flush(self) -> None:
        """Flush, as ``write`` does."""
        with self._told():
            self._stream.flush()

    def _shown(self, text: str) -> str:
        """No colour is ours where the stream takes none."""
        return harmless(text) if "\x1b" not in text or wants_colour(self._stream) else colourless(text)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError as error:
            if self._vital:
                raise ReaderGone from error
        except OSError as error:
            if self._vital:
                raise OutputLost(error.strerror or str(error)) from error


def drawing(stream: Any) -> Any:
    """The stream for one who draws on it (``GuardedStream.drawing``), whether it is a guarded one or not."""
    return stream.drawing() if isinstance(stream, GuardedStream) else stream


@contextmanager
def safe_streams() -> Iterator[None]:
    """Give ``sys`` streams that are all there, and take them back at the end.

    A process may be started with any of the three closed; Python then has None in its place.
    """
    held = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as opened:
        if sys.stdin is None:
            sys.stdin = opened.enter_context(open(os.devnull, encoding="utf-8"))  # noqa: PTH123 - no file of a folder
        sys.stdout, sys.stderr = (
            GuardedStream(stream or opened.enter_context(_nowhere()), vital=vital)
            for stream, vital in ((sys.stdout, True), (sys.stderr, False))
        )
        try:
            yield
        finally:
            sys.stdin, sys.stdout, sys.stderr = held


def silence_output() -> None:
    """Lead standard output nowhere, so that what is still buffered fails no second time when the process ends."""
    with suppress(OSError, AttributeError), _nowhere() as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _nowhere() -> Any:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - no file of a folder
