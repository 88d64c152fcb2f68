"""The ranking: every candidate assessed on one machine for one requirement, in one order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from heapq import heappush, heappushpop

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.estimate import Assessment, Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.memory import MemoryModel, memory_model
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex, ModelQuality
from reconciler.ranking.quants import Quant, normalise
from reconciler.ranking.score import scale_score
from reconciler.ranking.speed import SpeedModel, speed_model

__all__ = ["EvidenceIndex", "OrderKey", "assess", "order_key", "rank"]

_MOST_KEPT = 64

OrderKey = tuple[bool, float, float, bool, int, int, int, str]


def assess(
    candidate: Candidate,
    requirement: Requirement,
    hardware: Hardware,
    evidence: EvidenceIndex,
    today: date,
    *,
    calibration: Calibration = UNCALIBRATED,
) -> Assessment:
    """Memory, speed, quality and score of one candidate. Pure and total.

    Args:
        candidate: one build of one repository.
        requirement: profile, context, cache type, parallel sequences.
        hardware: the machine it would run on.
        evidence: built from the catalogue for the same day.
        today: the observation's day; observations age against it.
        calibration: what was measured on this machine.
    """
    if evidence.today != today:
        evidence = evidence.on(today)
    return _shared(requirement, hardware, evidence, calibration).assess(candidate)


class _OfModel:
    """What the quants of one model share on one machine for one requirement."""

    __slots__ = ("_speed", "memory", "model", "quality", "shared")

    def __init__(self, model: CatalogModel, shared: _Shared) -> None:
        self.model = model
        self.shared = shared
        self.memory: MemoryModel = memory_model(model, shared.requirement, shared.hardware)
        self.quality: ModelQuality | None = None
        """None while nobody asked, and where the quants are graded apart."""
        self._speed: SpeedModel | None = None

    @property
    def speed(self) -> SpeedModel:
        if self._speed is None:
            self._speed = speed_model(self.model, self.shared.requirement, self.shared.hardware)
        return self._speed

    def quality_at(self, quant: Quant) -> ModelQuality:
        if self.quality is not None:
            return self.quality
        evidence = self.shared.evidence
        quality = evidence.quality(self.model, self.shared.requirement.profile, quant.canonical)
        if not evidence.names_quants(self.model):
            self.quality = quality
        return quality


class _Shared:
    """One requirement on one machine, with what the candidates assessed so far share."""

    def __init__(
        self, requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex, calibration: Calibration
    ) -> None:
        self.requirement = requirement
        self.hardware = hardware
        self.evidence = evidence
        self.calibration = calibration
        self.capacity = hardware.capacity_bytes
        self._models: dict[int, _OfModel] = {}

    def of(self, model: CatalogModel) -> _OfModel:
        """By identity: comparing whole models would cost more than assessing them."""
        found = self._models.get(id(model))
        if found is None:
            found = self._models[id(model)] = _OfModel(model, self)
        return found

    def assess(self, candidate: Candidate) -> Assessment:
        of = self.of(candidate.model)
        build = candidate.build
        quant = normalise(build.quant)
        memory = of.memory.estimate(build)
        speed = self.calibration.apply(candidate, of.speed.estimate(build, memory))
        quality = of.quality_at(quant).at(quant)
        fits = memory.total_bytes <= self.capacity and _knows_weights(candidate)
        score = scale_score(fits, quality, speed)
        return Assessment(candidate, memory, speed, quality, fits, score.score, score.low, score.high)

    def contenders(self, candidates: list[Candidate], limit: int) -> list[Candidate]:
        """Those that the first ``limit`` of the ranking are among: every other one is surely below.

        A candidate's score is at most its quality's, since speed only takes from it. Walked by that bound, downwards,
        the walk ends once ``limit`` candidates score above what is left. Where fewer fit, all are contenders.
        """
        if limit <= 0:
            return []
        bounds = [self._bound(candidate) for candidate in candidates]
        order = sorted(range(len(candidates)), key=bounds.__getitem__, reverse=True)
        best: list[float] = []
        found: list[Candidate] = []
        for index in order:
            bound = bounds[index]
            if len(best) == limit and round(bound, 2) < round(best[0], 2):
                return found
            candidate = candidates[index]
            if bound <= 0:
                break
            found.append(candidate)
            score = self.assess(candidate).score
            if len(best) < limit:
                heappush(best, score)
            else:
                heappushpop(best, score)
        return candidates

    def _bound(self, candidate: Candidate) -> float:
        """The highest score the candidate can have; 0 where it does not fit."""
        of = self.of(candidate.model)
        build = candidate.build
        if of.memory.total(build) > self.capacity or not _knows_weights(candidate):
            return 0.0
        quant = normalise(build.quant)
        quality = of.quality or of.quality_at(quant)
        return quality.score_at(quant) * quality.multiplier


def _shared(requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex, calibration: Calibration) -> _Shared:
    """The one for this requirement and machine, kept with the evidence; it holds both, so their ids stay theirs."""
    key = (requirement, id(hardware), id(calibration))
    found = evidence.kept.get(key)
    if not isinstance(found, _Shared):
        if len(evidence.kept) >= _MOST_KEPT:
            evidence.kept.clear()
        found = evidence.kept[key] = _Shared(requirement, hardware, evidence, calibration)
    return found


def _knows_weights(candidate: Candidate) -> bool:
    """Whether there is any size at all: what nobody can size is never said to fit."""
    model = candidate.model
    return candidate.build.bytes > 0 or bool(model.gguf_weights or model.params)


def order_key(assessment: Assessment) -> OrderKey:
    """What the ranking sorts by, ascending: what fits first, then score, then tokens a second, both descending; the
    publisher's own repository before packagers; popularity; the smaller file; the plainer name; the candidate's key.

    The score is rounded to 0.1, far below any interval, and the speed to two digits: 16 bits where 8 are as good lose
    by their speed, and the last megabyte of two files of one quant puts no packager before the publisher.
    """
    candidate = assessment.candidate
    return (
        not assessment.fits,
        -round(assessment.score, 1),
        -float(f"{assessment.speed.tokens_per_second:.1e}"),
        candidate.repository.organisation.lower() != candidate.model.publisher.lower(),
        -(candidate.model.downloads + 50 * candidate.model.likes),
        candidate.build.bytes,
        len(candidate.repository.id),
        candidate.key,
    )


def rank(
    candidates: Iterable[Candidate],
    requirement: Requirement,
    hardware: Hardware,
    catalogue: Catalogue,
    today: date,
    *,
    limit: int | None = None,
    calibration: Calibration = UNCALIBRATED,
) -> tuple[Assessment, ...]:
    """Every candidate that may serve the profile, best first, the unfit last with score 0.

    The order of ``candidates`` and of the catalogue does not matter. With ``limit`` only the first so many are given,
    the same as without, in a fraction of the time: what cannot come that far by its quality alone is not assessed.
    """
    shared = _Shared(requirement, hardware, EvidenceIndex.of(catalogue, today), calibration)
    serves: dict[int, bool] = {}
    serving = []
    for candidate in candidates:
        model = candidate.model
        may = serves.get(id(model))
        if may is None:
            may = serves[id(model)] = model_serves(model, requirement.profile)
        if may:
            serving.append(candidate)
    if limit is not None and limit < len(serving):
        serving = shared.contenders(serving, limit)
    return tuple(sorted((shared.assess(candidate) for candidate in serving), key=order_key)[:limit])
