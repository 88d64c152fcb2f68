"""Defects that are planted in the real program, in the fork that runs it: that the referee sees them is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.domain.record import Record


def attaches_before_it_is_written_down() -> None:
    """Nothing of a step about an adapter is on disk before it is done."""
    from reconciler.integrations.record_store import FileRecordStore

    save, journal = FileRecordStore.save, FileRecordStore.journal

    async def without(self: FileRecordStore, record: Record) -> None:
        kept = tuple(intent for intent in record.intents if intent.adapter is None)
        await save(self, record.model_copy(update={"intents": kept}))

    async def silent(self: FileRecordStore, line: dict[str, object]) -> None:
        if "adapter" not in line:
            await journal(self, line)

    FileRecordStore.save, FileRecordStore.journal = without, silent  # type: ignore[method-assign]


def releases_what_is_served() -> None:
    """Files go as soon as others are held, whoever reads them."""
    from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore

    hold = LocalAdapterStore.hold

    async def alone(self: LocalAdapterStore, content: Any, holder: str, progress: Any) -> str:
        for held in await self.held():
            if held.digest != content.digest and holder in held.holders:
                await self.drop(held.digest, holder)
        return await hold(self, content, holder, progress)

    LocalAdapterStore.hold = alone  # type: ignore[method-assign]


def records_before_the_server_was_asked() -> None:
    """The record has an adapter, and the step is closed, before anybody looked."""
    from reconciler.engine.bookkeeping import Books

    begin = Books.begin_adapting

    async def at_once(self: Books, row: Any, wanted: Any) -> Any:
        intent = await begin(self, row, wanted)
        await self.attached(intent, wanted)
        return intent

    Books.begin_adapting = at_once  # type: ignore[method-assign]


def names_half_files() -> None:
    """Files have their digest for a name while they are copied."""
    from contextlib import contextmanager

    from reconciler.integrations.runtimes.adapter_shelf import AdapterShelf

    @contextmanager
    def in_place(self: AdapterShelf, digest: str) -> Any:
        place = self.place(digest) / "files"
        place.mkdir(parents=True, exist_ok=True)
        yield place

    AdapterShelf.draft = in_place  # type: ignore[method-assign,assignment]
    AdapterShelf.put = lambda self, draft, place, *, is_whole: None  # type: ignore[method-assign]


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        attaches_before_it_is_written_down, releases_what_is_served, records_before_the_server_was_asked, names_half_files,
    )
}  # fmt: skip
