"""What a person who knows the models would expect of the shipped catalogue's quality, whatever the machine."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta
from functools import cache
from itertools import combinations

import pytest

from reconciler.domain.catalog import CatalogModel
from reconciler.domain.estimate import Profile, QualityEstimate
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex
from reconciler.ranking.quants import REFERENCE_QUANT, normalise
from reconciler.ranking.scales import effective_weights

KNOWN = load_bundled()
INDEX = EvidenceIndex.of(KNOWN, KNOWN.generated_at)
TALKING: tuple[Profile, ...] = ("general", "coding", "reasoning", "vision")


@cache
def ranked(profile: Profile) -> tuple[tuple[float, CatalogModel, QualityEstimate], ...]:
    """Every model that serves the profile by what its quality leaves of 100, best first."""
    rows = []
    for of in KNOWN.models:
        if model_serves(of, profile):
            quality = INDEX.quality(of, profile).at(normalise(REFERENCE_QUANT))
            rows.append((quality.score * quality.multiplier, of, quality))
    return tuple(sorted(rows, key=lambda row: (-row[0], row[1].id)))


def shown(row: tuple[float, CatalogModel, QualityEstimate]) -> str:
    score, of, quality = row
    low, high = quality.low * quality.multiplier, quality.high * quality.multiplier
    return f"{score:5.1f} [{low:.0f}-{high:.0f}]  {of.id} ({quality.evidence}, covers {quality.covered:.0%})"


@pytest.mark.parametrize("profile", [*TALKING, "embedding"])
def test_the_first_fifteen_whatever_the_machine(profile, snapshot):
    assert "\n".join(shown(row) for row in ranked(profile)[:15]) == snapshot


@pytest.mark.parametrize("profile", TALKING)
def test_frozen_leaderboards_keep_no_old_model_on_top(profile):
    for _, of, _ in ranked(profile)[:25]:
        assert of.released is not None
        assert KNOWN.generated_at - of.released < timedelta(days=730), of.id


@pytest.mark.parametrize("profile", TALKING)
def test_the_first_twenty_five_are_no_toys(profile):
    assert all((effective_weights(of) or 0) >= 5e9 for _, of, _ in ranked(profile)[:25])


@pytest.mark.parametrize("profile", ["general", "coding", "reasoning"])
def test_the_first_ten_rest_on_what_was_measured_of_most_of_them(profile):
    assert sum(quality.covered >= 1.0 for _, _, quality in ranked(profile)[:10]) >= 7


@pytest.mark.parametrize("profile", TALKING)
def test_a_much_larger_sister_is_not_surely_worse(profile):
    """Sisters: one publisher, lineage, generation and line, one of twice the weights."""
    for (_, one, of_one), (_, two, of_two) in combinations(ranked(profile), 2):
        same = (one.publisher, one.lineage, one.generation, one.line) == (
            two.publisher, two.lineage, two.generation, two.line,
        )  # fmt: skip
        weights = effective_weights(one), effective_weights(two)
        if not same or not weights[0] or not weights[1]:
            continue
        small, large = (of_one, of_two) if weights[0] < weights[1] else (of_two, of_one)
        if max(weights) >= 2 * min(weights):
            assert small.low * small.multiplier <= large.high * large.multiplier, (one.id, two.id)


@pytest.mark.parametrize("profile", TALKING)
def test_a_successor_of_one_size_is_not_surely_worse(profile):
    for (_, one, of_one), (_, two, of_two) in combinations(ranked(profile), 2):
        if (one.publisher, one.lineage, one.line) != (two.publisher, two.lineage, two.line):
            continue
        weights = effective_weights(one), effective_weights(two)
        behind = one.generation_rank - two.generation_rank
        if behind and weights[0] and weights[1] and max(weights) < 1.3 * min(weights):
            old, new = (of_one, of_two) if behind < 0 else (of_two, of_one)
            assert old.low <= new.high, (one.id, two.id)


@pytest.mark.parametrize("line", ["guard", "ocr", "reranker", "medical", "math", "function-calling"])
def test_a_specialist_is_in_no_list_of_general(line):
    assert line not in {of.line for _, of, _ in ranked("general")}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_models_and_observations_does_not_matter(seed):
    chance = random.Random(seed)
    mixed = replace(
        KNOWN,
        models=tuple(chance.sample(KNOWN.models, len(KNOWN.models))),
        observations=tuple(chance.sample(KNOWN.observations, len(KNOWN.observations))),
    )
    index = EvidenceIndex.of(mixed, KNOWN.generated_at)
    for of in KNOWN.models:
        for profile in (*TALKING, "embedding"):
            assert index.quality(of, profile) == INDEX.quality(of, profile), of.id


def test_a_year_later_the_same_catalogue_is_less_sure_of_every_measured_model():
    later = INDEX.on(KNOWN.generated_at + timedelta(days=365))
    for of in KNOWN.models:
        now, then = INDEX.quality(of, "general"), later.quality(of, "general")
        assert then.multiplier <= now.multiplier
        if now.parts and now.covered >= 1.0:
            assert sum(part.weight for part in then.parts) < sum(part.weight for part in now.parts)
