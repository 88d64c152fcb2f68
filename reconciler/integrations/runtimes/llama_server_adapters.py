"""Serving LoRA adapters with a llama-server: proven under a name of its own first, then switched, or all is as before.

A router forwards no ``POST /lora-adapters`` (it looks for the model in the body, which has to be a list). So a scale
is changed in the adapter's section, and its own process starts again while its base and everybody else's go on. While
it answers somebody, its process is told instead, without the router; the section follows when a look finds it idle.
That is more than tidiness: of a prompt that a process keeps, the part it has read stays as the old scale read it.
A server of one model takes scales, and nothing else, while it runs.

Source:
    llama.cpp b10434, tried on the real server.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from reconciler.domain.adapter import HeldAdapter, ServedAdapter, is_same_scale
from reconciler.errors import OutsideError, Refused
from reconciler.integrations.runtimes.adapter_damage import HeldFilesAsTheyStand
from reconciler.integrations.runtimes.llama_server_aliases import LOAD, adapted, check_name
from reconciler.integrations.runtimes.llama_server_api import Listed, LlamaServerApi, LoadedAdapter
from reconciler.integrations.runtimes.llama_server_lora import (
    SCALED,
    bases_at_start,
    digest_of,
    files_of,
    probe_name,
    served_adapters,
    settings_for,
    without_probes,
)
from reconciler.integrations.runtimes.llama_server_preset import Preset, Section
from reconciler.integrations.runtimes.llama_server_router import Router
from reconciler.integrations.runtimes.llama_server_serving import RouterPreset


@dataclass(frozen=True, slots=True)
class Before:
    """What stood when an attachment began."""

    section: Section | None
    """Of the adapter's name; ours, and an adapter's."""
    running: frozenset[str]
    failed: bool = False
    """It did not load when it was last asked to, and says so until it loads."""


class RouterAdapters:
    """The adapters of one router.

    Args:
        router: that serves them.
        preset: its preset file.
        files: tells which of our copies are damaged.
    """

    def __init__(self, router: Router, preset: RouterPreset, files: HeldFilesAsTheyStand) -> None:
        self._router, self._preset, self._files = router, preset, files
        self._read_damaged: frozenset[str] = frozenset()
        """Files that a process may have read while they were damaged, whatever is there by now."""

    async def seen(self, listed: Sequence[Listed], busy: Collection[str]) -> tuple[ServedAdapter, ...]:
        """What it serves, as its file, its list and its loaded models say. Loads nothing."""
        asked = [item.name for item in listed if item.status == "loaded" and files_of(item.settings)]
        answers = await asyncio.gather(*(self._loaded(name) for name in asked))
        loaded = {name: answer for name, answer in zip(asked, answers, strict=True) if answer is not None}
        sections = await self._preset.sections()
        most = await self._router.api.most_loaded() if bases_at_start(sections) else None
        found = await asyncio.to_thread(served_adapters, listed, sections, loaded, busy, most)
        damaged = await self._files.damaged(frozenset(one.path for one in found if one.path))
        self._read_damaged |= damaged
        gone = {"digest": None, "damaged": True}
        return tuple(one.model_copy(update=gone) if one.path in damaged else one for one in found)

    async def why_none(self) -> str | None:
        """Why its preset file takes no section of ours; None: it does, or nobody said which it is."""
        place = self._preset.path
        if place is None or await self.takes_any():
            return None
        return f"its preset file {place} cannot be written from here"

    async def takes_any(self) -> bool:
        """Its preset file is known, and ours to write."""
        return self._preset.path is not None and await asyncio.to_thread(_is_writable, self._preset.path)

    async def attach(self, adapter: HeldAdapter, listed: Sequence[Listed], models: Collection[str]) -> None:
        """Have it served under its name.

        Args:
            adapter: to serve.
            listed: by the router, after it looked again.
            models: names that are installed.

        Raises:
            Refused, Unreachable: as ``ServesAdapters.attach`` does.
        """
        base, before = await self._checked(adapter, listed, models)
        most = await self._router.api.most_loaded()
        settings = settings_for(adapter, base, await self._preset.sections() or {}, most)
        anew = adapter.path in self._read_damaged
        if not anew and before.section is not None and await self._is_in_force(before.section, settings, adapter):
            return
        only_scale = (
            not anew and not before.failed and before.section is not None and _is_rescaled(before.section, settings)
        )
        busy = await self._busy(adapter.name, listed)
        if busy is not None:
            await self._rescale_live(busy, adapter, only_scale=only_scale)
            return
        try:
            if not only_scale:
                await self._prove(adapter, settings)
            if anew and (running := next((one for one in listed if one.name == adapter.name), None)) is not None:
                await self._router.stop(running)  # its process keeps what it read
            await self._switch(adapter, settings, before)
            self._read_damaged -= {adapter.path}
        finally:
            await asyncio.shield(self._as_it_was(adapter.name, before.running))

    async def detach(self, name: str) -> None:
        """Take its section out; nothing where it is gone.

        Raises:
            Refused: as ``attach`` does.
        """
        if self._preset.path is None:
            raise self._nowhere(name)
        sections = await self._preset.sections() or {}
        if name in sections:
            _refuse_foreign(sections[name], self._preset.path)
        await self._preset.change(lambda preset: without_probes(preset, name).without_section(name))

    async def end_tries(self, name: str) -> None:
        """Take out what an attach of this name left when it was cut off, if anything; else nothing is read anew."""
        preset = await self._preset.current()
        if preset is not None and without_probes(preset, name).text != preset.text:
            await self._preset.change(lambda preset: without_probes(preset, name))

    # one step after the other

    async def _checked(
        self, adapter: HeldAdapter, listed: Sequence[Listed], models: Collection[str]
    ) -> tuple[Listed, Before]:
        check_name(adapter.name)
        if adapter.format != "gguf":
            raise Refused(f"a llama-server takes adapters as GGUF, and {adapter.path} is none", code="not-installable")
        if not await self.takes_any() or self._preset.path is None:
            raise self._nowhere(adapter.name, adapter)
        base = next((item for item in listed if item.name == adapter.base and item.name in models), None)
        if base is None:
            raise Refused(f"{adapter.base} is not there on {self._router.name}", code="not-found")
        if "hf-repo" not in base.settings:
            raise Refused(f"{adapter.base} is not in the router's cache: another section cannot name it", code="no-api")
        section = (await self._preset.sections() or {}).get(adapter.name)
        if section is not None:
            _refuse_foreign(section, self._preset.path)
        elif any(adapter.name == item.name or adapter.name in item.aliases for item in listed):
            raise Refused(
                f"{adapter.name} is a model, or another name of one, on {self._router.name}",
                code="unmanaged-conflict",
                hint="serve the adapter under another name",
            )
        failed = any(item.name == adapter.name and item.failed for item in listed)
        return base, Before(section, frozenset(item.name for item in listed if item.is_running), failed)

    async def _is_in_force(self, section: Section, settings: Mapping[str, str], adapter: HeldAdapter) -> bool:
        item = await self._router.find(adapter.name, reload=False)
        if not section.is_read or section.settings != settings or item is None or item.failed:
            return False
        if LOAD in settings and not item.is_running:
            return False
        return item.settings.get(SCALED) == settings[SCALED] and (
            not item.is_running or _applies(await self._loaded(adapter.name), adapter)
        )

    async def _busy(self, name: str, listed: Sequence[Listed]) -> Listed | None:
        item = next((item for item in listed if item.name == name and item.is_running), None)
        return item if item is not None and await self._router.is_busy(item) else None

    async def _rescale_live(self, item: Listed, adapter: HeldAdapter, *, only_scale: bool) -> None:
        """What it is answering goes on as it began; whoever asks next gets the new scale.

        Raises:
            Refused: ``in-use``: more changes than the scale, or its process cannot be told from here.
        """
        process = self._router.process(item) if only_scale and item.status == "loaded" else None
        serving = f"{item.name} is serving a request on {self._router.name}"
        hint = "wait until it has answered"
        if process is None:
            raise Refused(serving, code="in-use", hint=hint)
        try:
            await rescale(process, adapter)
        except OutsideError as error:
            if error.code == "adapter-refused":
                raise
            text = f"{serving}, and its scale cannot be set meanwhile: {error.message}"
            raise Refused(text, code="in-use", hint=hint) from error

    async def _prove(self, adapter: HeldAdapter, settings: Mapping[str, str]) -> None:
        """Load it beside everything else, under a name that nobody asks for, and have it answer."""
        probe, settings = probe_name(adapter), {key: value for key, value in settings.items() if key != LOAD}
        await self._preset.change(lambda preset: _with(without_probes(preset, adapter.name), probe, settings))
        await self._loads(probe, adapter)

    async def _switch(self, adapter: HeldAdapter, settings: Mapping[str, str], before: Before) -> None:
        """The name's section in place of the probe's, in one step that the router reads."""
        preset, changed = await self._preset.change(
            lambda preset: _with(without_probes(preset, adapter.name), adapter.name, settings)
        )
        try:
            if adapter.name in before.running or before.failed or LOAD in settings:
                await self._loads(adapter.name, adapter)
        except BaseException:
            await asyncio.shield(self._preset.restore(preset, changed))
            raise

    async def _loads(self, name: str, adapter: HeldAdapter) -> None:
        """Load it, and see the adapter applied and a token come.

        Raises:
            Refused: ``adapter-refused``; ``in-use``: no place for it now. Unreachable: it takes too long.
        """
        try:
            await self._router.load(name)
            if not _applies(await self._loaded(name), adapter):
                raise Refused(f"{self._router.name} loads {name} without the adapter")  # noqa: TRY301 - one way out
            await self._router.api.answers(name)
        except Refused as error:
            if error.code == "in-use":
                raise
            raise Refused(
                f"{self._router.name} does not serve {adapter.base} with {adapter.path}: {error.message}",
                code="adapter-refused",
                hint="the router's log says why: made for another base, damaged, or too little memory for one process"
                " more (a lower --models-max makes room for it)",
            ) from error

    async def _as_it_was(self, name: str, running: Collection[str]) -> None:
        """No try of it is left, and what ran before and was stopped to make room runs again."""
        with suppress(OutsideError):
            await self._preset.change(lambda preset: without_probes(preset, name))
        with suppress(OutsideError):
            now = {item.name for item in await self._router.api.models() if not item.is_running}
            for stopped in sorted(now & set(running)):
                with suppress(OutsideError):
                    await self._router.load(stopped)

    async def _loaded(self, name: str) -> tuple[LoadedAdapter, ...] | None:
        with suppress(OutsideError):
            return await self._router.api.adapters(name)
        return None

    def _nowhere(self, name: str, adapter: HeldAdapter | None = None) -> Refused:
        place = self._preset.path
        lines = f": [{name}] hf-repo = {adapter.base}, offline = true, {SCALED} = {_file(adapter)}" if adapter else ""
        return Refused(
            f"{self._router.name} takes no adapters: its preset file "
            + (f"{place} cannot be written" if place else "is not known"),
            code="no-api",
            hint="start the router with --models-preset FILE and name the file at the target (`preset: FILE`), or"
            f" write the section yourself{lines}",
        )


async def rescale(api: LlamaServerApi, adapter: HeldAdapter) -> ServedAdapter:
    """Change the scale of an adapter that a server of one model was started with, and read it back.

    Raises:
        Refused: ``no-api``: it was started without; the set is fixed until it starts again.
    """
    loaded = await api.adapters(None) or ()
    place = next((one for one in loaded if one.path == adapter.path or digest_of(one.path) == adapter.digest), None)
    if place is None:
        raise Refused(
            "a llama-server that serves one model takes adapters only when it starts",
            code="no-api",
            hint=f"start it with --{SCALED} {_file(adapter)}, or without a model: then it is a router",
        )
    if not is_same_scale(place.scale, adapter.scale):
        await api.scale({one.id: adapter.scale if one is place else one.scale for one in loaded})
    now = next((one for one in await api.adapters(None) or () if one.id == place.id), place)
    if not is_same_scale(now.scale, adapter.scale):
        raise Refused(f"the server keeps {place.path} at scale {now.scale}", code="adapter-refused")
    name, digest = Path(place.path).stem, digest_of(place.path)
    return ServedAdapter(name=name, base=adapter.base, path=place.path, scale=adapter.scale, digest=digest)


def _with(preset: Preset, name: str, settings: Mapping[str, str]) -> Preset:
    return preset.with_settings(name, settings, is_read=False)


def _is_rescaled(section: Section, settings: Mapping[str, str]) -> bool:
    """The same weights on the same base, at another scale at most."""
    path, _, _ = settings[SCALED].rpartition(":")
    before, _, _ = section.settings.get(SCALED, "").rpartition(":")
    return section.is_read and before == path and adapted(section) == settings.get("hf-repo")


def _applies(loaded: Sequence[LoadedAdapter] | None, adapter: HeldAdapter) -> bool:
    return any(one.path == adapter.path and is_same_scale(one.scale, adapter.scale) for one in loaded or ())


def _refuse_foreign(section: Section, place: Path) -> None:
    if section.is_ours and adapted(section) is not None:
        return
    raise Refused(
        f"{section.name} is a section of {place} that is no adapter of ours",
        code="unmanaged-conflict",
        hint="serve the adapter under another name, or take that section out",
    )


def _is_writable(preset: Path) -> bool:
    place = preset.resolve()
    with suppress(PermissionError):
        needed = (place.parent, place) if place.exists() else (place.parent,)
        return all(os.access(each, os.W_OK, effective_ids=True) for each in needed)
    return False


def _file(adapter: HeldAdapter) -> str:
    return f"{adapter.path}:{adapter.scale!r}"
