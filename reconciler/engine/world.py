"""What the engine works with: the ports, and what one run was asked for.

The command line builds a ``World`` out of integrations, the tests out of fakes; nothing else differs between them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.observation import Observation
from reconciler.domain.plan import Overrides, Plan
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.engine.together import together
from reconciler.ports import (
    AdapterConverter,
    AdapterFiles,
    AdapterHub,
    AdapterStore,
    Catalog,
    Clock,
    DesiredSource,
    HardwareProbe,
    MeasurementStore,
    RecordStore,
    Reporter,
    Runtime,
)

if TYPE_CHECKING:
    from reconciler.lora.route_table import RouteTable

Freshness = Literal["offline", "cached", "refresh"]
Runtimes = Mapping[str, Runtime]
"""One per target of the file, by the target's name."""


@dataclass(frozen=True, slots=True)
class AdapterPorts:
    """What adapters need of the outside; made only where a file declares some, or a record holds some."""

    files: AdapterFiles
    hub: Callable[[DesiredState], AdapterHub]
    store: Callable[[DesiredState], AdapterStore]
    routes: Callable[[], RouteTable]
    """What each provider can do with adapters."""
    converter: Callable[[DesiredState], AdapterConverter | None]


async def _nothing_is_open() -> None: ...


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside, behind its ports. What depends on the desired state is made when that is known."""

    source: DesiredSource
    probe: HardwareProbe
    catalog: Callable[[DesiredState], Catalog]
    runtime: Callable[[DesiredState, Target], Runtime]
    records: Callable[[DesiredState], RecordStore]
    clock: Clock
    reporter: Reporter
    jitter: Callable[[], float] = field(default=lambda: 0.0)
    """From 0 to 1, another each time: so that those who failed together do not come back together."""
    measurements: MeasurementStore | None = None
    """What was measured on this machine; None: nothing is kept."""
    adapters: Callable[[], AdapterPorts] | None = None
    """None: no adapter is looked into or attached."""
    close: Callable[[], Coroutine[Any, Any, None]] = _nothing_is_open
    """Ends what the catalogue and the adapters opened; they open it again when they need it again."""


@dataclass(frozen=True, slots=True)
class Options:
    """What one run was asked for."""

    freshness: Freshness = "cached"
    """How the catalogue is read; see ``Catalog.candidates``."""
    ask: bool = True
    """False: nobody outside this host is asked what stands behind a pick (``--offline``)."""
    overrides: Overrides = field(default_factory=Overrides)
    take_over: bool = False
    """The record may pass from another file to this one."""
    lock_timeout_seconds: float = 0.0
    """How long to wait for another writer; 0 asks once."""
    target_timeout_seconds: float = 30.0
    """A target that has not answered by then is unknown."""
    postponed: frozenset[tuple[str, str]] = frozenset()
    """(target key, name) of steps that failed lately and are left for later (``watch``)."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with everything it was made from."""

    desired: DesiredState
    record: Record
    observation: Observation
    plan: Plan


@asynccontextmanager
async def opened(world: World, desired: DesiredState) -> AsyncIterator[dict[str, Runtime]]:
    """The runtimes of every target of the file; closed at the end with all that the run opened, whatever happens."""
    runtimes = {target.name: world.runtime(desired, target) for target in desired.targets}
    try:
        yield runtimes
    finally:
        await together([*(runtime.close() for runtime in runtimes.values()), world.close()])


def unheard(done: Bytes, total: Bytes, note: str = "") -> None:
    """Progress that nobody follows: reading what is installed is announced once."""
