"""One candidate by its parts, or why it is rejected and what would change that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from reconciler.domain.advice import quoted
from reconciler.domain.desired import Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import (
    Assessment,
    Candidate,
    KvCache,
    MemoryEstimate,
    Profile,
    QualityEstimate,
    Requirement,
    SpeedEstimate,
)
from reconciler.domain.hardware import HardwareReading
from reconciler.domain.units import Bytes
from reconciler.engine.suggest import nearness, numbers
from reconciler.errors import UsageError
from reconciler.planning.eligible import candidates_for, consider, judge, requirement_of
from reconciler.planning.option import Option, Rejected
from reconciler.planning.remedies import raised_budget, remedies
from reconciler.planning.room import over_budget
from reconciler.planning.scene import Scene
from reconciler.ranking.named import Named, find, profile_of
from reconciler.ranking.order import order_key
from reconciler.ranking.score import score_factor

LADDER = (4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144)
"""Contexts that people ask for, in tokens."""

SMALLER: Mapping[KvCache, KvCache | None] = {"f16": "q8_0", "q8_0": "q4_0", "q4_0": None}
"""The next smaller type of cache."""


class CapabilityClaim(Frozen):
    """What the model can do, and who says so."""

    name: str
    sources: tuple[str, ...]


class Sibling(Frozen):
    """Another build of the same model."""

    quant: str
    repository: str
    bytes: Bytes
    memory_bytes: Bytes
    score: float
    tokens_per_second: float
    eligible: bool
    reason: str | None = None


class Rung(Frozen):
    """The candidate at one context, whatever was asked."""

    context: int
    """Tokens."""
    memory_bytes: Bytes
    fits: bool
    tokens_per_second: float
    small_cache: KvCache | None = None
    """The next smaller type of cache; None: there is none."""
    small_cache_bytes: Bytes | None = None
    """Memory with that."""
    small_cache_fits: bool | None = None


class Explanation(Frozen):
    """Everything the ranking knows of one candidate."""

    asked: str
    model_id: str
    repository: str
    quant: str
    bytes: Bytes
    exact: bool
    publisher: str
    license: str | None
    released: str | None
    params: int | None
    active_params: int | None
    context_length: int | None
    architecture: str | None
    line: str
    capabilities: tuple[CapabilityClaim, ...]
    ollama_tag: str | None
    slot: str | None = None
    """The slot of the file that it was judged for; None: a question of its own."""
    alias: str | None = None
    """The stable name that clients would use, where the slot has one."""
    profile: Profile
    context: int
    """Tokens it was judged at; with ``context: max`` in the slot what it would get."""
    kv_cache: KvCache = "f16"
    parallel: int = 1
    target: str
    policy: str
    hardware: HardwareReading
    capacity_bytes: Bytes
    eligible: bool
    fits: bool
    reason: str | None
    """Why it is rejected, from the closed list."""
    message: str
    remedies: tuple[str, ...]
    """What would change the verdict, in sentences; obstacles first, in order, then other ways."""
    over_budget: str = ""
    """That its files alone are more than the disk budget of the slot's file, in words."""
    rank: int | None = None
    """Place of the model among the eligible ones; None: no build of it is."""
    ranked: int = 0
    """How many models are eligible."""
    score: float
    low: float
    high: float
    memory: MemoryEstimate
    speed: SpeedEstimate
    quality: QualityEstimate
    speed_factor: float = 1.0
    """What the confidence in the speed, and slowness, leave: ``score`` is quality × its multiplier × this."""
    contexts: tuple[Rung, ...] = ()
    """The same build at other contexts, up to the model's own."""
    siblings: tuple[Sibling, ...]
    """Every build of the model, best first, this one among them."""
    catalogue_date: str
    catalogue_origin: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """Which candidate, for what."""

    name: str
    """As a person writes it."""
    slot: str | None = None
    """A slot of the file, whose every wish is then applied."""
    profile: Profile | None = None
    context: int | Literal["max"] | None = None
    policy: str = ""
    """The file whose trust is applied."""


def explain(scene: Scene, target: Target, request: Request) -> Explanation:
    """The candidate that a name means: at the quant it states, else at the one that would be chosen.

    Raises:
        UsageError: code ``unknown-model``: nothing in the catalogue has this name; the hint holds the nearest.
            Or no slot of the file has the name that was given.
    """
    named = _named(scene, request.name)
    slot = _slot(scene, named, request)
    every = {one.key: one for one in (*candidates_for(scene, target), *scene.candidates)}
    found = [candidate for candidate in every.values() if candidate.model.id == named.model.id]
    if not found:
        raise UsageError(
            f"no repository with files of {named.model.id} that can be installed is known",
            code="unknown-model",
            hint="localmodels catalog refresh asks the Hub about the publishers that the file allows",
        )
    verdicts = [judge(scene, slot, target, candidate) for candidate in found]
    ranked = sorted(verdicts, key=lambda one: (isinstance(one, Rejected), _order(scene, slot, target, one)))
    chosen = _chosen([one for one in ranked if named.means(one.candidate)], named, found)
    return _Asked(scene, slot, target, request).explanation(chosen, ranked)


def _named(scene: Scene, name: str) -> Named:
    try:
        return find(scene.observation.catalogue.models, name)
    except UsageError:
        if all(one.name != name for one in scene.desired.slots):
            raise
    raise UsageError(
        f"{name} is a slot of the file, and no model",
        code="unknown-model",
        hint=f"`localmodels which {quoted(name)}` names the model that fills it; "
        f"`localmodels explain MODEL --slot {quoted(name)}` judges one for it",
    )


def _slot(scene: Scene, named: Named, request: Request) -> Slot:
    """The slot of the file, or one that asks for nothing but what the request says."""
    slot = Slot(name="explain", profile=profile_of(named.model))
    if request.slot is not None:
        names = {one.name: one for one in scene.desired.slots}
        if request.slot not in names:
            hint = f"there is {', '.join(names)}" if names else "the file declares none"
            raise UsageError(f"no slot is called {request.slot}", hint=hint)
        slot = names[request.slot]
    given = {"profile": request.profile, "context": request.context}
    return slot.model_copy(update={key: value for key, value in given.items() if value is not None})


def _order(scene: Scene, slot: Slot, target: Target, verdict: Option | Rejected) -> object:
    """Eligible ones as the ranking has them, then the rejected, the nearest first."""
    _, assessment = numbers(scene, slot, target, verdict)
    return order_key(assessment) if isinstance(verdict, Option) else nearness(assessment, verdict)


def _chosen(meant: list[Option | Rejected], named: Named, found: list[Candidate]) -> Option | Rejected:
    if meant:
        return meant[0]
    quants = sorted({c.quant for c in found if named.repository in (None, c.repository.id)})
    raise UsageError(
        f"{named.repository or named.model.id} has no {named.quant or 'GGUF files'}",
        code="unknown-model",
        hint=f"there is {', '.join(quants)}" if quants else None,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request with everything it is answered from."""

    scene: Scene
    slot: Slot
    target: Target
    request: Request

    def explanation(self, verdict: Option | Rejected, ranked: list[Option | Rejected]) -> Explanation:
        scene, slot, candidate = self.scene, self.slot, verdict.candidate
        rejected = verdict if isinstance(verdict, Rejected) else None
        context, assessment = numbers(scene, slot, self.target, verdict)
        model, catalogue, places = candidate.model, scene.observation.catalogue, self._places()
        beyond = over_budget(scene, self.target, candidate.bytes) if self.request.slot else ""
        ways = remedies(scene, slot, rejected, ranked) if rejected else ()
        return Explanation(
            asked=self.request.name,
            model_id=model.id,
            repository=candidate.repository.id,
            quant=candidate.quant,
            bytes=candidate.bytes,
            exact=candidate.build.exact,
            publisher=model.publisher,
            license=model.license,
            released=model.released.isoformat() if model.released else None,
            params=model.params,
            active_params=model.active_params,
            context_length=model.context_length,
            architecture=model.architecture.name,
            line=model.line,
            capabilities=tuple(CapabilityClaim(name=name, sources=sources) for name, sources in model.capabilities),
            ollama_tag=model.ollama_tag,
            slot=self.request.slot,
            alias=slot.alias,
            profile=slot.profile,
            context=context,
            kv_cache=slot.kv_cache,
            parallel=slot.parallel,
            target=self.target.name,
            policy=self.request.policy,
            hardware=scene.observation.hardware,
            capacity_bytes=scene.hardware(self.target).capacity_bytes,
            eligible=rejected is None,
            fits=assessment.fits,
            reason=rejected.reason if rejected else None,
            message=rejected.message if rejected else "",
            remedies=(*ways, *([raised_budget(self.target, candidate.bytes)] if beyond else [])),
            over_budget=beyond,
            rank=places.index(model.id) + 1 if model.id in places else None,
            ranked=len(places),
            score=assessment.score,
            low=assessment.low,
            high=assessment.high,
            memory=assessment.memory,
            speed=assessment.speed,
            quality=assessment.quality,
            speed_factor=score_factor(assessment.speed.confidence, assessment.speed.tokens_per_second, 1.0),
            contexts=tuple(self._ladder(candidate, context)),
            siblings=tuple(self._sibling(one) for one in ranked),
            catalogue_date=catalogue.generated_at.isoformat(),
            catalogue_origin=catalogue.origin,
            notes=(*scene.observation.warnings, *catalogue.notes),
        )

    def _places(self) -> list[str]:
        """Every model that has an eligible candidate, best first."""
        return consider(self.scene, self.slot, self.target).options.model_ids()

    def _ladder(self, candidate: Candidate, context: int) -> Iterable[Rung]:
        longest = candidate.model.context_length or LADDER[-1]
        asked = requirement_of(self.slot, candidate.model)
        smaller = SMALLER[asked.kv_cache]
        for rung in sorted({*(one for one in LADDER if one < longest), context, longest}):
            plain = self._at(candidate, replace(asked, context=rung))
            small = self._at(candidate, replace(asked, context=rung, kv_cache=smaller)) if smaller else None
            yield Rung(
                context=rung,
                memory_bytes=plain.memory.total_bytes,
                fits=plain.fits,
                tokens_per_second=round(plain.speed.tokens_per_second, 1),
                small_cache=smaller,
                small_cache_bytes=small.memory.total_bytes if small else None,
                small_cache_fits=small.fits if small else None,
            )

    def _at(self, candidate: Candidate, requirement: Requirement) -> Assessment:
        return self.scene.assess(candidate, requirement, self.target)

    def _sibling(self, verdict: Option | Rejected) -> Sibling:
        _, assessment = numbers(self.scene, self.slot, self.target, verdict)
        candidate = verdict.candidate
        return Sibling(
            quant=candidate.quant,
            repository=candidate.repository.id,
            bytes=candidate.bytes,
            memory_bytes=assessment.memory.total_bytes,
            score=round(assessment.score, 1),
            tokens_per_second=round(assessment.speed.tokens_per_second, 1),
            eligible=isinstance(verdict, Option),
            reason=verdict.reason if isinstance(verdict, Rejected) else None,
        )
