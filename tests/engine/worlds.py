"""A whole world of fakes around a few models that fit, for tests of the engine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Hub, Slot, Target
from reconciler.domain.observation import HubNeed, Installed, Resolved
from reconciler.domain.record import Record
from reconciler.engine.world import Options, World
from tests.builders import HUB, artifact, catalogue, model, store_name, target
from tests.builders import desired as plain_desired
from tests.fakes import (
    FakeCatalog,
    FakeProbe,
    FakeRuntime,
    FakeSource,
    FixedClock,
    MemoryRecordStore,
    RecordingReporter,
)

ALPHA, BETA, GAMMA, DELTA = "acme/alpha-1b", "acme/beta-1b", "acme/gamma-1b", "acme/delta-1b"
SCORES = {ALPHA: 40.0, BETA: 60.0, GAMMA: 30.0, DELTA: 20.0}


def small(name: str, *, size_gb: float = 5.0) -> object:
    return model(name, params=1_000_000_000, size_gb=size_gb, lineage=name[5:9])


def models(**scores: float) -> Catalogue:
    known = {**SCORES, **{f"acme/{name}-1b": value for name, value in scores.items()}}
    return catalogue(*(small(name) for name in known), scores=known)  # type: ignore[arg-type]


def art(model_id: str, content: str = "", *, size: int = 5 * 10**9) -> HubArtifact:
    return artifact(f"{model_id}-GGUF", size=size, content=content)


def name_of(model_id: str) -> str:
    return store_name(art(model_id))


def answer(model_id: str) -> Resolved:
    return Resolved(need=HubNeed(repo=f"{model_id}-GGUF", quant="Q4_K_M"), artifact=art(model_id))


def pin(name: str, model_id: str, **changes: object) -> Slot:
    return Slot(name=name, model=model_id, quant="Q4_K_M").model_copy(update=changes)


def desired(*slots: Slot, **changes: object) -> DesiredState:
    return plain_desired(*slots, hub=Hub(endpoint=HUB)).model_copy(update=changes)


def foreign(model_id: str, content: str = "", **changes: object) -> Installed:
    found = art(model_id, content)
    base = Installed(
        name=store_name(found),
        bytes=found.bytes,
        digest=found.digest,
        stamp=f"theirs{content}",
        repo=found.repo,
        quant="Q4_K_M",
    )
    return base.model_copy(update=changes)


@dataclass
class Fakes:
    """The fakes behind one ``World``; they outlive a run, as the outside does."""

    source: FakeSource
    runtimes: dict[str, FakeRuntime]
    store: MemoryRecordStore
    catalog: FakeCatalog = field(default_factory=lambda: FakeCatalog(models(), [answer(name) for name in SCORES]))
    clock: FixedClock = field(default_factory=FixedClock)
    reporter: RecordingReporter = field(default_factory=RecordingReporter)
    probe: FakeProbe = field(default_factory=FakeProbe)

    @property
    def world(self) -> World:
        return World(
            source=self.source,
            probe=self.probe,
            catalog=lambda desired: self.catalog,
            runtime=self._runtime,
            records=lambda desired: self.store,
            clock=self.clock,
            reporter=self.reporter,
        )

    def _runtime(self, desired: DesiredState, wanted: Target) -> FakeRuntime:
        return self.runtimes.setdefault(wanted.key, FakeRuntime(wanted))

    def runtime(self, key: str | None = None) -> FakeRuntime:
        return self.runtimes[key or target().key]

    @property
    def record(self) -> Record:
        return self.store.record

    def owned(self) -> set[str]:
        return {entry.name for entry in self.record.entries}

    def edit(self, *slots: Slot, **changes: object) -> None:
        """Somebody edits the file."""
        self.source.desired = desired(*slots, **{"digest": f"edit {slots} {changes}", **changes})


def fakes(*slots: Slot, targets: Iterable[Target] = (), **changes: object) -> Fakes:
    found = tuple(targets) or (target(),)
    want = desired(*slots, targets=found, **changes)
    return Fakes(
        source=FakeSource(want),
        runtimes={one.key: FakeRuntime(one) for one in found},
        store=MemoryRecordStore(Record(name=want.name)),
    )


OPTIONS = Options()
