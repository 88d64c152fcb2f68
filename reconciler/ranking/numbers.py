"""The numbers of one candidate on one machine for one requirement: memory, speed, quality, score.

What the quants of one model share is counted once, and what the candidates of one question share is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date

from reconciler.domain.catalog import Build, CatalogModel, Repository
from reconciler.domain.estimate import Assessment, Candidate, MemoryEstimate, Requirement
from reconciler.domain.hardware import Confidence, Hardware
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.candidates import Installable, build_quant
from reconciler.ranking.memory import MemoryModel, memory_model
from reconciler.ranking.order import SCORE_DIGITS, OrderKey, Standing, key_of, order_key
from reconciler.ranking.quality import EvidenceIndex, ModelQuality
from reconciler.ranking.quants import Quant, normalise
from reconciler.ranking.score import READING_SPEED, scale_score, score_factor
from reconciler.ranking.speed import SpeedModel, machine_confidence, speed_model

_MOST_KEPT = 64
CONTEXT_STEP = 1024
"""Tokens a longest context is cut down to a multiple of."""
_UNFIT = -1.0
"""Below every score: what does not fit comes after all that does."""


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
    return numbers_for(requirement, hardware, evidence, calibration).assess(candidate)


def assess_longest(
    candidate: Candidate,
    least: Requirement,
    hardware: Hardware,
    evidence: EvidenceIndex,
    today: date,
    *,
    calibration: Calibration = UNCALIBRATED,
) -> tuple[int, Assessment]:
    """The longest context in tokens that one candidate fits the machine with, and its numbers there. Pure and total.

    Never less than ``least`` asks: what does not fit with that is assessed at it, and does not fit.

    Args:
        candidate: one build of one repository.
        least: the requirement at the shortest context that will do.
        hardware: its capacity decides, never what is free now: the same machine gives the same context.
        evidence: built from the catalogue for the same day.
        today: the observation's day.
        calibration: what was measured on this machine.
    """
    if evidence.today != today:
        evidence = evidence.on(today)
    return numbers_for(least, hardware, evidence, calibration).assess_longest(candidate)


def longest_context(model: CatalogModel, memory: MemoryEstimate, least: int) -> int:
    """What fits by ``memory``, as a context to ask for: the model's own, else a multiple of 1024 tokens below it.

    So that a few megabytes more or less of usable memory, after an update of a driver say, rarely change it. Where
    nobody knows the model's own context it is ``least``: memory alone says nothing of what a model can do.
    """
    own, fitting = model.context_length, memory.max_context
    if own is None or fitting is None:
        return least
    return max(least, own if fitting >= own else fitting - fitting % CONTEXT_STEP)


class ModelNumbers:
    """What the quants of one model share on one machine for one requirement; and its builds compared by as few numbers
    as a comparison needs.
    """

    __slots__ = ("_ceilings", "_speed", "memory", "model", "quality", "room", "shared")

    def __init__(self, model: CatalogModel, shared: Numbers, *, quality: ModelQuality | None = None) -> None:
        self.model = model
        self.shared = shared
        self.memory: MemoryModel = memory_model(model, shared.requirement, shared.hardware)
        self.quality = quality
        """None while nobody asked, and where the quants are graded apart."""
        self._speed: SpeedModel | None = None
        self.room = self.memory.room_for_weights()
        self._ceilings: dict[str, float] = {}

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

    def assess(self, installable: Installable) -> Assessment:
        return self.shared.numbers(Candidate(self.model, *installable), self)

    def fits(self, build: Build) -> bool:
        """``assess``'s ``fits``."""
        return self.memory.weights(build) <= self.room and _knows_weights(self.model, build)

    def ceilings(self, builds: Iterable[Installable]) -> list[float]:
        """No less than the score of each build as the order reads it; below 0 where it does not fit.

        A score is at most its quality's with the evidence's confidence applied, and the best that the machine allows in
        a speed: speed only takes from it. Of one quant it is the same for every repository.
        """
        of_quant, room = self._ceilings, self.room
        return [
            (of_quant.get(build.quant) or self.ceiling(build.quant))
            if 0 < build.bytes <= room or (build.bytes <= 0 and self.fits(build))
            else _UNFIT
            for _, build in builds
        ]

    def ceiling(self, name: str) -> float:
        """No less than the score of any build at the quant, as the order reads it."""
        known = self._ceilings.get(name)
        if known is not None:
            return known
        quant = normalise(name)
        quality = self.quality or self.quality_at(quant)
        most = quality.score_at(quant if quant.known else replace(quant, quality_factor=1.0)) * score_factor(
            self.shared.surest, READING_SPEED, quality.multiplier
        )
        found = self._ceilings[name] = round(most, SCORE_DIGITS)
        return found

    def tokens_per_second(self, repository: Repository, build: Build) -> float:
        """``assess``'s ``speed.tokens_per_second``."""
        if self.shared.calibration.measurements:
            return self.assess((repository, build)).speed.tokens_per_second
        return self.speed.pace(build, self.memory.weights(build), self.memory.total(build))[0]

    def standing(self, build: Build) -> Standing:
        """The numbers that the order reads first, of an assessment that nobody corrects by what was measured."""
        weights = self.memory.weights(build)
        speed, confidence = self.speed.pace(build, weights, self.memory.total(build))
        pace = -float(f"{speed:.1e}")
        if not self.fits(build):
            return True, -0.0, pace
        quant = build_quant(self.model, build) or normalise(build.quant)
        quality = self.quality or self.quality_at(quant)
        score = quality.score_at(quant) * score_factor(confidence, speed, quality.multiplier)
        return False, -round(score, SCORE_DIGITS), pace

    def key(self, repository: Repository, build: Build, last: OrderKey | None = None) -> OrderKey | None:
        """``order_key`` of the build's assessment, without the assessment; None where it comes after ``last``."""
        if self.shared.calibration.measurements:
            return order_key(self.shared.assess(Candidate(self.model, repository, build)))
        standing = self.standing(build)
        if last is not None and standing > last[:3]:
            return None
        return key_of(standing, Candidate(self.model, repository, build))


class Numbers:
    """One requirement on one machine, with what the candidates looked at so far share."""

    def __init__(
        self, requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex, calibration: Calibration
    ) -> None:
        self.requirement = requirement
        self.hardware = hardware
        self.evidence = evidence
        self.calibration = calibration
        self.capacity = hardware.capacity_bytes
        self.surest: Confidence = "high" if calibration.measurements else machine_confidence(hardware)
        """No speed here is surer; a measurement may raise it."""
        self._models: dict[int, ModelNumbers] = {}

    def of(self, model: CatalogModel) -> ModelNumbers:
        """By identity: comparing whole models would cost more than assessing them."""
        found = self._models.get(id(model))
        if found is None:
            found = self._models[id(model)] = ModelNumbers(model, self)
        return found

    def assess(self, candidate: Candidate) -> Assessment:
        return self.numbers(candidate, self.of(candidate.model))

    def assess_longest(self, candidate: Candidate) -> tuple[int, Assessment]:
        """The longest context this one fits with, at least the asked one, and the numbers at that context."""
        of, least = self.of(candidate.model), self.requirement.context
        found = self.numbers(candidate, of)
        context = longest_context(candidate.model, found.memory, least) if found.fits else least
        if context == least:
            return least, found
        requirement = replace(self.requirement, context=context)
        longer = ModelNumbers(
            candidate.model, Numbers(requirement, self.hardware, self.evidence, self.calibration), quality=of.quality
        )
        return context, longer.shared.numbers(candidate, longer)

    def numbers(self, candidate: Candidate, of: ModelNumbers) -> Assessment:
        """One build of a model."""
        build = candidate.build
        quant = build_quant(candidate.model, build) or normalise(build.quant)
        memory = of.memory.estimate(build)
        speed = self.calibration.apply(candidate, of.speed.estimate(build, memory))
        quality = of.quality_at(quant).at(quant)
        fits = memory.total_bytes <= self.capacity and _knows_weights(candidate.model, build)
        score = scale_score(fits, quality, speed)
        return Assessment(candidate, memory, speed, quality, fits, score.score, score.low, score.high)


def numbers_for(
    requirement: Requirement, hardware: Hardware, evidence: EvidenceIndex, calibration: Calibration = UNCALIBRATED
) -> Numbers:
    """The one for this requirement and machine, kept with the evidence; it holds both, so their ids stay theirs."""
    key = (requirement, id(hardware), id(calibration))
    found = evidence.kept.get(key)
    if not isinstance(found, Numbers):
        if len(evidence.kept) >= _MOST_KEPT:
            evidence.kept.clear()
        found = evidence.kept[key] = Numbers(requirement, hardware, evidence, calibration)
    return found


def _knows_weights(model: CatalogModel, build: Build) -> bool:
    """Whether there is any size at all: what nobody can size is never said to fit."""
    return build.bytes > 0 or bool(model.gguf_weights or model.params)
