"""What is written down of what we did."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from reconciler.domain.record import Record


class RecordStore(Protocol):
    """Keeps one document's record: atomic to save, impossible to half-read."""

    async def load(self) -> Record:
        """The record, or an empty one where none exists.

        Raises:
            RecordUnreadable: it was set aside under another name, which the error carries.
        """
        ...

    async def save(self, record: Record) -> None:
        """Durable when it returns: temporary file, fsync, rename, fsync of the folder."""
        ...

    async def journal(self, line: dict[str, object]) -> None:
        """Append one line, durable when it returns."""
        ...

    async def history(self) -> tuple[dict[str, object], ...]:
        """Every whole line of the journal that is kept, oldest first; empty where there is none. Changes nothing.

        Whatever was dropped from its beginning is not needed: what is left begins with a whole record.

        Raises:
            RecordError: it cannot be read.
        """
        ...

    async def others(self) -> tuple[Record, ...]:
        """Records of other documents that are kept in the same place, as far as they can be read. Changes nothing."""
        ...

    def lock(self, *, timeout_seconds: float) -> AbstractAsyncContextManager[None]:
        """One writer per record, across processes. ``RecordLocked`` carries owner, host and age."""
        ...
