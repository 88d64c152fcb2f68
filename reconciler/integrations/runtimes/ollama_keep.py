"""The old content of an update, kept under a second name until the new one is proven.

A pull replaces what stands under its name as soon as the server has its files, and then removes the old ones. A copy
of the old manifest costs nothing and holds them: what turns out wrong is put back by copying it the other way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress

from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.runtimes.ollama_api import Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_look import key

_PLACE = "localmodels-kept/"
_WRONG = "wrong"


def is_kept(name: str) -> bool:
    """Whether a listed name is such a second name."""
    return key(name).startswith(_PLACE)


def kept_name(name: str, wanted: str) -> str:
    """The second name of a model, always the same; its tag says what was to replace the content.

    Args:
        name: of the model.
        wanted: digest of the artifact that an update fetches.
    """
    return f"{_place_of(name)}:{wanted.removeprefix('sha256:')[:16].lower()}"


def kept_of(listed: Iterable[Listed], name: str) -> Listed | None:
    """The old content of a model, whatever was to replace it; None: nothing is kept of it."""
    kept = (item for item in listed if key(item.name).startswith(f"{_place_of(name)}:"))
    return next((item for item in kept if not item.name.endswith(f":{_WRONG}")), None)


def _place_of(name: str) -> str:
    return _PLACE + hashlib.sha256(key(name).encode()).hexdigest()[:24]


class Keep:
    """Second names on one server."""

    def __init__(self, api: OllamaApi) -> None:
        self._api = api

    async def hold(self, found: Listed, wanted: str, listed: Iterable[Listed]) -> None:
        """Keep what stands under a name. What a run that was cut off kept is older, and proven: that stays."""
        older, name = kept_of(listed, found.name), kept_name(found.name, wanted)
        if older is None or key(older.name) != key(name):
            with suppress(Refused):  # gone in this very moment: there is nothing to keep
                await self._api.copy(older.name if older else found.name, name)
        if older is not None and key(older.name) != key(name):
            await self._api.delete(older.name)

    async def restore(self, name: str, kept: Listed | None) -> bool:
        """Put the kept content back under its name, where there is some; whether that worked.

        A copy replaces no more than the manifest, so what it replaces gets a name too, to be deleted with its files.
        """
        if kept is None:
            return False
        with suppress(OutsideError):
            wrong = f"{_place_of(name)}:{_WRONG}"
            await self._api.copy(name, wrong)
            await self._api.copy(kept.name, name)
            await self._api.delete(wrong)
            return True
        return False

    async def release(self, kept: Listed) -> None:
        """Let the old content go, with the files nobody else refers to."""
        await self._api.delete(kept.name)

    async def clean(self, listed: Sequence[Listed], names: Iterable[str]) -> Bytes:
        """Let go of what is kept for nothing any more; bytes as the API counts them.

        What stands in place of a kept content and is not what was to replace it may have to be put back: that stays.
        """
        spared, freed = {_place_of(name) for name in names}, 0
        for item in listed:
            if not is_kept(item.name) or key(item.name).rpartition(":")[0] in spared:
                continue
            if await self._is_needed(item, listed):
                continue
            shared = any(other.digest == item.digest and other is not item for other in listed)
            freed += item.size if await self._api.delete(item.name) and not shared else 0
        return Bytes(freed)

    async def _is_needed(self, kept: Listed, listed: Sequence[Listed]) -> bool:
        place, _, wanted = key(kept.name).rpartition(":")
        now = next((item for item in listed if _place_of(item.name) == place), None)
        if now is None or wanted == _WRONG or now.digest == kept.digest or now.digest.startswith(wanted):
            return False
        with suppress(Refused):
            shown = await self._api.show(now.name)
            return not any(blob.startswith(f"sha256:{wanted}") for blob in shown.blobs)
        return True
