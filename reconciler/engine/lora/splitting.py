"""A corpus beside others that it must have nothing in common with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from reconciler.domain.finding import Finding
from reconciler.lora.corpus import BadRow, Example, read_row
from reconciler.lora.findings import warning
from reconciler.lora.splits import SplitLedger
from reconciler.ports import CorpusFile


def note_others(ledger: SplitLedger, others: Iterable[CorpusFile]) -> Iterator[Finding]:
    """Every example of the others in the ledger; what could not be read of them, as findings."""
    for other in others:
        unread = 0
        for line in other.lines():
            row = read_row(line)
            unread += isinstance(row, BadRow)
            if isinstance(row, Example):
                ledger.add_foreign(row, other.path.rpartition("/")[2])
        if unread:
            yield warning("other_unread", f"{unread} line(s) of {other.path} could not be read, so not compared")
