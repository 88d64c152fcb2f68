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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import Target
from reconciler.domain.observation import (
    Installed,
    InstalledFile,
    ObservedTarget,
    Serving,
    TargetObservation,
    UnknownTarget,
)
from reconciler.domain.plan import Action, Row
from reconciler.domain.units import Bytes, show_bytes
from reconciler.errors import Corrupt, OutsideError, Refused, Unreachable
from reconciler.formats.router_names import RouterName, tag_of
from reconciler.integrations.runtimes.digest_cache import DigestCache
from reconciler.integrations.runtimes.hub_layout import (
    CachedFile,
    CachedModel,
    CacheView,
    blob_bytes,
    unlink_blobs,
    unlink_model,
)
from reconciler.integrations.runtimes.llama_server_api import Listed, LlamaServerApi
from reconciler.integrations.runtimes.llama_server_content import Content, standing, wanted_weights
from reconciler.integrations.runtimes.llama_server_download import Download, Patience
from reconciler.integrations.runtimes.llama_server_serving import RouterPreset, as_told
from reconciler.ports import Clock, Progress

if TYPE_CHECKING:
    from reconciler.integrations.http import Http

DEFAULT_ENDPOINT = "http://127.0.0.1:8080"

_UNREAD = "listed"
"""The stamp of a model whose files cannot be seen: it is there, and that is all a look can tell."""
_STOP_SECONDS = 30.0
"""Longest wait until a model is unloaded; the router cuts it off after its own ten."""
_LOAD_SECONDS = 600.0
_POLL_SECONDS = 0.1


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
    ) -> None:
        self._target = target
        self._make_http = http
        self._http: Http | None = None
        self._clock = clock
        self._patience = Patience(idle_seconds=idle_timeout_seconds, poll_seconds=poll_seconds)
        environ = os.environ if environ is None else environ
        self._content = Content(target, environ, DigestCache(cache_directory))
        self._preset = RouterPreset(Path(target.preset) if target.preset else None, lambda: self._api, target.name)

    @property
    def target(self) -> Target:
        return self._target

    @property
    def _api(self) -> LlamaServerApi:
        if self._http is None:
            self._http = self._make_http()
        return LlamaServerApi(self._target.endpoint or DEFAULT_ENDPOINT, self._http)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None

    # observing

    async def observe(self) -> TargetObservation:
        """Everything installed. Anything that is not a whole answer makes the target unknown."""
        try:
            version = await self._api.version()
            listed = await self._api.models()
            _, view = await self._content.look(listed)
            busy = await self._busy(listed)
            sections = await self._preset.sections()
        except OutsideError as error:
            return UnknownTarget(
                name=self._target.name,
                key=self._target.key,
                reason=error.message,
                code=error.code,
                hint=error.hint or f"is the router running? See `endpoint` of target {self._target.name}",
            )
        models = view.models if view else {}
        installed = [self._installed(item, models.get(item.name), item.name in busy) for item in standing(listed, view)]
        return ObservedTarget(
            name=self._target.name,
            key=self._target.key,
            installed=tuple(as_told(model, sections) for model in sorted(installed, key=lambda model: model.name)),
            disk=view.disk if view else None,
            partial_bytes=view.partial_bytes if view else Bytes(0),
            partial_names=tuple(sorted(item.name for item in listed if not item.is_there)),
            version=version,
            notes=tuple(self._notes(view)),
        )

    async def _busy(self, listed: Sequence[Listed]) -> frozenset[str]:
        """Names of models that answer somebody now, or are just being loaded for somebody."""
        running = [item for item in listed if item.is_running]
        found = await asyncio.gather(*(self._is_busy(item) for item in running))
        return frozenset(item.name for item, busy in zip(running, found, strict=True) if busy)

    async def _is_busy(self, item: Listed) -> bool:
        if item.status == "loading":
            return True
        if item.status == "sleeping":  # it let go of its memory because nobody asked
            return False
        try:
            return bool(await self._api.busy_slots(item.name))
        except Refused:  # it does not tell: loaded counts as in use
            return True

    def _installed(self, item: Listed, model: CachedModel | None, busy: bool) -> Installed:
        name = _parsed(item.name)
        from_cache = model is not None and name is not None
        return Installed(
            name=item.name,
            bytes=model.bytes if model else Bytes(item.weights_bytes or 0),
            digest=self._content.known_digest(model) if model else None,
            stamp=model.stamp if model else _UNREAD,
            files=tuple(_installed_file(file) for file in model.all_files) if model else (),
            repo=name.repo if name and (from_cache or item.source == "cache") else None,
            quant=name.quant if name and (from_cache or item.source == "cache") else None,
            loaded=busy,
            model_context=_context(item),
        )

    def _notes(self, view: CacheView | None) -> list[str]:
        if view is None:
            return ["its cache directory cannot be read here, so content is not verified: `cache:` says where it is"]
        if view.partial_bytes:
            return [f"unfinished downloads take {show_bytes(view.partial_bytes)}; the router resumes them when asked"]
        return []

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
        item = await self._before(row.name)
        if item is None or not item.is_there:
            await self._fetch(row.name, artifact, progress)
        elif not await self._holds(item, artifact):
            self._refuse_conflict(row, item)
            await self.remove(row.name)
            await self._fetch(row.name, artifact, progress)
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

    async def _fetch(self, name: str, artifact: HubArtifact, progress: Progress) -> None:
        download = Download(self._api, name, artifact, progress, clock=self._clock, patience=self._patience)
        await download.to_the_end()
        item = await self._find(name)
        if item is None or item.source != "cache" or not item.is_there:
            raise download.failure(self._target.name)
        await self._verify(item, artifact)

    async def _verify(self, item: Listed, artifact: HubArtifact) -> None:
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
        observed = await self.observe()
        if isinstance(observed, UnknownTarget):
            raise Unreachable(observed.reason, code=observed.code, hint=observed.hint)
        for model in observed.installed:
            if model.name == name:
                return model
        raise Unreachable(f"{name} was downloaded but {self._target.name} does not list it")

    # removing

    async def remove(self, name: str) -> Bytes:
        """Delete a model that nobody uses, unloading it first. Bytes freed are those of the blobs that vanished.

        Raises:
            Refused: ``in-use`` while a slot of it is at work or it is being downloaded; or not from the cache.
        """
        listed = await self._api.models(reload=True)
        item = next((item for item in listed if item.name == name), None)
        directory, view = await self._content.look(listed)
        if item is None or item not in standing(listed, view):
            return Bytes(0)
        model = view.models.get(name) if view else None
        if item.is_there and model is not None and await self._preset.is_ours(name):
            item = replace(item, source="cache", can_remove=True)  # it will be, once our section is out
        self._refuse_what_is_not_removable(item, model)
        await self._stopped(item)
        await self._preset.forget(name)
        repo = name.partition(":")[0]
        before = await asyncio.to_thread(blob_bytes, directory, repo) if directory else {}
        now = await self._find(name)
        if now is not None and now.source == "preset" and directory is not None and model is not None:
            await self._take_out(directory, name, model)
        else:
            await self._delete(name)
        listed = await self._api.models(reload=True)
        _, view_after = await self._content.look(listed)
        if any(left.name == name for left in standing(listed, view_after)):
            raise Unreachable(f"{name} was deleted, and {self._target.name} lists it still")
        if directory is None or view is None:
            return Bytes(item.weights_bytes or 0)
        after = await asyncio.to_thread(blob_bytes, directory, repo)
        return Bytes(sum(size for blob, size in before.items() if blob not in after))

    def _refuse_what_is_not_removable(self, item: Listed, model: CachedModel | None) -> None:
        if not item.is_there:
            raise Refused(f"{item.name} is being downloaded on {self._target.name}", code="in-use")
        if model is not None and model.is_ambiguous:
            files = ", ".join(file.path for file in model.files)
            raise Refused(
                f"removing {item.name} would remove all of {files}",
                hint="the router knows them by one name: remove the right one from its cache by hand",
            )
        if item.source == "models_dir":
            raise Refused(
                f"{item.name} lies in the router's --models-dir, and it removes only what it downloaded itself",
                hint="delete the file there",
            )
        if item.source == "preset" or not item.can_remove:
            raise Refused(
                f"{item.name} stands in the router's preset file, and it removes only what it downloaded itself",
                hint="take its section out of the preset file",
            )

    async def _stopped(self, item: Listed) -> None:
        """Unload an idle model and wait until it is; deleting it while it runs would cut off whoever comes now."""
        if not item.is_running:
            return
        if await self._is_busy(item):
            raise Refused(
                f"{item.name} is serving a request on {self._target.name}",
                code="in-use",
                hint="wait until it has answered; an idle model is unloaded by itself",
            )
        await self._api.unload(item.name)
        for _ in range(int(_STOP_SECONDS / _POLL_SECONDS)):
            now = await self._find(item.name, reload=False)
            if now is None or not now.is_running:
                return
            await self._clock.sleep(_POLL_SECONDS)
        raise Unreachable(f"{item.name} does not unload on {self._target.name}")

    async def _take_out(self, directory: Path, name: str, model: CachedModel) -> None:
        """Remove the files ourselves: a router that was started with our section never deletes the model again.

        It is unloaded, and no longer listed before its blobs go, so that nobody can begin to load it meanwhile.

        Raises:
            Refused: the files are not ours to write.
        """
        parsed = RouterName.parse(name)
        try:
            await asyncio.to_thread(unlink_model, directory, parsed, model)
            await self._api.models(reload=True)
            await asyncio.to_thread(unlink_blobs, directory, parsed, model)
        except OSError as error:
            raise Refused(
                f"{name} cannot be removed from {directory}: {error.strerror or type(error).__name__}",
                code="not-writable",
                hint="restart the router: without our section, which is out now, it removes the model itself",
            ) from error

    async def _delete(self, name: str) -> None:
        """Delete; a router that did not know the model has looked again then. The list decides, not the answer."""
        try:
            if not await self._api.delete(name) and await self._find(name) is not None:
                await self._api.delete(name)
        except Unreachable:
            if await self._find(name) is not None:
                raise

    # serving

    async def serve(self, name: str, wanted: Serving) -> None:
        """Write our section of the preset file; an idle model is unloaded, so that its next load is by it."""
        if await self._preset.says(name, wanted):
            return
        item = await self._find(name, reload=False)
        if item is not None:
            await self._stopped(item)
        await self._preset.tell(name, wanted)
        if wanted.load:
            await self._load(name)

    async def _load(self, name: str) -> None:
        """Load it, so that the first who asks need not wait.

        Raises:
            Refused: it does not run. Unreachable: it takes too long. It stays installed either way.
        """
        await self._api.load(name)
        for _ in range(int(_LOAD_SECONDS / _POLL_SECONDS)):
            item = await self._find(name, reload=False)
            if item is not None and item.status in ("loaded", "sleeping"):
                return
            if item is None or item.failed:
                code = f" (exit code {item.exit_code})" if item else ""
                raise Refused(f"{name} does not load on {self._target.name}{code}", hint="the router's log says why")
            await self._clock.sleep(_POLL_SECONDS)
        raise Unreachable(f"{name} is still not loaded on {self._target.name}", code="timed-out")

    async def _before(self, name: str) -> Listed | None:
        """What stands under a name. A section without files is taken for the model by the router, so ours goes first.

        Raises:
            Refused: such a section is somebody else's.
        """
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
        return await self._find(name)

    async def clean_partials(self, names: frozenset[str]) -> Bytes:
        """Stop downloads that run and are not in ``names``; the router throws away what had arrived.

        Unfinished downloads that do not run have no name, and belong to a live server: they stay.
        """
        listed = await self._api.models()
        stale = [item.name for item in listed if not item.is_there and item.name not in names]
        _, before = await self._content.look(listed)
        for name in stale:
            await self._api.unload(name)
        if not stale or before is None:
            return Bytes(0)
        _, after = await self._content.look(await self._api.models())
        return Bytes(max(0, before.partial_bytes - after.partial_bytes)) if after else Bytes(0)

    async def _find(self, name: str, *, reload: bool = True) -> Listed | None:
        """A listed name; ghosts of a preset whose files are gone are none."""
        listed = await self._api.models(reload=reload)
        return next((item for item in listed if item.name == name), None)


def _wanted(row: Row) -> tuple[RouterName, HubArtifact]:
    """The name and the artifact of a row, where they belong together.

    Raises:
        Refused: they do not, or nothing is known of what to fetch.
    """
    if not isinstance(row.artifact, HubArtifact):
        raise Refused(f"{row.name} is not resolved: what to fetch is not known", code="unresolved")
    name = _parsed(row.name)
    if name is None or name.repo != row.artifact.repo or name.tag != tag_of(row.artifact.files[0].path):
        raise Refused(
            f"a llama-server cannot be asked for {row.artifact.files[0].path} of {row.artifact.repo} as {row.name}",
            code="not-installable",
        )
    return name, row.artifact


def _parsed(name: str) -> RouterName | None:
    with suppress(ValueError):
        return RouterName.parse(name)
    return None


def _context(item: Listed) -> int | None:
    """Tokens of one conversation, where the settings say so."""
    total, parallel = item.settings.get("ctx-size", ""), item.settings.get("parallel", "1")
    if not total.isdigit() or not int(total):
        return None
    return int(total) // max(1, int(parallel) if parallel.isdigit() else 1)


def _installed_file(file: CachedFile) -> InstalledFile:
    return InstalledFile(path=file.path, bytes=file.bytes, stamp=file.stamp)
