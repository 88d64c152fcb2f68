"""Telling a router how to serve: our section of its preset file, written, read back in force, and taken out again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.domain.observation import Installed, Serving
from reconciler.errors import Refused
from reconciler.integrations.runtimes.llama_server_api import Listed, LlamaServerApi
from reconciler.integrations.runtimes.llama_server_preset import (
    OURS,
    Preset,
    Section,
    read_preset,
    settings_of,
    write_preset,
)


class RouterPreset:
    """The preset file of one router.

    Args:
        path: as the router was started with; None: it was started without, or we do not know.
        api: of the router; called when it is first needed.
        target: what the router is called, for messages.
    """

    def __init__(self, path: Path | None, api: Callable[[], LlamaServerApi], target: str) -> None:
        self._path, self._api, self._target = path, api, target

    async def sections(self) -> Mapping[str, Section] | None:
        """By model; None where there is no file, or it cannot be read: then nothing can be told."""
        if self._path is not None:
            with suppress(Refused):
                return (await asyncio.to_thread(read_preset, self._path)).sections
        return None

    async def is_ours(self, name: str) -> bool:
        """There is a section of ours."""
        section = (await self.sections() or {}).get(name)
        return section is not None and section.is_ours

    async def says(self, name: str, wanted: Serving) -> bool:
        """It is told already, as far as the file shows.

        Raises:
            Refused: somebody else's section stands there, or the file cannot be read.
        """
        if self._path is None:
            return True
        section = (await asyncio.to_thread(read_preset, self._path)).sections.get(name)
        if section is not None and not section.is_ours:
            raise Refused(
                f"{self._path} has a section of {name} that is not ours to change",
                code="unmanaged-conflict",
                hint=f"set ctx-size there, or put the line `{OURS}` above it",
            )
        return section is not None and section.is_read and section.serving == wanted

    async def tell(self, name: str, wanted: Serving) -> None:
        """Write our section, have the router read it, and see it in force; else take it out again.

        Raises:
            Refused: the file cannot be written, or the router does not take what it says.
        """
        if self._path is None:
            return
        before = await asyncio.to_thread(read_preset, self._path)
        await self._write(before.with_section(name, wanted, is_read=False))
        item = next((item for item in await self._api().models(reload=True) if item.name == name), None)
        if item is None or any(item.settings.get(key) != value for key, value in settings_of(wanted).items()):
            await self.forget(name)
            raise self._not_in_force(name, wanted, item)
        now = await asyncio.to_thread(read_preset, self._path)
        await self._write(now.with_section(name, wanted, is_read=True))

    async def forget(self, name: str) -> None:
        """Take our section out and have the router know; no section, or another's, is left alone."""
        if self._path is None or not await self.is_ours(name):
            return
        now = await asyncio.to_thread(read_preset, self._path)
        await self._write(now.without_section(name))
        await self._api().models(reload=True)

    def _not_in_force(self, name: str, wanted: Serving, item: Listed | None) -> Refused:
        found = item.settings if item else {}
        differ = [
            f"{key} is {found.get(key, 'not set')}"
            for key, value in settings_of(wanted).items()
            if found.get(key) != value
        ]
        return Refused(
            f"{self._target} does not take what {self._path} says of {name}: {', '.join(differ)}",
            hint=f"start it with --models-preset {self._path}, and without -c, -np, -ctk and -ctv, which would win",
        )

    async def _write(self, preset: Preset) -> None:
        if self._path is not None:
            await asyncio.to_thread(write_preset, self._path, preset)


def as_told(model: Installed, sections: Mapping[str, Section] | None) -> Installed:
    """With what the preset file says of it, and whether that is ours to say. What was not read yet says nothing."""
    if sections is None:
        return model
    section = sections.get(model.name)
    known = section.serving if section is not None and (section.is_read or not section.is_ours) else None
    ours = section is None or section.is_ours
    return model.model_copy(update={"serving": known, "serving_is_ours": ours and model.repo is not None})
