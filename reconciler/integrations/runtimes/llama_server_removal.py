"""Removing a model from a router: nobody is cut off, nothing else goes with it, and what vanished is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.domain.units import Bytes
from reconciler.errors import OutsideError, Refused, Unreachable
from reconciler.formats.router_names import RouterName
from reconciler.integrations.runtimes.hub_layout import (
    Aside,
    CachedModel,
    asides,
    blob_bytes,
    bring_back,
    drop_aside,
    set_aside,
    unlink_blobs,
    unlink_model,
)
from reconciler.integrations.runtimes.llama_server_aliases import stands_for
from reconciler.integrations.runtimes.llama_server_api import Listed
from reconciler.integrations.runtimes.llama_server_content import Content, standing
from reconciler.integrations.runtimes.llama_server_preset import Preset
from reconciler.integrations.runtimes.llama_server_router import Router
from reconciler.integrations.runtimes.llama_server_serving import RouterPreset


@dataclass(frozen=True, slots=True)
class _Found:
    item: Listed
    directory: Path | None
    """Where its files can be seen."""
    model: CachedModel | None


class Removal:
    """How models leave one router.

    Args:
        router: is asked to unload and to delete.
        content: what lies in its cache.
        preset: our sections of its preset file.
    """

    def __init__(self, router: Router, content: Content, preset: RouterPreset) -> None:
        self._router, self._content, self._preset = router, content, preset

    async def remove(self, name: str) -> Bytes:
        """Delete a model that nobody uses, unloading it first. Bytes freed are those of the blobs that vanished.

        Raises:
            Refused: ``in-use`` while a slot of it is at work or it is being downloaded; or not from the cache.
        """
        found = await self._released(name)
        return Bytes(0) if found is None else await self._taken_away(name, found)

    async def _taken_away(self, name: str, found: _Found) -> Bytes:
        repo = name.partition(":")[0]
        before = await asyncio.to_thread(blob_bytes, found.directory, repo) if found.directory else {}
        now = await self._router.find(name)
        if now is not None and now.source == "preset" and found.directory is not None and found.model is not None:
            await self._take_out(found.directory, name, found.model)
        else:
            await self._delete(name)
        listed = await self._router.api.models(reload=True)
        _, view_after = await self._content.look(listed)
        if any(left.name == name for left in standing(listed, view_after)):
            raise Unreachable(f"{name} was deleted, and {self._router.name} lists it still")
        if found.directory is None:
            return Bytes(found.item.weights_bytes or 0)
        after = await asyncio.to_thread(blob_bytes, found.directory, repo)
        return Bytes(sum(size for blob, size in before.items() if blob not in after))

    @asynccontextmanager
    async def replacing(self, name: str, wanted: Collection[str] = ()) -> AsyncIterator[None]:
        """Have the name free inside the block; the old content comes back when it fails, and goes when it does not.

        Where we may not write in the cache, the old content is removed first: the router holds one content by one name.
        So is a file that rotted under the digest it should have: the router fetches no blob that is there.

        Args:
            name: of the model.
            wanted: digests of the files that are to come.

        Raises:
            Refused: as ``remove`` does.
        """
        preset = await self._preset.current()
        found = await self._released(name, with_names=False)
        rotten = found is not None and found.model is not None and found.model.states_any_of(wanted)
        aside = await self._set_aside(found) if found is not None and not rotten else None
        if found is not None and aside is None:
            await self._stop_names(name, await self._router.api.models(), stop=True)
            await self._taken_away(name, found)
        try:
            yield
        except BaseException:
            if found is not None and aside is not None:
                await asyncio.shield(self._bring_back(found, aside, preset))
            raise
        if found is not None and found.directory is not None and aside is not None:
            with suppress(OSError):  # the bytes are counted, and go with the next update or apply
                await asyncio.to_thread(drop_aside, found.directory, aside)
            await self._restart_names(name)

    async def _set_aside(self, found: _Found) -> Aside | None:
        if found.directory is None or found.model is None:
            return None
        try:
            aside = await asyncio.to_thread(set_aside, found.directory, RouterName.parse(found.item.name), found.model)
        except OSError:
            return None
        if aside is not None and await self._router.find(found.item.name) is not None:  # hidden by a section, say
            await asyncio.to_thread(bring_back, found.directory, aside)
            return None
        return aside

    async def _bring_back(self, found: _Found, aside: Aside, preset: Preset | None) -> None:
        with suppress(OutsideError, OSError):
            await asyncio.to_thread(bring_back, found.directory or Path(), aside)
            if preset is not None:
                await self._preset.restore(preset, {str(aside.name)})
            await self._router.api.models(reload=True)

    async def _restart_names(self, name: str) -> None:
        """What serves the model under another name lets go of the old content, unless somebody is being answered."""
        with suppress(OutsideError):
            for item in await self._router.api.models():
                if stands_for(item) == name and item.is_running:
                    await self._router.stop(item)
                    await self._router.api.load(item.name)

    async def settle(self, name: str) -> None:
        """What an update that was cut off set aside goes where the new content stands, else it comes back."""
        listed = await self._router.api.models()
        directory, _ = await self._content.look(listed)
        if directory is None:
            return
        with suppress(OSError):
            left = [aside for aside in await asyncio.to_thread(asides, directory) if str(aside.name) == name]
            there = any(item.name == name and item.is_there for item in listed)
            for aside in left:
                await asyncio.to_thread(drop_aside if there else bring_back, directory, aside)
            if left:
                await self._router.api.models(reload=True)

    async def settle_all_but(self, names: Collection[str]) -> None:
        """The same for every name that is not in ``names``."""
        directory, _ = await self._content.look(await self._router.api.models())
        if directory is not None:
            with suppress(OSError):
                for aside in await asyncio.to_thread(asides, directory):
                    if str(aside.name) not in names:
                        await self.settle(str(aside.name))

    async def _released(self, name: str, *, with_names: bool = True) -> _Found | None:
        """The model, no longer loaded and without a section of ours; None where it is not there.

        Args:
            name: of the model.
            with_names: what serves it under another name is stopped too, not only looked at.
        """
        listed = await self._router.api.models(reload=True)  # it knows its cache as of the last look only
        item = next((item for item in listed if item.name == name), None)
        directory, view = await self._content.look(listed)
        if item is None or item not in standing(listed, view):
            return None
        model = view.models.get(name) if view else None
        if item.is_there and model is not None and await self._is_no_section_of_others(name):
            item = replace(item, source="cache", can_remove=True)  # it will be, once our section is out
        self._refuse_what_is_not_removable(item, model)
        await self._stop_names(name, listed, stop=with_names)
        await self._router.stop(item)
        await self._preset.forget(name)
        return _Found(item, directory, model)

    async def _is_no_section_of_others(self, name: str) -> bool:
        """Its section is ours; or it is out of the file, and only a router that was started with it remembers it."""
        if await self._preset.is_ours(name):
            return True
        preset = await self._preset.current()
        return preset is not None and name not in preset.sections

    def _refuse_what_is_not_removable(self, item: Listed, model: CachedModel | None) -> None:
        if not item.is_there:
            raise Refused(f"{item.name} is being downloaded on {self._router.name}", code="in-use")
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

    async def _take_out(self, directory: Path, name: str, model: CachedModel) -> None:
        """Remove the files ourselves: a router that was started with our section never deletes the model again.

        It is unloaded, and no longer listed before its blobs go, so that nobody can begin to load it meanwhile.

        Raises:
            Refused: the files are not ours to write.
        """
        parsed = RouterName.parse(name)
        try:
            await asyncio.to_thread(unlink_model, directory, parsed, model)
            await self._router.api.models(reload=True)
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
            if not await self._router.api.delete(name) and await self._router.find(name) is not None:
                await self._router.api.delete(name)
        except Unreachable:
            if await self._router.find(name) is not None:
                raise

    async def _stop_names(self, name: str, listed: Sequence[Listed], *, stop: bool) -> None:
        """Look at, and unload, what serves the model under another name.

        Raises:
            Refused: ``in-use``; or the name is somebody else's, who wants the model.
        """
        others = [item for item in listed if stands_for(item) == name]
        for item in others:
            if not await self._preset.is_ours(item.name):
                raise Refused(
                    f"{name} is served as {item.name} by a section of the router's preset file that is not ours",
                    hint=f"take the section {item.name} out of the preset file",
                )
            if item.is_running and await self._router.is_busy(item):
                raise Refused(
                    f"{name} is serving a request as {item.name} on {self._router.name}",
                    code="in-use",
                    hint="wait until it has answered; an idle model is unloaded by itself",
                )
        for item in others if stop else ():
            await self._router.stop(item)
