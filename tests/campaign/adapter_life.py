"""Lives in which adapters come and go too: declared, changed, rescaled, moved with their base, taken away, disowned."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from reconciler.domain.adapter import Adapter, AdapterServing, AdapterSource
from reconciler.domain.desired import DesiredState, Slot, Target
from reconciler.domain.units import Bytes
from reconciler.engine.ownership import disown
from reconciler.engine.world import AdapterPorts, World
from reconciler.errors import ReconcilerError
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.lora_routes import load_routes
from reconciler.integrations.runtimes.adapter_store import LocalAdapterStore
from reconciler.integrations.runtimes.ollama import Ollama
from reconciler.ports import AdapterStore, Runtime, ServesAdapters
from tests.campaign.adapter_places import PLACES, OllamaPlace, RouterPlace, Served
from tests.campaign.life import ServedLife
from tests.campaign.power import PoweredRuntime
from tests.campaign.real_world import BOLD, MODELS, Machine
from tests.campaign.served_world import ServedMachine
from tests.engine.lora.test_power import PoweredAdapters, PoweredStore

NAMES = ("sql", "chat")


@dataclass
class AdaptedMachine(ServedMachine):
    """A machine whose server takes adapters."""

    declared: dict[str, Adapter] = field(default_factory=dict)

    @property
    def place(self) -> RouterPlace | OllamaPlace:
        assert isinstance(self.on, RouterPlace | OllamaPlace)
        return self.on

    @property
    def held(self) -> Path:
        return self.root / "data" / "adapters"

    def _desired(self, slots: tuple[Slot, ...], **limits: object) -> DesiredState:
        told = tuple(self.declared.values()) if slots else ()
        made = super()._desired(slots, **limits)
        return made.model_copy(update={"adapters": told, "digest": f"{made.digest} {told}"})

    def edit(self, *slots: Slot, **limits: object) -> None:
        self._last = slots, limits
        super().edit(*slots, **limits)

    def edit_again(self) -> None:
        """The same models; the adapters may be others."""
        slots, limits = self._last
        self.edit(*slots, **limits)

    def runtime(self, desired: DesiredState, target: Target) -> Runtime:
        if isinstance(self.on, RouterPlace):
            return super().runtime(desired, target)
        folder = self.on._folder.path
        return Ollama(
            self.on.target(), http=self.http, clock=self.clock, environ={}, directories=[folder], idle_timeout_seconds=1.0,
            max_pull_retries=2, adapter_store=self.held, cache_directory=self.root / "cache",
        )  # fmt: skip

    def store(self) -> AdapterStore:  # type: ignore[override] - there is one, and it is not of a target
        store = LocalAdapterStore(self.held, http=self.http, clock=self.clock)
        return PoweredStore(store, self.power) if self.power is not None else store

    @property
    def world(self) -> World:
        ports = AdapterPorts(
            files=LocalAdapterFiles(os.environ), hub=lambda _: None, store=lambda _: self.store(), routes=load_routes,  # type: ignore[arg-type,return-value]
            converter=lambda _: None,
        )  # fmt: skip
        world = replace(super().world, adapters=lambda: ports)
        return replace(world, runtime=lambda desired, target: self._as_powered(world.runtime(desired, target)))

    def _as_powered(self, runtime: Runtime) -> Runtime:
        if isinstance(runtime, PoweredRuntime) and isinstance(runtime.inner, ServesAdapters):
            return PoweredAdapters(runtime.inner, runtime.power)
        return runtime

    def installed(self) -> dict[tuple[str, str], str]:
        key = self.targets[0].key
        return {(key, name): content for name, content in self.place.models().items()}

    def digests(self) -> set[str]:
        return {path.name for path in self.held.glob("?" * 64)}


class AdaptedLife(ServedLife):
    """One machine's life, with one server that takes adapters."""

    scales: ClassVar[tuple[float, ...]] = (1.0,)

    def made(self) -> Machine:
        self.site = self.stack.enter_context(PLACES[self.kind](self.root / "site"))  # type: ignore[assignment]
        self.theirs_served: dict[str, Served] = {}
        return AdaptedMachine(self.root, site=self.site)

    @property
    def here(self) -> AdaptedMachine:
        assert isinstance(self.machine, AdaptedMachine)
        return self.machine

    @initialize()
    def begin(self) -> None:
        """Life begins with a model and an adapter that the file asks for, and often with both in place."""
        super().begin()
        self.wish(["alpha"])
        self.ask_for("sql", 1, "s0", 1.0, "follow")

    def wish(self, models: list[str], prune: str = "always") -> None:
        slots = [self.here.pin(f"s{number}", model) for number, model in enumerate(models)]
        self.here.edit(*slots, disk_budget=Bytes(int(60 * self.size)), prune=prune)

    @rule(models=st.lists(st.sampled_from(MODELS[:3]), min_size=1, max_size=2, unique=True),
          prune=st.sampled_from(["always", "pressure", "never"]))  # fmt: skip
    def edit(self, models: list[str], prune: str) -> None:  # type: ignore[override]
        self.wish(models, prune)

    @rule(name=st.sampled_from(NAMES), seed=st.integers(1, 2), data=st.data(),
          change=st.sampled_from(["hold", "drop", "follow"]))  # fmt: skip
    def declare(self, name: str, seed: int, data: st.DataObject, change: Any) -> None:
        """A new one, or new content, another scale or another base for one that is there."""
        base, scale = data.draw(st.sampled_from(["s0", "s0", "s1"])), data.draw(st.sampled_from(self.scales))
        self.ask_for(name, seed, base, scale, change)
        asyncio.run(self.machine.run())

    def ask_for(self, name: str, seed: int, base: str, scale: float, change: Any) -> None:
        path = self.here.place.source(self.root / "adapters" / name, seed)
        serving = AdapterServing(target=self.targets[0], name=name, scale=scale)
        source = AdapterSource(path=str(path))
        self.here.declared[name] = Adapter(
            name=name, base=base, source=source, serve=(serving,), on_base_change=change
        )  # fmt: skip
        self.here.edit_again()

    @precondition(lambda self: self.here.declared)
    @rule(data=st.data())
    def undeclare(self, data: st.DataObject) -> None:
        del self.here.declared[data.draw(st.sampled_from(sorted(self.here.declared)))]
        self.here.edit_again()

    @precondition(lambda self: self.here.record.adapters)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        """What is disowned is served on, and its files stay."""
        name = data.draw(st.sampled_from(sorted(one.name for one in self.here.record.adapters)))
        served = self.here.place.served().get(name)
        with suppress(ReconcilerError):
            asyncio.run(self.disowned(name))
            if served is not None:
                self.theirs_served[name] = served

    async def disowned(self, name: str) -> None:
        try:
            await disown(self.here.world, f"adapter/{name}", None, BOLD)
        finally:
            await self.here._hang_up()

    @invariant()
    def what_is_served_is_ours_or_theirs_and_has_its_files(self) -> None:
        record, served = self.here.record, self.here.place.served()
        known = {one.name for one in record.adapters} | {one.name for one in record.intents}
        for name, one in served.items():
            assert name in known or name in self.theirs_served, f"adapter {name} is nobody's"
            assert one.content != "nothing", f"{name} is served and its files are gone"
        for name, one in self.theirs_served.items():
            now = served.get(name)
            assert now is not None, f"the adapter {name} is somebody else's"
            assert now.content in (one.content, "no base"), f"the adapter {name} is somebody else's"

    @rule()
    def in_the_end_it_is_as_the_file_says(self) -> None:
        super().in_the_end_it_is_as_the_file_says()
        if not asyncio.run(self.here.plan()).plan.changes:
            served, record = self.here.place.served(), self.here.record
            assert {one.name for one in record.adapters} == set(served) - set(self.theirs_served)
            assert {one.digest for one in record.adapters} <= self.here.digests()
            assert len(self.here.digests()) <= len(served)
            assert self.here.place.tries() == []


class AdaptedOllamaLife(AdaptedLife):
    kind, targets = "ollama", ("gpu",)
    badly: ClassVar = [("refused", "/api/tags")]


class AdaptedRouterLife(AdaptedLife):
    kind, targets = "llama-server", ("router",)
    scales = (1.0, 0.5)
