"""Where a pass takes what it decides from, besides its targets: the file, the machine, the catalogue."""

from __future__ import annotations

from typing import Literal, Protocol

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, HardwareOverride
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.observation import Answer, HubNeed, RegistryNeed


class DesiredSource(Protocol):
    """Where the desired state comes from."""

    async def load(self) -> DesiredState:
        """The whole state, or ``DesiredStateError`` with every problem of the file. May be called again."""
        ...


class HardwareProbe(Protocol):
    """Reads the machine."""

    def probe(self, override: HardwareOverride | None = None) -> HardwareReading:
        """The machine, or the one ``override`` describes (then nothing is run).

        Never raises: at worst a CPU profile with warnings. Under 2 s; cached 24 h by the integration.
        """
        ...


class Catalog(Protocol):
    """What models exist, and what stands behind one of them."""

    async def candidates(
        self, desired: DesiredState, *, freshness: Literal["offline", "cached", "refresh"]
    ) -> Catalogue:
        """The models known. Never raises for want of a network: the cache, then the snapshot, with a note of its age.

        ``offline`` asks nobody; ``cached`` refreshes once when older than ``refresh.interval`` (10 s at most);
        ``refresh`` always asks.
        """
        ...

    async def resolve(self, need: HubNeed | RegistryNeed) -> Answer:
        """Commit, files, sizes, digests, gating of one pick. A clear no is ``Unavailable``, not an exception."""
        ...
