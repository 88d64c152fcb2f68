"""What a model that nobody measured inherits, and that a name alone is nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.estimate import PROFILES, Profile
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex, ModelQuality
from reconciler.ranking.quants import REFERENCE_QUANT, normalise
from tests.ranking.made import SEED_DAY, catalogue, model, observation

KNOWN = load_bundled()
INDEX = EvidenceIndex.of(KNOWN, KNOWN.generated_at)
FAMOUS = ("deepseek", "r1", "qwen3", "gpt", "opus", "llama", "gemma", "instruct", "coder", "32b", "671b", "v4", "gguf")


def kept(quality: ModelQuality) -> float:
    return quality.score * quality.multiplier


def names() -> st.SearchStrategy[str]:
    """Names made of famous words, and any others."""
    plain = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", min_size=1, max_size=8)
    return st.lists(st.one_of(st.sampled_from(FAMOUS), plain), min_size=1, max_size=5).map("-".join)


@settings(max_examples=60, deadline=None)
@given(names(), names(), st.sampled_from(PROFILES))
def test_no_name_and_no_organisation_changes_the_score_of_a_model(name, organisation, profile):
    plain = model("nobody/x", lineage="x", billions=32)
    renamed = replace(plain, id=f"nobody-{organisation}/{name}")
    assert INDEX.quality(renamed, profile).at(normalise(REFERENCE_QUANT)) == INDEX.quality(plain, profile).at(
        normalise(REFERENCE_QUANT)
    )


@pytest.mark.parametrize("profile", PROFILES)
def test_no_model_of_the_catalogue_gains_by_being_anothers(profile):
    for of in KNOWN.models:
        if model_serves(of, profile):
            copied = replace(of, id=f"someone/{of.id.partition('/')[2]}")
            assert kept(INDEX.quality(copied, profile)) <= kept(INDEX.quality(of, profile)), of.id


def test_a_fine_tune_with_famous_names_gets_nothing_of_them():
    tuned = model("someone/DeepSeek-R1-Qwen3.8-27B", lineage="deepseek-r1", billions=27, released=date(2026, 8, 5))
    found = INDEX.quality(tuned, "general")
    assert (found.inherited_from, found.parts, found.evidence, found.confidence) == ((), (), "interpolated", "low")
    assert (
        kept(found) < kept(INDEX.quality(next(m for m in KNOWN.models if m.id == "Qwen/Qwen3.8-27B"), "general")) - 20
    )


def test_what_it_is_said_to_be_based_on_is_no_observation_of_it():
    base, tuned = model("acme/alpha-8B", lineage="alpha"), model("someone/alpha-8B-GGUF", lineage="alpha")
    index = EvidenceIndex.of(catalogue([base, tuned], [observation(base.id, 95.0)]), SEED_DAY)
    assert index.observations(tuned.id) == ()
    assert index.quality(tuned, "general").inherited_from == ()


@pytest.mark.parametrize("profile", PROFILES)
def test_no_heir_is_as_sure_as_its_nearest_lender(profile):
    for of in KNOWN.models:
        heir = INDEX.quality(of, profile)
        if heir.covered > 0 or not heir.inherited_from:
            continue
        lent = heir.judged_as or profile
        lenders = [INDEX.quality(one, lent) for one in KNOWN.models if one.id in heir.inherited_from]
        assert heir.multiplier < max(lender.multiplier for lender in lenders)
        assert heir.deviation > min(lender.deviation for lender in lenders)
        assert heir.confidence == "low"


def siblings(profile: Profile, *taken: str) -> tuple[ModelQuality, ModelQuality]:
    """A measured model and the sibling of its size that nobody measured."""
    one, two = (model(f"acme/alpha-{name}-8B", lineage="alpha") for name in ("one", "two"))
    rows = [observation(one.id, 80.0, benchmark=name) for name in taken]
    index = EvidenceIndex.of(catalogue([one, two], rows), SEED_DAY)
    return index.quality(one, profile), index.quality(two, profile)


def test_the_sibling_of_one_size_inherits_its_place_and_not_its_certainty():
    measured, heir = siblings("coding", "humaneval")
    assert heir.score == pytest.approx(measured.score)
    assert heir.multiplier < measured.multiplier
    assert heir.at(normalise("Q4_K_M")).high - heir.score > measured.at(normalise("Q4_K_M")).high - measured.score


@pytest.mark.parametrize("profile", ["coding", "reasoning", "vision"])
def test_where_nobody_of_the_lineage_took_the_profiles_benchmarks_its_general_ones_count(profile):
    of_general, in_profile = siblings("general", "mmlu-pro")[1], siblings(profile, "mmlu-pro")[1]
    assert in_profile.judged_as == "general"
    assert in_profile.score == of_general.score
    assert in_profile.multiplier < of_general.multiplier
    assert in_profile.deviation > of_general.deviation


def test_chat_benchmarks_of_a_lineage_say_nothing_of_embeddings():
    assert siblings("embedding", "mmlu-pro")[1].inherited_from == ()


def test_an_old_measurement_makes_a_less_certain_heir():
    one, two = (model(f"acme/alpha-{name}-8B", lineage="alpha") for name in ("one", "two"))
    heirs = [
        EvidenceIndex.of(catalogue([one, two], [observation(one.id, 80.0, observed_at=day)]), SEED_DAY).quality(
            two, "general"
        )
        for day in (SEED_DAY, date(2024, 1, 1))
    ]
    assert heirs[0].multiplier > heirs[1].multiplier
    assert heirs[0].deviation < heirs[1].deviation


def test_a_model_without_a_date_is_dated_like_its_generation():
    sisters = [
        model(f"acme/beta-{size}B", lineage="beta", generation="2", billions=size, released=date(2026, 1, day))
        for size, day in ((1, 3), (4, 5), (8, 9))
    ]
    undated = model("acme/beta-32B", lineage="beta", generation="2", billions=32, released=None)
    dated = replace(undated, released=date(2026, 1, 5))
    found = EvidenceIndex.of(catalogue([*sisters, undated]), SEED_DAY).quality(undated, "general")
    assert found == EvidenceIndex.of(catalogue([*sisters, dated]), SEED_DAY).quality(dated, "general")


def test_a_model_without_a_date_or_sisters_is_taken_to_be_old():
    undated, dated = (model("acme/beta-32B", lineage="beta", released=day) for day in (None, date(2025, 1, 1)))
    assert EvidenceIndex.of(catalogue([undated]), SEED_DAY).quality(undated, "general").score < (
        EvidenceIndex.of(catalogue([dated]), SEED_DAY).quality(dated, "general").score
    )


def test_a_models_own_general_benchmarks_fill_what_those_of_a_profile_leave_open():
    of = model()
    rows = [
        observation(of.id, 90.0, benchmark="bfcl_v4_multi_turn", source="bfcl"),
        observation(of.id, 60.0, benchmark="mmlu-pro"),
    ]
    found = EvidenceIndex.of(catalogue([of], rows), SEED_DAY).quality(of, "coding")
    assert {part.benchmark: pytest.approx(part.share) for part in found.parts} == {
        "bfcl_v4_multi_turn": 0.2, "mmlu-pro": 0.8,
    }  # fmt: skip
    assert found.covered == pytest.approx(1.0)
    assert found.score == pytest.approx(0.2 * 90 + 0.8 * 60)
    assert found.judged_as is None
    assert found.confidence != "high"
