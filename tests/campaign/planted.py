"""Defects that are planted in the real program, in the fork that runs it: that the referee sees them is tested."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reconciler.domain.record import Record
from reconciler.domain.units import Bytes


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


def releases_what_others_hold() -> None:
    """Whoever lets go takes the files along."""
    from reconciler.integrations.runtimes import adapter_store

    adapter_store._holders = lambda marks: ()  # noqa: ARG005 - as it is called
    held = adapter_store.LocalAdapterStore._held

    def mine(self: adapter_store.LocalAdapterStore) -> Any:
        from reconciler.lora.adapter_content import HeldFiles

        return tuple(HeldFiles(digest=one.digest, bytes=Bytes(one.bytes), holders=_everyone) for one in held(self))

    adapter_store.LocalAdapterStore._held = mine  # type: ignore[method-assign]


class _Everyone(tuple[str, ...]):
    """Says of anybody that he holds it."""

    __slots__ = ()

    def __contains__(self, name: object) -> bool:
        return True


_everyone = _Everyone()


def records_before_a_look() -> None:
    """The record has an adapter before the server was asked for it; whatever is wrong then, nobody looks."""
    from reconciler.engine.lora import settled

    settled.stands = lambda target, wanted: True  # type: ignore[assignment,return-value]  # noqa: ARG005


def leaves_its_tries() -> None:
    """What an adapter was tried under stays when the run dies."""
    from reconciler.engine import recover

    async def nothing(*_: object) -> tuple[str, ...]:
        return ()

    recover.swept = nothing  # type: ignore[assignment]


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

    from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore

    @contextmanager
    def in_place(self: LocalAdapterStore, digest: str) -> Any:
        place = self._place(digest) / "files"
        place.mkdir(parents=True, exist_ok=True)
        yield place

    LocalAdapterStore._draft = in_place  # type: ignore[method-assign,assignment]
    LocalAdapterStore._put = lambda self, draft, place: None  # type: ignore[method-assign]  # noqa: ARG005


PLANTS: dict[str, Callable[[], None]] = {
    plant.__name__: plant
    for plant in (
        attaches_before_it_is_written_down, releases_what_is_served, releases_what_others_hold, records_before_a_look,
        leaves_its_tries, detaches_first, names_half_files,
    )
}  # fmt: skip
