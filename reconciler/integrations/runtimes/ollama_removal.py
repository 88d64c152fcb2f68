"""Taking a name away from an Ollama server: never one in use, unloaded first where it is loaded and idle."""

from __future__ import annotations

from reconciler.domain.advice import quoted
from reconciler.domain.names import OllamaName
from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import Listed, Loaded, OllamaApi
from reconciler.integrations.runtimes.ollama_look import Look, Looking, find, key, parsed
from reconciler.integrations.runtimes.ollama_use import busy
from reconciler.ports import Clock

_BETWEEN_LOOKS_SECONDS = 0.5
_UNLOADED_WITHIN_SECONDS = 30.0
"""Longest wait for an idle model to go: one that stays is answering somebody after all."""


class Removal:
    """Deletes names of one server. Deleting does not unload there, so that comes first."""

    def __init__(self, looking: Looking, *, api: OllamaApi, clock: Clock, where: str) -> None:
        self._looking = looking
        self._api = api
        self._clock = clock
        self._where = where

    async def remove(self, name: OllamaName) -> Bytes:
        """Bytes that are free afterwards: as the directory says before and after, else as the API can tell.

        Raises:
            Refused: ``in-use``; or there is nothing of it on this host.
        """
        look = await self._looking.look()
        item = look.find(name.canonical)
        if item is None:
            return Bytes(0)
        if item.remote:
            raise Refused(f"{item.name} is a cloud entry without local files", code="refused")
        await self._let_go(item, look, (*look.runners_of(item), *look.strangers()))
        return await self._delete(item, look)

    async def remove_name(self, item: Listed, look: Look) -> None:
        """Delete a name whose weights another name keeps; only a request under this very name keeps it.

        Raises:
            Refused: ``in-use``.
        """
        await self._let_go(item, look, tuple(one for one in look.loaded if key(one.name) == key(item.name)))
        await self._delete(item, look)

    async def _let_go(self, item: Listed, look: Look, users: tuple[Loaded, ...]) -> None:
        """Nobody is being answered by it, and it is loaded no more, when this returns."""
        if not users:
            return
        self._refuse_if_busy(item, look.busy.intersection(users))
        await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
        now = busy(look.loaded, await self._api.loaded(), self._clock.now())
        names = {(one.name, one.digest) for one in users}
        self._refuse_if_busy(item, frozenset(one for one in now if (one.name, one.digest) in names))
        if any(key(one.name) == key(item.name) for one in users):
            await self._unload(item)
        elif not look.shares_weights(item):  # loaded under a name that has moved on: its files would stay open
            await self._api.unload(item.name, timeout_seconds=_UNLOADED_WITHIN_SECONDS)

    def _refuse_if_busy(self, item: Listed, users: frozenset[Loaded]) -> None:
        for user in sorted(users, key=lambda one: one.name):
            as_what = "" if key(user.name) == key(item.name) else f" (loaded as {user.name})"
            raise self._in_use(item, f"is in use on {self._where}{as_what}: it is serving a request, or was just now")

    async def _unload(self, item: Listed) -> None:
        """Unload, and see it go. A request that runs is finished first by the server, so it is cut off nowhere.

        What the name stood for before may stay loaded under it: other weights, which go when their own time is over.
        """
        await self._api.unload(item.name, timeout_seconds=_UNLOADED_WITHIN_SECONDS)
        until = self._clock.elapsed() + _UNLOADED_WITHIN_SECONDS
        while any(_is_of(one, item) for one in await self._api.loaded()):
            if self._clock.elapsed() >= until:
                raise self._in_use(item, f"does not go from the memory of {self._where}: it is serving a request")
            await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)

    def _in_use(self, item: Listed, what: str) -> Refused:
        hint = f"apply again once it is idle, or unload it with `ollama stop {quoted(item.name)}`"
        return Refused(f"{item.name} {what}", code="in-use", hint=hint)

    async def _delete(self, item: Listed, look: Look) -> Bytes:
        """Delete; after a failure in the middle, what the list says counts (a 500 may come after the manifest went)."""
        try:
            was_there = await self._api.delete(item.name)
        except Unreachable:
            if find(await self._api.tags(), item.name) is not None:
                raise
            was_there = True
        if not was_there:
            return Bytes(0)
        left = await self._api.tags()
        if find(left, item.name) is not None:
            raise Unreachable(f"{item.name} was deleted, and {self._where} lists it still")
        return await self._freed(item, look, left)

    async def _freed(self, item: Listed, look: Look, left: tuple[Listed, ...]) -> Bytes:
        """Bytes that went with the name. What only the API tells is all or nothing: shared weights free nothing."""
        name = parsed(item.name)
        try:
            after = await self._looking.directory(left) if look.view is not None else None
        except OutsideError:
            after = None
        measured = look.view.lost(name, after) if look.view is not None and after is not None else None
        predicted = look.view.freed_by(name) if look.view is not None else None
        if measured is None and predicted is None:
            return Bytes(0 if look.shares_weights(item) else item.size)
        return measured if measured is not None else predicted or Bytes(0)


def _is_of(loaded: Loaded, item: Listed) -> bool:
    """Loaded under this name, of what it stands for now."""
    return key(loaded.name) == key(item.name) and loaded.digest in (None, item.digest)
