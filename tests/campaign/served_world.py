"""A machine whose models lie on a server: real integrations against a site, by a way on which answers can go bad."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from reconciler.domain.desired import DesiredState, Slot, Target
from reconciler.domain.report import Report
from reconciler.engine.world import Planned
from reconciler.errors import ReconcilerError
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.live import LiveCatalog
from reconciler.integrations.catalog.registry import RegistryClient
from reconciler.integrations.http import Http
from reconciler.ports import Runtime
from tests.builders import catalogue
from tests.campaign.bad_answers import BadAnswers
from tests.campaign.bad_line import Fault
from tests.campaign.real_world import Machine
from tests.campaign.sites import Site, slot_of
from tests.doubles.ollama_rig import QuickClock

LONGEST_PAUSE_SECONDS = 0.02


class HastyClock(QuickClock):
    """A sleep moves time on by all of it, and really takes a moment: a real server needs one to do what it was asked."""

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds)
        await asyncio.sleep(min(seconds, LONGEST_PAUSE_SECONDS))


@dataclass
class ServedMachine(Machine):
    """``Machine`` on a site; the way to a Hub is good, the way to the server may not be."""

    site: Site | None = None
    clock: HastyClock = field(default_factory=HastyClock)

    def __post_init__(self) -> None:
        self.targets, self.endpoint = (self.on.target(),), self.on.hub
        self.answers = BadAnswers(self.on.kind)
        self._asking: list[Http] = []
        super().__post_init__()

    @property
    def on(self) -> Site:
        assert self.site is not None
        return self.site

    def http(self) -> Http:
        return Http(clock=self.clock, transport=self.answers.transport(), timeout_seconds=5.0, retries=1)

    def runtime(self, desired: DesiredState, target: Target) -> Runtime:
        return self.on.runtime(self.http, self.clock, self.root / "cache")

    def catalog(self, desired: DesiredState) -> LiveCatalog:
        def good() -> Http:
            self._asking.append(Http(clock=self.clock))
            return self._asking[-1]

        return LiveCatalog(
            bundled=catalogue, hub=lambda: HubClient(good(), endpoint=self.on.hub), registry=lambda: RegistryClient(good()),
            cache=HubCache(self.root / "cache" / "hub.json", clock=self.clock), clock=self.clock, endpoint=self.on.hub,
        )  # fmt: skip

    async def run(self) -> Report | ReconcilerError | None:
        try:
            return await super().run()
        finally:
            await self._hang_up()

    async def plan(self) -> Planned:
        try:
            return await super().plan()
        finally:
            await self._hang_up()

    async def _hang_up(self) -> None:
        """What the end of a process closes."""
        for http in self._asking:
            await http.close()
        self._asking.clear()

    # what stands there

    def installed(self) -> dict[tuple[str, str], str]:
        key = self.targets[0].key
        return {(key, name): content for name, content in self.on.installed().items()}

    def leftovers(self) -> list[str]:
        return self.on.leftovers()

    def put(self, target: Target, model: str, content: bytes | None = None) -> None:
        self.on.put(model)

    def take_away(self, target: Target, model: str) -> None:
        self.on.take_away(model)

    def move(self, model: str) -> None:
        self.on.move(model)

    def spoil(self, target: Target, model: str) -> None:
        self.on.spoil(model)

    def pin(self, slot: str, model: str, target: str | None = None) -> Slot:
        return slot_of(self.on, model, slot).model_copy(update={"target": target})

    def name_of(self, model: str) -> str:
        return self.on.name_of(model)

    def promised(self, model: str) -> str:
        return self.on.promised(model)

    @contextmanager
    def away(self, target: Target) -> Iterator[bool]:
        self.on.kill()
        yield True
        self.on.start()

    def answer_badly(self, kind: str, part: str, after: int) -> None:
        self.answers.faults = [Fault(kind, part, after, times=2)]

    def answer_well(self) -> None:
        self.answers.faults = []
