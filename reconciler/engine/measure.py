"""Measure the models that are installed on this machine, one after another, and keep what was seen.

It only reads models: pool and record stay as they are. What is in use is left alone, and what was not loaded before is
not loaded afterwards.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import median
from typing import Literal

from reconciler import __version__
from reconciler.domain.catalog import Build, CatalogModel, Repository
from reconciler.domain.desired import DEFAULT_CONTEXT, DesiredState, Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.domain.measurement import Measurement, Timing, Trial, machine_key, missed_accelerator, was_disturbed
from reconciler.domain.names import nearest
from reconciler.domain.observation import Installed, Observation, ObservedTarget, UnknownTarget
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes, show_bytes
from reconciler.engine.observe import observe
from reconciler.engine.together import together
from reconciler.engine.world import World, opened
from reconciler.errors import OutsideError, UsageError
from reconciler.planning.eligible import numbers_of
from reconciler.planning.pins import stub_model
from reconciler.planning.scene import Scene
from reconciler.ports import Meter
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.speed import estimate_speed, offloaded

Meters = Callable[[Target], Meter | None]
State = Literal["measured", "skipped", "failed", "planned"]
WRITES_NOTHING = frozenset({"embedding", "reranker", "diffusion"})
"""Lines of models that do not write text."""
PROMPT_TOKENS = 130
_FEWEST, _MOST, _RUN_SECONDS = 24, 64, 4.0
_LEAST_SECONDS = 2.0
"""With less left nothing more is begun."""


@dataclass(frozen=True, slots=True)
class MeasureQuestion:
    """What is to be measured, and for how long."""

    target: str | None = None
    models: tuple[str, ...] = ()
    """Globs over installed names, model ids and repositories; none: all."""
    runs: int = 3
    context: int | Literal["max"] | None = None
    """Tokens, or as many as fit; None: what the model's slot asks, else 4096, or less where the model has less."""
    max_seconds: float = 60.0
    """For one model, loading included."""
    total_seconds: float = 600.0
    lock_timeout_seconds: float = 0.0
    """How long to wait for another run that measures."""
    dry_run: bool = False


class Expected(Frozen):
    """What the formula says of the speed under the conditions of the trial, before any calibration."""

    tokens_per_second: float
    low: float
    high: float


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


@dataclass(frozen=True, slots=True)
class _Job:
    """One installed model, with what is needed to measure it."""

    target: Target
    installed: Installed
    model: CatalogModel
    trial: Trial
    expected: Expected | None
    ram: Bytes
    """How much of it would lie in the host's memory."""
    obstacle: str | None
    """Why it is not even tried."""
    notes: tuple[str, ...] = ()

    def row(self, state: State, reason: str = "", **more: object) -> MeasureRow:
        fields = {
            "target": self.target.name, "name": self.installed.name, "model_id": self.model.id,
            "quant": self.installed.quant or "", "bytes": self.installed.bytes, "context": self.trial.context,
            "expected": self.expected, "state": state, "reason": reason,
            "notes": self.notes,
        }  # fmt: skip
        return MeasureRow.model_validate({**fields, **more})


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
    jobs = _jobs(desired, record, seen, hardware, question)
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
async def _alone(world: World, jobs: Iterable[_Job], question: MeasureQuestion) -> AsyncIterator[None]:
    """Two at once would slow each other; and that nothing can be kept is better known before than after."""
    if world.measurements is None or question.dry_run or all(job.obstacle for job in jobs):
        yield
        return
    async with world.measurements.measuring(timeout_seconds=question.lock_timeout_seconds):
        yield


@asynccontextmanager
async def _opened_meters(jobs: Iterable[_Job], meters: Meters) -> AsyncIterator[Mapping[str, Meter | None]]:
    found = {job.target.name: job.target for job in jobs}
    made = {name: meters(target) for name, target in found.items()}
    try:
        yield made
    finally:
        await together(meter.close() for meter in made.values() if meter is not None)


# Which models.


def _jobs(
    desired: DesiredState, record: Record, seen: Observation, hardware: Hardware, question: MeasureQuestion
) -> list[_Job]:
    """What fills slots first, then what nobody measured, then the small: most is known when the time is over."""
    measured = {one.name for one in seen.measurements}
    slots = _slots_of(desired, record)
    scene = Scene(desired, seen, record, Overrides())
    names = _Names(seen, record)
    found = []
    for target in desired.targets:
        for model in scene.models_on.get(target.name, ()):
            known = names.model(target, model)
            if model.remote or not _is_asked(model, known, question):
                continue
            filled = slots.get((target.key, model.name), ())
            job = _job(
                target, model, known, hardware, question, _context(scene, target, model, known, filled, question)
            )
            found.append(((not filled, model.name in measured, model.bytes, target.name, model.name), job))
    return [job for _, job in sorted(found, key=lambda pair: pair[0])]


def _slots_of(desired: DesiredState, record: Record) -> dict[tuple[str, str], tuple[Slot, ...]]:
    """The slots of the file that a recorded model fills, by target key and name."""
    slots = {address: slot for slot in desired.slots for address in slot.addresses}
    found = {
        (entry.target_key, entry.name): tuple(slots[address] for address in entry.slots if address in slots)
        for entry in record.entries
    }
    return {key: filled for key, filled in found.items() if filled}


def _context(
    scene: Scene,
    target: Target,
    installed: Installed,
    known: CatalogModel | None,
    filled: tuple[Slot, ...],
    question: MeasureQuestion,
) -> int:
    """Tokens to load with, before the model's own are counted: the most that a slot has, as the plan says it."""
    if isinstance(question.context, int):
        return question.context
    if question.context is None and not any(slot.context == "max" for slot in filled):
        return max((slot.context_tokens or DEFAULT_CONTEXT for slot in filled), default=DEFAULT_CONTEXT)
    candidate = _candidate(installed, known or stub_model(installed.repo or installed.name))
    least = min(DEFAULT_CONTEXT, candidate.model.context_length or DEFAULT_CONTEXT)
    longest, _ = scene.assess_longest(candidate, Requirement(context=least), target)
    if question.context == "max":
        return longest
    return min(longest, max(numbers_of(scene, slot, target, candidate)[0] for slot in filled))


def _candidate(installed: Installed, model: CatalogModel) -> Candidate:
    build = Build(quant=installed.quant or "", bytes=installed.bytes, exact=True)
    repository = installed.repo or installed.name
    return Candidate(model, Repository(repository, (build,)), build)


class _Names:
    """Which model of the catalogue an installed one is."""

    def __init__(self, seen: Observation, record: Record) -> None:
        self._models = {model.id: model for model in seen.catalogue.models}
        self._tags = {model.ollama_tag: model for model in seen.catalogue.models if model.ollama_tag}
        self._repositories = {
            repository.id.casefold(): model for model in seen.catalogue.models for repository in model.repositories
        }
        self._recorded = {(entry.target_key, entry.name): entry.model_id for entry in record.entries}

    def model(self, target: Target, installed: Installed) -> CatalogModel | None:
        """By repository, by what we recorded, by the publisher's own habit of naming, by tag of the library."""
        repository = installed.repo or ""
        return (
            self._repositories.get(repository.casefold())
            or self._models.get(self._recorded.get((target.key, installed.name), ""))
            or self._models.get(repository.removesuffix("-GGUF"))
            or (self._tags.get(installed.name) if target.runtime == "ollama" else None)
        )


def _is_asked(installed: Installed, model: CatalogModel | None, question: MeasureQuestion) -> bool:
    names = [installed.name, installed.name.rpartition("/")[2], installed.repo or "", model.id if model else ""]
    return not question.models or any(
        fnmatchcase(name.casefold(), glob.casefold()) for glob in question.models for name in names if name
    )


def _job(
    target: Target,
    installed: Installed,
    known: CatalogModel | None,
    hardware: Hardware,
    question: MeasureQuestion,
    asked: int,
) -> _Job:
    model = known or stub_model(installed.repo or installed.name)
    longest = model.context_length or DEFAULT_CONTEXT
    context = min(asked, max(longest, 1))
    notes = (
        (f"{installed.name}: {context} tokens instead of {asked}: it has no more",)
        if asked > context and question.context
        else ()
    )
    build = Build(quant=installed.quant or "", bytes=installed.bytes, exact=True)
    required = Requirement(context=context)
    memory = estimate_memory(model, build, required, hardware)
    obstacle, outside = None, offloaded(memory, hardware)
    if not target.is_local or target.hardware is not None:
        obstacle = "it runs on another machine, as the file describes it"
    elif model.line in WRITES_NOTHING:
        obstacle = "it writes no text: there is no speed to tell"
    elif outside is None:
        room = show_bytes(hardware.vram_bytes + (0 if hardware.is_unified else hardware.usable_ram_bytes))
        obstacle = f"it cannot be loaded: {show_bytes(memory.total_bytes)} at {context} tokens, of {room}"
    speed = estimate_speed(model, build, memory, hardware, required, depth=PROMPT_TOKENS + _FEWEST)
    tokens = max(_FEWEST, min(_MOST, round(speed.tokens_per_second * _RUN_SECONDS)))
    trial = Trial(context=context, generate_tokens=tokens, runs=question.runs, max_seconds=question.max_seconds)
    expected = (
        Expected(tokens_per_second=speed.tokens_per_second, low=speed.low, high=speed.high)
        if known and speed.tokens_per_second > 0
        else None
    )
    ram = Bytes(round(memory.total_bytes * (outside or 0.0)))
    return _Job(target, installed, model, trial, expected, ram, obstacle, notes)


# One after another.


async def _all(
    world: World, meters: Mapping[str, Meter | None], jobs: list[_Job], question: MeasureQuestion, hardware: Hardware
) -> list[MeasureRow]:
    until = world.clock.elapsed() + question.total_seconds
    rows: list[MeasureRow] = []
    for number, job in enumerate(jobs, 1):
        left = until - world.clock.elapsed()
        if job.obstacle is None and left < _LEAST_SECONDS and not question.dry_run:
            rows.append(job.row("skipped", "the time for all was over", hint="give it longer with --total-time"))
            continue
        rows.append(
            await _one(world, meters[job.target.name], job, question, hardware, left, f"{number} of {len(jobs)}")
        )
    return rows


async def _one(
    world: World,
    meter: Meter | None,
    job: _Job,
    question: MeasureQuestion,
    hardware: Hardware,
    left: float,
    place: str,
) -> MeasureRow:
    if job.obstacle is not None:
        return job.row("skipped", job.obstacle)
    if meter is None:
        return job.row("skipped", f"a target of runtime {job.target.runtime} cannot be measured")
    try:
        obstacle = await meter.obstacle(job.installed, job.ram)
        if obstacle is not None:
            return job.row("skipped", obstacle)
        if question.dry_run:
            return job.row("planned")
        trial = job.trial.model_copy(update={"max_seconds": min(job.trial.max_seconds, left)})
        world.reporter.note(
            "info", f"measuring {job.installed.name} on {job.target.name} ({place}), {trial.max_seconds:.0f} s at most"
        )
        timing = await meter.measure(job.installed, trial)
    except OutsideError as error:
        state: State = "skipped" if error.code == "not-measurable" else "failed"
        return job.row(state, error.message, code=error.code, hint=error.hint)
    found = _measurement(job, timing, machine_key(hardware), world)
    if world.measurements is not None:
        for note in await world.measurements.add((found,)):
            world.reporter.note("warning", note)
    return job.row("measured", measurement=found, notes=(*job.notes, *_doubts(found, hardware)))


def _doubts(found: Measurement, hardware: Hardware) -> Iterable[str]:
    if was_disturbed(found, hardware):
        yield f"other work took {found.other_load:.0%} of the processors: measure again when the machine is quiet"
    if found.runs == 1:
        yield "timed only once: it says less than three runs do"
    if missed_accelerator(found, hardware):
        yield "most of it ran beside the accelerator: is the server built for it?"


def _measurement(job: _Job, timing: Timing, machine: str, world: World) -> Measurement:
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
