"""One whole look at an Ollama server: what it lists, what it has loaded, what is on its disk where that can be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.desired import Target
from reconciler.domain.names import OllamaName
from reconciler.errors import Corrupt, Refused
from reconciler.integrations.runtimes.ollama_api import Listed, Loaded, OllamaApi, Shown
from reconciler.integrations.runtimes.ollama_store import Manifest, StoreView, look
from reconciler.integrations.runtimes.ollama_use import busy
from reconciler.ports import Clock

_SHOWN_AT_ONCE = 4
_SHOWN_AT_MOST = 64
"""Models asked about one by one in a look, where the server's directory cannot be read; the rest stays unknown."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a server said, and what its directory holds, at about one instant."""

    listed: tuple[Listed, ...]
    loaded: tuple[Loaded, ...]
    busy: frozenset[Loaded]
    """Those of ``loaded`` that answer somebody, or may."""
    view: StoreView | None
    shown: Mapping[str, Shown]
    """By listed name; what is damaged, or beyond what is asked about, is missing."""
    weights: Mapping[str, frozenset[str]]
    """Weight blobs by manifest digest, also of manifests that were listed at an earlier look."""

    def find(self, name: str) -> Listed | None:
        return find(self.listed, name)

    def runners_of(self, item: Listed) -> tuple[Loaded, ...]:
        """What is loaded under this name, or under another and reads the same weights.

        Names that share weights share a loaded model, which is listed under the one that asked first; and a model
        stays loaded under a name that has other content by now.
        """
        own = self._weights_of(item)
        return tuple(
            runner
            for runner in self.loaded
            if key(runner.name) == key(item.name)
            or runner.digest == item.digest
            or (runner.digest is not None and own & self.weights.get(runner.digest, frozenset()))
            or (runner.digest is None and own & self._weights_of(self.find(runner.name)))
        )

    def strangers(self) -> tuple[Loaded, ...]:
        """What is loaded of a content that is not listed any more: nobody can tell which files it reads."""
        digests = {item.digest for item in self.listed}
        return tuple(
            runner
            for runner in self.loaded
            if runner.digest is not None and runner.digest not in digests and runner.digest not in self.weights
        )

    def is_busy(self, item: Listed) -> bool:
        return not self.busy.isdisjoint(self.runners_of(item))

    def shares_weights(self, item: Listed) -> bool:
        """Whether another name refers to the same weights, as far as the server tells."""
        own = self._weights_of(item)
        others = [other for other in self.listed if key(other.name) != key(item.name)]
        return any(other.digest == item.digest or own & self._weights_of(other) for other in others)

    def _weights_of(self, item: Listed | None) -> frozenset[str]:
        shown = self.shown.get(item.name) if item else None
        return frozenset(shown.blobs) if shown else frozenset()


class Looking:
    """Looks at one server. It remembers what ``/api/show`` said of a content, which does not change.

    Args:
        directories: where the server's models may lie on this host, to be read only.
    """

    def __init__(self, target: Target, *, api: OllamaApi, clock: Clock, directories: Sequence[Path]) -> None:
        self._target = target
        self._api = api
        self._clock = clock
        self._directories = tuple(directories)
        self.folder: Path | None = None
        """Where the server's models lie, as the last look found."""
        self._shown: dict[tuple[str, str], Shown] = {}
        self._weights: dict[str, frozenset[str]] = {}

    async def look(self) -> Look:
        """Everything. What is loaded is looked at twice, before the rest and after it, so no pause is needed.

        Raises:
            OutsideError: an answer is missing or not whole.
        """
        first = await self._api.loaded()
        listed = await self._api.tags()
        view = await self.directory(listed)
        shown = await self._show_all(listed, view)
        second = await self._api.loaded() if first else first
        self._weights |= {item.digest: frozenset(shown[item.name].blobs) for item in listed if item.name in shown}
        return Look(
            listed=listed,
            loaded=second,
            busy=busy(first, second, self._clock.now()),
            view=view,
            shown=shown,
            weights=dict(self._weights),
        )

    async def directory(self, listed: Iterable[Listed]) -> StoreView | None:
        """The server's directory, where it is on this host, readable, and holds what the server lists."""
        if not self._target.is_local:
            return None
        digests = [item.digest for item in listed if not item.remote]
        for directory in self._directories:
            view = await asyncio.to_thread(look, directory)
            if view is not None and view.holds(digests):
                self.folder = directory
                return view
        return None

    async def _show_all(self, listed: Sequence[Listed], view: StoreView | None) -> dict[str, Shown]:
        """Blobs and contexts by listed name: from the directory, else from the server, a bounded number at a time."""
        if view is not None:
            manifests = {item.name: view.by_digest(item.digest) for item in listed}
            return {name: _as_shown(found) for name, found in manifests.items() if found}
        gate = asyncio.Semaphore(_SHOWN_AT_ONCE)

        async def show(item: Listed) -> None:
            async with gate:
                with suppress(Refused, Corrupt):  # listed with damaged files: it is there, and tells nothing more
                    self._shown[item.name, item.digest] = await self._api.show(item.name)

        local = [item for item in listed if not item.remote]
        unasked = [item for item in local if (item.name, item.digest) not in self._shown]
        await asyncio.gather(*(show(item) for item in unasked[:_SHOWN_AT_MOST]))
        known = {item.name: self._shown.get((item.name, item.digest)) for item in local}
        return {name: shown for name, shown in known.items() if shown}


def _as_shown(manifest: Manifest) -> Shown:
    return Shown(
        blobs=manifest.blobs,
        context=manifest.context,
        parent=manifest.parent,
        form=manifest.form,
        is_adapted=manifest.is_adapted,
    )


def find(listed: Iterable[Listed], name: str) -> Listed | None:
    wanted = key(name)
    return next((item for item in listed if key(item.name) == wanted), None)


def parsed(name: str) -> OllamaName:
    """A name as the file or the record spells it.

    Raises:
        Refused: no server could have a model of this name.
    """
    try:
        return OllamaName.parse(name)
    except ValueError as error:
        raise Refused(str(error), code="refused") from error


def canonical(name: str) -> str:
    """As we spell it; a name that the server lists and we cannot parse stays as it is."""
    try:
        return OllamaName.parse(name).canonical
    except ValueError:
        return name


def key(name: str) -> str:
    """What two spellings of one model have in common: the server folds case."""
    return canonical(name).lower()
