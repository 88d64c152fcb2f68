"""The ranking: every candidate assessed on one machine for one requirement, in one order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from reconciler.domain.catalog import Catalogue, CatalogModel
from reconciler.domain.estimate import Assessment, Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.ranking.memory import MemoryModel, memory_model
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex
from reconciler.ranking.quants import normalise
from reconciler.ranking.score import scale_score
from reconciler.ranking.speed import SpeedModel, speed_model

__all__ = ["EvidenceIndex", "OrderKey", "assess", "order_key", "rank"]

_MOST_KEPT = 64

OrderKey = tuple[bool, float, float, bool, int, int, str]


def assess(
    candidate: Candidate, requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex, today: date
) -> Assessment:
    """Memory, speed, quality and score of one candidate. Pure and total.

    Args:
        candidate: one build of one repository.
        requirement: profile, context, cache type, parallel sequences.
        hardware: the machine it would run on.
        evidence: built from the catalogue for the same day.
        today: the observation's day; observations age against it.
    """
    if evidence.today != today:
        evidence = evidence.on(today)
    return _shared(requirement, hardware, evidence).assess(candidate)


class _Shared:
    """What the quants of one model share, kept while candidates are assessed one after another."""

    def __init__(self, requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex) -> None:
        self.requirement = requirement
        self.hardware = hardware
        self.evidence = evidence
        self.capacity = hardware.capacity_bytes
        self._models: dict[int, tuple[CatalogModel, MemoryModel, SpeedModel]] = {}

    def assess(self, candidate: Candidate) -> Assessment:
        _, memory_of, speed_of = self._of(candidate.model)
        memory = memory_of.estimate(candidate.build)
        speed = speed_of.estimate(candidate.build, memory)
        quant = normalise(candidate.build.quant)
        quality = self.evidence.quality(candidate.model, self.requirement.profile, quant.canonical).at(quant)
        fits = memory.total_bytes <= self.capacity and _knows_weights(candidate)
        score = scale_score(fits, quality, speed)
        return Assessment(candidate, memory, speed, quality, fits, score.score, score.low, score.high)

    def _of(self, model: CatalogModel) -> tuple[CatalogModel, MemoryModel, SpeedModel]:
        found = self._models.get(id(model))
        if found is None:
            found = (
                model,
                memory_model(model, self.requirement, self.hardware),
                speed_model(model, self.requirement, self.hardware),
            )
            self._models[id(model)] = found
        return found


def _shared(requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex) -> _Shared:
    """The one for this requirement and machine, kept with the evidence; the machine is held, so its id stays its own."""
    key = (requirement, id(hardware))
    found = evidence.kept.get(key)
    if not isinstance(found, _Shared):
        if len(evidence.kept) >= _MOST_KEPT:
            evidence.kept.clear()
        found = evidence.kept[key] = _Shared(requirement, hardware, evidence)
    return found


def _knows_weights(candidate: Candidate) -> bool:
    """Whether there is any size at all: what nobody can size is never said to fit."""
    model = candidate.model
    return candidate.build.bytes > 0 or bool(model.gguf_weights or model.params)


def order_key(assessment: Assessment) -> OrderKey:
    """What the ranking sorts by, ascending: what fits first, then score, then tokens a second, both descending; the
    publisher's own repository before packagers; popularity; the smaller file; the candidate's key.

    The score and the speed are rounded to what a person can tell apart (0.01 and 0.1), so that noise in the last
    digit decides nothing.
    """
    candidate = assessment.candidate
    return (
        not assessment.fits,
        -round(assessment.score, 2),
        -round(assessment.speed.tokens_per_second, 1),
        candidate.repository.organisation.lower() != candidate.model.publisher.lower(),
        -(candidate.model.downloads + 50 * candidate.model.likes),
        candidate.build.bytes,
        candidate.key,
    )


def rank(
    candidates: Iterable[Candidate], requirement: Requirement, hardware: Hardware, catalogue: Catalogue, today: date
) -> tuple[Assessment, ...]:
    """Every candidate that may serve the profile, best first, the unfit last with score 0.

    The order of ``candidates`` and of the catalogue does not matter.
    """
    evidence = EvidenceIndex.of(catalogue, today)
    shared = _Shared(requirement, hardware, evidence)
    serving = (candidate for candidate in candidates if model_serves(candidate.model, requirement.profile))
    return tuple(sorted((shared.assess(candidate) for candidate in serving), key=order_key))
