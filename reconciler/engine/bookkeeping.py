"""The record while it changes: every change is journalled, then saved, then believed.

Before a step its intent is on disk, after it its outcome; a crash between the two leaves an open intent, and the next
run looks what became of it (``recover``). What does not belong here: when a step may run.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Literal

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.desired import DesiredState
from reconciler.domain.names import same_stable_name
from reconciler.domain.observation import Alias, Installed
from reconciler.domain.plan import Action, Row
from reconciler.domain.record import Intent, Record, RecordAlias, RecordEntry
from reconciler.domain.units import Bytes
from reconciler.errors import RecordConflict
from reconciler.ports import Clock, RecordStore

NAMING = ("name", "unname")
"""Actions of intents whose ``name`` is a stable name and no model."""
ADAPTING = ("attach", "detach")
"""Actions of intents whose ``name`` is that of an adapter."""


class Books:
    """One record under its lock. Steps of several targets may write at once; each write is whole."""

    def __init__(self, record: Record, store: RecordStore, clock: Clock, *, unsaved: bool = False) -> None:
        """Open them.

        Args:
            record: as it was loaded, claimed by this file.
            store: where it is saved.
            clock: dates what is written.
            unsaved: claiming changed it (``--take-over``); ``settle`` or any later step saves that.
        """
        self._record = record
        self._unsaved = unsaved
        self._store = store
        self._clock = clock
        self._writing = asyncio.Lock()

    @property
    def record(self) -> Record:
        return self._record

    async def begin(
        self,
        row: Row,
        action: Literal["install", "update", "evict"],
        *,
        existed: bool = False,
    ) -> Intent:
        """Write down that a step is about to run; an older intent for the same name gives way to it.

        Args:
            row: what is about to be done.
            action: its verb.
            existed: the name is there already and not ours.
        """
        async with self._writing:
            record = self._record
            for older in record.intents:
                if (older.target_key, older.name) == (row.target_key, row.name) and not _is_apart(older):
                    existed = existed or (older.existed and older.action != "evict")
                    record = record.without_intent(older.id)
            now = self._clock.now()
            intent = Intent(
                id=str(record.generation + 1),
                action=action,
                target_key=row.target_key,
                target_name=row.target,
                name=row.name,
                entry=None if action == "evict" else entry_for(row, now),
                existed=existed,
                begun_at=now,
            )
            await self._write(record.with_intent(intent), event="intent", intent=_plain(intent))
        return intent

    async def installed(self, intent: Intent, found: Installed) -> RecordEntry:
        """Write down that an install or update ended, with what the target then held."""
        entry = entry_of(intent, found, self._clock.now())
        async with self._writing:
            record = self._record.without_intent(intent.id).with_entry(entry)
            await self._write(record, event="installed", intent_id=intent.id, entry=_plain(entry))
        return entry

    async def evicted(self, intent: Intent) -> None:
        """Write down that a model of ours is gone."""
        async with self._writing:
            record = self._record.without_intent(intent.id).without(intent.target_key, intent.name)
            await self._write(
                record, event="evicted", intent_id=intent.id, target_key=intent.target_key, name=intent.name
            )

    async def begin_naming(self, row: Row) -> Intent:
        """Write down that a stable name is about to be made, moved or removed; an older intent gives way to it."""
        wanted = row.alias
        if wanted is None:
            raise ValueError(f"{row.address} is about no stable name")
        async with self._writing:
            record, now = self._record, self._clock.now()
            for older in record.intents:
                here = older.target_key == row.target_key and older.action in NAMING
                if here and same_stable_name(row.target_key, older.name, wanted.name):
                    record = record.without_intent(older.id)
            alias = None
            if wanted.after is not None:
                alias = RecordAlias(
                    target_key=row.target_key,
                    target_name=row.target,
                    name=wanted.name,
                    model=wanted.after,
                    context=wanted.context,
                    made_at=now,
                )
            intent = Intent(
                id=str(record.generation + 1),
                action="unname" if alias is None else "name",
                target_key=row.target_key,
                target_name=row.target,
                name=wanted.name,
                alias=alias,
                begun_at=now,
            )
            await self._write(record.with_intent(intent), event="intent", intent=_plain(intent))
        return intent

    async def named(self, intent: Intent, found: Alias) -> None:
        """Write down that a stable name stands for its model, with what the target then held."""
        if intent.alias is None:
            raise ValueError(f"intent {intent.id} ({intent.action}) leads to no name")
        alias = intent.alias.model_copy(update={"digest": found.digest, "made_at": self._clock.now()})
        async with self._writing:
            record = with_alias(self._record.without_intent(intent.id), alias)
            await self._write(record, event="named", intent_id=intent.id, alias=_plain(alias))

    async def unnamed(self, intent: Intent) -> None:
        """Write down that a stable name of ours is gone."""
        async with self._writing:
            record = without_alias(self._record.without_intent(intent.id), intent.target_key, intent.name)
            await self._write(
                record, event="unnamed", intent_id=intent.id, target_key=intent.target_key, name=intent.name
            )

    async def forget_alias(self, target_key: str, name: str, *, event: str = "forgot-name") -> None:
        """Drop a stable name from the record without touching the target."""
        async with self._writing:
            await self._write(
                without_alias(self._record, target_key, name), event=event, target_key=target_key, name=name
            )

    async def enter_alias(self, alias: RecordAlias, *, event: str) -> None:
        """Put a stable name into the record without touching the target."""
        async with self._writing:
            await self._write(with_alias(self._record, alias), event=event, alias=_plain(alias))

    async def begin_adapting(self, row: Row, adapter: RecordAdapter, *, existed: bool = False) -> Intent:
        """Write down that an adapter is about to be attached, changed or detached; an older intent gives way to it.

        Args:
            row: what is about to be done.
            adapter: what the record will hold, or holds until it is detached.
            existed: something that is not ours stands under the name already.
        """
        async with self._writing:
            record = self._record
            for older in record.intents:
                if (older.target_key, older.name) == (row.target_key, adapter.name) and older.action in ADAPTING:
                    record = record.without_intent(older.id)
            intent = Intent(
                id=str(record.generation + 1),
                action="detach" if row.action is Action.DETACH else "attach",
                target_key=row.target_key,
                target_name=row.target,
                name=adapter.name,
                adapter=adapter,
                existed=existed,
                begun_at=self._clock.now(),
            )
            await self._write(record.with_intent(intent), event="intent", intent=_plain(intent))
        return intent

    async def attached(self, intent: Intent, adapter: RecordAdapter) -> None:
        """Write down that an adapter is served, as the target then had it."""
        adapter = adapter.model_copy(update={"attached_at": self._clock.now()})
        async with self._writing:
            record = self._record.without_intent(intent.id).with_adapter(adapter)
            await self._write(record, event="attached", intent_id=intent.id, adapter=_plain(adapter))

    async def detached(self, intent: Intent) -> None:
        """Write down that an adapter of ours is served no more."""
        async with self._writing:
            record = self._record.without_intent(intent.id).without_adapter(intent.target_key, intent.name)
            await self._write(
                record, event="detached", intent_id=intent.id, target_key=intent.target_key, name=intent.name
            )

    async def forget_adapter(self, target_key: str, name: str, *, event: str = "forgot-adapter") -> None:
        """Drop an adapter from the record without touching the target."""
        async with self._writing:
            record = self._record.without_adapter(target_key, name)
            await self._write(record, event=event, target_key=target_key, name=name)

    async def enter_adapter(self, adapter: RecordAdapter, *, event: str) -> None:
        """Put an adapter into the record without touching the target."""
        async with self._writing:
            await self._write(self._record.with_adapter(adapter), event=event, adapter=_plain(adapter))

    async def ended(self, intent: Intent, status: str, code: str | None) -> None:
        """Journal that a step did not get there. Its intent stays open until a look tells what is there."""
        async with self._writing:
            await self._store.journal({"event": status, "intentId": intent.id, "code": code})

    async def forget(self, target_key: str, name: str, *, event: str = "forgotten") -> None:
        """Drop an entry without touching the target."""
        async with self._writing:
            await self._write(self._record.without(target_key, name), event=event, target_key=target_key, name=name)

    async def enter(self, entry: RecordEntry, *, event: str) -> None:
        """Add or replace an entry without touching the target."""
        async with self._writing:
            await self._write(self._record.with_entry(entry), event=event, entry=_plain(entry))

    async def settle(self) -> None:
        """Save that this file has taken the record over, also where nothing else is going to change."""
        async with self._writing:
            if self._unsaved:
                await self._write(self._record, event="taken-over")

    async def replace(self, record: Record, *, event: str) -> None:
        """Save another record, if it differs."""
        async with self._writing:
            if record == self._record:
                return
            if record.generation == self._record.generation:
                record = record.model_copy(update={"generation": record.generation + 1})
            await self._write(record, event=event, whole=_plain(record))

    async def _write(self, record: Record, *, event: str, **facts: object) -> None:
        """Journal what changes, whole enough to be replayed (``replay``), then save."""
        line: dict[str, object] = {
            "event": event,
            "document": record.name,
            "source": record.source,
            "after": self._record.generation - int(self._unsaved),
            "generation": record.generation,
            **_gone(self._record, record),
        }
        await self._store.journal({**line, **{_camel(key): value for key, value in facts.items()}})
        await self._store.save(record)
        self._record, self._unsaved = record, False


def with_alias(record: Record, alias: RecordAlias) -> Record:
    """The record with a stable name, in place of the same one in another spelling."""
    return without_alias(record, alias.target_key, alias.name).with_alias(alias)


def without_alias(record: Record, target_key: str, name: str) -> Record:
    """The record without a stable name, however it is spelled there."""
    for alias in record.aliases:
        if alias.target_key == target_key and same_stable_name(target_key, alias.name, name):
            record = record.without_alias(target_key, alias.name)
    return record


def claimed(record: Record, desired: DesiredState, *, take_over: bool) -> Record:
    """The record as this file's own.

    Raises:
        RecordConflict: it was applied from another file, and nobody said that this one takes over.
    """
    if record.source in ("", desired.source):
        return record.model_copy(update={"source": desired.source})
    if take_over:
        return record.model_copy(update={"source": desired.source, "generation": record.generation + 1})
    raise RecordConflict(
        f"the record of {record.name!r} belongs to {record.source}, not to {desired.source}",
        hint="give this document another name, or --take-over if it replaces the other file",
        details={"recordSource": record.source, "source": desired.source, "name": record.name},
    )


def entry_for(row: Row, now: datetime) -> RecordEntry:
    """What the record will hold when a row succeeds, as far as is known before."""
    size = row.artifact.bytes if row.artifact is not None else row.bytes_down
    return RecordEntry(
        target_key=row.target_key,
        target_name=row.target,
        name=row.name,
        slots=row.slots,
        model_id=row.model_id or row.name,
        quant=row.quant,
        artifact=row.artifact,
        revision=row.revision,
        digest=None,
        bytes=Bytes(size),
        installed_at=now,
        score=row.evidence.score or 0.0,
    )


def entry_of(intent: Intent, found: Installed, now: datetime) -> RecordEntry:
    """The entry an intent leads to, with what was found once it was done."""
    planned = intent.entry
    if planned is None:
        raise ValueError(f"intent {intent.id} ({intent.action}) leads to no entry")
    expected = planned.artifact.digest if planned.artifact is not None else None
    return planned.model_copy(
        update={
            "digest": found.digest or expected,
            "stamp": found.stamp,
            "bytes": found.bytes or planned.bytes,
            "installed_at": now,
        }
    )


def _is_apart(intent: Intent) -> bool:
    """It is about a name or an adapter, which may be called as a model is."""
    return intent.action in (*NAMING, *ADAPTING)


def _plain(value: Intent | RecordEntry | RecordAlias | RecordAdapter | Record) -> object:
    return value.model_dump(mode="json", by_alias=True)


def _camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _gone(before: Record, after: Record) -> dict[str, object]:
    """What a change takes out of the record, by its keys: a replay need not know what each event means."""
    entries = [(one.target_key, one.name) for one in before.entries]
    aliases = [(one.target_key, one.name) for one in before.aliases]
    adapters = [(one.target_key, one.name) for one in before.adapters]
    return {
        "closes": [intent.id for intent in before.intents if intent not in after.intents],
        "drops": [place for place in entries if after.entry(*place) is None],
        "dropsAliases": [place for place in aliases if after.alias(*place) is None],
        "dropsAdapters": [place for place in adapters if after.adapter(*place) is None],
    }
