"""A pin: the slot names its model exactly, so the question is not who wins but which files that name means."""

from __future__ import annotations

from dataclasses import dataclass, replace

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.catalog import Architecture, Build, CatalogModel, Repository
from reconciler.domain.desired import MIN_BITS_PER_WEIGHT, Slot, Target
from reconciler.domain.estimate import Candidate
from reconciler.domain.names import DEFAULT_TAG, HUB_HOSTS, OllamaName, is_ollama_name
from reconciler.domain.observation import Resolved, Unavailable
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import Bytes
from reconciler.formats.gguf_names import quant_of
from reconciler.planning.eligible import (
    FINAL_ANSWERS,
    candidates_for,
    entry_of,
    numbers_of,
    option_of,
    policy_rejection,
    unlisted_by_router,
)
from reconciler.planning.option import Option
from reconciler.planning.placing import need_for, refine
from reconciler.planning.scene import Scene, names_of
from reconciler.planning.trust import (
    distrust_of_model,
    distrust_of_names,
    distrust_of_repository,
    registry_organisation,
)
from reconciler.ranking.candidates import build_quant
from reconciler.ranking.order import order_key
from reconciler.ranking.quants import normalise


@dataclass(frozen=True, slots=True)
class PinBlocked:
    """A pin that cannot be met on this target, and why."""

    allowed: bool
    """False: the policy forbids it. True: the source cannot give it."""
    message: str


def pin_option(scene: Scene, slot: Slot, target: Target) -> Option | PinBlocked:
    """The one option of a pin on one target. It need not fit or be the best: it is what the file asks for."""
    candidates = _as_recorded(scene, slot, target) or candidates_meant(scene, slot, target)
    verdicts = [_judge(scene, slot, target, candidate) for candidate in candidates]
    options = [verdict for verdict in verdicts if isinstance(verdict, Option)]
    if options:
        return min(options, key=lambda option: _preference(slot, option))
    return next(
        (verdict for verdict in verdicts if isinstance(verdict, PinBlocked)),
        PinBlocked(allowed=True, message=_not_found(slot, target)),
    )


def _not_found(slot: Slot, target: Target) -> str:
    if is_ollama_name(slot.model or ""):
        return f"{slot.model} is an Ollama name, and target {target.name} is a {target.runtime}"
    return f"no build of {slot.model} is known at {slot.quant or ', '.join(slot.quants)}"


def candidates_meant(scene: Scene, slot: Slot, target: Target) -> tuple[Candidate, ...]:
    """What the pinned name can mean: a registry tag, a model of the catalogue, a repository, an unknown one."""
    name = slot.model or ""
    if is_ollama_name(name):
        if target.runtime != "ollama":
            return ()
        parsed = OllamaName.parse(name)
        if parsed.host not in HUB_HOSTS:
            return (_tag_candidate(scene, target, parsed),)
        quant = slot.quant if parsed.tag == DEFAULT_TAG else parsed.tag
        hub_slot = slot.model_copy(update={"model": f"{parsed.namespace}/{parsed.model}", "quant": quant})
        return candidates_meant(scene, hub_slot, target)
    accepted = {normalise(quant).canonical for quant in ((slot.quant,) if slot.quant else slot.quants)}
    known = tuple(
        candidate
        for candidate in candidates_for(scene, target)
        if name in (candidate.model.id, candidate.repository.id)
        and (not accepted or normalise(candidate.quant).canonical in accepted)
    )
    return known or (() if name in scene.models and accepted else (_unknown_repository(slot),))


def _as_recorded(scene: Scene, slot: Slot, target: Target) -> tuple[Candidate, ...]:
    """What our record says fills the pin, while it is what the pin means: a pin stays with the build it got.

    Whatever the catalogue knows today: offline, or with another Hub, it may not know the repository at all.
    """
    accepted = {normalise(quant).canonical for quant in ((slot.quant,) if slot.quant else slot.quants)}
    return tuple(
        recorded_candidate(scene, entry)
        for address in slot.addresses
        for entry in scene.entries_by_slot.get(address, ())
        if entry.target_key == target.key
        and isinstance(entry.artifact, HubArtifact)
        and slot.model in (entry.model_id, entry.artifact.repo)
        and (not accepted or normalise(entry.quant or "").canonical in accepted)
    )


def recorded_candidate(scene: Scene, entry: RecordEntry) -> Candidate:
    """A candidate from our record alone: no source may know the model any more, which is no reason to lose it."""
    repo = entry.artifact.repo if isinstance(entry.artifact, HubArtifact) else entry.model_id
    model = scene.models.get(entry.model_id) or stub_model(entry.model_id)
    return Candidate(model, Repository(repo, ()), Build(quant=entry.quant or "", bytes=entry.bytes, exact=True))


def _preference(slot: Slot, option: Option) -> tuple[object, ...]:
    """As the slot lists quants; else what fits, the quant floor, what is there already, then the ranking's order."""
    listed = [normalise(quant).canonical for quant in slot.quants]
    quant = normalise(option.candidate.quant)
    position = listed.index(quant.canonical) if quant.canonical in listed else len(listed)
    of = build_quant(option.candidate.model, option.candidate.build)
    below_floor = of is None or of.bits_per_weight < MIN_BITS_PER_WEIGHT
    return (
        position,
        not option.assessment.fits,
        below_floor,
        option.installed is None,
        not _is_plain(option.candidate),
        order_key(option.assessment),
    )


def _is_plain(candidate: Candidate) -> bool:
    """A repository named after its model alone; ``Qwen3-8B-128K-GGUF`` is another thing under one model's name."""
    return candidate.repository.id.partition("/")[2].lower().removesuffix("-gguf") == (
        candidate.model.id.partition("/")[2].lower()
    )


def _judge(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> Option | PinBlocked:
    if slot.revision is not None and slot.model in scene.models and slot.model != candidate.repository.id:
        message = f"a revision belongs to a repository: write model: {candidate.repository.id}, or leave revision out"
        return PinBlocked(allowed=True, message=message)
    need = need_for(candidate, target, slot.revision)
    if need is not None and need.kind == "hub" and not candidate.quant:
        need = need.model_copy(update={"quant": slot.quant})
    answer = scene.answer(need)
    entry = entry_of(scene, target, candidate)
    there = entry is not None and scene.installed(target.name, entry.name) is not None
    if isinstance(answer, Unavailable) and answer.code in FINAL_ANSWERS and not there:
        return PinBlocked(allowed=True, message=answer.message)
    resolved = answer if isinstance(answer, Resolved) else None
    refined = _named_by_answer(scene, refine(candidate, resolved), resolved)
    forbidden = _forbidden(scene, target, refined, resolved)
    if forbidden is not None:
        return PinBlocked(allowed=False, message=forbidden)
    if target.runtime == "ollama" and refined.build.sharded:
        return PinBlocked(
            allowed=True, message=f"{refined.repository.id} at {refined.quant} is sharded; Ollama pulls none"
        )
    if target.runtime == "llama-server" and (unlisted := unlisted_by_router(refined)):
        return PinBlocked(allowed=True, message=unlisted)
    context, assessment = numbers_of(scene, slot, target, refined)
    return option_of(scene, slot, target, context, assessment, need=need, answer=resolved)


def _forbidden(scene: Scene, target: Target, candidate: Candidate, answer: Resolved | None) -> str | None:
    """Why the policy forbids this pin; a repository nobody knows is asked about before a packager is refused."""
    if candidate.model.sources:
        rejected = policy_rejection(scene, target, candidate)
        return rejected.message if rejected else None
    organisation = candidate.repository.organisation
    claimed = answer.claimed_base if answer else None
    if answer is None and organisation in scene.desired.pool.packagers:
        return None
    publisher = claimed.partition("/")[0] if claimed else None
    distrust = distrust_of_repository(
        scene.desired.pool, organisation=organisation, publisher=publisher
    ) or distrust_of_names(scene.desired.pool, names_of(candidate))
    if distrust is None and answer is not None:
        distrust = distrust_of_model(scene.desired.pool, candidate.model)
    return distrust.message if distrust else None


def _named_by_answer(scene: Scene, candidate: Candidate, answer: Resolved | None) -> Candidate:
    """An unknown repository's candidate with its quant and, where it names a base we know, that model."""
    if answer is None or candidate.model.sources:
        return candidate
    artifact = answer.artifact
    quant = candidate.quant
    if not quant and isinstance(artifact, HubArtifact):
        quant = quant_of(artifact.files[0].path) or ""
    model = scene.models.get(answer.claimed_base or "") or candidate.model
    return replace(candidate, build=replace(candidate.build, quant=quant), model=model)


def _unknown_repository(slot: Slot) -> Candidate:
    """A repository no catalogue knows: everything about it must be asked."""
    repo = slot.model or ""
    quant = normalise(slot.quant).canonical if slot.quant else ""
    return Candidate(stub_model(repo), Repository(repo, ()), Build(quant=quant, bytes=Bytes(0), exact=False))


def _tag_candidate(scene: Scene, target: Target, name: OllamaName) -> Candidate:
    """A tag of a registry; the Ollama library's tags are matched to the catalogue by their short name."""
    organisation = registry_organisation(name.host, name.namespace, trusted=target.registry)
    short = f"{name.model}:{name.tag}"
    model = scene.models_by_tag.get(short) if name.namespace == "library" else None
    repository = Repository(f"{organisation}/{name.canonical}", (), format="ollama")
    return Candidate(model or stub_model(short), repository, Build(quant="", bytes=Bytes(0), exact=False))


def stub_model(identity: str) -> CatalogModel:
    """A model of which only the name is known."""
    return CatalogModel(
        id=identity,
        lineage="",
        generation="",
        line="general",
        params=None,
        active_params=None,
        gguf_weights=None,
        architecture=Architecture(name=None),
        context_length=None,
        license=None,
        released=None,
    )
