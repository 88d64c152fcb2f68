"""Removing a model from a router: nobody is cut off, nothing else goes with it, and what vanished is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.domain.units import Bytes
from reconciler.errors import Refused, Unreachable
from reconciler.formats.router_names import RouterName
from reconciler.integrations.runtimes.hub_layout import (
    CachedModel,
    blob_bytes,
    unlink_blobs,
    unlink_model,
)
from reconciler.integrations.runtimes.llama_server_aliases import stands_for
from reconciler.integrations.runtimes.llama_server_api import Listed
from reconciler.integrations.runtimes.llama_server_content import Content, standing
from reconciler.integrations.runtimes.llama_server_router import Router
from reconciler.integrations.runtimes.llama_server_serving import RouterPreset


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
        listed = await self._router.api.models(reload=True)  # it knows its cache as of the last look only
        item = next((item for item in listed if item.name == name), None)
        directory, view = await self._content.look(listed)
        if item is None or item not in standing(listed, view):
            return Bytes(0)
        model = view.models.get(name) if view else None
        if item.is_there and model is not None and await self._preset.is_ours(name):
            item = replace(item, source="cache", can_remove=True)  # it will be, once our section is out
        self._refuse_what_is_not_removable(item, model)
        await self._stop_names(name, listed)
        await self._router.stop(item)
        await self._preset.forget(name)
        repo = name.partition(":")[0]
        before = await asyncio.to_thread(blob_bytes, directory, repo) if directory else {}
        now = await self._router.find(name)
        if now is not None and now.source == "preset" and directory is not None and model is not None:
            await self._take_out(directory, name, model)
        else:
            await self._delete(name)
        listed = await self._router.api.models(reload=True)
        _, view_after = await self._content.look(listed)
        if any(left.name == name for left in standing(listed, view_after)):
            raise Unreachable(f"{name} was deleted, and {self._router.name} lists it still")
        if directory is None or view is None:
            return Bytes(item.weights_bytes or 0)
        after = await asyncio.to_thread(blob_bytes, directory, repo)
        return Bytes(sum(size for blob, size in before.items() if blob not in after))

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

    async def _stop_names(self, name: str, listed: Sequence[Listed]) -> None:
        """Unload what serves the model under another name.

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
        for item in others:
            await self._router.stop(item)
