"""Where one run looks into the adapters of its file and holds their files. Nothing is opened before it is needed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from reconciler.domain.adapter import Adapter, AdapterVerdict
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import (
    AdapterNeed,
    Observation,
    ObservedTarget,
    Resolved,
    TargetObservation,
    Unavailable,
)
from reconciler.engine.world import AdapterPorts, Runtimes, World
from reconciler.errors import OutsideError, PlanningError, ReconcilerError, Refused, Unreachable
from reconciler.ports import AdapterStore, HasFiles

if TYPE_CHECKING:
    from reconciler.engine.lora.verdict import Place


_DISOWNED = "\ndisowned\n"
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass
class Workshop:
    """The adapters' side of one run."""

    world: World
    desired: DesiredState
    runtimes: Runtimes
    observation: Observation | None = None
    """What the plan was made from; None while it is being made."""
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @cached_property
    def ports(self) -> AdapterPorts:
        """Raises ``PlanningError`` where nothing here deals with adapters."""
        if self.world.adapters is None:
            raise PlanningError("adapters cannot be dealt with here", code="no-api")
        return self.world.adapters()

    @cached_property
    def store(self) -> AdapterStore:
        return self.ports.store(self.desired)

    @property
    def holder(self) -> str:
        """Who holds files in the store: this document of this place."""
        return f"{self.desired.name} {self.desired.source}"

    def disowned_on(self, target_key: str) -> str:
        """Who holds files that a target serves and that are ours no more."""
        return f"{self.holder}{_DISOWNED}{target_key}"

    def declared(self, name: str) -> Adapter | None:
        return next((adapter for adapter in self.desired.adapters if adapter.name == name), None)

    async def answer(self, need: AdapterNeed, observation: Observation) -> Resolved | Unavailable:
        """What a declared adapter is now, and whether it belongs to its base."""
        from reconciler.engine.lora.verdict import local_source, remote_source

        adapter = self.declared(need.adapter)
        if adapter is None or self.world.adapters is None:
            return Unavailable(need=need, code="not-found", message=f"no adapter is called {need.adapter}")
        try:
            if adapter.source.repo is None:
                source = await asyncio.to_thread(local_source, adapter, self.ports.files)
            elif (kept := await self._kept(adapter)) is not None:
                source = kept
            elif observation.offline:
                text = f"{adapter.source.repo} cannot be asked for: offline"
                return Unavailable(need=need, code="offline", message=text, hint="plan without --offline")
            else:
                hub = self.ports.hub(self.desired)
                async with self._looking:
                    found = await hub.look(adapter.source.repo, adapter.source.revision, pickles=adapter.allow_pickle)
                source = remote_source(adapter, found, self.ports.files)
            verdict = await self.verdict(adapter, need, source, observation)
        except (ReconcilerError, ValueError) as error:
            return _unavailable(need, error)
        return Resolved(need=need, adapter=verdict)

    async def _kept(self, adapter: Adapter) -> Place | None:
        """The files of a pinned commit that we hold already: nobody has to be asked what they are."""
        from reconciler.engine.lora.verdict import Place

        repo, revision = adapter.source.repo, adapter.source.revision or ""
        if repo is None or not _COMMIT.fullmatch(revision):
            return None
        found = await self.store.find(repo, revision)
        return Place(found[1], self.ports.files, found[0]) if found is not None else None

    async def verdict(
        self, adapter: Adapter, need: AdapterNeed, source: Place, observation: Observation
    ) -> AdapterVerdict:
        """The same of files that are found already."""
        from reconciler.engine.lora.verdict import Circumstances, judged

        target = observation.target(need.target)
        told = target.takes_adapters if isinstance(target, ObservedTarget) else None
        where = next((one for one in self.desired.targets if one.name == need.target), None)
        seen = Circumstances(
            now=observation.now,
            catalogue=observation.catalogue,
            routes=self.ports.routes(),
            target=where,
            takes=told,
            base_file=await _base_file(self.runtimes.get(need.target), need.base_name),
            base_folder=_base_folder(target, need.base_name),
            version=target.version if isinstance(target, ObservedTarget) else None,
            no_converter=await self._no_converter(),
        )
        return await asyncio.to_thread(judged, adapter, need, source, seen, self.ports.files)

    async def _no_converter(self) -> str | None:
        """Why nothing here turns PEFT weights into GGUF; None: something does."""
        converter = self.ports.converter(self.desired)
        if converter is None:
            return "nothing on this host converts adapters to GGUF"
        try:
            await converter.identity()
        except OutsideError as error:
            return f"{error.message}; {error.hint}" if error.hint else error.message
        return None


async def _base_file(runtime: object, name: str) -> str | None:
    """An installed model's file, or the first of several, where the target's files can be read here."""
    if not isinstance(runtime, HasFiles):
        return None
    return await runtime.file_of(name)


def _base_folder(target: TargetObservation | None, name: str) -> str | None:
    """Where a server says that it reads its base."""
    there = target.installed if isinstance(target, ObservedTarget) else ()
    return next((one.served_from for one in there if one.name == name), None)


def _unavailable(need: AdapterNeed, error: Exception) -> Unavailable:
    told = error if isinstance(error, ReconcilerError) else None
    message, hint = (told.message, told.hint) if told is not None else (str(error), None)
    if isinstance(error, Unreachable):
        return Unavailable(need=need, code="unreachable", message=message, hint=hint)
    known = ("not-found", "unauthorised", "gated", "not-installable")
    if isinstance(error, Refused):
        code = error.code if error.code in known else "not-found"
        return Unavailable.model_validate({"need": need, "code": code, "message": message, "hint": hint})
    return Unavailable(need=need, code="corrupt", message=message, hint=hint)
