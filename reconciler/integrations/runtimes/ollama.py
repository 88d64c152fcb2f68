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
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.domain.artifact import HubArtifact, RegistryArtifact
from reconciler.domain.desired import Target
from reconciler.domain.names import DEFAULT_TAG, HUB_HOSTS, OllamaName
from reconciler.domain.observation import Alias, Installed, ObservedTarget, TargetObservation
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.integrations.runtimes.adapter_place import HeldGguf
from reconciler.integrations.runtimes.free_space import free_bytes_of
from reconciler.integrations.runtimes.ollama_adapters import OllamaAdapters, can_make, is_passing
from reconciler.integrations.runtimes.ollama_api import DEFAULT_ENDPOINT, Listed, OllamaApi
from reconciler.integrations.runtimes.ollama_keep import Keep, is_kept, kept_of
from reconciler.integrations.runtimes.ollama_look import Look, Looking, canonical, find, key, parsed
from reconciler.integrations.runtimes.ollama_names import OllamaNames, aliases_of
from reconciler.integrations.runtimes.ollama_pull import Ledger, Patience, Pull
from reconciler.integrations.runtimes.ollama_removal import Removal
from reconciler.integrations.runtimes.ollama_store import StoreView, store_directories
from reconciler.integrations.runtimes.ollama_use import keep_alive_of, last_use
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
        self._environ = os.environ if environ is None else environ
        directories = store_directories(self._environ) if directories is None else directories
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
        return self._observed(version, look, adapters)

    def _observed(self, version: str, look: Look, adapters: tuple[ServedAdapter, ...]) -> ObservedTarget:
        passing = [item for item in look.listed if is_kept(item.name) or is_passing(item.name)]
        installed = [self._installed(item, look) for item in look.listed if item not in passing]
        return ObservedTarget(
            name=self._target.name,
            key=self._target.key,
            installed=tuple(sorted(installed, key=lambda model: model.name)),
            aliases=aliases_of(look),
            adapters=adapters,
            takes_adapters="gguf" if can_make(version) else None,
            detaches_adapters=True,
            disk=look.view.disk if look.view else None,
            partial_bytes=look.view.partial_bytes if look.view else Bytes(0),
            orphan_bytes=look.view.orphan_bytes if look.view else Bytes(0),
            version=version,
            served_context=self._served_context(look),
            notes=(*_notes(look), *_disk_notes(look.view)),
        )

    def _installed(self, item: Listed, look: Look) -> Installed:
        repo, quant = _origin(item.name)
        shown, runners = look.shown.get(item.name), look.runners_of(item)
        own_context = shown.context if shown else None
        loaded = next((runner for runner in runners if key(runner.name) == key(item.name)), None)
        idle = [runner for runner in runners if runner not in look.busy]
        used = (last_use(runner, self._keep_alive, self._clock.now()) for runner in idle)
        return Installed(
            name=canonical(item.name),
            bytes=Bytes(0 if item.remote else item.size),
            digest=item.digest,
            stamp=item.digest,
            blobs=shown.blobs if shown else (),
            repo=repo,
            quant=quant or item.quant,
            modified_at=item.modified_at,
            last_used_at=max((moment for moment in used if moment), default=None),
            loaded=look.is_busy(item),
            resident=bool(runners),
            remote=item.remote,
            model_context=own_context or (loaded.context if loaded else None),
        )

    @property
    def _keep_alive(self) -> timedelta | None:
        """How long the server keeps an idle model, as configured on this host; a request may have asked otherwise."""
        return keep_alive_of(self._environ.get("OLLAMA_KEEP_ALIVE", "")) if self._target.is_local else None

    def _served_context(self, look: Look) -> int | None:
        """Tokens the server gives a model that does not say itself: as configured on this host, else as it does now.

        The least of the loaded ones, because a client may have asked for more than the server would give.
        """
        configured = self._environ.get("OLLAMA_CONTEXT_LENGTH", "")
        if self._target.is_local and configured.isdigit() and int(configured) > 0:
            return int(configured)
        special = {key(item.name) for item in look.listed if (own := look.shown.get(item.name)) and own.context}
        served = [item.context for item in look.loaded if item.context and key(item.name) not in special]
        return min(served, default=None)

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


def _notes(look: Look) -> list[str]:
    """What a person should know of what is loaded, and of what an update left."""
    notes = [
        f"{item.name} is still loaded though it was deleted; its disk space comes back when it is unloaded"
        for item in look.loaded
        if look.find(item.name) is None
    ]
    notes += [
        f"{item.name} is the old content of an update that was cut off; the next apply settles that"
        for item in look.listed
        if is_kept(item.name)
    ]
    return notes


def _disk_notes(view: StoreView | None) -> list[str]:
    """What the API hides, where the directory shows it; and that it is hidden, where not."""
    if view is None:
        return ["sizes are what Ollama's API tells: shared files count once per model, unfinished downloads are hidden"]
    notes = []
    if view.partial_bytes:
        notes.append(
            f"unfinished downloads ({view.partials}) take {show_bytes(view.partial_bytes)}; Ollama resumes them, and"
            " clears what is older than an hour when it restarts"
        )
    if view.orphan_bytes:
        notes.append(
            f"files that no model refers to ({view.orphans}) take {show_bytes(view.orphan_bytes)}; restarting Ollama"
            " clears those older than an hour"
        )
    return notes


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
