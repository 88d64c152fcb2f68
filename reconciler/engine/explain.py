"""One candidate by its parts, or why it is rejected and what would change that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from reconciler.domain.catalog import CatalogModel, Evidence
from reconciler.domain.desired import Slot, Target
from reconciler.domain.document import Frozen
from reconciler.domain.estimate import Assessment, Candidate, EvidencePart, Profile
from reconciler.domain.hardware import Confidence, HardwareReading
from reconciler.domain.names import nearest, squash
from reconciler.domain.units import Bytes, show_bytes
from reconciler.engine.suggest import assessed, nearness
from reconciler.errors import UsageError
from reconciler.planning.eligible import judge, requirement_of
from reconciler.planning.option import Option, Rejected, RejectionReason
from reconciler.planning.scene import Scene
from reconciler.planning.trust import distrust_of_repository
from reconciler.ranking.profiles import PROFILE_LINES
from reconciler.ranking.quants import normalise
from reconciler.ranking.rank import order_key


class MemoryParts(Frozen):
    """Bytes the loaded model takes at the asked context."""

    weights_bytes: Bytes
    kv_bytes: Bytes
    kv_bytes_per_token: float
    state_bytes: Bytes
    compute_bytes: Bytes
    overhead_bytes: Bytes
    total_bytes: Bytes
    basis: Literal["architecture", "seed-formula"]
    weights_basis: Literal["file", "approximate-file", "bits-per-weight"]
    max_context: int | None


class SpeedParts(Frozen):
    """Decode speed of one stream, and what it rests on."""

    tokens_per_second: float
    low: float
    high: float
    confidence: Confidence
    offloaded: float
    bytes_per_token: Bytes
    effective_bandwidth_gbps: float
    backend: str
    basis: Literal["measured", "estimated"]


class QualityParts(Frozen):
    """Quality for the profile, 0 to 100, and the observations behind it."""

    score: float
    low: float
    high: float
    evidence: Evidence
    confidence: Confidence
    quant_factor: float
    multiplier: float
    parts: tuple[EvidencePart, ...]
    covered: float = 1.0
    """Share of the profile that ``parts`` measure of this very model, 0 to 1; the rest is inherited."""
    measured_score: float | None = None
    """Mean of the parts by weight × share, at the reference quant."""
    inherited_score: float | None = None
    inherited_from: tuple[str, ...] = ()
    """Models that lend it, the nearest first; none: it rests on size and date."""
    judged_as: Profile | None = None
    """The profile whose benchmarks stand in, where nobody measured the asked one."""
    reference_quant_factor: float = 1.0
    """``score`` is (covered × measured + rest × inherited) × ``quant_factor`` / this, 100 at most."""


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
    profile: Profile
    context: int
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
    """What would change the verdict, in sentences."""
    score: float
    low: float
    high: float
    memory: MemoryParts
    speed: SpeedParts
    quality: QualityParts
    siblings: tuple[Sibling, ...]
    """Every build of the model, best first, this one among them."""
    catalogue_date: str
    catalogue_origin: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Named:
    """What a name means in the catalogue."""

    model: CatalogModel
    repository: str | None = None
    quant: str | None = None


def explain(
    scene: Scene, target: Target, name: str, *, profile: Profile | None, context: int | None, policy: str
) -> Explanation:
    """The candidate that a name means: at the quant it states, else at the one that would be chosen.

    Raises:
        UsageError: code ``unknown-model``: nothing in the catalogue has this name; the hint holds the nearest.
    """
    named = find(scene.observation.catalogue.models, name)
    slot = Slot(name="explain", profile=profile or profile_of(named.model), context=context)
    found = [candidate for candidate in scene.candidates if candidate.model is named.model]
    if not found:
        raise UsageError(
            f"no repository with GGUF files of {named.model.id} is known",
            code="unknown-model",
            hint="localmodels catalog refresh asks the Hub about the publishers that the file allows",
        )
    judged = [(judge(scene, slot, target, candidate), candidate) for candidate in found]
    ranked = sorted(judged, key=lambda pair: (isinstance(pair[0], Rejected), _order(scene, slot, target, pair[0])))
    chosen = _chosen([verdict for verdict, candidate in ranked if _is_meant(candidate, named)], named, found)
    return _explanation(scene, slot, target, chosen, [verdict for verdict, _ in ranked], asked=name, policy=policy)


def _order(scene: Scene, slot: Slot, target: Target, verdict: Option | Rejected) -> object:
    """Eligible ones as the ranking has them, then the rejected, the nearest first."""
    assessment = assessed(scene, slot, target, verdict)
    return order_key(assessment) if isinstance(verdict, Option) else nearness((assessment, verdict))


def _is_meant(candidate: Candidate, named: Named) -> bool:
    in_repository = named.repository in (None, candidate.repository.id)
    same_quant = named.quant is None or normalise(candidate.quant).canonical == normalise(named.quant).canonical
    return in_repository and same_quant


def _chosen(meant: list[Option | Rejected], named: Named, found: list[Candidate]) -> Option | Rejected:
    if meant:
        return meant[0]
    quants = sorted({c.quant for c in found if named.repository in (None, c.repository.id)})
    raise UsageError(
        f"{named.repository or named.model.id} has no {named.quant or 'GGUF files'}",
        code="unknown-model",
        hint=f"there is {', '.join(quants)}" if quants else None,
    )


def profile_of(model: CatalogModel) -> Profile:
    """The profile a model is made for, by its line; ``general`` where it serves that."""
    if model.line == "coder":
        return "coding"
    serving = [profile for profile, lines in PROFILE_LINES.items() if model.line in lines]
    return serving[0] if serving else "general"


def find(models: Iterable[CatalogModel], text: str) -> Named:
    """The model of a catalogue id, repository, ``repository:QUANT``, ``id@QUANT`` or Ollama name.

    Raises:
        UsageError: code ``unknown-model``, with the nearest names.
    """
    known = tuple(models)
    wanted = text.strip().removeprefix("hf.co/").removeprefix("https://huggingface.co/").strip("/")
    bare, _, quant = wanted.replace("@", ":").rpartition(":")
    for name, size in ((wanted, None), (bare, quant)):
        found = _by_name(known, name, size) if name else None
        if found is not None:
            return found
    names = {word: word for model in known for word in _names(model)}
    near = nearest(text, names, 3)
    raise UsageError(
        f"nothing in the catalogue is called {text}",
        code="unknown-model",
        hint=f"did you mean {' or '.join(near)}?" if near else "localmodels suggest lists what there is",
    )


def _by_name(models: tuple[CatalogModel, ...], name: str, quant: str | None) -> Named | None:
    folded = name.casefold()
    for model in models:
        if model.id.casefold() == folded:
            return Named(model, None, quant)
        for repository in model.repositories:
            if repository.id.casefold() == folded:
                return Named(model, repository.id, quant)
    tagged = folded if quant is None else f"{folded}:{quant.casefold()}"
    for model in models:
        if model.ollama_tag and tagged in (model.ollama_tag.casefold(), model.ollama_tag.casefold() + ":latest"):
            return Named(model)
    short = [model for model in models if squash(model.id.partition("/")[2]) == squash(name)]
    return Named(short[0], None, quant) if len(short) == 1 else None


def _names(model: CatalogModel) -> Iterable[str]:
    yield model.id
    yield model.id.partition("/")[2]
    yield from (repository.id for repository in model.repositories)
    if model.ollama_tag:
        yield model.ollama_tag


def _explanation(
    scene: Scene,
    slot: Slot,
    target: Target,
    verdict: Option | Rejected,
    ranked: list[Option | Rejected],
    *,
    asked: str,
    policy: str,
) -> Explanation:
    rejected = verdict if isinstance(verdict, Rejected) else None
    assessment, candidate = assessed(scene, slot, target, verdict), verdict.candidate
    model, catalogue = candidate.model, scene.observation.catalogue
    return Explanation(
        asked=asked,
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
        profile=slot.profile,
        context=requirement_of(slot, model).context,
        target=target.name,
        policy=policy,
        hardware=scene.observation.hardware,
        capacity_bytes=scene.hardware(target).capacity_bytes,
        eligible=rejected is None,
        fits=assessment.fits,
        reason=rejected.reason if rejected else None,
        message=rejected.message if rejected else "",
        remedies=tuple(_remedies(scene, slot, rejected, assessment, ranked)) if rejected else (),
        score=assessment.score,
        low=assessment.low,
        high=assessment.high,
        memory=MemoryParts.model_validate(asdict(assessment.memory)),
        speed=SpeedParts.model_validate(asdict(assessment.speed)),
        quality=QualityParts.model_validate(asdict(assessment.quality)),
        siblings=tuple(_sibling(scene, slot, target, one) for one in ranked),
        catalogue_date=catalogue.generated_at.isoformat(),
        catalogue_origin=catalogue.origin,
        notes=(*scene.observation.warnings, *catalogue.notes),
    )


def _sibling(scene: Scene, slot: Slot, target: Target, verdict: Option | Rejected) -> Sibling:
    assessment, candidate = assessed(scene, slot, target, verdict), verdict.candidate
    return Sibling(
        quant=candidate.quant,
        repository=candidate.repository.id,
        bytes=candidate.bytes,
        memory_bytes=assessment.memory.total_bytes,
        score=round(assessment.score, 2),
        tokens_per_second=round(assessment.speed.tokens_per_second, 1),
        eligible=isinstance(verdict, Option),
        reason=verdict.reason if isinstance(verdict, Rejected) else None,
    )


def _remedies(
    scene: Scene, slot: Slot, rejected: Rejected, assessment: Assessment, ranked: list[Option | Rejected]
) -> Iterable[str]:
    """What would change the verdict: by the file, by the question, or by another build of the same model."""
    candidate, memory = rejected.candidate, assessment.memory
    model, organisation = candidate.model, candidate.repository.organisation
    context = requirement_of(slot, model).context
    if not assessment.fits:
        if memory.max_context:
            yield f"it fits at {memory.max_context} tokens, not at {context}"
        else:
            missing = memory.total_bytes - rejected_capacity(scene, rejected)
            yield f"this machine lacks {show_bytes(missing)} for it at {context} tokens, and it fits at no context"
    if rejected.reason == "publisher-not-allowed":
        yield f"allow its publisher: localmodels pool allow-org {model.publisher}"
    trusted = model.publisher in scene.desired.pool.allowed_orgs
    pool = scene.desired.pool.model_copy(update={"allowed_orgs": (*scene.desired.pool.allowed_orgs, model.publisher)})
    if distrust_of_repository(pool, organisation=organisation, publisher=model.publisher) is not None:
        yield f"{'add' if trusted else 'and add'} {organisation} to pool.packagers: it packages these files"
    remedy = REMEDIES[rejected.reason]
    if remedy is not None:
        yield remedy(slot, rejected)
    other = next((one for one in ranked if isinstance(one, Option)), None)
    if other is not None:
        found = other.candidate
        yield f"{found.quant} of {found.repository.id} is eligible: it needs {_memory_of(other)} at {context} tokens"


def rejected_capacity(scene: Scene, rejected: Rejected) -> Bytes:
    """What one model may fill on the machine it was judged for."""
    return scene.hardware(rejected.target).capacity_bytes


def _memory_of(option: Option) -> str:
    return show_bytes(option.assessment.memory.total_bytes)


def _other_profile(_: Slot, rejected: Rejected) -> str:
    line = rejected.candidate.model.line
    serves = [profile for profile, lines in PROFILE_LINES.items() if line in lines]
    return f"ask with --profile {' or '.join(serves)}" if serves else f"no profile is served by a {line} model"


def _named_quant(_: Slot, rejected: Rejected) -> str:
    return f"name it in the slot to accept it all the same: quants: [{rejected.candidate.quant}]"


REMEDIES: Mapping[RejectionReason, Callable[[Slot, Rejected], str] | None] = {
    "publisher-not-allowed": None,  # these two depend on the pool: said for every candidate it does not trust
    "packager-not-allowed": None,
    "family-not-allowed": lambda _, one: (
        f"allow its family: localmodels pool allow-family {one.candidate.model.lineage}{one.candidate.model.generation}"
    ),
    "license-not-allowed": lambda _, one: (
        f"add {one.candidate.model.license or 'nothing: its licence is not known'} to pool.allowedLicenses"
    ),
    "never-listed": lambda _, __: "take the pattern out of pool.never",
    "wrong-line": _other_profile,
    "capability-unknown": lambda _, __: "no source says that it can do this: take it out of the slot's capabilities",
    "context-too-long": lambda slot, one: (
        f"its own context ends at {one.candidate.model.context_length} tokens; {slot.context} are asked"
    ),
    "not-installable-here": lambda _, __: "a target of runtime store can hold it",
    "quant-below-floor": _named_quant,
    "quant-not-accepted": _named_quant,
    "too-large": lambda _, __: "a smaller quant may be within the size that the slot allows, or allow more",
    "does-not-fit": None,  # said with the context at which it would fit
    "too-slow": lambda _, __: "lower the speed that the slot asks for, or ask for less context",
    "no-room": lambda _, __: "make room: raise pool.diskBudget, or evict what is not needed",
    "unavailable": lambda _, __: "try again when its source answers, or take another repository of the same model",
}
"""What would lift each rejection; None: it is said from the numbers, whatever the reason."""
