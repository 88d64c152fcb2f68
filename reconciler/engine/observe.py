"""Read the machine, the targets of the file and the catalogue, at one instant and all at once.

Targets that only the record knows are not contacted: nobody asks for them any more.
"""

from __future__ import annotations

import asyncio

from reconciler.domain.catalog import Catalogue
from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.measurement import Measurements, machine_key
from reconciler.domain.observation import Observation, ObservedTarget, TargetObservation, UnknownTarget
from reconciler.engine.together import both, together
from reconciler.engine.world import Freshness, Runtimes, World
from reconciler.errors import ReconcilerError
from reconciler.ports import Runtime


async def observe(
    world: World,
    desired: DesiredState,
    *,
    freshness: Freshness,
    runtimes: Runtimes,
    timeout_seconds: float = 30.0,
) -> Observation:
    """Everything a plan is made from, besides the desired state and the record.

    Args:
        world: the ports.
        desired: whose targets and hardware to look at.
        freshness: how the catalogue is read.
        runtimes: of every target of the file.
        timeout_seconds: per target; one that takes longer is unknown.
    """
    now = world.clock.now()
    reading, (catalogue, targets) = await both(
        _read_hardware(world, desired),
        both(
            _read_catalogue(world, desired, freshness),
            look_at_targets(world, desired, runtimes, timeout_seconds=timeout_seconds),
        ),
    )
    measured = await measurements_of(world, reading)
    # not validated again: these are domain values already, and the catalogue's schema alone takes 15 ms to make
    return Observation.model_construct(
        now=now,
        hardware=reading,
        targets=targets,
        catalogue=catalogue,
        measurements=measured.kept,
        warnings=measured.notes,
    )


async def measurements_of(world: World, reading: HardwareReading) -> Measurements:
    """What was measured on the machine that was read; nothing for one that was only described."""
    if world.measurements is None or reading.source in ("override", "simulated"):
        return Measurements()
    return await world.measurements.load(machine_key(reading.hardware))


async def look_at_targets(
    world: World,
    desired: DesiredState,
    runtimes: Runtimes,
    *,
    only: frozenset[str] | None = None,
    timeout_seconds: float = 30.0,
) -> tuple[TargetObservation, ...]:
    """Every target of the file (or those named in ``only``), in its order. Never raises for one that is broken."""
    chosen = [target for target in desired.targets if only is None or target.name in only]
    return await together(_look(world, target, runtimes[target.name], timeout_seconds) for target in chosen)


async def _look(world: World, target: Target, runtime: Runtime, timeout_seconds: float) -> TargetObservation:
    try:
        async with asyncio.timeout(timeout_seconds):
            found = await runtime.observe()
    except TimeoutError:
        return UnknownTarget(
            name=target.name, key=target.key, reason=f"{target.name} did not answer within {timeout_seconds:g} s"
        )
    except ReconcilerError as error:
        return UnknownTarget(name=target.name, key=target.key, reason=error.message, code=error.code, hint=error.hint)
    if isinstance(found, ObservedTarget) and target.hardware is not None:
        reading = await asyncio.to_thread(world.probe.probe, target.hardware)
        return found.model_copy(update={"hardware": reading.hardware})
    return found


async def _read_hardware(world: World, desired: DesiredState) -> HardwareReading:
    return await asyncio.to_thread(world.probe.probe, desired.hardware)


async def _read_catalogue(world: World, desired: DesiredState, freshness: Freshness) -> Catalogue:
    return await world.catalog(desired).candidates(desired, freshness=freshness)
