"""Corpora to train on, and the data sets that are made of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from reconciler.domain.units import Bytes

if TYPE_CHECKING:
    from reconciler.lora.corpus import CorpusLine


class CorpusFile(Protocol):
    """One corpus, read from the first line to the last."""

    @property
    def path(self) -> str:
        """The file itself, also where its folder was named."""
        ...

    def lines(self) -> Iterator[CorpusLine]:
        """Every line once, in order, one in memory at a time.

        Raises:
            OutsideError: it cannot be read on, or changed meanwhile (``content-changed``).
        """
        ...

    @property
    def sha256(self) -> str:
        """Hexadecimal, of the whole file; known once every line was read."""
        ...


class CorpusFiles(Protocol):
    """Corpora to train on, and what is made of them."""

    def corpus(self, named: str) -> CorpusFile:
        """The corpus of a file, or of a folder that holds one under a conventional name.

        Raises:
            UsageError: ``file-unreadable``: there is none, or it is no file.
        """
        ...

    def text(self, named: str, *, limit: Bytes) -> bytes:
        """A small file, whole.

        Raises:
            UsageError: ``file-unreadable``: it is none, or larger than ``limit``.
        """
        ...

    def drafts(
        self, out: str | None, manifest: str | None, *, apart_from: Sequence[CorpusFile]
    ) -> AbstractContextManager[ExportDrafts]:
        """Begin both files; what was not kept when the context ends is gone.

        Args:
            out: where the data set goes; None: nowhere. A link is followed: it stays, what it means is replaced.
            manifest: where the manifest goes, likewise.
            apart_from: files that must not be written over, by whatever name.

        Raises:
            UsageError: ``file-unwritable``: no place for a file, or a file that is read here.
        """
        ...


class ExportDrafts(Protocol):
    """A data set and its manifest while they are written: beside their places, under other names."""

    def add(self, line: str) -> None:
        """One more line of the data set.

        Raises:
            OutOfSpace, OutsideError: it cannot be written.
        """
        ...

    def dataset_sha256(self) -> str | None:
        """Hexadecimal, of the data set as it lies on the disk; None where none is written."""
        ...

    def put_manifest(self, text: str) -> str:
        """Write the manifest; what can be read of it afterwards."""
        ...

    def keep(self) -> None:
        """Put both in their places: both, or neither and what was there stays.

        Raises:
            OutsideError: it did not work.
        """
        ...
