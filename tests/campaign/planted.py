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


def records_before_a_look() -> None:
    """The record has an adapter before the server was asked for it; whatever is wrong then, nobody looks."""
    from reconciler.domain.adapter import ServedAdapter
    from reconciler.engine.lora import settled

    settled.stands = lambda target, wanted: ServedAdapter(name=wanted.name)  # type: ignore[assignment]  # noqa: ARG005


def leaves_its_tries() -> None:
    """What an adapter was tried under stays when the run dies."""
    from reconciler.engine import reconcile, verify

    async def nothing(*_: object) -> tuple[str, ...]:
        return ()

    reconcile.swept = verify.swept = nothing  # type: ignore[assignment,attr-defined]


def detaches_first() -> None:
    """The old one goes before the new one has been tried."""
    from reconciler.integrations.runtimes.ollama_adapters import OllamaAdapters

    attach = OllamaAdapters.attach

    async def bare(self: OllamaAdapters, adapter: Any) -> Any:
        await self.detach(adapter.name, adapter.base)
        return await attach(self, adapter)

    OllamaAdapters.attach = bare  # type: ignore[method-assign]


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
    AdapterShelf.put = lambda self, draft, place: None  # type: ignore[method-assign]  # noqa: ARG005


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        attaches_before_it_is_written_down, releases_what_is_served, records_before_a_look,
        leaves_its_tries, detaches_first, names_half_files,
    )
}  # fmt: skip
