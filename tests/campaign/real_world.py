"""A machine with real parts: a real store on disk, a real record, the real catalogue, over a line that may be bad."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.domain.desired import DesiredState, Hub, Limits, Slot, Target
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.domain.report import Report
from reconciler.domain.units import Bytes
from reconciler.engine.reconcile import plan_once, reconcile
from reconciler.engine.world import Options, Planned, World
from reconciler.errors import ReconcilerError
from reconciler.integrations.catalog.hub import HubClient
from reconciler.integrations.catalog.hub_cache import HubCache
from reconciler.integrations.catalog.live import LiveCatalog
from reconciler.integrations.catalog.registry import RegistryClient
from reconciler.integrations.http import Http
from reconciler.integrations.record_store import FileRecordStore
from reconciler.integrations.runtimes.store import Store
from reconciler.ports import Runtime
from tests.builders import catalogue, pool
from tests.builders import desired as plain_desired
from tests.campaign.bad_line import BadLine, Fault
from tests.campaign.power import Power, powered
from tests.doubles.hub import HUB, HubDouble
from tests.doubles.ollama_model import tiny_gguf
from tests.doubles.ollama_rig import QuickClock
from tests.fakes import Crash, FakeProbe, FakeSource, RecordingReporter

SIZE = 60_000
MODELS = ("alpha", "beta", "gamma", "delta")
CONTENT = {name: tiny_gguf(SIZE, seed=seed) for seed, name in enumerate(MODELS)}
BOLD = Options(overrides=Overrides(allow_evictions=99), target_timeout_seconds=5.0)


def name_of(model: str) -> str:
    return f"acme/{model}-GGUF/{model}-Q8_0.gguf"


def sha_of(model: str) -> str:
    return hashlib.sha256(CONTENT[model]).hexdigest()


def pin(slot: str, model: str, target: str | None = None) -> Slot:
    return Slot(name=slot, model=f"acme/{model}-GGUF", quant="Q8_0", target=target)


@dataclass
class Machine:
    """What outlives a run of the program; ``run`` is one such run."""

    root: Path
    targets: tuple[Target, ...] = ()
    hub: HubDouble = field(default_factory=HubDouble)
    clock: QuickClock = field(default_factory=QuickClock)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)
    power: Power | None = None
    endpoint: str = HUB
    """Of the Hub, as the file has it."""

    def __post_init__(self) -> None:
        self.targets = self.targets or (Target(name="box", runtime="store", path=str(self.root / "models")),)
        self.line = BadLine(self.hub)
        self.hub.requests_left = 10**9
        for name, content in CONTENT.items():
            self.hub.add(f"acme/{name}-GGUF", {f"{name}-Q8_0.gguf": content}, gguf={"total": 1_000_000})
        self.source = FakeSource(self._desired(()))

    def _desired(self, slots: tuple[Slot, ...], **limits: object) -> DesiredState:
        trust = pool(**{"disk_budget": Bytes(10**9), "min_free_disk": Bytes(0), **limits})
        return plain_desired(
            *slots, hub=Hub(endpoint=self.endpoint), pool=trust, targets=self.targets, digest=f"edit {slots} {limits}"
        )

    def edit(self, *slots: Slot, **limits: object) -> None:
        self.source.desired = self._desired(slots, **limits)

    # the world

    def http(self) -> Http:
        return Http(clock=self.clock, transport=self.line.transport(), timeout_seconds=0.05, retries=1)

    def runtime(self, desired: DesiredState, target: Target) -> Runtime:
        return Store(
            target, http=self.http, clock=self.clock, token=None, hub_endpoint=HUB, limits=Limits(),
            cache_directory=self.root / "cache", idle_timeout_seconds=0.05,
        )  # fmt: skip

    def records(self, desired: DesiredState) -> FileRecordStore:
        return FileRecordStore(self.root / "state", desired.name, self.clock)

    def catalog(self, desired: DesiredState) -> LiveCatalog:
        return LiveCatalog(
            bundled=catalogue,
            hub=lambda: HubClient(self.http(), endpoint=HUB),
            registry=lambda: RegistryClient(self.http()),
            cache=HubCache(self.root / "cache" / "hub.json", clock=self.clock),
            clock=self.clock,
            endpoint=HUB,
        )

    @property
    def world(self) -> World:
        world = World(
            source=self.source, probe=FakeProbe(), catalog=self.catalog, runtime=self.runtime,
            records=self.records, clock=self.clock, reporter=self.reporter,
        )  # fmt: skip
        return powered(world, self.power) if self.power is not None else world

    async def run(self) -> Report | ReconcilerError | None:
        """One apply; None: the power went."""
        try:
            return await reconcile(self.world, BOLD)
        except ReconcilerError as error:
            return error
        except Crash:
            return None

    async def plan(self) -> Planned:
        return await plan_once(self.world, BOLD)

    # what stands there

    @property
    def record(self) -> Record:
        path = self.root / "state" / "default" / "record.json"
        return Record.model_validate_json(path.read_bytes()) if path.exists() else Record(name="default")

    def store(self, target: Target) -> Path:
        return Path(target.path or "")

    def installed(self) -> dict[tuple[str, str], str]:
        """(target key, name) → SHA-256 of every model file."""
        found = {}
        for target in self.targets:
            root = self.store(target)
            for path in root.rglob("*.gguf"):
                name = path.relative_to(root).as_posix()
                found[target.key, name] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found

    def owned(self) -> dict[tuple[str, str], str | None]:
        return {(entry.target_key, entry.name): entry.digest for entry in self.record.entries}

    def leftovers(self) -> list[str]:
        return [path.name for each in self.targets for path in (self.store(each) / ".localmodels/partial").glob("*")]

    def put(self, target: Target, model: str, content: bytes | None = None) -> None:
        """Somebody copies a file there."""
        path = self.store(target) / name_of(model)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content or CONTENT[model])

    def take_away(self, target: Target, model: str) -> None:
        with suppress(FileNotFoundError):
            (self.store(target) / name_of(model)).unlink()

    # what a server has otherwise

    def pin(self, slot: str, model: str, target: str | None = None) -> Slot:
        return pin(slot, model, target)

    def name_of(self, model: str) -> str:
        return name_of(model)

    def promised(self, model: str) -> str:
        return sha_of(model)

    def move(self, model: str) -> None:
        """The Hub has another file under the name from now on."""
        content = tiny_gguf(SIZE, seed=MODELS.index(model) + 50)
        self.hub.add(f"acme/{model}-GGUF", {f"{model}-Q8_0.gguf": content}, gguf={"total": 1_000_000})

    def spoil(self, target: Target, model: str) -> None:
        """Somebody writes other content over it."""
        self.put(target, model, CONTENT[model][::-1])

    @contextmanager
    def away(self, target: Target) -> Iterator[bool]:
        """The target is unplugged; whether there was one to unplug."""
        root = self.store(target)
        if not root.is_dir():
            yield False
            return
        elsewhere = root.with_name(f"{root.name}.away")
        root.rename(elsewhere)
        root.write_text("not a folder", encoding="utf-8")
        yield True
        root.unlink()
        elsewhere.rename(root)

    def answer_badly(self, kind: str, part: str, after: int) -> None:
        self.line.faults = [Fault(kind, part, after, times=2)]

    def answer_well(self) -> None:
        self.line.faults = []
