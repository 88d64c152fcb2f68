"""How good a model is for a profile: from what was measured of it, else from its lineage, else hardly at all."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from operator import itemgetter

from reconciler.domain.catalog import BenchmarkObservation, CatalogModel, Catalogue, Evidence
from reconciler.domain.estimate import EvidencePart, Profile, QualityEstimate
from reconciler.domain.hardware import Confidence
from reconciler.ranking.evidence import LADDER, family_root, grade_observation, plain_id, weakest
from reconciler.ranking.merge import Merged, combined_weight, merge, source_weight
from reconciler.ranking.profiles import benchmark_weight, is_listed
from reconciler.ranking.quants import REFERENCE_QUANT, Quant, normalise
from reconciler.ranking.recency import LINEAGE_STEP, recency
from reconciler.ranking.scales import (
    POINTS,
    Group,
    Scale,
    dated,
    effective_weights,
    expected,
    group_of,
    scales,
)
from reconciler.ranking.shares import RAW, UNCHECKED, UNLISTED, at_most, bounds

_Z80 = 1.2816
"""Half of an 80 % interval of a normal distribution, in standard deviations."""
_DEVIATION_ALONE = 6.0
"""Standard deviation of one fresh direct observation, in points. Source: ``scripts/fit_quality_prior.py``: two boards
of one profile place the same model 3 to 9 points apart, 5 at the median of the pairs of boards (the hallucination
rate, which goes with nothing else, apart)."""
_DEVIATION_INHERITED, _DEVIATION_FAR, _DEVIATION_UNKNOWN = 4.0, 12.0, 14.0
"""What inheriting adds to the lender's own deviation where it is the same model but for its name, and where it is not
like it at all; and where there is no lender. Source: the same script: what measured models would inherit lies within
5 points of what was measured for 80 % of them. These are the models of well known publishers, so the intervals are
kept wider than that."""
_INHERITED, _PASSED_ON = 0.6, 0.625
"""What is left of a score that rests on size and date alone, and how much of its own confidence above that a lender
passes on: all of it gives 0.85. The origin leaves 0.6 to interpolated and 0.85 to base evidence, with nothing between.
"""
_UNKNOWN_BELOW = 8.0
"""Points that a model nobody measured, of a lineage nobody measured, is taken to stand below what its size and date let
one expect: leaderboards list who did well. Low enough that no measured model would gain by another name."""
_OTHER_LINE = 0.6
"""Similarity of two models of one lineage whose lines differ."""
_FALLBACK_CEILING, _STANDING_IN = 0.8, 1.5
"""Most a model keeps of its score where no benchmark of the profile was taken and ``general`` stands in, and how much
wider the interval is."""
_SHOWN_PARTS = 6
_REFERENCE = normalise(REFERENCE_QUANT)
_trust = lru_cache(maxsize=1024)(source_weight)


@dataclass(frozen=True, slots=True)
class ModelQuality:
    """Quality of a model at the reference quant: everything that the quants of one model share."""

    score: float
    deviation: float
    """Standard deviation of ``score``, in points."""
    evidence: Evidence
    confidence: Confidence
    multiplier: float
    parts: tuple[EvidencePart, ...]
    covered: float = 1.0
    """Share of the profile that the model's own observations measure; the rest is inherited."""
    measured_score: float | None = None
    inherited_score: float | None = None
    inherited_from: tuple[str, ...] = ()
    judged_as: Profile | None = None

    def at(self, quant: Quant) -> QualityEstimate:
        """The quality at one quant: what it keeps, relative to the reference, of score and interval alike."""
        kept = quant.quality_factor / _REFERENCE.quality_factor
        score = self.score_at(quant)
        half = _Z80 * self.deviation * max(1.0, 2.0 - kept)
        return QualityEstimate(
            score, max(0.0, score - half), min(100.0, score + half), self.evidence, self.confidence, self.parts,
            quant.quality_factor, self.multiplier, self.covered, self.measured_score, self.inherited_score,
            self.inherited_from, self.judged_as, _REFERENCE.quality_factor,
        )  # fmt: skip

    def score_at(self, quant: Quant) -> float:
        """``at(quant).score``, without the rest."""
        return min(100.0, self.score * quant.quality_factor / _REFERENCE.quality_factor)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a measured model lends to its lineage."""

    gap: float
    """How far it stands above what its size and date let one expect."""
    weight: float
    covered: float
    multiplier: float
    deviation: float
    as_base: tuple[EvidencePart, ...]
    """Its first observations as they are graded for an heir of its family, and for any other."""
    interpolated: tuple[EvidencePart, ...]
    family: str
    effective_weights: float | None


class EvidenceIndex:
    """Every observation of a catalogue, keyed by model and on one scale. Built once, asked for every candidate.

    What it answers is a pure function of the catalogue and the day; answers are kept, since the quants of a model
    share them.
    """

    def __init__(
        self, observations: Iterable[BenchmarkObservation], models: Sequence[CatalogModel], today: date
    ) -> None:
        self.today = today
        ordered = sorted(observations, key=_place_in_order)
        given, models = models, dated(models)
        self._dated = {new.id: new for new, old in zip(models, given, strict=True) if new is not old}
        self.scales: dict[Group, Scale] = scales(ordered, models)
        self._bounds = bounds(self.scales)
        self._by_model: dict[str, list[BenchmarkObservation]] = {}
        for observation in ordered:
            self._by_model.setdefault(plain_id(observation.model), []).append(observation)
        self._quanted = {plain_id(observation.model) for observation in ordered if observation.quant}
        self._lineages: dict[tuple[str, str], list[CatalogModel]] = {}
        for model in sorted(models, key=lambda m: m.id):
            if plain_id(model.id) in self._by_model:
                self._lineages.setdefault((model.publisher, model.lineage), []).append(model)
        self._models = models
        self._ordered = ordered
        self._kept: dict[tuple[str, Profile, str | None], ModelQuality] = {}
        self._families: dict[tuple[str, str, Profile], list[tuple[CatalogModel, _Known]]] = {}
        self.kept: dict[object, object] = {}
        """For whoever assesses with this index: what candidates share. Never read here."""

    @classmethod
    def of(cls, catalogue: Catalogue, today: date) -> EvidenceIndex:
        """The index of a catalogue as seen on a day."""
        return cls(catalogue.observations, catalogue.models, today)

    def on(self, today: date) -> EvidenceIndex:
        """The same observations as seen on another day."""
        return EvidenceIndex(self._ordered, self._models, today)

    @property
    def is_empty(self) -> bool:
        """No observation at all: every score then rests on size and date."""
        return not self._by_model

    def observations(self, model: str) -> tuple[BenchmarkObservation, ...]:
        """What was measured of a model, in one order whatever the catalogue's."""
        return tuple(self._by_model.get(plain_id(model), ()))

    def quality(self, model: CatalogModel, profile: Profile, quant: str | None = None) -> ModelQuality:
        """Quality of a model for a profile at the reference quant.

        Args:
            model: need not be in the catalogue.
            profile: which benchmarks count.
            quant: grades observations that name a quant; the quant's own cost is charged by ``ModelQuality.at``.
        """
        key = (model.id, profile, quant if self.names_quants(model) else None)
        found = self._kept.get(key)
        if found is None:
            known = model if model.released else self._dated.get(model.id, model)
            found = self._kept[key] = self._judge(known, profile, key[2])
        return found

    def names_quants(self, model: CatalogModel) -> bool:
        """Whether an observation of the model says which quant was measured, so that its quants are graded apart."""
        return plain_id(model.id) in self._quanted

    def _judge(self, model: CatalogModel, profile: Profile, quant: str | None) -> ModelQuality:
        """From the model's own observations as far as they cover the profile, the rest from its lineage.

        What benchmarks outside our table say shifts the score and never makes it surer: a model must not gain by
        having taken a test, whatever came of it.
        """
        if plain_id(model.id) not in self._by_model:
            return self.inherited(model, profile)
        whole = self._measured_and_inherited(model, profile, quant)
        if not self._bounds or all(is_listed(part.benchmark) for part in whole.parts):
            return whole
        sure = self._measured_and_inherited(model, profile, quant, listed_only=True)
        return replace(whole, multiplier=min(whole.multiplier, sure.multiplier), confidence=sure.confidence)

    def _measured_and_inherited(
        self, model: CatalogModel, profile: Profile, quant: str | None, *, listed_only: bool = False
    ) -> ModelQuality:
        """By the model's own observations, its general ones where they leave room, and its lineage for the rest."""
        parts, shares = _listed(*self._parts(model, profile, quant), listed_only=listed_only)
        own = math.fsum(shares)
        if own < 1.0 and profile not in ("general", "embedding"):
            general = self._general_parts(model, profile, quant, 1.0 - own, listed_only=listed_only)
            parts, shares = parts + general[0], shares + general[1]
        covered = min(1.0, math.fsum(shares))
        merged = merge(parts, shares)
        if merged.weight <= 0:
            return self.inherited(model, profile)
        measured = _measured(parts, merged, min(1.0, own / covered))
        return measured if covered >= 1.0 - 1e-9 else _completed(measured, covered, self.inherited(model, profile))

    def _general_parts(
        self, model: CatalogModel, profile: Profile, quant: str | None, room: float, *, listed_only: bool
    ) -> tuple[list[EvidencePart], list[float]]:
        """What the model's own general benchmarks say where those of the profile leave ``room``.

        General ability goes with every other, and knowing the model itself is worth more than knowing its sisters.
        """
        found = zip(*_listed(*self._parts(model, "general", quant), listed_only=listed_only), strict=True)
        others = [(part, share) for part, share in found if benchmark_weight(part.benchmark, profile) == 0]
        total = math.fsum(share for _, share in others)
        scale = min(1.0, room / total) if total > 0 else 0.0
        return [_shared(part, share * scale) for part, share in others], [share * scale for _, share in others]

    def _parts(
        self, model: CatalogModel, profile: Profile, quant: str | None, *, lent: bool = False
    ) -> tuple[list[EvidencePart], list[float]]:
        """The observations that say something about the profile, and how much each does.

        What is ``lent`` leaves out raw percentages, since how far those stand above what size and date let one expect
        says nothing, and whatever our table does not name: a sister's own quiz makes nobody surer.

        A model that ran one benchmark in several modes has it once: the modes share its weight.
        """
        relevant = [
            (observation, scale, share)
            for observation in self._by_model.get(plain_id(model.id), ())
            if (share := benchmark_weight(observation.benchmark, profile)) > 0
            and (scale := self.scales.get(group_of(observation))) is not None
            and scale.unit == observation.scale
            and not (lent and self._bounds.get(group_of(observation), 1.0) <= UNLISTED)
            and math.isfinite(observation.value)
        ]
        modes: dict[Group, int] = {}
        for observation, _, _ in relevant:
            modes[group_of(observation)] = modes.get(group_of(observation), 0) + 1
        shares = [share / modes[group_of(observation)] for observation, _, share in relevant]
        parts = [
            self._part(observation, scale, model.id, quant, share)
            for (observation, scale, _), share in zip(relevant, shares, strict=True)
        ]
        if self._bounds:
            most = [self._bounds.get(group_of(observation), 1.0) for observation, _, _ in relevant]
            shares = at_most(shares, [part.weight for part in parts], most)
            parts = [_shared(part, share) for part, share in zip(parts, shares, strict=True)]
        return parts, shares

    def _part(
        self, observation: BenchmarkObservation, scale: Scale, model: str, quant: str | None, share: float
    ) -> EvidencePart:
        graded = grade_observation(observation, model, quant)
        age = recency(observation.observed_at, self.today)
        trust = _trust(observation.source)
        if self._bounds.get(group_of(observation), 1.0) <= RAW:
            trust = min(trust, UNCHECKED)
        value = scale.normalise(observation.value)
        if observation.quant is not None:
            value *= _REFERENCE.quality_factor / normalise(observation.quant).quality_factor
        return EvidencePart(
            observation.benchmark, observation.source, observation.observed_at.isoformat(), observation.value,
            min(100.0, value), graded, combined_weight(graded, 1.0, 1.0), age.weight, trust,
            combined_weight(graded, age.weight, trust), share,
        )  # fmt: skip

    def _lenders(self, model: CatalogModel, profile: Profile) -> list[tuple[CatalogModel, _Known]]:
        """The measured models of a model's lineage, itself among them; the lineage shares the answer."""
        key = (model.publisher, model.lineage, profile)
        found = self._families.get(key)
        if found is None:
            found = [(of, known) for of in self._lineages.get(key[:2], ()) if (known := self._as_lender(of, profile))]
            self._families[key] = found
        return found

    def _as_lender(self, model: CatalogModel, profile: Profile) -> _Known | None:
        """What a measured model lends to its lineage; None where no benchmark of the profile was taken."""
        parts, shares = self._parts(model, profile, None, lent=True)
        merged = merge(parts, shares)
        if merged.weight <= 0:
            return None
        first = parts[:2]
        return _Known(
            merged.score - expected(model), min(1.0, math.fsum(part.weight for part in parts)),
            min(1.0, math.fsum(shares)), merged.multiplier, _deviation(parts, merged),
            tuple(_regraded(part, "base") for part in first),
            tuple(_regraded(part, "interpolated") for part in first),
            family_root(model.id), effective_weights(model),
        )  # fmt: skip

    def inherited(self, model: CatalogModel, profile: Profile) -> ModelQuality:
        """From the lineage, by the benchmarks of the profile, else by the general ones; else from size and date."""
        found = self._lent_by_lineage(model, profile)
        if found is None and profile not in ("general", "embedding"):
            general = self._lent_by_lineage(model, "general")
            found = general and replace(
                general, deviation=general.deviation * _STANDING_IN, judged_as="general",
                multiplier=_INHERITED + (general.multiplier - _INHERITED) * _FALLBACK_CEILING,
            )  # fmt: skip
        return found or _unknown(model, self.today)

    def _lent_by_lineage(self, model: CatalogModel, profile: Profile) -> ModelQuality | None:
        """From measured models of the same publisher and lineage; a name alone inherits nothing.

        What is inherited is how far the lineage stands above or below what size and date let one expect, so a smaller
        sibling stands lower by the logarithm of its size, and a successor is not taken for its predecessor.
        """
        family, size = family_root(model.id), effective_weights(model)
        lenders = [
            (_closeness(model, sibling, size, known.effective_weights) * known.covered, sibling.id, known)
            for sibling, known in self._lenders(model, profile)
            if sibling.id != model.id
        ]
        weights = [closeness * known.weight for closeness, _, known in lenders]
        total = math.fsum(weights)
        if total <= 0:
            return None
        gap = math.fsum([weight * lender[2].gap for weight, lender in zip(weights, lenders, strict=True)]) / total
        nearest, is_base, confidence, deviation = max(
            (closeness, known.family == family, known.multiplier, known.deviation) for closeness, _, known in lenders
        )
        evidence: Evidence = "base" if is_base else "interpolated"
        lenders.sort(key=itemgetter(0), reverse=True)
        shown = [part for _, _, known in lenders for part in (known.as_base if is_base else known.interpolated)]
        score = min(97.0, max(1.0, expected(model) + gap * nearest))
        added = _DEVIATION_INHERITED + (_DEVIATION_FAR - _DEVIATION_INHERITED) * (1.0 - nearest)
        return ModelQuality(
            score, math.hypot(deviation, added), evidence, "low",
            _INHERITED + _PASSED_ON * nearest * (confidence - _INHERITED), tuple(shown[:_SHOWN_PARTS]), 0.0, None,
            score, tuple(name for _, name, _ in lenders),
        )  # fmt: skip


def _listed(
    parts: list[EvidencePart], shares: list[float], *, listed_only: bool
) -> tuple[list[EvidencePart], list[float]]:
    """All of them, or those of benchmarks in our table."""
    if not listed_only:
        return parts, shares
    kept = [(part, share) for part, share in zip(parts, shares, strict=True) if is_listed(part.benchmark)]
    return [part for part, _ in kept], [share for _, share in kept]


def _place_in_order(o: BenchmarkObservation) -> tuple[str | float | date, ...]:
    """Every field: two observations that differ are never taken in the order they came in."""
    release, variant, quant = o.release or "", o.variant or "", o.quant or ""
    return (o.benchmark, release, o.source, variant, o.observed_at, o.value, quant, o.evidence, o.model, o.scale)


def _closeness(model: CatalogModel, sibling: CatalogModel, weights: float | None, of_sibling: float | None) -> float:
    """How alike two models of a lineage are, 0 to 1: by generation, size (their effective weights) and line."""
    behind = abs(model.generation_rank - sibling.generation_rank)
    doublings = abs(math.log2(weights / of_sibling)) if weights and of_sibling else 3.0
    line = 1.0 if model.line == sibling.line else _OTHER_LINE
    return float(LINEAGE_STEP**behind * math.exp(-doublings / 4.0) * line)


def _regraded(part: EvidencePart, evidence: Evidence) -> EvidencePart:
    weight = combined_weight(evidence, part.recency_weight, part.source_weight)
    return replace(part, evidence=evidence, evidence_weight=LADDER[evidence], weight=weight)


def _shared(part: EvidencePart, share: float) -> EvidencePart:
    return replace(part, share=share)


def _measured(parts: Sequence[EvidencePart], merged: Merged, own: float) -> ModelQuality:
    """From a model's own observations.

    Args:
        parts: the observations.
        merged: their mean.
        own: how much of it are benchmarks of the profile itself, 0 to 1. What general ones stand in for is wider, and
            never of high confidence.
    """
    confidence: Confidence = "medium" if own < 0.5 and merged.confidence == "high" else merged.confidence
    ceiling = own + (1.0 - own) * _FALLBACK_CEILING
    return ModelQuality(
        merged.score, _deviation(parts, merged) * (own + (1.0 - own) * _STANDING_IN),
        weakest(part.evidence for part in parts), confidence, min(merged.multiplier, ceiling), tuple(parts),
        measured_score=merged.score,
        judged_as="general" if own <= 0 else None,
    )  # fmt: skip


def _deviation(parts: Sequence[EvidencePart], merged: Merged) -> float:
    """How far the mean of so many observations may lie from the truth: by their weight, and by how they disagree."""
    boards = len({part.source for part in parts})
    return math.hypot(_DEVIATION_ALONE / math.sqrt(1.0 + merged.weight), merged.spread / math.sqrt(2 * boards))


def _completed(measured: ModelQuality, covered: float, inherited: ModelQuality) -> ModelQuality:
    """A quality whose benchmarks say little about the profile, completed by what its lineage, size and date say.

    A hallucination rate alone is no general ability: what the benchmarks taken do not cover stays as uncertain, and as
    low, as it would be without them. One benchmark that is all about the profile covers it.
    """
    rest = 1.0 - covered
    confidence: Confidence = measured.confidence if covered >= 0.5 else "low"
    return ModelQuality(
        covered * measured.score + rest * inherited.score,
        math.hypot(covered * measured.deviation, rest * inherited.deviation),
        measured.evidence if covered >= 0.5 else inherited.evidence, confidence,
        covered * measured.multiplier + rest * inherited.multiplier, measured.parts, covered, measured.score,
        inherited.score, inherited.inherited_from, measured.judged_as,
    )  # fmt: skip


def _unknown(model: CatalogModel, today: date) -> ModelQuality:
    """Nothing is known but size and date: a low score, below measured models of its size, and a wide interval."""
    score = expected(model) - _UNKNOWN_BELOW
    if model.released is None or model.released > today:
        score -= POINTS / 2
    score = max(1.0, score)
    return ModelQuality(score, _DEVIATION_UNKNOWN, "interpolated", "low", 0.6, (), 0.0, None, score)
