"""What is to be measured: which of the installed models a question means, and how each of them is tried.

In the order in which most is known when the time is over. What cannot be measured is in the list too, with why.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from reconciler.domain.catalog import Build, CatalogModel, Repository
from reconciler.domain.desired import DEFAULT_CONTEXT, DesiredState, Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.domain.measurement import Trial
from reconciler.domain.observation import Installed, Observation
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes, show_bytes
from reconciler.planning.eligible import numbers_of
from reconciler.planning.pins import stub_model
from reconciler.planning.scene import Scene
from reconciler.ranking.memory import estimate_memory
from reconciler.ranking.speed import estimate_speed, offloaded

WRITES_NOTHING = frozenset({"embedding", "reranker", "diffusion"})
"""Lines of models that do not write text."""
PROMPT_TOKENS = 130
_FEWEST, _MOST, _RUN_SECONDS = 24, 64, 4.0


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


@dataclass(frozen=True, slots=True)
class Job:
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


def jobs_to_measure(
    desired: DesiredState, record: Record, seen: Observation, hardware: Hardware, question: MeasureQuestion
) -> list[Job]:
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
) -> Job:
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
    return Job(target, installed, model, trial, expected, ram, obstacle, notes)
