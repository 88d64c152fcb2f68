"""The ranking: candidates, or models by the best of their builds, in one order on one machine for one requirement.

``rank`` orders candidates, all of them or the first few; ``rank_models`` orders models. Both look at every build and
compute (``numbers``) only for those that can come that far: no build scores more than its quality alone. Properties
show both to equal the whole ranking.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from operator import itemgetter
from typing import overload

from reconciler.domain.catalog import CatalogModel, Catalogue
from reconciler.domain.estimate import Assessment, Candidate, Requirement
from reconciler.domain.hardware import Hardware
from reconciler.ranking.calibration import UNCALIBRATED, Calibration
from reconciler.ranking.candidates import Installable, installables
from reconciler.ranking.numbers import ModelNumbers, Numbers
from reconciler.ranking.order import OrderKey
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex


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
