"""One scale for many benchmarks: by position among the models that took each, never by averaging raw numbers.

The common scale is 0 to 100, with 50 where an 11 B model of January 2025 stands and ``POINTS`` for one robust
standard deviation of a broad leaderboard. Two benchmarks are rarely taken by the same models: the last LiveBench was
taken by nine strong ones, the old Open LLM Leaderboard by many small ones, and the middle of the first is not the
middle of the second. So a benchmark's middle is placed where its takers stand: first by what their size and date say,
then, twice, by what the other benchmarks say of the same models.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from statistics import median

from reconciler.domain.catalog import BenchmarkObservation, CatalogModel
from reconciler.ranking.evidence import plain_id

POINTS = 14.0
"""Points of the common scale for one robust standard deviation."""
PER_DOUBLING, PER_YEAR = 0.25, 1.0
"""Robust standard deviations a model gains by twice the weights, and by coming out a year later. Source: fitted by
``scripts/fit_quality_prior.py`` on the LMArena text board of 2025-12-11 (83 open models: 0.24 and 1.02)."""
_ENCODERS, _ENCODER_PER_DOUBLING = frozenset({"embedding", "reranker"}), 0.23
"""Source: the same fit on the task mean of MTEB(eng, v2), 2026-07-19 (12 models: 0.23)."""
_MIDDLE_DATE, _MIDDLE_LOG_SIZE = date(2025, 1, 1), 3.5
FEWEST_TAKERS = 8
"""A percent benchmark that fewer models took stands as it is: their positions would say nothing."""
_FEWEST_LINKED = 3
_STRETCH = (0.6, 1.5)
"""How much narrower or wider than the broad leaderboard a benchmark's takers may be taken to lie."""
_FARTHEST = 3.0

Group = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How one benchmark (in one release) maps to the common scale."""

    centre: float
    spread: float
    """Robust standard deviation of the takers' raw values; lower-is-better values are negated first."""
    offset: float
    stretch: float
    lower_is_better: bool
    as_is: bool
    takers: int = 0
    """Models that took it."""
    unit: str = "0-100"
    """How its values are written; a value written otherwise is not one of them."""

    def normalise(self, value: float) -> float:
        """A raw value on the common scale, 0 to 100."""
        if self.as_is:
            raw = 100.0 - value if self.lower_is_better else value
            return min(100.0, max(0.0, raw))
        raw = -value if self.lower_is_better else value
        away = min(_FARTHEST, max(-_FARTHEST, (raw - self.centre) / self.spread))
        return min(100.0, max(0.0, self.offset + self.stretch * away))


def effective_weights(model: CatalogModel) -> float | None:
    """Weights a dense model of the same ability would have: √(all × active) for a mixture of experts.

    A rule of thumb of the field, not a law. None where the weights are not counted.
    """
    if not model.params or model.params <= 0:
        return None
    if model.active_params and 0 < model.active_params < model.params:
        return math.sqrt(model.params * model.active_params)
    return float(model.params)


def expected(model: CatalogModel) -> float:
    """Where a model of this size and date stands on the common scale when nothing else is known of it.

    Embedding models and rerankers are compared among themselves only: the middle is one of 0.3 B, whatever its date.
    """
    weights = effective_weights(model)
    if model.line in _ENCODERS:
        doublings = math.log2(max(weights, 1e7) / 0.3e9) if weights else -1.0
        return min(97.0, max(3.0, 50.0 + POINTS * _ENCODER_PER_DOUBLING * doublings))
    doublings = (math.log2(max(weights, 1e7) / 1e9) if weights else 0.0) - _MIDDLE_LOG_SIZE
    years = (model.released - _MIDDLE_DATE).days / 365.25 if model.released else -1.0
    place = 50.0 + POINTS * (PER_DOUBLING * doublings + PER_YEAR * max(-2.5, min(2.5, years)))
    return min(97.0, max(3.0, place))


def dated(models: Iterable[CatalogModel]) -> tuple[CatalogModel, ...]:
    """The models, those without a release date dated like their generation.

    A sister of one publisher, lineage and generation came out at about the same time: the middle of their dates is a
    far better guess than none. Where no sister has a date it stays unknown.
    """
    known = tuple(models)
    wanted = {model.lineage for model in known if model.released is None}
    days: dict[tuple[str, str, str], list[date]] = {}
    for model in known if wanted else ():
        if model.released is not None and model.lineage in wanted:
            days.setdefault(_generation_of(model), []).append(model.released)
    return tuple(
        replace(model, released=sorted(found)[len(found) // 2])
        if model.released is None and (found := days.get(_generation_of(model)))
        else model
        for model in known
    )


def _generation_of(model: CatalogModel) -> tuple[str, str, str]:
    return (model.publisher, model.lineage, model.generation)


def group_of(observation: BenchmarkObservation) -> Group:
    """Values of one benchmark compare; of one release of it, where it has releases."""
    return (observation.benchmark, observation.release)


def _robust_spread(values: Sequence[float], centre: float) -> float:
    """1.4826 × the median distance from the centre; of a flat middle, the mean distance; 1 where all are equal."""
    distances = [abs(value - centre) for value in values]
    spread = 1.4826 * median(distances) or 1.2533 * sum(distances) / len(distances)
    return spread if spread > 0 and math.isfinite(spread) else 1.0


def _stands_as_it_is(scale: str, takers: int) -> bool:
    return scale.startswith("0-100") and takers < FEWEST_TAKERS


def _taken(observations: Iterable[BenchmarkObservation]) -> dict[Group, tuple[str, dict[str, float]]]:
    """Per group its scale and one value per model: the mean over the modes and efforts it was run at.

    Where the rows of a group do not agree on its scale, that of most models holds and the others' rows are left out: a
    file with one percentage does not turn a board of Elo round.
    """
    raw: dict[Group, dict[str, dict[str, list[float]]]] = {}
    for observation in observations:
        if math.isfinite(observation.value):
            takers = raw.setdefault(group_of(observation), {}).setdefault(observation.scale, {})
            takers.setdefault(plain_id(observation.model), []).append(observation.value)
    found = {}
    for group, by_scale in raw.items():
        scale, takers = max(by_scale.items(), key=lambda item: (len(item[1]), item[0]))
        found[group] = scale, {model: math.fsum(values) / len(values) for model, values in takers.items()}
    return found


def _measure(scale: str, takers: Mapping[str, float]) -> Scale | None:
    lower = "lower is better" in scale
    if _stands_as_it_is(scale, len(takers)):
        return Scale(0.0, 1.0, 0.0, 1.0, lower, as_is=True, takers=len(takers), unit=scale)
    if len(takers) < _FEWEST_LINKED:
        return None
    values = sorted(-value if lower else value for value in takers.values())
    centre = median(values)
    return Scale(
        centre, _robust_spread(values, centre), 50.0, POINTS, lower, as_is=False, takers=len(takers), unit=scale
    )


def _place(scale: Scale, places: Sequence[float]) -> Scale:
    """The scale with its middle and width where its takers stand."""
    ordered = sorted(places)
    offset = median(ordered)
    stretch = min(_STRETCH[1], max(_STRETCH[0], _robust_spread(ordered, offset) / POINTS)) * POINTS
    return replace(scale, offset=offset, stretch=stretch)


def scales(observations: Iterable[BenchmarkObservation], models: Iterable[CatalogModel]) -> dict[Group, Scale]:
    """How every benchmark maps to the common scale; the order of the arguments does not matter.

    A benchmark on its own scale that fewer than three models took cannot be placed and has no entry.
    """
    taken = _taken(observations)
    prior = {plain_id(model.id): expected(model) for model in models}
    placed: dict[Group, Scale] = {}
    for group in sorted(taken, key=str):
        scale = _measure(*taken[group])
        if scale is not None:
            placed[group] = scale
    linked = {group: taken[group][1] for group, scale in placed.items() if not scale.as_is}
    for group, takers in linked.items():
        placed[group] = _place(placed[group], [prior.get(model, 50.0) for model in takers])
    for _ in range(2):
        placed = placed | _relinked(placed, linked, prior)
    return placed


def _relinked(
    placed: Mapping[Group, Scale], linked: Mapping[Group, Mapping[str, float]], prior: Mapping[str, float]
) -> dict[Group, Scale]:
    """Every scale with its middle where the other benchmarks, and a little the prior, say that its takers stand."""
    places: dict[str, dict[str, list[float]]] = {}
    for group, takers in linked.items():
        board, normalise = _board(group), placed[group].normalise
        for model, value in takers.items():
            places.setdefault(model, {}).setdefault(board, []).append(normalise(value))

    @cache
    def level(model: str, board: str) -> float:
        """Where a model stands by every other board; the benchmarks of one board share the answer."""
        elsewhere = [place for other, own in places[model].items() if other != board for place in own]
        return (math.fsum(elsewhere) + prior.get(model, 50.0)) / (len(elsewhere) + 1)

    moved = {}
    for group, takers in linked.items():
        board, scale = _board(group), placed[group]
        levels = [level(model, board) for model in takers]
        moved[group] = replace(scale, offset=median(levels))
    return moved


def _board(group: Group) -> str:
    """The leaderboard a benchmark belongs to: its sub-scores and releases say nothing new about its takers' level."""
    return group[0].partition("_")[0]
