"""Measure the models that are installed on this machine, one after another, and keep what was seen.

It only reads models: pool and record stay as they are. What is in use is left alone, and what was not loaded before is
not loaded afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from statistics import median
from typing import Literal

from reconciler import __version__
from reconciler.domain.desired import DesiredState, Target
from reconciler.domain.document import Frozen
from reconciler.domain.hardware import Hardware
from reconciler.domain.measurement import Measurement, Timing, machine_key, missed_accelerator, was_disturbed
from reconciler.domain.names import nearest
from reconciler.domain.observation import Observation, ObservedTarget, UnknownTarget
from reconciler.domain.units import Bytes
from reconciler.engine.observe import observe
from reconciler.engine.together import together
from reconciler.engine.world import World, opened
from reconciler.errors import OutsideError, UsageError
from reconciler.planning.measuring import Expected, Job, MeasureQuestion, jobs_to_measure
from reconciler.ports import Meter

Meters = Callable[[Target], Meter | None]
State = Literal["measured", "skipped", "failed", "planned"]
_LEAST_SECONDS = 2.0
"""With less left nothing more is begun."""


class MeasureRow(Frozen):
    """One installed model and what came of it."""

    target: str
    name: str
    """As it is installed; empty where the target itself did not answer."""
    model_id: str = ""
    quant: str = ""
    bytes: Bytes = Bytes(0)
    state: State
    reason: str = ""
    """Why it was skipped, or what failed."""
    code: str | None = None
    hint: str | None = None
    context: int | None = None
    expected: Expected | None = None
    measurement: Measurement | None = None
    notes: tuple[str, ...] = ()
    """What makes the figures doubtful."""


class MeasureReport(Frozen):
    """Everything one run looked at, in the order in which it was done."""

    machine: str
    rows: tuple[MeasureRow, ...]
    notes: tuple[str, ...] = ()

    def of(self, state: State) -> tuple[MeasureRow, ...]:
        return tuple(row for row in self.rows if row.state == state)


async def measure(world: World, meters: Meters, question: MeasureQuestion) -> MeasureReport:
    """Measure what the question names; each result is kept at once.

    Args:
        world: the ports; its catalogue is asked offline.
        meters: what times the models of a target, or None.
        question: which models, how long.

    Raises:
        UsageError: no target, or no installed model, has that name.
    """
    desired = _only(await world.source.load(), question.target)
    record = await world.records(desired).load()
    async with opened(world, desired) as runtimes:
        seen = await observe(world, desired, freshness="offline", runtimes=runtimes)
    if desired.hardware is not None:  # what is loaded is loaded here
        seen = seen.model_copy(update={"hardware": world.probe.probe()})
    hardware = seen.hardware.hardware
    jobs = jobs_to_measure(desired, record, seen, hardware, question)
    missed = [_unknown(one) for one in seen.targets if isinstance(one, UnknownTarget)]
    if question.models and not jobs and not missed:
        raise _no_such_model(seen, question)
    async with _alone(world, jobs, question), _opened_meters(jobs, meters) as opened_meters:
        rows = await _all(world, opened_meters, jobs, question, hardware)
    notes = (*seen.warnings, *_notes(desired))
    return MeasureReport(machine=machine_key(hardware), rows=(*missed, *rows), notes=notes)


def _only(desired: DesiredState, name: str | None) -> DesiredState:
    if name is None:
        return desired
    found = tuple(target for target in desired.targets if target.name == name)
    if not found:
        names = ", ".join(target.name for target in desired.targets)
        raise UsageError(f"no target is called {name}", hint=f"there is {names}")
    return desired.model_copy(update={"targets": found})


def _no_such_model(seen: Observation, question: MeasureQuestion) -> UsageError:
    names = [model.name for one in seen.targets if isinstance(one, ObservedTarget) for model in one.installed]
    near = nearest(question.models[0], names, 3)
    return UsageError(
        f"nothing that is installed is called {' or '.join(question.models)}",
        code="unknown-model",
        hint=f"did you mean {' or '.join(near)}?" if near else "localmodels status lists what is installed",
    )


def _unknown(target: UnknownTarget) -> MeasureRow:
    return MeasureRow(
        target=target.name, name="", state="failed", reason=target.reason, code=target.code, hint=target.hint
    )


def _notes(desired: DesiredState) -> Iterable[str]:
    if desired.hardware is not None:
        yield "the file describes another machine (hardware.override): plans for that one do not use what was measured"


@asynccontextmanager
async def _alone(world: World, jobs: Iterable[Job], question: MeasureQuestion) -> AsyncIterator[None]:
    """Two at once would slow each other; and that nothing can be kept is better known before than after."""
    if world.measurements is None or question.dry_run or all(job.obstacle for job in jobs):
        yield
        return
    async with world.measurements.measuring(timeout_seconds=question.lock_timeout_seconds):
        yield


@asynccontextmanager
async def _opened_meters(jobs: Iterable[Job], meters: Meters) -> AsyncIterator[Mapping[str, Meter | None]]:
    found = {job.target.name: job.target for job in jobs}
    made = {name: meters(target) for name, target in found.items()}
    try:
        yield made
    finally:
        await together(meter.close() for meter in made.values() if meter is not None)


async def _all(
    world: World, meters: Mapping[str, Meter | None], jobs: list[Job], question: MeasureQuestion, hardware: Hardware
) -> list[MeasureRow]:
    until = world.clock.elapsed() + question.total_seconds
    rows: list[MeasureRow] = []
    for number, job in enumerate(jobs, 1):
        left = until - world.clock.elapsed()
        if job.obstacle is None and left < _LEAST_SECONDS and not question.dry_run:
            rows.append(_row(job, "skipped", "the time for all was over", hint="give it longer with --total-time"))
            continue
        rows.append(
            await _one(world, meters[job.target.name], job, question, hardware, left, f"{number} of {len(jobs)}")
        )
    return rows


async def _one(
    world: World,
    meter: Meter | None,
    job: Job,
    question: MeasureQuestion,
    hardware: Hardware,
    left: float,
    place: str,
) -> MeasureRow:
    if job.obstacle is not None:
        return _row(job, "skipped", job.obstacle)
    if meter is None:
        return _row(job, "skipped", f"a target of runtime {job.target.runtime} cannot be measured")
    try:
        obstacle = await meter.obstacle(job.installed, job.ram)
        if obstacle is not None:
            return _row(job, "skipped", obstacle)
        if question.dry_run:
            return _row(job, "planned")
        trial = job.trial.model_copy(update={"max_seconds": min(job.trial.max_seconds, left)})
        world.reporter.note(
            "info", f"measuring {job.installed.name} on {job.target.name} ({place}), {trial.max_seconds:.0f} s at most"
        )
        timing = await meter.measure(job.installed, trial)
    except OutsideError as error:
        state: State = "skipped" if error.code == "not-measurable" else "failed"
        return _row(job, state, error.message, code=error.code, hint=error.hint)
    found = _measurement(job, timing, machine_key(hardware), world)
    if world.measurements is not None:
        for note in await world.measurements.add((found,)):
            world.reporter.note("warning", note)
    return _row(job, "measured", measurement=found, notes=(*job.notes, *_doubts(found, hardware)))


def _doubts(found: Measurement, hardware: Hardware) -> Iterable[str]:
    if was_disturbed(found, hardware):
        yield f"other work took {found.other_load:.0%} of the processors: measure again when the machine is quiet"
    if found.runs == 1:
        yield "timed only once: it says less than three runs do"
    if missed_accelerator(found, hardware):
        yield "most of it ran beside the accelerator: is the server built for it?"


def _measurement(job: Job, timing: Timing, machine: str, world: World) -> Measurement:
    speeds = timing.speeds
    return Measurement(
        machine=machine,
        runtime=timing.runtime,
        runtime_version=timing.runtime_version,
        model_id=job.model.id,
        repository=job.installed.repo,
        quant=job.installed.quant or "",
        name=job.installed.name,
        weights_bytes=job.installed.bytes,
        context=timing.context,
        prompt_tokens=timing.runs[0].prompt_tokens,
        generated_tokens=timing.runs[0].generated_tokens,
        runs=len(timing.runs),
        decode_tokens_per_second=median(speeds),
        slowest=min(speeds),
        fastest=max(speeds),
        prefill_tokens_per_second=timing.prompt_speed,
        time_to_first_token_ms=timing.first_token_ms,
        load_seconds=timing.load_seconds,
        loaded_bytes=timing.loaded_bytes,
        on_accelerator=timing.on_accelerator,
        other_load=timing.other_load,
        measured_at=world.clock.now(),
        tool_version=__version__,
    )


def _row(job: Job, state: State, reason: str = "", **more: object) -> MeasureRow:
    fields = {
        "target": job.target.name, "name": job.installed.name, "model_id": job.model.id,
        "quant": job.installed.quant or "", "bytes": job.installed.bytes, "context": job.trial.context,
        "expected": job.expected, "state": state, "reason": reason, "notes": job.notes,
    }  # fmt: skip
    return MeasureRow.model_validate({**fields, **more})
