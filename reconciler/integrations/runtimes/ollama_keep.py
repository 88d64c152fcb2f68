"""The old content of an update, kept under a second name until the new one is proven.

A pull replaces what stands under its name as soon as the server has its files, and then removes the old ones. A copy
of the old manifest costs nothing and holds them: what turns out wrong is put back by copying it the other way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress

from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.runtimes.ollama_api import Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_look import find, key

_PLACE = "localmodels-kept/"


def is_kept(name: str) -> bool:
    """Whether a listed name is such a second name."""
    return key(name).startswith(_PLACE)


def kept_name(name: str) -> str:
    """The second name of a model; another one for each model, and always the same."""
    return f"{_PLACE}{hashlib.sha256(key(name).encode()).hexdigest()[:24]}:latest"


class Keep:
    """Second names on one server."""

    def __init__(self, api: Callable[[], OllamaApi]) -> None:
        self._api = api

    async def hold(self, found: Listed, listed: Iterable[Listed]) -> None:
        """Keep what stands under a name. What a run that was cut off kept is older, and proven: that stays."""
        if find(listed, kept_name(found.name)) is None:
            with suppress(Refused):  # gone in this very moment: there is nothing to keep
                await self._api().copy(found.name, kept_name(found.name))

    async def restore(self, name: str) -> bool:
        """Put the kept content back under its name, where there is some; whether that worked.

        A copy replaces no more than the manifest, so what it replaces gets a name too, to be deleted with its files.
        """
        with suppress(OutsideError):
            wrong = kept_name(f"{kept_name(name)}-wrong")
            await self._api().copy(name, wrong)
            await self._api().copy(kept_name(name), name)
            await self._api().delete(wrong)
            return True
        return False

    async def release(self, name: str) -> None:
        """Let the old content go, with the files nobody else refers to."""
        await self._api().delete(kept_name(name))

    async def clean(self, listed: Iterable[Listed], names: Iterable[str]) -> Bytes:
        """Let go of everything kept but what belongs to these names; bytes as the API counts them."""
        wanted, freed = {kept_name(name) for name in names}, 0
        for item in listed:
            if is_kept(item.name) and key(item.name) not in wanted:
                shared = any(other.digest == item.digest and other is not item for other in listed)
                freed += item.size if await self._api().delete(item.name) and not shared else 0
        return Bytes(freed)
