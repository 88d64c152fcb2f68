"""A record made again from the lines of its journal: pure, and never refused by what a crash or a disk did to them.

Each line follows the state of one generation (``Books``); what was journalled and never saved is thereby undone as soon
as a later line follows an older state. What does not belong here: whether the targets still hold it (``rebuild``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.document import Frozen
from reconciler.domain.record import Intent, Record, RecordAlias, RecordEntry

REMEMBERED_STATES = 64
"""How many states back a line may follow: as many as were journalled and could not be saved, which is one or two."""

Value = TypeVar("Value", bound=Frozen)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the journal leads to, and what of it could not be used."""

    record: Record
    lines: int
    """That led to it; 0: the journal tells nothing of this document."""
    notes: tuple[str, ...] = ()


def replay(name: str, lines: Iterable[Mapping[str, object]]) -> Replayed:
    """The record as its last whole line left it.

    Args:
        name: the document's; lines of another are left out.
        lines: oldest first, as they were read; anything may stand in them.
    """
    state = _State(Record(name=name))
    for line in lines:
        state.take(line)
    return Replayed(state.record, state.used, tuple(state.notes()))


@dataclass
class _State:
    record: Record
    used: int = 0
    foreign: int = 0
    garbled: int = 0
    gaps: int = 0
    _earlier: dict[int, Record] = field(default_factory=dict)

    def take(self, line: Mapping[str, object]) -> None:
        generation, after = line.get("generation"), line.get("after")
        if "generation" not in line and "event" in line:
            return  # a step that did not get there: its intent stays open
        if not isinstance(generation, int) or not isinstance(after, int) or generation < 0:
            self.garbled += 1
        elif line.get("document") != self.record.name:
            self.foreign += 1
        else:
            self._follow(line, after, generation)

    def _follow(self, line: Mapping[str, object], after: int, generation: int) -> None:
        base, gap = self._state_of(after)
        try:
            record = _changed(base, line)
        except (ValidationError, ValueError, TypeError, RecursionError):
            self.garbled += 1
            return
        source = line.get("source")
        record = record.model_copy(
            update={"generation": generation, "source": source if isinstance(source, str) else record.source}
        )
        self.gaps += gap and "whole" not in line
        self.used += 1
        self._earlier[self.record.generation] = self.record
        if len(self._earlier) > REMEMBERED_STATES:
            del self._earlier[next(iter(self._earlier))]
        self.record = record

    def _state_of(self, generation: int) -> tuple[Record, bool]:
        """The state a line follows; where nobody remembers it the latest, and that there is a gap."""
        if generation == self.record.generation:
            return self.record, False
        if generation == 0:
            return Record(name=self.record.name), False
        earlier = self._earlier.get(generation)
        return (earlier, False) if earlier is not None else (self.record, True)

    def notes(self) -> list[str]:
        said = []
        if self.foreign:
            said.append(f"lines of the journal left out because they are another document's: {self.foreign}")
        if self.garbled:
            said.append(f"lines of the journal left out because they make no sense: {self.garbled}")
        if self.gaps:
            said.append("lines of the journal are missing: what only they said is not known any more")
        return said


def _changed(record: Record, line: Mapping[str, object]) -> Record:
    """The record after what one line says.

    Raises:
        ValidationError, ValueError, TypeError: the line does not hold what it should.
    """
    if "whole" in line:
        whole = _read(Record, line["whole"])
        if whole.name != record.name:
            raise ValueError("the record of another document")
        return whole
    for closed in _listed(line, "closes"):
        record = record.without_intent(str(closed))
    for target_key, name in _listed(line, "drops"):
        record = record.without(target_key, name)
    for target_key, name in _listed(line, "dropsAliases"):
        record = record.without_alias(target_key, name)
    for target_key, name in _listed(line, "dropsAdapters"):
        record = record.without_adapter(target_key, name)
    if "intent" in line:
        return record.with_intent(_read(Intent, line["intent"]))
    if "entry" in line:
        return record.with_entry(_read(RecordEntry, line["entry"]))
    if "alias" in line:
        return record.with_alias(_read(RecordAlias, line["alias"]))
    if "adapter" in line:
        return record.with_adapter(_read(RecordAdapter, line["adapter"]))
    return record


def _listed(line: Mapping[str, object], key: str) -> Sequence[Any]:
    found = line.get(key, ())
    return found if isinstance(found, list | tuple) else ()


def _read(kind: type[Value], raw: object) -> Value:
    """A domain value out of plain JSON; read as JSON, so that it is read as the record itself is."""
    return kind.model_validate_json(json.dumps(raw))
