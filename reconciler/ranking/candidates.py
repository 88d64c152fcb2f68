"""From the models known to what could be installed: every build of every GGUF repository."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.domain.catalog import Build, CatalogModel, Catalogue, Repository
from reconciler.domain.estimate import Candidate
from reconciler.domain.units import Bytes
from reconciler.ranking.quants import Quant, at_bits, normalise

Installable = tuple[Repository, Build]
"""A build with the repository that holds it."""


def estimated_bytes(model: CatalogModel, quant: str) -> Bytes | None:
    """File size from bits per weight times the weights that load; None where nobody counted the weights.

    A quant nobody knows takes 8 bits: whoever has no size at all must not be told that it fits.
    """
    weights = model.gguf_weights or model.params
    if weights is None or weights <= 0:
        return None
    return Bytes(round(weights * normalise(quant).bits_per_weight / 8))


def build_quant(model: CatalogModel, build: Build) -> Quant | None:
    """The quant of a build by its name; one of no known name by its bytes over the weights that load.

    None where the name says nothing, and nobody knows both the file's size and the weights: no bits are assumed.
    """
    named = normalise(build.quant)
    if named.known:
        return named
    weights = model.gguf_weights or model.params or 0
    return at_bits(named.canonical, 8 * build.bytes / weights) if build.bytes > 0 and weights > 0 else None


def _sized(model: CatalogModel, build: Build) -> Build | None:
    """The build with a computed size, flagged inexact; None where nobody can compute it."""
    size = estimated_bytes(model, build.quant) if normalise(build.quant).known else None
    if size is None:
        return None
    return Build(build.quant, size, exact=False, files=build.files, sha256=build.sha256, sharded=build.sharded)


def installables(model: CatalogModel) -> Iterator[Installable]:
    """Every build of every GGUF repository of one model that can be sized, with its repository."""
    for repository in model.repositories:
        if repository.format != "gguf":
            continue
        for build in repository.builds:
            sized = build if build.bytes > 0 else _sized(model, build)
            if sized is not None:
                yield repository, sized


def candidates(catalogue: Catalogue) -> tuple[Candidate, ...]:
    """Every build of every GGUF repository, ordered by model, repository and quant whatever the catalogue's order.

    A repository that is listed without builds gives none: which files it has is a question for the Hub, and a
    candidate must be an artifact that exists. A build without a size gets one from bits per weight, flagged inexact;
    where the weights are not counted either, or the quant is not known, nobody can say whether it fits, and it is left
    out.
    """
    found: list[Candidate] = []
    for model in sorted(catalogue.models, key=lambda one: one.id):
        builds = sorted(installables(model), key=lambda pair: (pair[0].id, pair[1].quant, pair[1].bytes))
        found += [Candidate(model, repository, build) for repository, build in builds]
    return tuple(found)
