"""Who may fill a slot: trust, capability, line, context, an artifact the target can install, fit; else the reason."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.catalog import CatalogModel, Repository
from reconciler.domain.desired import DEFAULT_CONTEXT, MIN_BITS_PER_WEIGHT, Slot, Target
from reconciler.domain.estimate import Assessment, Candidate, Requirement
from reconciler.domain.observation import HubNeed, RegistryNeed, Resolved, Unavailable
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import show_bytes
from reconciler.formats.router_names import unlisted_reason
from reconciler.planning.library import library_candidates
from reconciler.planning.option import Option, Rejected, RejectionReason
from reconciler.planning.options import Eligible, LazyOptions, Rejections, tail_of
from reconciler.planning.originals import originals, serves_originals
from reconciler.planning.placing import name_on, need_for, refine
from reconciler.planning.scene import Scene, Sifted, names_of
from reconciler.planning.shortage import shortage
from reconciler.planning.trust import Distrust, distrust_of_model, distrust_of_names, distrust_of_repository
from reconciler.ranking.candidates import build_quant
from reconciler.ranking.numbers import ModelNumbers
from reconciler.ranking.order import OrderKey, order_key
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quants import normalise

FINAL_ANSWERS = frozenset({"not-found", "unauthorised", "gated", "not-installable", "corrupt"})
"""Answers that make a candidate give way to the runner-up. An outage does not: it must never change a pick."""

_Wrong = tuple[RejectionReason, str]


@dataclass(frozen=True, slots=True)
class Considered:
    """Every candidate of one slot on one target: options best first, and the rejected."""

    options: LazyOptions
    rejected: Rejections


def requirement_of(slot: Slot, model: CatalogModel) -> Requirement:
    """What the slot asks at least, with the default context capped at the model's own.

    With ``context: max`` it is the default context; ``numbers_of`` says what the slot gets.
    """
    context = slot.context_tokens or min(DEFAULT_CONTEXT, model.context_length or DEFAULT_CONTEXT)
    return Requirement(profile=slot.profile, context=context, kv_cache=slot.kv_cache, parallel=slot.parallel)


def numbers_of(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> tuple[int, Assessment]:
    """The context in tokens that a candidate has in a slot, and its numbers there.

    With ``context: max`` the longest that fits the machine: by its capacity, so that it is the same in the next plan.
    """
    asked = requirement_of(slot, candidate.model)
    if slot.context == "max":
        return scene.assess_longest(candidate, asked, target)
    return asked.context, scene.assess(candidate, asked, target)


def consider(scene: Scene, slot: Slot, target: Target) -> Considered:
    """All candidates of the catalogue for a ranked slot on one target: what ``judge`` says of each.

    Of those that nothing stands for and nobody answered about, it is found out whether they are eligible, and no more;
    verdicts with their numbers and words are made for the few that are looked at.
    """
    trusted, refused = _sifted(scene, target)
    looked_at: list[tuple[int, Option]] = []
    eligible: dict[str, list[Eligible]] = {}
    rejected = list(refused)
    sieve = _Sieve(scene, slot, target)
    for number, candidate in enumerate(trusted):
        if sieve.is_mentioned(candidate):
            verdict = _judge_trusted(scene, slot, target, candidate)
            if isinstance(verdict, Option):
                looked_at.append((number, verdict))
            else:
                rejected.append(candidate)
        elif (numbers := sieve.passed(candidate)) is not None:
            ceiling = numbers.ceiling(candidate.build.quant)
            eligible.setdefault(candidate.model.id, []).append(Eligible(number, candidate, ceiling, numbers))
        else:
            rejected.append(candidate)
    options = LazyOptions(target, looked_at, eligible, key=sieve.key, build=sieve.option)
    why = partial(_why_rejected, scene, slot)
    return Considered(options, Rejections(((target, why, rejected),)))


def _why_rejected(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> Rejected:
    verdict = judge(scene, slot, target, candidate)
    if isinstance(verdict, Option):
        raise TypeError(f"{candidate.key} was passed over, and is eligible")
    return verdict


class _Sieve:
    """The questions of ``judge``, each asked once for all candidates that share its answer."""

    def __init__(self, scene: Scene, slot: Slot, target: Target) -> None:
        self.scene, self.slot, self.target = scene, slot, target
        self._mentions = scene.mentions(target)
        self._readable = _readable(target)
        self._asks_for_files = target.runtime in ("ollama", "llama-server")
        self._repository: Repository | None = None
        self._is_mentioned = False
        self._is_readable = False
        self._model: CatalogModel | None = None
        self._numbers: ModelNumbers | None = None
        self._quants: dict[str, bool] = {}

    def is_mentioned(self, candidate: Candidate) -> bool:
        """Whether something may stand for it on the target, or somebody answered about it."""
        self._turn_to(candidate.repository, candidate)
        return self._is_mentioned

    def passed(self, candidate: Candidate) -> ModelNumbers | None:
        """The numbers of the model of an eligible candidate that nothing stands for; None of a rejected one."""
        if candidate.model is not self._model:
            self._model, self._numbers = candidate.model, self._numbers_of_model(candidate)
        numbers, slot, build = self._numbers, self.slot, candidate.build
        if numbers is None or not self._is_readable or not self._is_accepted(candidate):
            return None
        if slot.max_size is not None and build.bytes > slot.max_size:
            return None
        if not numbers.fits(build) or (self._asks_for_files and _not_installable(self.target, candidate) is not None):
            return None
        return numbers if slot.min_tokens_per_second is None or self._is_fast_enough(candidate, numbers) else None

    def key(self, one: Eligible) -> OrderKey:
        """Where an eligible candidate comes in the order."""
        if self.slot.context != "max":
            key = one.numbers.key(one.candidate.repository, one.candidate.build)
            if key is not None:
                return key
        return order_key(numbers_of(self.scene, self.slot, self.target, one.candidate)[1])

    def option(self, candidate: Candidate) -> Option:
        """The option of an eligible candidate."""
        verdict = _judge_trusted(self.scene, self.slot, self.target, candidate)
        if isinstance(verdict, Rejected):
            raise TypeError(f"{candidate.key} was passed, and is not eligible: {verdict.message}")
        return verdict

    def _turn_to(self, repository: Repository, candidate: Candidate) -> None:
        """Candidates of one repository come one after the other."""
        if repository is not self._repository:
            self._repository = repository
            self._is_mentioned = tail_of(candidate) in self._mentions
            self._is_readable = repository.format in self._readable

    def _numbers_of_model(self, candidate: Candidate) -> ModelNumbers | None:
        if _wrong_model(self.slot, candidate.model) is not None:
            return None
        return self.scene.numbers(requirement_of(self.slot, candidate.model), self.target).of(candidate.model)

    def _is_accepted(self, candidate: Candidate) -> bool:
        quant = candidate.build.quant
        found = self._quants.get(quant)
        if found is None:
            found = _wrong_quant(self.slot, candidate) is None
            if normalise(quant).known:
                self._quants[quant] = found
        return found

    def _is_fast_enough(self, candidate: Candidate, numbers: ModelNumbers) -> bool:
        if self.slot.context == "max":
            return isinstance(_judge_trusted(self.scene, self.slot, self.target, candidate), Option)
        speed, wanted = (
            numbers.tokens_per_second(candidate.repository, candidate.build),
            self.slot.min_tokens_per_second,
        )
        return wanted is None or speed >= wanted


def _sifted(scene: Scene, target: Target) -> Sifted:
    """What the file trusts of what a target can hold, and the rest: decided once for every slot."""
    found = scene.sifted.get(target.name)
    if found is None:
        found = scene.sifted[target.name] = _sift(scene, target)
    return found


def _sift(scene: Scene, target: Target) -> Sifted:
    """Builds of one repository come one after the other, and share the answer but for what ``never`` names."""
    trusted: list[Candidate] = []
    refused: list[Candidate] = []
    last, of_last = None, None
    for candidate in candidates_for(scene, target):
        if last is None or candidate.repository is not last.repository or candidate.model is not last.model:
            last, of_last = candidate, _distrust_of_source(scene, candidate)
        distrust = of_last or _distrust_of_its_names(scene, candidate)
        (refused if distrust else trusted).append(candidate)
    return tuple(trusted), tuple(refused)


def candidates_for(scene: Scene, target: Target) -> tuple[Candidate, ...]:
    """What a kind of target can hold at all: GGUF files, tags of the Ollama library, or a publisher's own weights."""
    if serves_originals(target):
        return originals(scene.observation.catalogue.models)
    return (*scene.candidates, *library_candidates(scene, target))


def judge(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> Option | Rejected:
    """One candidate against one slot on one target: cheap questions first."""
    return policy_rejection(scene, target, candidate) or _judge_trusted(scene, slot, target, candidate)


def _judge_trusted(scene: Scene, slot: Slot, target: Target, candidate: Candidate) -> Option | Rejected:
    need = need_for(candidate, target, slot.revision)
    answer = scene.answer(need)
    there = scene.installed_build(target.name, candidate.repository.id, candidate.quant)
    if isinstance(answer, Unavailable) and answer.code in FINAL_ANSWERS and there is None:
        return Rejected(candidate, target, "unavailable", answer.message)
    resolved = answer if isinstance(answer, Resolved) else None
    refined = refine(candidate, resolved)
    refused = _not_installable(target, refined) or _wrong_purpose(slot, target, refined)
    if refused is not None:
        return refused
    context, assessment = numbers_of(scene, slot, target, refined)
    refused = _wrong_numbers(scene, slot, target, context, assessment)
    return refused or option_of(scene, slot, target, context, assessment, need=need, answer=resolved)


def option_of(
    scene: Scene,
    slot: Slot,
    target: Target,
    context: int,
    assessment: Assessment,
    *,
    need: HubNeed | RegistryNeed | None,
    answer: Resolved | None,
) -> Option:
    """The option, with what stands in its place now and whether that is ours."""
    candidate = assessment.candidate
    entry = entry_of(scene, target, candidate)
    installed = scene.installed(target.name, entry.name) if entry else None
    if installed is None:
        installed = scene.installed_build(target.name, candidate.repository.id, candidate.quant)
    name = installed.name if installed else name_on(target, candidate, answer)
    if installed is None:
        installed = scene.installed(target.name, name)
    if entry is not None and installed is None and answer is None:
        name = entry.name
    return Option(
        target=target,
        assessment=assessment,
        name=name,
        context=context,
        context_is_max=slot.context == "max",
        kv_cache=slot.kv_cache,
        parallel=slot.parallel,
        need=need,
        answer=answer,
        installed=installed,
        entry=entry if entry is not None and entry.name == name else scene.entry(target.key, name),
        revision=slot.revision,
    )


def entry_of(scene: Scene, target: Target, candidate: Candidate) -> RecordEntry | None:
    """Our record of this build on this target, whatever stands there now."""
    for entry in scene.record.entries:
        if entry.target_key != target.key:
            continue
        if isinstance(entry.artifact, HubArtifact):
            if (entry.artifact.repo, entry.quant) == (candidate.repository.id, candidate.quant):
                return entry
        elif entry.name == name_on(target, candidate) or _stands_as(scene, target, entry, candidate):
            return entry
    return None


def _stands_as(scene: Scene, target: Target, entry: RecordEntry, candidate: Candidate) -> bool:
    """An adopted model has no artifact of ours: its place says which build it is."""
    model = scene.installed(target.name, entry.name)
    return model is not None and (model.repo, model.quant) == (candidate.repository.id, candidate.quant)


def policy_rejection(scene: Scene, target: Target, candidate: Candidate) -> Rejected | None:
    """Trust: publisher, packager, family, licence, forbidden names."""
    distrust = _distrust_of_source(scene, candidate) or _distrust_of_its_names(scene, candidate)
    return Rejected(candidate, target, distrust.reason, distrust.message) if distrust else None


def _distrust_of_source(scene: Scene, candidate: Candidate) -> Distrust | None:
    """Why no build of the repository may be installed."""
    pool, model = scene.desired.pool, candidate.model
    organisation = candidate.repository.organisation
    return distrust_of_repository(pool, organisation=organisation, publisher=model.publisher) or distrust_of_model(
        pool, model
    )


def _distrust_of_its_names(scene: Scene, candidate: Candidate) -> Distrust | None:
    pool = scene.desired.pool
    return distrust_of_names(pool, names_of(candidate)) if pool.never else None


def _readable(target: Target) -> tuple[str, ...]:
    """Formats of files that a target can hold."""
    if serves_originals(target):
        return ("safetensors",)
    return ("gguf", "ollama") if target.runtime == "ollama" else ("gguf",)


def _not_installable(target: Target, candidate: Candidate) -> Rejected | None:
    if candidate.repository.format not in _readable(target):
        message = f"{candidate.repository.format} files cannot be installed on {target.runtime}"
    elif target.runtime == "ollama" and candidate.build.sharded:
        message = "its files are sharded, which Ollama does not pull"
    elif target.runtime == "llama-server" and (unlisted := unlisted_by_router(candidate)):
        message = unlisted
    else:
        return None
    return Rejected(candidate, target, "not-installable-here", message)


def unlisted_by_router(candidate: Candidate) -> str | None:
    """Why a llama-server could not be asked for exactly this build; None where it can.

    While its files are not known, a quant that no tag can state tells already: a tag ends at a dash.
    """
    if candidate.build.files:
        return unlisted_reason(candidate.build.files, candidate.quant)
    dashed = "-" in candidate.quant
    return f"llama-server lists no file as {candidate.quant}: that would be another build's name" if dashed else None


def _wrong_purpose(slot: Slot, target: Target, candidate: Candidate) -> Rejected | None:
    """Line, capabilities, context and quant: what the slot asks for, numbers of the machine apart."""
    wrong = _wrong_model(slot, candidate.model) or _wrong_quant(slot, candidate)
    if wrong is None and slot.max_size is not None and candidate.bytes > slot.max_size:
        wrong = "too-large", f"{show_bytes(candidate.bytes)} is above maxSize {show_bytes(slot.max_size)}"
    return Rejected(candidate, target, *wrong) if wrong else None


def _wrong_model(slot: Slot, model: CatalogModel) -> _Wrong | None:
    """Why no build of the model will do."""
    claimed = {capability for capability, _ in model.capabilities}
    if not model_serves(model, slot.profile):
        return "wrong-line", f"a {model.line} model does not serve {slot.profile}"
    missing = [capability for capability in slot.capabilities if capability not in claimed]
    if missing:
        return "capability-unknown", f"no source says that it can do {', '.join(missing)}"
    asked, own = slot.context_tokens, model.context_length
    if asked and own and asked > own:
        return "context-too-long", f"its context is {own} tokens, {asked} asked"
    return None


def _wrong_quant(slot: Slot, candidate: Candidate) -> _Wrong | None:
    """Why the quant will not do: of a known one the same for every build."""
    quant = candidate.quant
    accepted = (slot.quant,) if slot.quant else slot.quants
    if accepted and normalise(quant).canonical not in {normalise(one).canonical for one in accepted}:
        return "quant-not-accepted", f"{quant} is not in {', '.join(accepted)}"
    if accepted:
        return None
    of = build_quant(candidate.model, candidate.build)
    if of is None:
        return "quant-not-known", f"nobody knows how many bits per weight {quant or 'files without a quant'} takes"
    if of.bits_per_weight < MIN_BITS_PER_WEIGHT:
        return "quant-below-floor", f"{quant} has {of.bits_per_weight:.4g} bits per weight, below 4.25"
    return None


def _wrong_numbers(scene: Scene, slot: Slot, target: Target, context: int, assessment: Assessment) -> Rejected | None:
    """Fit on capacity at the slot's context, then speed."""
    candidate = assessment.candidate
    if not assessment.fits:
        message = shortage(assessment.memory, context, scene.hardware(target))
        return Rejected(candidate, target, "does-not-fit", message, assessment, context)
    speed, wanted = assessment.speed.tokens_per_second, slot.min_tokens_per_second
    if wanted is not None and speed < wanted:
        at = f" at {context} tokens of context" if slot.context == "max" else ""
        message = f"about {speed:.1f} tokens a second{at}, {wanted:g} asked"
        return Rejected(candidate, target, "too-slow", message, assessment, context)
    return None
