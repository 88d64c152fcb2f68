"""Where one run looks into the adapters of its file and holds their files. Nothing is opened before it is needed."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from reconciler.domain.adapter import Adapter, AdapterVerdict, RecordAdapter, made_key_of_place, outtype_of_key
from reconciler.domain.desired import DesiredState
from reconciler.domain.finding import Finding
from reconciler.domain.observation import (
    AdapterNeed,
    Observation,
    ObservedTarget,
    PartialDownload,
    Resolved,
    TargetObservation,
    Unavailable,
)
from reconciler.domain.record import Record
from reconciler.engine.lora.moved import as_accepted
from reconciler.engine.world import AdapterPorts, Runtimes, World
from reconciler.errors import Corrupt, OutsideError, PlanningError, ReconcilerError, Refused, Unreachable
from reconciler.lora.findings import error
from reconciler.planning.adapter_held import has_met_the_terms, recorded_content, settled_content
from reconciler.ports import AdapterStore, HasFiles, NamesAdapterFiles, TellsDisk

if TYPE_CHECKING:
    from reconciler.engine.lora.verdict import FoundSource


_DISOWNED = "\ndisowned\n"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_AWAY = frozenset({"not-found", "not-readable", "unauthorised", "gated"})
"""Codes of a source that cannot be read now; any other tells of one that can, and is wrong."""


def holder_of(name: str, source: str) -> str:
    """Who a document is, to the store: its name and its place."""
    return f"{name} {source}"


@dataclass
class Workshop:
    """The adapters' side of one run."""

    world: World
    desired: DesiredState
    runtimes: Runtimes
    observation: Observation | None = None
    """What the plan was made from; None while it is being made."""
    record: Record | None = None
    """What is ours; None: nothing may stand in for a source."""
    settled: bool = False
    """What a tag of a Hub meant when its adapter was attached still counts: nobody is asked again."""
    accepted: tuple[str, ...] = ()
    """Addresses of what a person takes as its source offers it now."""
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
        return holder_of(self.desired.name, self.desired.source)

    def disowned_on(self, target_key: str) -> str:
        """Who holds files that a target serves and that are ours no more."""
        return f"{self.holder}{_DISOWNED}{target_key}"

    def declared(self, name: str) -> Adapter | None:
        return next((adapter for adapter in self.desired.adapters if adapter.name == name), None)

    async def answer(self, need: AdapterNeed, observation: Observation) -> Resolved | Unavailable:
        """What a declared adapter is now, and whether it belongs to its base."""
        adapter = self.declared(need.adapter)
        if adapter is None or self.world.adapters is None:
            return Unavailable(need=need, code="not-found", message=f"no adapter is called {need.adapter}")
        source: FoundSource | None = None
        try:
            source = await self._source(adapter, need, observation)
            if source is not None:
                source, moved_to = await as_accepted(self, adapter, need, source)
                verdict = await self.verdict(adapter, need, source, observation)
                return Resolved(need=need, adapter=verdict.model_copy(update={"moved_to": moved_to}))
            text, hint = f"{adapter.source.repo} cannot be asked for: offline", "plan without --offline"
            away = Unavailable(need=need, code="offline", message=text, hint=hint)
        except (ReconcilerError, ValueError) as error:
            away = _unavailable(need, error)
            if not _is_away(error):
                return away
        held = await self._held_copy(adapter, need, source, observation)
        return away if held is None else away.model_copy(update={"held": held})

    async def _source(self, adapter: Adapter, need: AdapterNeed, observation: Observation) -> FoundSource | None:
        """Its files, where they are; None: somebody outside would have to be asked, and that is not wanted."""
        from reconciler.engine.lora.verdict import local_source, remote_source

        repo = adapter.source.repo
        if repo is None:
            return await asyncio.to_thread(local_source, adapter, self.ports.files)
        if (kept := await self._kept(adapter, need, observation)) is not None:
            return kept
        if observation.offline:
            return None
        hub = self.ports.hub(self.desired)
        async with self._looking:
            found = await hub.look(repo, adapter.source.revision, pickles=adapter.allow_pickle)
        return remote_source(adapter, found, self.ports.files)

    async def _kept(self, adapter: Adapter, need: AdapterNeed, observation: Observation) -> FoundSource | None:
        """Files that we hold already and that nobody has to be asked about.

        Those of a pinned commit; and where what is attached is settled, those that its tag meant then.
        """
        from reconciler.engine.lora.verdict import FoundSource

        repo, revision = adapter.source.repo, adapter.source.revision or ""
        if repo is not None and _COMMIT.fullmatch(revision):
            found = await self.store.find(repo, revision)
            return FoundSource(found[1], self.ports.files, found[0]) if found is not None else None
        if not self.settled or observation.offline or self.record is None:
            return None
        ours = settled_content(self.record, adapter, self.key_of(need.target))
        return await self.held_place(adapter, ours.digest) if ours is not None else None

    async def room(self, record: Record) -> dict[str, object]:
        """What an observation says of the store that holds adapters."""
        if self.world.adapters is None or not (self.desired.adapters or record.adapters):
            return {}
        disk = await self.store.disk() if isinstance(self.store, TellsDisk) else None
        return {"adapter_partials": await self.half_fetched(record), "adapter_disk": disk}

    async def half_fetched(self, record: Record) -> tuple[PartialDownload, ...]:
        """What has arrived of adapters that are not whole, beside what only other documents are fetching."""
        if self.world.adapters is None or not (self.desired.adapters or record.adapters):
            return ()
        try:
            holders = {one.digest: one.holders for one in await self.store.held()}
            found = await self.store.half_fetched()
        except ReconcilerError:
            return ()  # whoever fetches there says what is wrong with the folder
        return tuple(one for one in found if not holders.get(one.name) or self.holder in holders[one.name])

    # ------------------------------------------------------------------------------------------ what we hold of it

    async def held_place(self, adapter: Adapter, digest: str) -> FoundSource | None:
        """Our own verified copy of content, as one of this adapter's source; None: there is none, or not whole."""
        from reconciler.engine.lora.verdict import FoundSource

        found = await self.store.recall(digest)
        if found is None:
            return None
        content, path = found
        if adapter.source.repo is None:
            return FoundSource(path, self.ports.files, content.model_copy(update={"artifact": None}))
        if content.artifact is None or content.artifact.repo != adapter.source.repo:
            return None
        artifact = content.artifact.model_copy(update={"endpoint": self.desired.hub.endpoint})
        return FoundSource(path, self.ports.files, content.model_copy(update={"artifact": artifact}))

    async def _held_copy(
        self, adapter: Adapter, need: AdapterNeed, read: FoundSource | None, observation: Observation
    ) -> AdapterVerdict | None:
        """What our copy of the recorded content is found to be; never of other content than what could be read."""
        ours = self._recorded(adapter, need)
        if ours is None or (read is not None and read.content.digest != ours.digest):
            return None
        try:
            place = await self.held_place(adapter, ours.digest)
            if place is None:
                return None
            verdict = await self.verdict(adapter, need, place, observation, met=self.has_met(adapter, need))
        except (ReconcilerError, ValueError):
            return None  # what is told is why the source cannot be read
        return verdict.model_copy(update={"is_held_copy": True})

    def has_met(self, adapter: Adapter, need: AdapterNeed) -> bool:
        """The recorded content has met what the file asks, under this name on this base."""
        ours, key = self._recorded(adapter, need), self.key_of(need.target)
        return has_met_the_terms(ours, adapter, key, _name_on(adapter, need.target), need.base_name)

    def _recorded(self, adapter: Adapter, need: AdapterNeed) -> RecordAdapter | None:
        if self.record is None:
            return None
        return recorded_content(self.record, adapter, self.key_of(need.target), _name_on(adapter, need.target))

    def key_of(self, target: str) -> str:
        """Where a target of the file is; empty: there is none of that name."""
        return next((one.key for one in self.desired.targets if one.name == target), "")

    async def conversion(self, adapter: Adapter, digest: str) -> str | None:
        """The key of a GGUF that is held and made as the file asks; the one that was served, if it is among them."""
        found = [key for key in await self.store.made(digest) if outtype_of_key(key) == adapter.convert]
        known = self.record.adapters if self.record is not None else ()
        served = [made_key_of_place(one.path) for one in known if one.digest == digest]
        return next((key for key in found if key in served), found[0] if found else None)

    async def verdict(
        self, adapter: Adapter, need: AdapterNeed, source: FoundSource, observation: Observation, *, met: bool = False
    ) -> AdapterVerdict:
        """The same of files that are found already.

        Args:
            adapter: as the file declares it.
            need: for which base, and where.
            source: the files.
            observation: what else counts.
            met: they have met the same terms; papers that cannot be read now are told of then, and forbid nothing.
        """
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
            no_converter=await self._no_conversion(adapter, source.content.digest) if told == "gguf" else None,
            met=met,
        )
        found = await asyncio.to_thread(judged, adapter, need, source, seen, self.ports.files)
        flaws = self._not_to_be_told(need.target)
        return found.model_copy(update={"findings": (*found.findings, *flaws)}) if flaws else found

    def _not_to_be_told(self, target: str) -> tuple[Finding, ...]:
        """That its target cannot be told where the files will lie."""
        runtime: object = self.runtimes.get(target)
        store: object = self.store
        if isinstance(runtime, NamesAdapterFiles) and isinstance(store, TellsDisk):
            try:
                runtime.check_path(store.folder)
            except OutsideError as refused:
                return (error("place_unnameable", refused.message, refused.hint),)
        return ()

    async def _no_conversion(self, adapter: Adapter, digest: str) -> str | None:
        """Why these weights cannot become GGUF here; None: they can, or have."""
        why = await self.no_converter()
        return why if why is None or await self.conversion(adapter, digest) is None else None

    async def no_converter(self) -> str | None:
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


def _name_on(adapter: Adapter, target: str) -> str:
    return next((one.name for one in adapter.serve if one.target == target), adapter.name)


def _is_away(error: Exception) -> bool:
    """It cannot be read now; what can be, and is wrong, is another matter."""
    return isinstance(error, Unreachable) or (isinstance(error, Refused) and error.code in _AWAY)


def _base_folder(target: TargetObservation | None, name: str) -> str | None:
    """Where a server says that it reads its base."""
    there = target.installed if isinstance(target, ObservedTarget) else ()
    return next((one.served_from for one in there if one.name == name), None)


def _unavailable(need: AdapterNeed, error: Exception) -> Unavailable:
    told = error if isinstance(error, ReconcilerError) else None
    message, hint = (told.message, told.hint) if told is not None else (str(error), None)
    if isinstance(error, Unreachable):
        return Unavailable(need=need, code="unreachable", message=message, hint=hint)
    if isinstance(error, Refused) and error.code in ("not-found", "unauthorised", "gated", "not-installable"):
        given = {"need": need, "code": error.code, "message": message, "hint": hint}
        return Unavailable.model_validate(given)
    code: Literal["corrupt", "not-readable"] = "corrupt" if isinstance(error, Corrupt | ValueError) else "not-readable"
    return Unavailable(need=need, code=code, message=message, hint=hint)
