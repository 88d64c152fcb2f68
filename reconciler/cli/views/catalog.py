"""The catalogue as a person reads it: counts, ages, families, packagers, benchmarks, sources."""

from __future__ import annotations

from reconciler.cli.views.door import view
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.catalogue_description import CatalogueDescription

_ORIGINS = {
    "bundled": "the shipped snapshot",
    "cached": "the shipped snapshot and what the Hub said before",
    "live": "the shipped snapshot and what the Hub says now",
    "fallback": "nothing: the shipped snapshot cannot be used",
}
_MOST_PACKAGERS = 12


@view
def catalogue_text(found: CatalogueDescription, *, added: int) -> str:
    """The whole description.

    Args:
        found: what the catalogue holds.
        added: how many observations this machine's people added.
    """
    lines = [
        paint(f"Catalogue of {found.generated_at.isoformat()}, {counted(found.age_days, 'day')} old", "bold"),
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
    return "\n".join(
        [*lines, "", f"{counted(found.models, 'model')} of {counted(len(found.publishers), 'publisher')}."]
    )


@view
def refresh_text(before: CatalogueDescription, after: CatalogueDescription, *, added: int) -> str:
    """What a refresh brought, in a few lines; ``catalog`` shows the whole.

    Args:
        before: the catalogue as it stood.
        after: the catalogue now.
        added: how many observations this machine's people added.
    """
    counts = (("model", before.models, after.models), ("build", before.builds, after.builds),
              ("observation", before.observations, after.observations))  # fmt: skip
    changes = [
        f"{now - was:+d} {noun if abs(now - was) == 1 else noun + 's'}" for noun, was, now in counts if now != was
    ]
    age = counted(after.age_days, "day")
    return "\n".join([
        f"Changed: {', '.join(changes) or 'nothing'}.",
        f"Catalogue of {after.generated_at.isoformat()}, {age} old, from {_ORIGINS[after.origin]}"
        + (f"; {counted(added, 'observation')} added here." if added else "."),
        (f"{counted(after.models, 'model')} of {counted(len(after.publishers), 'publisher')}: "
        "localmodels catalog shows them."),
    ])  # fmt: skip


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
    rows = [
        [one.name, f"{counted(one.models, 'model')} of {counted(len(one.publishers), 'publisher')}"]
        for one in largest[:_MOST_PACKAGERS]
    ]
    left = len(largest) - _MOST_PACKAGERS
    return [*rows, [f"and {left} more", "--json has all"]] if left > 0 else rows


def _benchmarks(found: CatalogueDescription) -> list[list[str]]:
    return [
        [one.name, f"{one.observations}", counted(one.models, "model"), one.newest.isoformat()]
        for one in found.benchmarks
    ]
