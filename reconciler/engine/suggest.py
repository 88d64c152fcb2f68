"""Which models a machine would run best: the ranking of the catalogue as the file allows it, without a plan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.desired import MIN_BITS_PER_WEIGHT, DesiredState, Pool, Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import Assessment, Profile
from reconciler.domain.hardware import Confidence, HardwareReading
from reconciler.domain.names import OLLAMA_LIBRARY
from reconciler.domain.observation import Observation, ObservedTarget
from reconciler.domain.plan import Overrides
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.engine.observe import observe
from reconciler.engine.world import Freshness, World, opened
from reconciler.errors import UsageError
from reconciler.planning.eligible import consider, numbers_of
from reconciler.planning.option import Option, Rejected
from reconciler.planning.room import over_budget
from reconciler.planning.scene import Scene
from reconciler.planning.trust import distrust_of_repository
from reconciler.ranking.candidates import build_quant
from reconciler.ranking.order import order_key
from reconciler.ranking.profiles import model_serves


class Suggestion(Frozen):
    """One model at the quant that serves best, or the reason why none does."""

    model_id: str
    quant: str
    repository: str
    packager: str | None = None
    """Who packages the files, where that is not the publisher."""
    bytes: Bytes
    exact: bool
    """False: the size is rounded by its source, or computed."""
    eligible: bool
    reason: str | None = None
    """Why it is not eligible, from the closed list of rejections."""
    message: str = ""
    score: float
    """To a tenth, as the ranking compares them."""
    low: float
    high: float
    tokens_per_second: float
    tokens_per_second_low: float
    tokens_per_second_high: float
    """80 % interval, as ``low`` and ``high`` are of the score."""
    speed_basis: Literal["measured", "estimated"]
    """Measured: on this very machine."""
    measured_at: str | None
    """ISO date of the measurement."""
    speed_doubtful: bool = False
    """Measured only once, or while other work ran."""
    speed_confidence: Confidence
    prefill_tokens_per_second: float | None
    """Tokens of a prompt that are read a second; None: not known."""
    first_token_seconds: float | None
    """From a prompt of half ``context`` to the first token of the answer; None: not known."""
    offloaded: float
    """Share of the bytes outside the accelerator, 0 to 1."""
    memory_bytes: Bytes
    """At ``context``."""
    context: int
    """Tokens it was judged at."""
    max_context: int | None
    """The largest context that fits; None: not even one token does, or ``max_context_basis`` is ``unknown``."""
    max_context_basis: Literal["memory", "model", "unknown"]
    """What ends ``max_context``; ``unknown``: nobody knows how long the model can go."""
    context_length: int | None
    """The model's own."""
    confidence: Confidence
    """In the quality."""
    evidence: str
    """Grade of the weakest evidence; ``none`` where nothing was measured."""
    evidence_date: str | None
    """Of the newest observation that counts."""
    license: str | None
    ollama_tag: str | None
    params: int | None
    active_params: int | None
    released: str | None


class PackagerOpening(Frozen):
    """What trusting one packager opens."""

    name: str
    allowed: bool
    models: int
    """Models of allowed publishers that it has files of."""
    only_here: int
    """Of these, models that no allowed repository has."""


class Suggestions(Frozen):
    """The ranking for one profile on one machine."""

    profile: Profile
    context: int | Literal["max"] | None
    """As asked; None: 4096, less where the model has less."""
    target: str
    policy: str
    """The file whose trust was applied; ``everybody`` without one."""
    hardware: HardwareReading
    ranked_at: str
    """ISO date: observations age against it."""
    catalogue_date: str
    catalogue_origin: str
    eligible: int
    """Models with at least one eligible candidate; ``rows`` holds the best of them."""
    rows: tuple[Suggestion, ...]
    rejected: tuple[Suggestion, ...] = ()
    packagers: tuple[PackagerOpening, ...] = ()
    notes: tuple[str, ...] = ()


class Overview(Frozen):
    """The rankings for every profile on one machine."""

    rankings: tuple[Suggestions, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the ranking."""

    profile: Profile = "general"
    context: int | Literal["max"] | None = None
    target: str | None = None
    top: int | None = 10
    everything: bool = False
    """Also what is not eligible, with reasons."""


_Refused = tuple[int, Assessment, Rejected]
"""A context, the numbers at it, and the verdict."""


async def scene_for(
    world: World, desired: DesiredState | None, question: Question, freshness: Freshness
) -> tuple[Scene, Target]:
    """The machine, the catalogue and the policy; no target is contacted.

    Args:
        world: the ports.
        desired: of the file; None: every publisher and packager of the catalogue is allowed.
        question: names the target.
        freshness: of the catalogue.

    Raises:
        UsageError: no target of that name.
    """
    given = desired or DesiredState(targets=(Target(name="store"),))
    nobody = given.model_copy(update={"targets": ()})
    async with opened(world, nobody) as runtimes:
        seen = await observe(world, nobody, freshness=freshness, runtimes=runtimes)
    if desired is None:
        given = given.model_copy(update={"pool": open_pool(seen.catalogue)})
    target = _target(given, question.target)
    if target.hardware is not None:
        reading = world.probe.probe(target.hardware)
        there = ObservedTarget(name=target.name, key=target.key, hardware=reading.hardware)
        seen = seen.model_copy(update={"targets": (there,), "hardware": reading})
    return Scene(given, seen, Record(name=given.name), Overrides()), target


def open_pool(catalogue: Catalogue) -> Pool:
    """Everybody the catalogue knows is trusted: to show what there is."""
    organisations = {repository.organisation for model in catalogue.models for repository in model.repositories}
    publishers = {model.publisher for model in catalogue.models}
    return Pool(
        allowed_orgs=tuple(sorted(publishers)), packagers=tuple(sorted({*organisations, *publishers, OLLAMA_LIBRARY}))
    )


def _target(desired: DesiredState, name: str | None) -> Target:
    """The one named, else the first that can hold files, else the first."""
    if name is None:
        holding = [target for target in desired.targets if target.runtime != "advisory"]
        return (holding or list(desired.targets))[0]
    found = next((target for target in desired.targets if target.name == name), None)
    if found is None:
        names = ", ".join(target.name for target in desired.targets)
        raise UsageError(f"no target is called {name}", hint=f"there is {names}")
    return found


def suggestions(scene: Scene, target: Target, question: Question, *, policy: str) -> Suggestions:
    """One line per model: its best eligible candidate; with ``everything`` also those that have none."""
    slot = Slot(name="suggest", profile=question.profile, context=question.context)
    considered = consider(scene, slot, target)
    best, models = islice(considered.options.best_of_models(), question.top), considered.options.models
    rows = [suggestion_of(option.assessment, option.context) for option in best]
    rejected = _not_eligible(scene, slot, target, considered.rejected, models) if question.everything else []
    observation = scene.observation
    return Suggestions(
        profile=question.profile,
        context=question.context,
        target=target.name,
        policy=policy,
        hardware=observation.hardware,
        ranked_at=scene.today.isoformat(),
        catalogue_date=observation.catalogue.generated_at.isoformat(),
        catalogue_origin=observation.catalogue.origin,
        eligible=len(models),
        rows=tuple(rows),
        rejected=tuple(rejected),
        packagers=packager_openings(observation, scene.desired.pool, question.profile),
        notes=(
            *scene.desired.notices,
            *observation.warnings,
            *observation.catalogue.notes,
            *_over_budget(scene, target, rows),
        ),
    )


def _over_budget(scene: Scene, target: Target, rows: Iterable[Suggestion]) -> list[str]:
    """Rows whose files alone are more than the disk budget of the file; nothing where no file states one."""
    found = [(row, over_budget(scene, target, row.bytes)) for row in rows if scene.desired.source]
    return [f"{row.model_id} {row.quant} {words}" for row, words in found if words]


def _not_eligible(
    scene: Scene, slot: Slot, target: Target, rejected: Iterable[Rejected], eligible: Collection[str]
) -> list[Suggestion]:
    """For each model without an eligible candidate, the one that came nearest; best of them first."""
    groups: dict[str, list[_Refused]] = defaultdict(list)
    for verdict in rejected:
        model = verdict.candidate.model
        if model.id not in eligible and model_serves(model, slot.profile):
            groups[model.id].append((*numbers(scene, slot, target, verdict), verdict))
    nearest = [min(group, key=lambda one: nearness(*one[1:])) for group in groups.values()]
    nearest.sort(key=lambda one: order_key(one[1]))
    return [suggestion_of(assessment, context, verdict) for context, assessment, verdict in nearest]


def nearness(assessment: Assessment, verdict: Option | Rejected) -> tuple[bool, bool, bool, object]:
    """What has numbers came nearest; then what would rank first; among the unfit the smallest."""
    of = build_quant(assessment.candidate.model, assessment.candidate.build)
    is_coarse = of is None or of.bits_per_weight < MIN_BITS_PER_WEIGHT
    last = order_key(assessment) if assessment.fits else (assessment.memory.total_bytes, assessment.candidate.key)
    return verdict.assessment is None, is_coarse, not assessment.fits, last


def numbers(scene: Scene, slot: Slot, target: Target, verdict: Option | Rejected) -> tuple[int, Assessment]:
    """The context of a candidate in tokens and its numbers there, also where it was rejected before anybody asked."""
    if isinstance(verdict, Option):
        return verdict.context, verdict.assessment
    context, assessment = numbers_of(scene, slot, target, verdict.candidate)
    return context, verdict.assessment or assessment


def suggestion_of(assessment: Assessment, context: int, verdict: Rejected | None = None) -> Suggestion:
    """An assessment at a context, in tokens, as a line."""
    candidate, speed, parts = assessment.candidate, assessment.speed, assessment.quality.parts
    model, organisation = candidate.model, candidate.repository.organisation
    return Suggestion(
        model_id=model.id,
        quant=candidate.quant,
        repository=candidate.repository.id,
        packager=organisation if organisation != model.publisher else None,
        bytes=candidate.bytes,
        exact=candidate.build.exact,
        eligible=verdict is None,
        reason=verdict.reason if verdict else None,
        message=verdict.message if verdict else "",
        score=round(assessment.score, 1),
        low=round(assessment.low, 1),
        high=round(assessment.high, 1),
        tokens_per_second=round(speed.tokens_per_second, 1),
        tokens_per_second_low=round(speed.low, 1),
        tokens_per_second_high=round(speed.high, 1),
        speed_basis=speed.basis,
        measured_at=speed.measured_at,
        speed_doubtful=speed.doubtful,
        speed_confidence=speed.confidence,
        prefill_tokens_per_second=_rounded(speed.prefill_tokens_per_second),
        first_token_seconds=_rounded(speed.first_token_seconds),
        offloaded=round(speed.offloaded, 3),
        memory_bytes=assessment.memory.total_bytes,
        context=context,
        max_context=assessment.memory.max_context,
        max_context_basis=assessment.memory.max_context_basis,
        context_length=model.context_length,
        confidence=assessment.quality.confidence,
        evidence=assessment.quality.evidence if parts else "none",
        evidence_date=max((part.observed_at for part in parts), default=None),
        license=model.license,
        ollama_tag=model.ollama_tag,
        params=model.params,
        active_params=model.active_params,
        released=model.released.isoformat() if model.released else None,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def packager_openings(observation: Observation, pool: Pool, profile: Profile) -> tuple[PackagerOpening, ...]:
    """What each packager has of the allowed publishers' models for this profile; the most telling first."""
    models = [
        model
        for model in observation.catalogue.models
        if model.publisher in pool.allowed_orgs and model_serves(model, profile)
    ]
    closed = {model.id for model in models if not _is_open(model, pool)}
    held: dict[str, set[str]] = defaultdict(set)
    for model in models:
        for repository in model.repositories:
            if repository.format == "gguf" and repository.organisation not in pool.allowed_orgs:
                held[repository.organisation].add(model.id)
        if model.ollama_tag:
            held[OLLAMA_LIBRARY].add(model.id)
    found = [
        PackagerOpening(name=name, allowed=name in pool.packagers, models=len(ids), only_here=len(ids & closed))
        for name, ids in held.items()
    ]
    return tuple(sorted(found, key=lambda one: (one.allowed, -one.only_here, -one.models, one.name)))


def _is_open(model: CatalogModel, pool: Pool) -> bool:
    return any(
        repository.format == "gguf"
        and distrust_of_repository(pool, organisation=repository.organisation, publisher=model.publisher) is None
        for repository in model.repositories
    )
