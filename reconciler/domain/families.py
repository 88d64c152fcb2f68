"""Families and licences: what the words of an allow-list mean.

A family is a lineage (``qwen``) or a lineage with a generation (``llama-3``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.desired import DesiredState
from reconciler.domain.names import nearest, squash

_NUMBER = re.compile(r"\d+(?:\.\d+)*")


def family_matches(pattern: str, *, lineage: str, generation: str) -> bool:
    """Whether a model of this lineage and generation belongs to the family ``pattern``.

    A lineage alone takes every generation. A generation without a dot takes its minor ones and its variants too;
    one with a dot is that alone, ``3.0`` being ``3``. Case, ``-``, ``_`` and blanks count for nothing.

    >>> family_matches("llama-3", lineage="llama", generation="3.3")
    True
    >>> family_matches("qwen3.0", lineage="qwen", generation="3.5")
    False
    """
    wanted, line = squash(pattern), squash(lineage)
    if not line or not wanted.startswith(line):
        return False
    rest = wanted[len(line) :]
    return not rest or any(_generation_matches(rest, known) for known in _generations(line, generation))


def _generations(line: str, generation: str) -> tuple[str, ...]:
    """The generation, and what is left of it where the lineage already says its first part (``deepseek-r1``)."""
    first, dash, after = generation.partition("-")
    return (generation, after) if dash and line.endswith(squash(first)) else (generation,)


def _generation_matches(rest: str, generation: str) -> bool:
    found = squash(generation)
    if rest == found:
        return True
    if not any(letter.isdigit() for letter in rest):
        return rest == squash(generation.partition("-")[0])
    if "." in rest:
        return _without_zeros(rest) == _without_zeros(found)
    return any(squash(generation[:end]) == rest and not generation[end].isdigit() for end in range(len(generation)))


def _without_zeros(text: str) -> str:
    """``3.0`` is ``3``, wherever the number stands."""
    return _NUMBER.sub(lambda match: re.sub(r"(\.0+)+$", "", match[0]), text)


def known_families(models: Iterable[CatalogModel]) -> tuple[str, ...]:
    """Every lineage, alone and with each of its generations, sorted."""
    names = set()
    for model in models:
        names.add(model.lineage)
        if model.generation and squash(model.generation) not in squash(model.lineage):
            left = _generations(squash(model.lineage), model.generation)[-1]
            names.add(f"{model.lineage}-{left}")
    return tuple(sorted(name for name in names if name))


def family_warnings(desired: DesiredState, catalogue_models: Iterable[CatalogModel]) -> tuple[str, ...]:
    """One sentence for each allowed family that no model of the catalogue belongs to, with the nearest names."""
    if not desired.pool.allowed_families:
        return ()
    models = tuple(catalogue_models)
    pairs = {(model.lineage, model.generation) for model in models}
    unmatched = [
        family
        for family in desired.pool.allowed_families
        if not any(family_matches(family, lineage=line, generation=gen) for line, gen in pairs)
    ]
    known = known_families(models) if unmatched else ()
    return tuple(_no_such_family(family, known) for family in unmatched)


def _no_such_family(family: str, known: tuple[str, ...]) -> str:
    near = nearest(family, known)
    meant = f"; did you mean {', '.join(near)}?" if near else "; 'localmodels catalog' lists the families"
    return f"pool.allowedFamilies: {family!r} matches no model of the catalogue{meant}"


_LICENSE_WORDS = re.compile(r"-(?:software-)?licen[sc]e(?=-|$)|-version(?=-)|^the-")
_PLAIN_LICENSES = {
    "apache": "apache-2.0", "apache2": "apache-2.0", "apache-2": "apache-2.0", "apache2.0": "apache-2.0",
    "apache-2.0": "apache-2.0", "mit": "mit", "bsd-3-clause": "bsd-3-clause", "bsd-2-clause": "bsd-2-clause",
    "gpl-3": "gpl-3.0", "gpl-3.0": "gpl-3.0", "gplv3": "gpl-3.0", "agpl-3": "agpl-3.0", "agpl-3.0": "agpl-3.0",
    "agplv3": "agpl-3.0", "cc0-1.0": "cc0-1.0", "gemma": "gemma", "deepseek": "deepseek", "cc-by-nc-4": "cc-by-nc-4.0",
    "cc-by-4": "cc-by-4.0", "mistral-ai-research": "mrl", "mistral-research": "mrl",
}  # fmt: skip


def normalise_license(text: str) -> str:
    """The slug two spellings of one licence share; what is not known keeps its own, in lower case with ``-``.

    Slugs of the Hub and of the catalogue stay as they are.

    >>> normalise_license("Apache License, Version 2.0"), normalise_license("Llama 3.1 Community License")
    ('apache-2.0', 'llama3.1')
    """
    slug = re.sub(r"[\s_,/:()]+", "-", text.strip().casefold()).strip("-")
    short = re.sub(r"-v(?=\d)", "-", _LICENSE_WORDS.sub("", slug))
    if short in _PLAIN_LICENSES:
        return _PLAIN_LICENSES[short]
    llama = re.fullmatch(r"(?:meta-)?llama-?(\d+(?:\.\d+)?)(?:-community)?(?:-agreement)?", short)
    return f"llama{llama[1]}" if llama else slug
