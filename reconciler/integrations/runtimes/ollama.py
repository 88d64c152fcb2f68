"""Ollama behind the ``Runtime`` port.

What its server cannot promise (``docs/reliability.md``): it downloads by itself, so the budget is checked before and
after, not during; whether a loaded model is in use can only be guessed from outside (``ollama_use``); unfinished
downloads have no API, so they stay until the server prunes them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.desired import Target
from reconciler.domain.names import OllamaName
from reconciler.domain.observation import Alias, Installed, TargetObservation
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.free_space import free_bytes_of
from reconciler.integrations.runtimes.held_gguf import HeldGguf
from reconciler.integrations.runtimes.ollama_adapters import OllamaAdapters
from reconciler.integrations.runtimes.ollama_api import DEFAULT_ENDPOINT, Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_keep import Keep, kept_of
from reconciler.integrations.runtimes.ollama_look import Looking, find, key, parsed
from reconciler.integrations.runtimes.ollama_names import OllamaNames
from reconciler.integrations.runtimes.ollama_pull import Ledger, Patience, Pull
from reconciler.integrations.runtimes.ollama_removal import Removal
from reconciler.integrations.runtimes.ollama_seen import Configured, observed
from reconciler.integrations.runtimes.ollama_store import store_directories
from reconciler.integrations.runtimes.server import Server, known, unknown
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

_BETWEEN_LOOKS_SECONDS = 0.5


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
        environ: read for ``OLLAMA_MODELS``, ``OLLAMA_CONTEXT_LENGTH`` and ``OLLAMA_KEEP_ALIVE``.
        adapter_store: of our own, to tell which adapter a model of the server has.
        cache_directory: of our own, to remember which digest a file of that store had.
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
        adapter_store: Path | None = None,
        cache_directory: Path | None = None,
    ) -> None:
        self._target = target
        self._server = Server(target.endpoint or DEFAULT_ENDPOINT, http=http)
        self._api = OllamaApi(self._server)
        self._clock = clock
        self._patience = Patience(idle_seconds=idle_timeout_seconds, retries=max_pull_retries)
        environ = os.environ if environ is None else environ
        self._configured = Configured.of(target, environ)
        directories = store_directories(environ) if directories is None else directories
        self._looking = Looking(target, api=self._api, clock=clock, directories=directories)
        self._removal = Removal(self._looking, api=self._api, clock=clock, where=target.name)
        self._names = OllamaNames(self._looking, self._removal, api=self._api, where=target.name)
        self._adapters = OllamaAdapters(
            self._looking,
            self._removal,
            api=self._api,
            where=target.name,
            held=HeldGguf(adapter_store, cache_directory),
        )
        self._keep = Keep(self._api)

    @property
    def target(self) -> Target:
        return self._target

    async def close(self) -> None:
        await self._server.close()

    # observing

    async def free_disk_bytes(self) -> int | None:
        """What may still be written where the last look found the models; None where they cannot be seen from here."""
        return await free_bytes_of(self._looking.folder)

    async def observe(self) -> TargetObservation:
        """Everything installed. Anything that is not a whole answer makes the target unknown."""
        try:
            version = await self._api.version()
            look = await self._looking.look()
            adapters = await self._adapters.seen(look)
        except OutsideError as error:
            return unknown(self._target, error, program="Ollama")
        return observed(self._target, version, look, adapters, self._configured, self._clock.now())

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """The manifest digest, which Ollama lists: nothing is read whole."""
        found = await self._find(parsed(name))
        if found is None:
            await self._refuse_what_is_only_not_listed(name)
            raise Refused(f"{name} is not installed on {self._target.name}", code="not-found")
        progress(Bytes(found.size), Bytes(found.size))
        return found.digest, found.digest

    async def _refuse_what_is_only_not_listed(self, name: str) -> None:
        """A list that lacks what the server can show is not whole.

        Raises:
            Unreachable: it is such a list. Refused: the server knows no such model.
        """
        await self._api.show(name)
        raise Unreachable(f"{self._target.name} shows {name} and does not list it: its list is not whole")

    # installing

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Have the server pull ``row.name``, and believe it only when the list and the content say so.

        Cancelling disconnects, which makes the server stop and keep what it has.
        """
        if row.artifact is None:
            raise Refused(f"{row.name} is not resolved: what to fetch is not known", code="unresolved")
        name, ledger = parsed(row.name), Ledger(row.artifact)
        listed = await self._api.tags()
        before = find(listed, name.canonical)
        if before is None or not await self._holds(before, row.artifact):
            self._refuse_conflict(row, before)
            await self._brought(name, row.artifact, ledger, progress, listed)
        progress(ledger.total, ledger.total)
        return await self._observed_model(name)

    async def _brought(
        self,
        name: OllamaName,
        artifact: HubArtifact | RegistryArtifact,
        ledger: Ledger,
        progress: Progress,
        listed: Sequence[Listed],
    ) -> None:
        """Pull and verify. What stood under the name is kept until then, and put back where that fails."""
        before = find(listed, name.canonical)
        if before is not None and before.digest != artifact.digest:
            await self._keep.hold(before, artifact.digest, listed)
        keeps = before is not None or kept_of(listed, name.canonical) is not None
        try:
            await self._pull(name, artifact, ledger, progress)
            await self._verify(name, artifact, existed=before is not None)
        except BaseException:
            if keeps:  # a pull that was left may write its manifest all the same, a moment later
                await asyncio.shield(self._settle(name, artifact, looks=4))
            raise
        if keeps:
            await self._settle(name, artifact)

    async def _settle(self, name: OllamaName, artifact: HubArtifact | RegistryArtifact, *, looks: int = 1) -> None:
        """Let go of the kept content once it, or what was planned, stands under the name; else put it back first.

        Best effort: what cannot be settled now stays kept, and the next install of the name settles it.
        """
        with suppress(OutsideError):
            kept = None
            for look in range(looks):
                if look:
                    await self._clock.sleep(_BETWEEN_LOOKS_SECONDS)
                listed = await self._api.tags()
                now, kept = find(listed, name.canonical), kept_of(listed, name.canonical)
                if kept is None:
                    return
                good = now is None or now.digest == kept.digest or await self._holds(now, artifact)
                if not good and not await self._keep.restore(name.canonical, kept):
                    return
            if kept is not None:
                await self._keep.release(kept)

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
        raise Corrupt(
            f"{name.canonical} was pulled, and is not what was planned: {await self._undone(found, existed=existed)}",
            hint="the registry offers other content now: plan again",
            details={"wanted": artifact.digest, "found": found.digest, "existed": existed},
        )

    async def _undone(self, found: Listed, *, existed: bool) -> str:
        """Take away what should not have come; what is so now."""
        if existed:
            put_back = False
            with suppress(OutsideError):
                put_back = await self._keep.restore(found.name, kept_of(await self._api.tags(), found.name))
            return "the old content stands there again" if put_back else "it stands in place of the old content"
        with suppress(OutsideError):
            await self._api.delete(found.name)
        return "it was removed again"

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
        for model in known(await self.observe()).installed:
            if key(model.name) == key(name.canonical):
                return model
        raise Unreachable(f"{name.canonical} was pulled but {self._target.name} does not list it")

    # stable names

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        """Let ``alias`` stand for ``model``: ``ollama_names``."""
        return await self._names.name(alias, model, context=context)

    async def unname(self, alias: str) -> None:
        """Take a stable name away: ``ollama_names``."""
        await self._names.unname(alias)

    # adapters

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        """Make a model of its base and an adapter: ``ollama_adapters``."""
        return await self._adapters.attach(adapter)

    async def detach(self, name: str, base: str) -> None:
        """Take such a model away: ``ollama_adapters``."""
        await self._adapters.detach(name, base)

    async def end_tries(self, name: str) -> None:
        """Delete what an attach that was cut off left under a passing name."""
        await self._adapters.end_tries(name)

    # removing

    async def remove(self, name: str) -> Bytes:
        """Delete a name that nobody is being answered by; one that is loaded and idle is unloaded first.

        Raises:
            Refused: ``in-use``; or there is nothing of it on this host.
        """
        wanted = parsed(name)
        if (kept := kept_of(await self._api.tags(), wanted.canonical)) is not None:
            with suppress(OutsideError):
                await self._keep.release(kept)
        return await self._removal.remove(wanted)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        """Let go of what a cut-off update kept. Partial downloads stay: no endpoint lists or removes them."""
        return await self._keep.clean(await self._api.tags(), names)

    async def _find(self, name: OllamaName) -> Listed | None:
        return find(await self._api.tags(), name.canonical)
