"""The three streams of a run, made safe: one that is closed leads nowhere, one that cannot be written is told apart."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any


class OutputLost(Exception):
    """Standard output takes nothing more. No OSError: those that do the work have answers of their own to these."""


class ReaderGone(Exception):
    """Nobody reads standard output any more. No OSError: the parser of options would answer to one itself."""


class GuardedStream:
    """A text stream whose failures to write are ours to tell; everything else is the stream's own."""

    def __init__(self, stream: Any, *, vital: bool) -> None:
        """Wrap a stream.

        Args:
            stream: what is written to.
            vital: the run has no point without it (standard output); else what cannot be said is left unsaid.
        """
        self._stream = stream
        self._vital = vital

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write it.

        Raises:
            OutputLost: it cannot be written, and it is vital.
            ReaderGone: nobody reads any more, and it is vital.
        """
        with self._told():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, as ``write`` does."""
        with self._told():
            self._stream.flush()

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
