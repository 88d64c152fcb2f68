"""Ollama behind the ``Runtime`` port.

What its server cannot promise (``docs/reliability.md``): it downloads by itself, so the budget is checked before and
after, not during; an update replaces the old content as soon as the server has verified the new one by its own
digests; unfinished downloads have no API, so they stay until the server prunes them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.desired import Target
from reconciler.domain.names import DEFAULT_TAG, HUB_HOSTS, OllamaName
from reconciler.domain.observation import Installed, ObservedTarget, TargetObservation, UnknownTarget
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.ollama_api import Listed, Loaded, OllamaApi, Shown
from reconciler.integrations.runtimes.ollama_pull import Ledger, Patience, Pull
from reconciler.integrations.runtimes.ollama_store import StoreView, look, store_directories
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

DEFAULT_ENDPOINT = "http://127.0.0.1:11434"

_SHOWN_AT_ONCE = 4
_SHOWN_AT_MOST = 64
"""Models asked about one by one in a look, where the server's directory cannot be read; the rest stays unknown."""


class Ollama:
    """One Ollama server, local or not.

    Read against Ollama 0.33.0-rc2. Mutations are serialised by the engine, because a
    delete can take a blob that a pull counts on.

    Args:
        target: its ``endpoint``; none means the server's own default.
        http: makes the client on first use; it is closed with this runtime.
        idle_timeout_seconds: longest pause without a new byte before a pull is taken for stalled.
        max_pull_retries: attempts in a row that may fail without progress before a pull is given up; 0: no retry.
        directories: where the server's models may lie, to be read only; None: where Ollama keeps them on this host.
        environ: read for ``OLLAMA_MODELS`` and ``OLLAMA_CONTEXT_LENGTH``.
    """

    def __init__(
        self,
        target: Target,
        *,
        http: Callable[[], Http],
        clock: Clock,
        idle_timeout_seconds: float = 120.0,
        max_pull_retries: int = 5,
        directories: Sequence[Path] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._target = target
        self._make_http = http
        self._http: Http | None = None
        self._clock = clock
        self._patience = Patience(idle_seconds=idle_timeout_seconds, retries=max_pull_retries)
        self._environ = os.environ if environ is None else environ
        self._directories = store_directories(self._environ) if directories is None else tuple(directories)
        self._shown: dict[tuple[str, str], Shown] = {}

    @property
    def target(self) -> Target:
        return self._target

    @property
    def _api(self) -> OllamaApi:
        if self._http is None:
            self._http = self._make_http()
        return OllamaApi(self._target.endpoint or DEFAULT_ENDPOINT, self._http)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    # observing

    async def observe(self) -> TargetObservation:
        """Everything installed. Anything that is not a whole answer makes the target unknown."""
        try:
            version = await self._api.version()
            listed = await self._api.tags()
            loaded = await self._api.loaded()
            view = await self._look(listed)
            shown = await self._show_all(listed, view)
        except OutsideError as error:
            return UnknownTarget(
                name=self._target.name,
                key=self._target.key,
                reason=error.message,
                code=error.code,
                hint=error.hint or f"is Ollama running? See `endpoint` of target {self._target.name}",
            )
        return self._observed(version, listed, loaded, view, shown)

    def _observed(
        self,
        version: str,
        listed: Sequence[Listed],
        loaded: Sequence[Loaded],
        view: StoreView | None,
        shown: Mapping[str, Shown],
    ) -> ObservedTarget:
        in_use = {_key(item.name): item for item in loaded}
        installed = [_installed(item, in_use.get(_key(item.name)), shown.get(item.name)) for item in listed]
        return ObservedTarget(
            name=self._target.name,
            key=self._target.key,
            installed=tuple(sorted(installed, key=lambda model: model.name)),
            disk=view.disk if view else None,
            partial_bytes=view.partial_bytes if view else Bytes(0),
            version=version,
            served_context=self._served_context(loaded, listed, shown),
            notes=tuple(self._notes(listed, loaded, view)),
        )

    async def _look(self, listed: Sequence[Listed]) -> StoreView | None:
        """The server's directory, where it is on this host, readable, and holds what the server lists."""
        if not self._target.is_local:
            return None
        digests = [item.digest for item in listed if not item.remote]
        for directory in self._directories:
            view = await asyncio.to_thread(look, directory)
            if view is not None and view.holds(digests):
                return view
        return None

    async def _show_all(self, listed: Sequence[Listed], view: StoreView | None) -> dict[str, Shown]:
        """Blobs and contexts by listed name: from the directory, else from the server, a bounded number at a time."""
        if view is not None:
            manifests = {item.name: view.by_digest(item.digest) for item in listed}
            return {name: Shown(found.blobs, found.context) for name, found in manifests.items() if found}
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

    def _served_context(
        self, loaded: Sequence[Loaded], listed: Sequence[Listed], shown: Mapping[str, Shown]
    ) -> int | None:
        """Tokens the server gives a model that does not say itself: as configured on this host, else as it does now.

        The least of the loaded ones, because a client may have asked for more than the server would give.
        """
        configured = self._environ.get("OLLAMA_CONTEXT_LENGTH", "")
        if self._target.is_local and configured.isdigit() and int(configured) > 0:
            return int(configured)
        special = {_key(item.name) for item in listed if (own := shown.get(item.name)) and own.context}
        served = [item.context for item in loaded if item.context and _key(item.name) not in special]
        return min(served, default=None)

    def _notes(self, listed: Sequence[Listed], loaded: Sequence[Loaded], view: StoreView | None) -> list[str]:
        names, notes = {_key(item.name) for item in listed}, []
        notes += [
            f"{item.name} is still loaded though it was deleted; its disk space comes back when it is unloaded"
            for item in loaded
            if _key(item.name) not in names
        ]
        if view is None:
            notes.append(
                "sizes are what Ollama's API tells: shared files count once per model, unfinished downloads are hidden"
            )
            return notes
        if view.partial_bytes:
            notes.append(
                f"unfinished downloads take {show_bytes(view.partial_bytes)}; Ollama resumes them, and clears what is"
                " older than an hour when it restarts"
            )
        if view.orphan_bytes:
            notes.append(
                f"files that no model refers to take {show_bytes(view.orphan_bytes)}; restarting Ollama clears those"
                " older than an hour"
            )
        return notes

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """The manifest digest, which Ollama lists: nothing is read whole."""
        found = await self._find(_parsed(name))
        if found is None:
            raise Refused(f"{name} is not installed on {self._target.name}", code="not-found")
        progress(Bytes(found.size), Bytes(found.size))
        return found.digest, found.digest

    # installing

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Have the server pull ``row.name``, and believe it only when the list and the content say so.

        Cancelling disconnects, which makes the server stop and keep what it has.
        """
        if row.artifact is None:
            raise Refused(f"{row.name} is not resolved: what to fetch is not known", code="unresolved")
        name, ledger = _parsed(row.name), Ledger(row.artifact)
        before = await self._find(name)
        if before is None or not await self._holds(before, row.artifact):
            self._refuse_conflict(row, before)
            await self._pull(name, row.artifact, ledger, progress)
            await self._verify(name, row.artifact, existed=before is not None)
        progress(ledger.total, ledger.total)
        return await self._observed_model(name)

    def _refuse_conflict(self, row: Row, before: Listed | None) -> None:
        """A pull replaces whatever stands under the name: only ours may be replaced."""
        damaged = isinstance(row.artifact, RegistryArtifact) and before and before.digest == row.artifact.digest
        if before is None or damaged or row.action is Action.UPDATE or row.ours:
            return
        raise Refused(
            f"{before.name} on {self._target.name} has other content, and it is not ours to replace",
            code="unmanaged-conflict",
            hint="adopt it, or remove it yourself",
            details={"name": before.name, "found": before.digest},
        )

    async def _pull(
        self, name: OllamaName, artifact: HubArtifact | RegistryArtifact, ledger: Ledger, progress: Progress
    ) -> None:
        pull = Pull(self._api, name.canonical, ledger, progress, clock=self._clock, patience=self._patience)
        insecure = self._target.is_insecure(name.host)
        await pull.to_the_end(insecure=insecure, is_there=lambda: self._is_there(name, artifact))

    async def _verify(self, name: OllamaName, artifact: HubArtifact | RegistryArtifact, *, existed: bool) -> None:
        """Look at what stands under the name now. Other content that we brought there is taken away again."""
        found = await self._find(name)
        if found is None:
            raise Unreachable(f"{name.canonical} was pulled but {self._target.name} does not list it")
        if await self._holds(found, artifact):
            return
        if not existed:
            with suppress(OutsideError):
                await self._api.delete(found.name)
        raise Corrupt(
            f"{name.canonical} was pulled, and is not what was planned"
            + (": it stands in place of the old content" if existed else ": it was removed again"),
            hint="the registry offers other content now: plan again",
            details={"wanted": artifact.digest, "found": found.digest, "existed": existed},
        )

    async def _is_there(self, name: OllamaName, artifact: HubArtifact | RegistryArtifact) -> bool:
        """Whether a pull whose end was not heard of succeeded all the same."""
        with suppress(OutsideError):
            found = await self._find(name)
            return found is not None and await self._holds(found, artifact)
        return False

    async def _holds(self, found: Listed, artifact: HubArtifact | RegistryArtifact) -> bool:
        """Whether an installed model is the artifact, whole. A model may be listed without its weights."""
        if isinstance(artifact, RegistryArtifact) and found.digest != artifact.manifest_digest:
            return False
        try:
            shown = await self._api.show(found.name)
        except Refused:
            return False
        if isinstance(artifact, RegistryArtifact):
            return True
        return {f"sha256:{file.sha256}" for file in artifact.files} <= set(shown.blobs)

    async def _observed_model(self, name: OllamaName) -> Installed:
        observed = await self.observe()
        if isinstance(observed, UnknownTarget):
            raise Unreachable(observed.reason, code=observed.code, hint=observed.hint)
        for model in observed.installed:
            if _key(model.name) == _key(name.canonical):
                return model
        raise Unreachable(f"{name.canonical} was pulled but {self._target.name} does not list it")

    # removing

    async def remove(self, name: str) -> Bytes:
        """Delete a name that is not loaded. Bytes freed are exact where the server's directory can be read.

        Raises:
            Refused: ``in-use`` where ``/api/ps`` lists it.
        """
        wanted = _parsed(name)
        listed = await self._api.tags()
        found = next((item for item in listed if _key(item.name) == _key(wanted.canonical)), None)
        if found is None:
            return Bytes(0)
        if found.remote:
            raise Refused(f"{found.name} is a cloud entry without local files", code="refused")
        await self._refuse_if_loaded(found)
        freed = await self._freed(found, listed)
        if not await self._delete(found):
            return Bytes(0)
        if await self._find(wanted) is not None:
            raise Unreachable(f"{found.name} was deleted, and {self._target.name} lists it still")
        return freed

    async def _refuse_if_loaded(self, found: Listed) -> None:
        """A model that ``/api/ps`` lists stays. When it expires tells what it is doing (Ollama 0.33.0-rc2)."""
        for item in await self._api.loaded():
            if _key(item.name) == _key(found.name):
                busy = item.expires_at is not None and item.expires_at <= self._clock.now()
                state = "serving a request" if busy else "loaded"
                raise Refused(
                    f"{found.name} is {state} on {self._target.name}",
                    code="in-use",
                    hint=f"wait until it is unloaded, or unload it with `ollama stop {found.name}`",
                )

    async def _freed(self, found: Listed, listed: Sequence[Listed]) -> Bytes:
        """What goes from the disk with this name: exclusive layers, else what the API shows of it."""
        view = await self._look(listed)
        exact = view.freed_by(_parsed(found.name)) if view is not None else None
        if exact is not None:
            return exact
        copies = [item for item in listed if item.digest == found.digest]
        return Bytes(found.size if len(copies) == 1 else 0)

    async def _delete(self, found: Listed) -> bool:
        """Delete; after a failure in the middle, what the list says counts (a 500 may come after the manifest went)."""
        try:
            return await self._api.delete(found.name)
        except Unreachable:
            if await self._find(_parsed(found.name)) is not None:
                raise
            return True

    async def clean_partials(self, names: frozenset[str]) -> Bytes:  # noqa: ARG002 - the port's
        """Nothing: no endpoint lists or removes partial downloads, and the server's files are not ours to delete."""
        return Bytes(0)

    async def _find(self, name: OllamaName) -> Listed | None:
        wanted = _key(name.canonical)
        return next((item for item in await self._api.tags() if _key(item.name) == wanted), None)


def _parsed(name: str) -> OllamaName:
    try:
        return OllamaName.parse(name)
    except ValueError as error:
        raise Refused(str(error), code="refused") from error


def _canonical(name: str) -> str:
    """As we spell it; a name that the server lists and we cannot parse stays as it is."""
    try:
        return OllamaName.parse(name).canonical
    except ValueError:
        return name


def _key(name: str) -> str:
    """What two spellings of one model have in common: the server folds case."""
    return _canonical(name).lower()


def _installed(item: Listed, loaded: Loaded | None, shown: Shown | None) -> Installed:
    repo, quant = _origin(item.name)
    own_context = shown.context if shown else None
    return Installed(
        name=_canonical(item.name),
        bytes=Bytes(0 if item.remote else item.size),
        digest=item.digest,
        stamp=item.digest,
        blobs=shown.blobs if shown else (),
        repo=repo,
        quant=quant or item.quant,
        modified_at=item.modified_at,
        loaded=loaded is not None,
        remote=item.remote,
        model_context=own_context or (loaded.context if loaded else None),
    )


def _origin(name: str) -> tuple[str | None, str | None]:
    """(repository, quant) of a Hub name; both None for others.

    >>> _origin("hf.co/Qwen/Qwen3-8B-GGUF:Q4_K_M")
    ('Qwen/Qwen3-8B-GGUF', 'Q4_K_M')
    """
    try:
        parsed = OllamaName.parse(name)
    except ValueError:
        return None, None
    if parsed.host.lower() not in HUB_HOSTS:
        return None, None
    is_quant = parsed.tag != DEFAULT_TAG and not parsed.tag.lower().endswith(".gguf")
    return f"{parsed.namespace}/{parsed.model}", parsed.tag.upper() if is_quant else None
