"""A llama-server in router mode behind the ``Runtime`` port.

What its server cannot promise (``docs/reliability.md``): it downloads by itself and checks no digest, so we read what
arrived and take wrong content away again; it always fetches the head of a repository; it cannot hold old and new
content of one name side by side, so an update removes the old first; a download that is cancelled loses its bytes.
Where its cache directory cannot be read, content is compared by size only.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.adapter import HeldAdapter, ServedAdapter
from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.observation import Alias, Installed, Serving, TargetObservation
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.router_names import RouterName, tag_of
from reconciler.integrations.runtimes.adapter_damage import HeldFilesAsTheyStand
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.integrations.runtimes.free_space import free_bytes_of
from reconciler.integrations.runtimes.llama_server_adapters import RouterAdapters, rescale
from reconciler.integrations.runtimes.llama_server_aliases import check_name, stands_for
from reconciler.integrations.runtimes.llama_server_api import Listed
from reconciler.integrations.runtimes.llama_server_begun import Begun, remove_files
from reconciler.integrations.runtimes.llama_server_content import Content, cached_file, standing, wanted_weights
from reconciler.integrations.runtimes.llama_server_download import Download, Patience, not_the_head
from reconciler.integrations.runtimes.llama_server_look import Look, observed, parsed
from reconciler.integrations.runtimes.llama_server_lora import check_path
from reconciler.integrations.runtimes.llama_server_preset import Preset
from reconciler.integrations.runtimes.llama_server_removal import Removal
from reconciler.integrations.runtimes.llama_server_router import Router
from reconciler.integrations.runtimes.llama_server_serving import RouterPreset
from reconciler.integrations.runtimes.server import known, unknown
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http


class LlamaServer:
    """One router, local or not.

    Read against and run on llama.cpp b10434.

    Args:
        target: its ``endpoint``; ``cache`` says where it keeps its downloads, where this host can read that.
        http: makes the client on first use; it is closed with this runtime.
        idle_timeout_seconds: longest pause without a new byte before a download is taken for stalled.
        poll_seconds: between two looks at a download whose events do not come.
        cache_directory: of our own, to remember which digest a file had.
        environ: read for the variables that tell where a Hub cache is.
        api_key: what the router, or a proxy before it, asks for; it goes into the requests' header and nowhere else.
    """

    def __init__(
        self,
        target: Target,
        *,
        http: Callable[[], Http],
        clock: Clock,
        idle_timeout_seconds: float = 120.0,
        poll_seconds: float = 1.0,
        cache_directory: Path | None = None,
        environ: Mapping[str, str] | None = None,
        api_key: str | None = None,
    ) -> None:
        self._target = target
        self._clock = clock
        self._router = Router(target, http=http, clock=clock, api_key=api_key)
        self._api = self._router.api
        self._patience = Patience(idle_seconds=idle_timeout_seconds, poll_seconds=poll_seconds)
        environ = os.environ if environ is None else environ
        self._environ = environ
        self._content = Content(target, environ, DigestCache(cache_directory))
        preset = Path(target.preset) if target.preset else None
        self._begun = Begun(cache_directory)
        self._preset = RouterPreset(preset, self._api, target.name, self._router.is_busy)
        self._removal = Removal(self._router, self._content, self._preset)
        self._adapters = RouterAdapters(self._router, self._preset, HeldFilesAsTheyStand(DigestCache(cache_directory)))

    @property
    def target(self) -> Target:
        return self._target

    async def close(self) -> None:
        await self._router.close()

    # observing

    async def free_disk_bytes(self) -> int | None:
        """What may still be written where the last look found the models; None where they cannot be seen from here."""
        return await free_bytes_of(self._content.folder)

    async def file_of(self, name: str) -> str | None:
        """Where shard 1 lies in the router's cache, where that can be read from here."""
        try:
            found = await asyncio.to_thread(cached_file, self._target, self._environ, name)
        except (OSError, ValueError, OutsideError):
            return None
        return str(found) if found is not None else None

    async def observe(self) -> TargetObservation:
        """Everything installed. Anything that is not a whole answer makes the target unknown."""
        try:
            version = await self._api.version()
            listed = await self._api.models()
            directory, view = await self._content.look(listed)
            left = await asyncio.to_thread(self._begun.left, directory)
            busy = await self._router.busy(listed)
            sections = await self._preset.sections()
            adapters = await self._adapters.seen(listed, busy)
            takes = await self._adapters.takes_any()
            why_not = await self._adapters.why_none()
        except OutsideError as error:
            return unknown(self._target, error, program="the router")
        look = Look(listed, view, sections, busy, version, frozenset(left.values()), adapters, takes, why_not)
        return observed(self._target, look, self._content)

    async def digest(self, name: str, progress: Progress) -> tuple[str, str]:
        """(digest, stamp) of a model, by reading its files whole unless they are known as they stand now."""
        _, view = await self._content.look(await self._api.models())
        model = view.models.get(name) if view else None
        if model is None:
            raise Refused(
                f"{name} cannot be read on {self._target.name}",
                code="not-found" if view else "not-readable",
                hint="localmodels status lists what is there" if view else "`cache:` says where the router keeps files",
            )
        return await self._content.read(model, progress), model.stamp

    # installing

    async def install(self, row: Row, progress: Progress) -> Installed:
        """Have the router download ``row.name``, and believe it only when the list and the content say so.

        Cancelling stops the download on the router, which throws away what had arrived.
        """
        name, artifact = _wanted(row)
        await self._preset.begin()
        item = await self._before(row.name)
        if item is None or not item.is_there:
            await self._fetch(row, artifact, progress)
        elif not await self._holds(item, artifact):
            self._refuse_conflict(row, item)
            async with self._removal.replacing(row.name, {file.sha256 for file in artifact.files}):
                await self._fetch(row, artifact, progress)
        progress(artifact.bytes, artifact.bytes)
        return await self._observed_model(str(name))

    def _refuse_conflict(self, row: Row, item: Listed) -> None:
        if row.action is Action.UPDATE or row.ours:
            return
        raise Refused(
            f"{item.name} on {self._target.name} has other content, and it is not ours to replace",
            code="unmanaged-conflict",
            hint="adopt it, or remove it yourself",
        )

    async def _fetch(self, row: Row, artifact: HubArtifact, progress: Progress) -> None:
        name, pinned = row.name, row.revision is not None
        await asyncio.to_thread(self._begun.note, name, artifact)
        download = Download(
            self._api, name, artifact, progress, pinned=pinned, clock=self._clock, patience=self._patience
        )
        await download.to_the_end()
        item = await self._router.find(name)
        if item is None or item.source != "cache" or not item.is_there:
            raise download.failure(self._target.name)
        await self._verify(item, artifact, pinned=pinned)

    async def _verify(self, item: Listed, artifact: HubArtifact, *, pinned: bool) -> None:
        """Read what arrived, where it can be read; other content is taken away again. Sizes were watched on the way."""
        _, view = await self._content.look((item,))
        model = view.models.get(item.name) if view else None
        if model is None:
            return
        found = await self._content.weights(model)
        if found == wanted_weights(artifact):
            return
        with suppress(OutsideError):
            await self._api.delete(item.name)
        if pinned and model.commit != artifact.commit:
            raise not_the_head(item.name, artifact)
        raise Corrupt(
            f"{item.name} was downloaded, and is not what was planned: it was removed again",
            hint="the repository's head offers other content now, or the way there is not to be trusted: plan again",
            details={"wanted": artifact.digest, "found": found},
        )

    async def _holds(self, item: Listed, artifact: HubArtifact) -> bool:
        """Whether an installed model is the artifact; where nothing can be read, its name has to do."""
        _, view = await self._content.look((item,))
        model = view.models.get(item.name) if view else None
        return model is None or await self._content.weights(model) == wanted_weights(artifact)

    async def _observed_model(self, name: str) -> Installed:
        for model in known(await self.observe()).installed:
            if model.name == name:
                return model
        raise Unreachable(f"{name} was downloaded but {self._target.name} does not list it")

    # removing

    async def remove(self, name: str) -> Bytes:
        """Delete a model that nobody uses, unloading it first. Bytes freed are those of the blobs that vanished.

        Raises:
            Refused: ``in-use`` while a slot of it is at work or it is being downloaded; or not from the cache.
        """
        await self._preset.begin()
        return await self._removal.remove(name)

    # serving and naming

    async def serve(self, name: str, wanted: Serving) -> None:
        """Write our section of the preset file; an idle model is unloaded, so that its next load is by it."""
        await self._preset.begin()
        if await self._preset.says(name, wanted):
            return
        await self._preset.tell(name, wanted)
        if wanted.load:
            for running in await self._preset.names_of(name) or (name,):
                await self._router.load(running)
            for adapter in await self._preset.adapters_at_start(name):
                with suppress(OutsideError):  # one that does not load is a row of its own, and the model serves
                    await self._router.load(adapter)

    async def name(self, alias: str, model: str, *, context: int | None) -> Alias:
        """Write the name's section of the preset file, which the router reads in one step.

        Where the old model was loaded under the name, the new one is too, or the name stays with the old.
        """
        check_name(alias)
        await self._preset.begin()
        listed = await self._api.models(reload=True)
        _, view = await self._content.look(listed)
        if model not in {item.name for item in standing(listed, view)}:
            raise Refused(f"{model} is not there on {self._target.name}", code="not-found")
        self._refuse_taken(alias, listed)
        before = next((item for item in listed if item.name == alias), None)
        preset, changed = await self._preset.say_name(alias, model, context)
        if (before is not None and before.is_running) or await self._preset.loads(alias):
            await self._load_or_restore(alias, preset, changed)
        return await self._observed_alias(alias)

    def _refuse_taken(self, alias: str, listed: Sequence[Listed]) -> None:
        """A section of the file is looked at where it is written; here, what has the name without one."""
        for item in listed:
            if alias in item.aliases or (alias == item.name and stands_for(item) is None):
                what = f"another name of {item.name}" if alias in item.aliases else "a model of its own"
                raise Refused(
                    f"{alias} is {what} on {self._target.name}",
                    code="unmanaged-conflict",
                    hint="give the slot another alias",
                )

    async def _load_or_restore(self, alias: str, before: Preset, changed: frozenset[str]) -> None:
        try:
            await self._router.load(alias)
        except OutsideError:
            await self._preset.restore(before, changed)
            raise

    async def _observed_alias(self, name: str) -> Alias:
        for alias in known(await self.observe()).aliases:
            if alias.name == name:
                return alias
        raise Unreachable(f"{name} was told to {self._target.name}, and it does not list it")

    async def unname(self, alias: str) -> None:
        """Take the name's section out of the preset file."""
        await self._preset.begin()
        listed = await self._api.models(reload=True)
        self._refuse_taken(alias, listed)
        if self._target.preset or any(item.name == alias for item in listed):
            await self._preset.forget_name(alias)

    # adapters

    async def attach(self, adapter: HeldAdapter) -> ServedAdapter:
        """Load it beside its base under a name of its own, see it answer, then have it under its name.

        A server of one model only takes the scale of what it was started with.
        """
        if not await self._api.is_router():
            return await rescale(self._api, adapter)
        await self._preset.begin()
        listed = await self._api.models(reload=True)
        _, view = await self._content.look(listed)
        await self._adapters.attach(adapter, listed, {item.name for item in standing(listed, view)})
        for served in known(await self.observe()).adapters:
            if served.name == adapter.name:
                return served
        raise Unreachable(f"{adapter.name} was told to {self._target.name}, and it does not list it")

    async def detach(self, name: str, base: str) -> None:
        """Take its section out of the preset file; what the router lists without a section is not ours to end."""
        if not await self._api.is_router():
            raise Refused(
                f"the llama-server at {self._target.name} keeps the adapters it was started with",
                code="no-api",
                hint=f"start it again without the adapter {name} of {base}",
            )
        await self._preset.begin()
        await self._adapters.detach(name)

    def check_path(self, path: str) -> None:
        """Whether its preset file can name it."""
        check_path(path)

    async def end_tries(self, name: str) -> None:
        """Take sections out that an attach which was cut off left under a passing name."""
        if await self._api.is_router():
            await self._adapters.end_tries(name)

    async def _before(self, name: str) -> Listed | None:
        """What stands under a name. A section without files is taken for the model by the router, so ours goes first.

        Raises:
            Refused: such a section is somebody else's.
        """
        await self._removal.settle(name)
        listed = await self._api.models(reload=True)
        _, view = await self._content.look(listed)
        item = next((item for item in listed if item.name == name), None)
        if item is None or not item.is_there or item in standing(listed, view):
            return item
        if not await self._preset.is_ours(name):
            raise Refused(
                f"a preset file of {self._target.name} has a section of {name} whose files are not there",
                code="unmanaged-conflict",
                hint="the router downloads nothing by a name that it knows: take the section out while it is installed",
            )
        await self._preset.forget(name)
        return await self._router.find(name)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        """Stop downloads that run and are not in ``names``, and remove what our earlier ones left behind.

        What an update set aside is no rest: it comes back, unless the new content is there.
        """
        listed = await self._api.models()
        directory, before = await self._content.look(listed)
        for item in listed:
            if not item.is_there and item.name not in names:
                await self._api.unload(item.name)
        await self._removal.settle_all_but(names)
        running = {item.name for item in await self._api.models() if not item.is_there}
        left = await asyncio.to_thread(self._begun.left, directory)
        stale = [path for path, name in left.items() if name not in names | running]
        await asyncio.to_thread(remove_files, stale)
        _, after = await self._content.look(listed)
        return Bytes(max(0, before.partial_bytes - after.partial_bytes)) if before and after else Bytes(0)


def _wanted(row: Row) -> tuple[RouterName, HubArtifact]:
    """The name and the artifact of a row, where they belong together.

    Raises:
        Refused: they do not, or nothing is known of what to fetch.
    """
    if not isinstance(row.artifact, HubArtifact):
        raise Refused(f"{row.name} is not resolved: what to fetch is not known", code="unresolved")
    name = parsed(row.name)
    if name is None or name.repo != row.artifact.repo or name.tag != tag_of(row.artifact.files[0].path):
        raise Refused(
            f"a llama-server cannot be asked for {row.artifact.files[0].path} of {row.artifact.repo} as {row.name}",
            code="not-installable",
        )
    return name, row.artifact
