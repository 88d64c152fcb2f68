"""Telling a router how to serve: our section of its preset file, written, read back in force, and taken out again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path

from reconciler.domain.observation import Installed, Serving
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.runtimes.llama_server_aliases import (
    LOAD,
    adapted,
    is_read,
    stands_for,
    told,
    with_alias,
    with_serving,
    without_alias,
)
from reconciler.integrations.runtimes.llama_server_api import Listed, LlamaServerApi
from reconciler.integrations.runtimes.llama_server_lora import is_probe
from reconciler.integrations.runtimes.llama_server_preset import (
    OURS,
    Preset,
    Section,
    read_preset,
    write_preset,
)
from reconciler.integrations.to_its_end import to_its_end


class RouterPreset:
    """The preset file of one router.

    Args:
        path: as the router was started with; None: it was started without, or we do not know.
        api: of the router.
        target: what the router is called, for messages.
        is_busy: whether a running model answers somebody.
    """

    def __init__(
        self,
        path: Path | None,
        api: LlamaServerApi,
        target: str,
        is_busy: Callable[[Listed], Awaitable[bool]],
    ) -> None:
        self.path, self._api, self._target, self._is_busy = path, api, target, is_busy

    async def sections(self) -> Mapping[str, Section] | None:
        """By model; None where there is no file, or it cannot be read: then nothing can be told."""
        if self.path is not None:
            with suppress(Refused):
                return (await self._read()).sections
        return None

    async def begin(self) -> None:
        """Have a file where none is: a router that was started with it looks at nothing again while it is gone.

        Raises:
            Refused: something else stands there, or it cannot be made.
        """
        if self.path is None or await asyncio.to_thread(self.path.is_file):
            return
        fresh = await self._read()
        if not await asyncio.to_thread(self.path.exists):
            await self._write(fresh)

    async def current(self) -> Preset | None:
        """The file as it is; None where there is none to read."""
        if self.path is not None:
            with suppress(Refused):
                return await self._read()
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
        if self.path is None:
            return True
        sections = (await self._read()).sections
        section = sections.get(name)
        if section is not None and not section.is_ours:
            raise Refused(
                f"{self.path} has a section of {name} that is not ours to change",
                code="unmanaged-conflict",
                hint=f"set ctx-size there, or put the line `{OURS}` above it",
            )
        return section is not None and is_read(sections, name) and told(sections, name) == wanted

    async def tell(self, name: str, wanted: Serving) -> None:
        """Write our section, have the router read it, and see it in force; else all is as before.

        Raises:
            Refused: ``in-use``; or the file cannot be written, or the router does not take what it says.
        """
        most = await self._api.most_loaded() if wanted.load else None
        await self.change(lambda before: with_serving(before, name, wanted, most))

    async def say_name(self, alias: str, model: str, context: int | None) -> tuple[Preset, frozenset[str]]:
        """Make a name stand for a model, as ``tell`` does it; the file as it was before, and the sections changed.

        Raises:
            Refused: as ``tell`` does; ``unmanaged-conflict``: the name is a section of somebody else's, or a model's.
        """
        if self.path is None:
            raise self._nowhere()
        self._refuse_foreign((await self._read()).sections.get(alias), alias)
        return await self.change(lambda before: with_alias(before, alias, model, context))

    async def forget_name(self, alias: str) -> None:
        """Take a name of ours out; nothing where it is gone.

        Raises:
            Refused: as ``say_name`` does.
        """
        if self.path is None:
            raise self._nowhere()
        section = (await self._read()).sections.get(alias)
        self._refuse_foreign(section, alias)
        if section is not None:
            await self.change(lambda before: without_alias(before, alias))

    async def forget(self, name: str) -> None:
        """Take our section out and have the router know; no section, or another's, is left alone."""
        if self.path is None or not await self.is_ours(name):
            return
        await self._write((await self._read()).without_section(name))
        await self._api.models(reload=True)

    async def names_of(self, model: str) -> tuple[str, ...]:
        """Stable names of ours that stand for a model."""
        sections = await self.sections() or {}
        return tuple(name for name, section in sections.items() if section.is_ours and section.model == model)

    async def adapters_at_start(self, model: str) -> tuple[str, ...]:
        """Adapters of ours on a model that the router loads whenever it starts."""
        sections = await self.sections() or {}
        return tuple(
            name for name, one in sections.items() if one.is_ours and adapted(one) == model and LOAD in one.settings
        )

    async def loads(self, name: str) -> bool:
        """The file says that the router loads it whenever it starts."""
        section = (await self.sections() or {}).get(name)
        return section is not None and section.settings.get("load-on-startup") == "true"

    async def restore(self, before: Preset, names: Collection[str]) -> None:
        """Have our sections of these names as they were, and the rest as it is now: somebody may have edited it."""
        with suppress(OutsideError):
            now = await self._read()
            for name in names:
                section, here = before.sections.get(name), now.sections.get(name)
                if here is not None and not here.is_ours:
                    continue
                if section is None:
                    now = now.without_section(name)
                elif section.is_ours:
                    now = now.with_settings(name, section.settings, is_read=False)
            await self._write(now)
            await self._api.models(reload=True)
            await self._write(now.all_read())

    async def change(self, edit: Callable[[Preset], Preset]) -> tuple[Preset, frozenset[str]]:
        """One edit of the file, in force when this returns; else undone. The file before it, and what it changed.

        A running model that it concerns is stopped by the router as it reads the file, if nobody is being answered.
        A try of an adapter is stopped whatever it does: nobody knows its name.

        Raises:
            Refused: as ``tell`` does.
        """
        before = await self._read()
        after = edit(before)
        touched = _touched(before, after)
        if self.path is None or not touched:
            return before, frozenset()
        await self._refuse_busy({name for name in touched if not is_probe(name)})
        await self._write(after)
        try:
            listed = {item.name: item for item in await self._api.models(reload=True)}
            for name in touched & after.sections.keys():
                if any(_found(listed, name).get(key) != value for key, value in after.sections[name].settings.items()):
                    raise self._not_in_force(name, after.sections[name].settings, _found(listed, name))
            self._refuse_another_file(listed, before.sections.keys() | after.sections.keys())
        except Refused:
            await self.restore(before, touched)
            raise
        await self._write((await self._read()).all_read())
        return before, touched

    async def _refuse_busy(self, names: Collection[str]) -> None:
        for item in await self._api.models():
            if item.name in names and item.is_running and await self._is_busy(item):
                raise Refused(
                    f"{item.name} is serving a request on {self._target}, and would be stopped for it",
                    code="in-use",
                    hint="wait until it has answered",
                )

    def _refuse_foreign(self, section: Section | None, alias: str) -> None:
        if section is None or (section.is_ours and section.model is not None):
            return
        raise Refused(
            f"{alias} is a section of {self.path} that is not ours to change",
            code="unmanaged-conflict",
            hint="give the slot another alias, or take that section out",
        )

    def _nowhere(self) -> Refused:
        return Refused(
            f"{self._target} has no stable names: where its preset file is, is not known",
            code="no-api",
            hint="start the router with --models-preset FILE, and name the file at the target: `preset: FILE`",
        )

    def _not_in_force(self, name: str, wanted: Mapping[str, str], found: Mapping[str, str]) -> Refused:
        differ = [f"{key} is {found.get(key, 'not set')}" for key, value in wanted.items() if found.get(key) != value]
        return Refused(
            f"{self._target} does not take what {self.path} says of {name}: {', '.join(differ)}",
            hint=f"start it with --models-preset {self.path}, and without -c, -np, -ctk and -ctv, which would win",
        )

    def _refuse_another_file(self, listed: Mapping[str, Listed], named: Collection[str]) -> None:
        """What it serves by a section that this file does not have stands in another file: this one is not read."""
        for item in listed.values():
            if stands_for(item) is not None and item.name not in named and not item.is_running:
                raise Refused(
                    f"{self._target} reads another preset file than {self.path}: it serves {item.name} by a section"
                    f" that {self.path} does not have",
                    hint="name the file that it was started with as --models-preset as `preset:` of the target, or"
                    f" start it with --models-preset {self.path}",
                )

    async def _read(self) -> Preset:
        return await asyncio.to_thread(read_preset, self.path) if self.path is not None else Preset("")

    async def _write(self, preset: Preset) -> None:
        if self.path is not None:
            await to_its_end(asyncio.to_thread(write_preset, self.path, preset))


def as_told(model: Installed, sections: Mapping[str, Section] | None) -> Installed:
    """With what the preset file says of it, and whether that is ours to say. What was not read yet says nothing."""
    if sections is None:
        return model
    section = sections.get(model.name)
    known = (
        told(sections, model.name) if section is None or not section.is_ours or is_read(sections, model.name) else None
    )
    ours = section is None or section.is_ours
    return model.model_copy(update={"serving": known, "serving_is_ours": ours and model.repo is not None})


def _touched(before: Preset, after: Preset) -> frozenset[str]:
    """Names whose section is another one now, or was not read yet."""
    names = before.sections.keys() | after.sections.keys()
    return frozenset(
        name
        for name in names
        if _says(before, name) != _says(after, name)
        or ((section := after.sections.get(name)) and section.is_ours and not section.is_read)
    )


def _says(preset: Preset, name: str) -> Mapping[str, str] | None:
    section = preset.sections.get(name)
    return section.settings if section is not None else None


def _found(listed: Mapping[str, Listed], name: str) -> Mapping[str, str]:
    return listed[name].settings if name in listed else {}
