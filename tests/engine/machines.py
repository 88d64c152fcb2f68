"""Ten machines that people have, simulated, with the shipped catalogue and every publisher of it trusted."""

from __future__ import annotations

from functools import cache

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Pool, Slot, Target
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.observation import Observation
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.engine.suggest import open_pool
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.integrations.hardware.simulate import parse_machine
from reconciler.planning.scene import Scene
from tests.fakes import FAKE_NOW

STORE = Target(name="store")
MACHINES = {
    "laptop-8gb": "cpu-8gb",
    "rtx-4060-8gb": "rtx-4060",
    "rtx-4090-24gb": "rtx-4090",
    "m3-max-36gb": "m3-max-36gb",
    "m4-max-128gb": "m4-max-128gb",
    "2x-rtx-3090": "2x rtx-3090",
    "h100-80gb": "h100-80gb",
    "strix-halo-128gb": "strix-halo-128gb",
    "epyc-256gb": "epyc-9554-256gb",
    "raspberry-8gb": "raspberry-pi-5-8gb",
}
"""By the name of their snapshot: what ``--hardware`` is given."""


@cache
def shipped() -> Catalogue:
    return load_bundled()


def reading(machine: str) -> HardwareReading:
    return parse_machine(machine, now=FAKE_NOW)


def scene_on(machine: str, *, pool: Pool | None = None, slots: tuple[Slot, ...] = (), target: Target = STORE) -> Scene:
    """The shipped catalogue on a machine, at a fixed day."""
    known = shipped()
    desired = DesiredState(pool=pool or open_pool(known), slots=slots, targets=(target,))
    seen = Observation(now=FAKE_NOW, hardware=reading(machine), targets=(), catalogue=known)
    return Scene(desired, seen, Record(name="t"), Overrides())
