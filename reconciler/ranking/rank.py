"""The ranking: every candidate assessed on one machine for one requirement, in one order.

Three questions, one order. ``assess`` gives the numbers of one candidate; ``rank`` orders candidates, all of them or
the first few; ``rank_models`` orders models, each by the best of its builds. The last two look at every build and
compute only for those that can come that far: no build scores more than its quality alone. Properties show both to
equal the whole ranking.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from operator import itemgetter
from typing import overload

from reconciler.domain.catalog import Build, CatalogModel, Catalogue, Repository
from reconciler.domain.estimate import Assessment, Candidate, MemoryEstimate, Requirement
from reconciler.domain.hardware import Confidence, Hardware
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.candidates import Installable, build_quant, installables
from reconciler.ranking.memory import MemoryModel, memory_model
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex, ModelQuality
from reconciler.ranking.quants import Quant, normalise
from reconciler.ranking.score import READING_SPEED, scale_score, score_factor
from reconciler.ranking.speed import SpeedModel, machine_confidence, speed_model

__all__ = [
    "EvidenceIndex", "ModelNumbers", "Numbers", "OrderKey", "Ranking", "assess", "assess_longest", "numbers_for",
    "order_key", "rank", "rank_models",
]  # fmt: skip

_SCORE_DIGITS = 1
_UNFIT = -1.0
"""Below every score: what does not fit comes after all that does."""
_MOST_KEPT = 64
CONTEXT_STEP = 1024
"""Tokens a longest context is cut down to a multiple of."""

OrderKey = tuple[bool, float, float, bool, int, int, int, str]
_Standing = tuple[bool, float, float]
"""Whether it does not fit, score and speed, both negative and as coarse as the order reads them."""


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
        found = self._ceilings[name] = round(most, _SCORE_DIGITS)
        return found

    def tokens_per_second(self, repository: Repository, build: Build) -> float:
        """``assess``'s ``speed.tokens_per_second``."""
        if self.shared.calibration.measurements:
            return self.assess((repository, build)).speed.tokens_per_second
        return self.speed.pace(build, self.memory.weights(build), self.memory.total(build))[0]

    def standing(self, build: Build) -> _Standing:
        """The numbers that the order reads first, of an assessment that nobody corrects by what was measured."""
        weights = self.memory.weights(build)
        speed, confidence = self.speed.pace(build, weights, self.memory.total(build))
        pace = -float(f"{speed:.1e}")
        if not self.fits(build):
            return True, -0.0, pace
        quant = build_quant(self.model, build) or normalise(build.quant)
        quality = self.quality or self.quality_at(quant)
        score = quality.score_at(quant) * score_factor(confidence, speed, quality.multiplier)
        return False, -round(score, _SCORE_DIGITS), pace

    def key(self, repository: Repository, build: Build, last: OrderKey | None = None) -> OrderKey | None:
        """``order_key`` of the build's assessment, without the assessment; None where it comes after ``last``."""
        if self.shared.calibration.measurements:
            return order_key(self.shared.assess(Candidate(self.model, repository, build)))
        standing = self.standing(build)
        if last is not None and standing > last[:3]:
            return None
        return _key(standing, Candidate(self.model, repository, build))


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


def order_key(assessment: Assessment) -> OrderKey:
    """What the ranking sorts by, ascending: what fits first, then score, then tokens a second, both descending; the
    publisher's own repository before packagers; popularity; the smaller file; the plainer name; the candidate's key.

    The score is rounded to 0.1, far below any interval, and the speed to two digits: 16 bits where 8 are as good lose
    by their speed, and the last megabyte of two files of one quant puts no packager before the publisher.
    """
    score, speed = assessment.score, assessment.speed.tokens_per_second
    standing = (not assessment.fits, -round(score, _SCORE_DIGITS), -float(f"{speed:.1e}"))
    return _key(standing, assessment.candidate)


def _key(standing: _Standing, candidate: Candidate) -> OrderKey:
    model, repository, build = candidate.model, candidate.repository, candidate.build
    return (
        *standing,
        repository.organisation.lower() != model.publisher.lower(),
        -(model.downloads + 50 * model.likes),
        build.bytes,
        len(repository.id),
        candidate.key,
    )


class _Lot:
    """The builds of one model that are ranked."""

    __slots__ = ("builds", "of")

    def __init__(self, of: ModelNumbers, builds: Sequence[Installable]) -> None:
        self.of = of
        self.builds = builds

    def ceiling(self) -> float:
        """No build of it scores more; below 0 where none fits."""
        return max(self.of.ceilings(self.builds))

    def put_first_few(self, found: list[_Placed], limit: int) -> None:
        """Put its builds where they belong in ``found``: what came first of all so far, at most ``limit``, in order.

        The most promising goes first, and the rest are left once none of them can come before the last.
        """
        of = self.of
        tops = sorted(zip(of.ceilings(self.builds), self.builds, strict=True), key=itemgetter(0), reverse=True)
        for top, (repository, build) in tops:
            last = found[-1][0] if len(found) == limit else None
            if last is not None and not _may_precede(top, last):
                return
            key = of.key(repository, build, last)
            if key is not None:
                insort(found, (key, of, (repository, build)), key=itemgetter(0))
                del found[limit:]

    def best(self) -> _Placed:
        """The first of its builds in the order."""
        found: list[_Placed] = []
        self.put_first_few(found, 1)
        return found[0]

    def all(self) -> Iterator[_Placed]:
        """Every build with its place, in no order."""
        of = self.of
        for repository, build in self.builds:
            key = of.key(repository, build)
            if key is not None:
                yield key, of, (repository, build)


_Placed = tuple[OrderKey, ModelNumbers, Installable]
"""A build, of its model, with its place in the order."""


def _may_precede(ceiling: float, last: OrderKey) -> bool:
    """Whether what scores at most so much may come before what is placed already; equal scores leave it open."""
    return ceiling >= -last[1] if ceiling >= 0 else last[0]


def _first(lots: Iterable[_Lot], limit: int) -> list[_Placed]:
    """The first ``limit`` builds of all."""
    found: list[_Placed] = []
    for top, lot in _promising_first(lots) if limit > 0 else ():
        if len(found) == limit and not _may_precede(top, found[-1][0]):
            break
        lot.put_first_few(found, limit)
    return found


def _first_models(lots: Iterable[_Lot], limit: int) -> list[_Placed]:
    """The best builds of the first ``limit`` models."""
    found: list[_Placed] = []
    for top, lot in _promising_first(lots) if limit > 0 else ():
        if len(found) == limit and not _may_precede(top, found[-1][0]):
            break
        insort(found, lot.best(), key=itemgetter(0))
        del found[limit:]
    return found


def _promising_first(lots: Iterable[_Lot]) -> list[tuple[float, _Lot]]:
    return sorted(((lot.ceiling(), lot) for lot in lots), key=itemgetter(0), reverse=True)


class Ranking(Sequence[Assessment]):
    """What was ranked, best first. The order is there; an assessment with its parts is made when it is looked at."""

    def __init__(self, placed: Iterable[_Placed]) -> None:
        self._placed = [(of, installable) for _, of, installable in placed]

    def __len__(self) -> int:
        return len(self._placed)

    @overload
    def __getitem__(self, index: int) -> Assessment: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Assessment, ...]: ...
    def __getitem__(self, index: int | slice) -> Assessment | tuple[Assessment, ...]:
        if isinstance(index, slice):
            return tuple(of.assess(installable) for of, installable in self._placed[index])
        of, installable = self._placed[index]
        return of.assess(installable)

    def candidates(self) -> Iterator[Candidate]:
        """What was ranked, without numbers."""
        return (Candidate(of.model, *installable) for of, installable in self._placed)


def rank(
    candidates: Iterable[Candidate],
    requirement: Requirement,
    hardware: Hardware,
    catalogue: Catalogue,
    today: date,
    *,
    limit: int | None = None,
    calibration: Calibration = UNCALIBRATED,
) -> Ranking:
    """Every candidate that may serve the profile, best first, the unfit last with score 0.

    The order of ``candidates`` and of the catalogue does not matter. With ``limit`` only the first so many are given,
    the same as without, in a fraction of the time: what cannot come that far by its quality alone is not placed.
    """
    shared = Numbers(requirement, hardware, EvidenceIndex.of(catalogue, today), calibration)
    lots = [_Lot(shared.of(model), builds) for model, builds in _by_model(candidates, requirement)]
    if limit is not None:
        return Ranking(_first(lots, limit))
    return Ranking(sorted((placed for lot in lots for placed in lot.all()), key=itemgetter(0)))


def _by_model(
    candidates: Iterable[Candidate], requirement: Requirement
) -> list[tuple[CatalogModel, list[Installable]]]:
    """What may serve the profile, by identity of the model: comparing models would cost more than assessing them."""
    groups: dict[int, tuple[CatalogModel, list[Installable]]] = {}
    for candidate in candidates:
        model = candidate.model
        group = groups.get(id(model))
        if group is None:
            group = groups[id(model)] = (model, [])
        group[1].append((candidate.repository, candidate.build))
    return [group for group in groups.values() if model_serves(group[0], requirement.profile)]


def rank_models(
    catalogue: Catalogue,
    requirement: Requirement,
    hardware: Hardware,
    today: date,
    *,
    limit: int | None = None,
    calibration: Calibration = UNCALIBRATED,
) -> Ranking:
    """Every model that may serve the profile and has files, each by its best build, best first.

    The same as the first of each model in ``rank(candidates(catalogue), …)``. All quants of all repositories are
    looked at; those that their quality alone keeps from being their model's best are not placed.
    """
    shared = Numbers(requirement, hardware, EvidenceIndex.of(catalogue, today), calibration)
    serving = (model for model in catalogue.models if model_serves(model, requirement.profile))
    lots = (_Lot(shared.of(model), builds) for model in serving if (builds := list(installables(model))))
    if limit is not None:
        return Ranking(_first_models(lots, limit))
    return Ranking(sorted((lot.best() for lot in lots), key=itemgetter(0)))
