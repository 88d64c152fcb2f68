"""A catalogue described for a person: what it holds, whose, from where, and how old."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import date
from typing import Literal

from reconciler.domain.catalog import Catalogue
from reconciler.domain.document import Frozen
from reconciler.domain.names import OLLAMA_LIBRARY


class NamedCount(Frozen):
    """How often one name stands in the catalogue."""

    name: str
    count: int


class FamilySummary(Frozen):
    """One lineage, as ``allowedFamilies`` may name it."""

    name: str
    generations: tuple[str, ...]
    """Oldest first, as the catalogue orders them."""
    models: int
    newest: date | None
    """Release date of its newest model."""


class PackagerSummary(Frozen):
    """One organisation that packages models of others."""

    name: str
    repositories: int
    models: int
    publishers: tuple[str, ...]
    """Whose models it packages: trusting the packager opens these, where they are allowed too."""


class BenchmarkSummary(Frozen):
    """One benchmark."""

    name: str
    scale: str
    observations: int
    models: int
    newest: date


class SourceSummary(Frozen):
    """One source of facts."""

    id: str
    title: str
    license: str
    collected: date
    age_days: int
    url: str


class CatalogueDescription(Frozen):
    """Everything ``catalog`` shows."""

    origin: Literal["bundled", "cached", "live", "fallback"]
    generated_at: date
    age_days: int
    """Days from ``generated_at`` to today; 0 for a date in the future."""
    models: int
    repositories: int
    builds: int
    exact_builds: int
    """Builds whose size is known to the byte; the others are rounded by their source."""
    with_dimensions: int
    """Models whose layers and heads are known."""
    observations: int
    publishers: tuple[NamedCount, ...]
    families: tuple[FamilySummary, ...]
    packagers: tuple[PackagerSummary, ...]
    benchmarks: tuple[BenchmarkSummary, ...]
    sources: tuple[SourceSummary, ...]
    notes: tuple[str, ...]


def describe(catalogue: Catalogue, today: date) -> CatalogueDescription:
    """Counts and ages. Publishers, families, packagers and benchmarks by name; sources newest first."""
    builds = [build for model in catalogue.models for each in model.repositories for build in each.builds]
    return CatalogueDescription(
        origin=catalogue.origin,
        generated_at=catalogue.generated_at,
        age_days=_days(catalogue.generated_at, today),
        models=len(catalogue.models),
        repositories=sum(len(model.repositories) for model in catalogue.models),
        builds=len(builds),
        exact_builds=sum(build.exact for build in builds),
        with_dimensions=sum(bool(model.architecture.layers and model.architecture.heads) for model in catalogue.models),
        observations=len(catalogue.observations),
        publishers=_counted(model.publisher for model in catalogue.models),
        families=_families(catalogue),
        packagers=_packagers(catalogue),
        benchmarks=_benchmarks(catalogue),
        sources=_sources(catalogue, today),
        notes=catalogue.notes,
    )


def _days(day: date, today: date) -> int:
    return max(0, (today - day).days)


def _counted(names: Iterable[str]) -> tuple[NamedCount, ...]:
    return tuple(NamedCount(name=name, count=count) for name, count in sorted(Counter(names).items()))


def _families(catalogue: Catalogue) -> tuple[FamilySummary, ...]:
    members = defaultdict(list)
    for model in catalogue.models:
        members[model.lineage].append(model)
    found = []
    for name, models in sorted(members.items()):
        generations = {model.generation: model.generation_rank for model in models if model.generation}
        found.append(
            FamilySummary(
                name=name,
                generations=tuple(sorted(generations, key=lambda each: (generations[each], each))),
                models=len(models),
                newest=max((model.released for model in models if model.released), default=None),
            )
        )
    return tuple(found)


def _packagers(catalogue: Catalogue) -> tuple[PackagerSummary, ...]:
    held = defaultdict(list)
    for model in catalogue.models:
        for repository in model.repositories:
            if repository.organisation != model.publisher:
                held[repository.organisation].append(model)
        if model.ollama_tag:
            held[OLLAMA_LIBRARY].append(model)
    return tuple(
        PackagerSummary(
            name=name,
            repositories=len(models),
            models=len({model.id for model in models}),
            publishers=tuple(sorted({model.publisher for model in models})),
        )
        for name, models in sorted(held.items())
    )


def _benchmarks(catalogue: Catalogue) -> tuple[BenchmarkSummary, ...]:
    rows = defaultdict(list)
    for each in catalogue.observations:
        rows[each.benchmark, each.scale].append(each)
    return tuple(
        BenchmarkSummary(
            name=name,
            scale=scale,
            observations=len(found),
            models=len({each.model for each in found}),
            newest=max(each.observed_at for each in found),
        )
        for (name, scale), found in sorted(rows.items())
    )


def _sources(catalogue: Catalogue, today: date) -> tuple[SourceSummary, ...]:
    ordered = sorted(catalogue.sources, key=lambda source: (-source.collected.toordinal(), source.id))
    return tuple(
        SourceSummary(
            id=source.id,
            title=source.title,
            license=source.license,
            collected=source.collected,
            age_days=_days(source.collected, today),
            url=source.url,
        )
        for source in ordered
    )
