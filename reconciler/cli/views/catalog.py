"""The catalogue as a person reads it: counts, ages, families, packagers, benchmarks, sources."""

from __future__ import annotations

from reconciler.cli.views.table import columns, paint
from reconciler.domain.catalogue_description import CatalogueDescription

_ORIGINS = {
    "bundled": "the shipped snapshot",
    "cached": "the shipped snapshot and what the Hub said before",
    "live": "the shipped snapshot and what the Hub says now",
    "fallback": "nothing: the shipped snapshot cannot be used",
}
_MOST_PACKAGERS = 12


def catalogue_text(found: CatalogueDescription, *, added: int) -> str:
    """The whole description.

    Args:
        found: what the catalogue holds.
        added: how many observations this machine's people added.
    """
    lines = [
        paint(f"Catalogue of {found.generated_at.isoformat()}, {_days(found.age_days)} old", "bold"),
        *columns(_counts(found, added)),
        "",
        "Families",
        *columns(_families(found)),
        "",
        "Packagers",
        *columns(_packagers(found)),
        "",
        "Benchmarks",
        *columns(_benchmarks(found), right=frozenset({1, 2})),
        "",
        "Sources",
        *columns([[source.title, source.collected.isoformat(), source.license] for source in found.sources]),
    ]
    return "\n".join([*lines, "", f"{found.models} models of {len(found.publishers)} publishers."])


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _counts(found: CatalogueDescription, added: int) -> list[list[str]]:
    return [
        ["from", _ORIGINS[found.origin]],
        ["models", f"{found.models}, the dimensions of {found.with_dimensions} known"],
        ["repositories", f"{found.repositories} with {found.builds} builds, {found.exact_builds} of exact size"],
        ["observations", f"{found.observations}" + (f", {added} of them added here" if added else "")],
    ]


def _families(found: CatalogueDescription) -> list[list[str]]:
    return [
        [one.name, f"{one.models}", ", ".join(one.generations), one.newest.isoformat() if one.newest else ""]
        for one in found.families
    ]


def _packagers(found: CatalogueDescription) -> list[list[str]]:
    largest = sorted(found.packagers, key=lambda one: (-one.models, one.name))
    rows = [[one.name, f"{one.models} models of {len(one.publishers)} publishers"] for one in largest[:_MOST_PACKAGERS]]
    left = len(largest) - _MOST_PACKAGERS
    return [*rows, [f"and {left} more", "--json has all"]] if left > 0 else rows


def _benchmarks(found: CatalogueDescription) -> list[list[str]]:
    return [
        [one.name, f"{one.observations}", f"{one.models} models", one.newest.isoformat()] for one in found.benchmarks
    ]
