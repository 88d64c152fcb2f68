"""What a file of one's own observations can do to the ranking of the catalogue that ships."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.domain.catalog import BenchmarkObservation, CatalogModel
from reconciler.domain.estimate import Profile
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.profiles import model_serves
from reconciler.ranking.quality import EvidenceIndex
from tests.ranking.made import SEED_DAY, catalogue, model, observation

KNOWN = load_bundled()
TODAY = KNOWN.generated_at
BEFORE = EvidenceIndex.of(KNOWN, TODAY)
RANKED: tuple[Profile, ...] = ("general", "coding", "reasoning", "vision")
GENERAL = tuple(of for of in KNOWN.models if model_serves(of, "general"))
SMALL = tuple(of for of in GENERAL if of.params and of.params < 15e9)
FEW = settings(max_examples=25, deadline=None)


def imported(*rows: BenchmarkObservation) -> EvidenceIndex:
    return EvidenceIndex.of(replace(KNOWN, observations=(*KNOWN.observations, *rows)), TODAY)


def own(of: CatalogModel, value: float, benchmark: str = "our-quiz", **more) -> BenchmarkObservation:
    return observation(of.id, value, benchmark=benchmark, source="our farm", observed_at=TODAY, **more)


def kept(index: EvidenceIndex, of: CatalogModel, profile: Profile = "general") -> float:
    quality = index.quality(of, profile)
    return quality.score * quality.multiplier


@cache
def by_quality(profile: Profile) -> tuple[float, ...]:
    return tuple(sorted((kept(BEFORE, of, profile) for of in KNOWN.models if model_serves(of, profile)), reverse=True))


def named(id_: str) -> CatalogModel:
    return next(of for of in KNOWN.models if of.id == id_)


@FEW
@given(st.lists(st.sampled_from(SMALL), unique_by=lambda of: of.id, min_size=1, max_size=7), st.integers(1, 4))
def test_full_marks_in_tests_few_took_do_not_lead_the_ranking(takers, benchmarks):
    rows = [own(of, 100.0, f"our-quiz-{number}") for of in takers for number in range(benchmarks)]
    index = imported(*rows)
    for of in takers:
        before, after = BEFORE.quality(of, "general"), index.quality(of, "general")
        assert kept(index, of) < by_quality("general")[1]
        assert after.score <= 0.25 * 100 + 0.75 * before.score + 3.0


@FEW
@given(st.sampled_from(SMALL), st.floats(0, 100), st.sampled_from(RANKED))
def test_one_mark_of_one_model_moves_it_by_less_than_the_threshold_of_a_swap(of, value, profile):
    assert abs(kept(imported(own(of, value)), of, profile) - kept(BEFORE, of, profile)) < 5


@pytest.mark.parametrize("profile", RANKED)
@pytest.mark.parametrize("benchmark", ["our-quiz", "our-code", "our-maths-reasoning", "our-image", "livebench_average"])
def test_one_raw_percentage_puts_no_small_model_first(benchmark, profile):
    index = imported(own(named("Qwen/Qwen3-8B"), 100.0, benchmark))
    assert kept(index, named("Qwen/Qwen3-8B"), profile) < by_quality(profile)[3]


def test_one_that_stands_out_among_eight_of_a_quiz_is_not_first_either():
    takers = SMALL[:8]
    rows = [own(of, 95.0 if of is takers[0] else 50.0 + number / 10) for number, of in enumerate(takers)]
    assert kept(imported(*rows), takers[0]) < by_quality("general")[3]


def test_a_row_on_another_scale_does_not_turn_a_board_round():
    row = own(named("Qwen/Qwen3-8B"), 3.0, "lmarena_text", scale="0-100 (lower is better)")
    index = imported(row)
    for of in GENERAL[:80]:
        if of.id != "Qwen/Qwen3-8B":
            assert index.quality(of, "general") == BEFORE.quality(of, "general")


@pytest.mark.parametrize("id_", ["Qwen/Qwen3-8B", "google/gemma-3-12b-it", "tencent/Hunyuan-4B-Instruct"])
@pytest.mark.parametrize("takers", [1, 7, 8])
def test_more_marks_never_make_a_model_worse(id_, takers):
    others = [own(of, 60.0 + number) for number, of in enumerate(SMALL[: takers - 1]) if of.id != id_]
    scores = [
        imported(*others, own(named(id_), value)).quality(named(id_), "general").score for value in range(0, 101, 5)
    ]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0]


@FEW
@given(st.floats(0, 100), st.sampled_from(GENERAL))
def test_what_others_wrote_of_a_model_leaves_the_rest_where_they_are(value, of):
    index = imported(own(of, value))
    others = [each for each in GENERAL[::7] if each.publisher != of.publisher]
    assert all(index.quality(each, "general") == BEFORE.quality(each, "general") for each in others)


def test_where_nothing_else_is_known_it_stands_in_full():
    of = model()
    found = EvidenceIndex.of(catalogue([of], [observation(of.id, 95.0, benchmark="our-quiz")]), SEED_DAY)
    assert found.quality(of, "general").score == 95.0
    assert found.quality(of, "general").covered == 1.0


def test_a_board_of_many_models_that_the_table_does_not_name_counts_for_half():
    rows = [own(of, 40.0 + number) for number, of in enumerate(SMALL)]
    unmeasured = next(of for of in SMALL if not BEFORE.observations(of.id))
    found = imported(*rows).quality(unmeasured, "general")
    assert found.covered == pytest.approx(0.5)
    assert found.evidence == "direct"


def test_an_old_file_says_less_than_a_fresh_one():
    of = next(each for each in SMALL if not BEFORE.observations(each.id))
    fresh, old = (
        imported(replace(own(of, 100.0), observed_at=day)).quality(of, "general")
        for day in (TODAY, TODAY - timedelta(days=900))
    )
    assert old.multiplier < fresh.multiplier
    assert old.deviation > fresh.deviation


@pytest.mark.parametrize("source", ["our farm", "livebench", "localmodels"])
def test_a_raw_percentage_makes_no_aged_evidence_fresh_again(source):
    for of in GENERAL[::17]:
        before = BEFORE.quality(of, "general")
        after = imported(replace(own(of, before.score), source=source)).quality(of, "general")
        assert after.multiplier <= max(before.multiplier, 0.85)
        assert after.confidence != "high" or before.confidence == "high"


@FEW
@given(
    st.lists(st.sampled_from([of.id for of in SMALL]), unique=True, min_size=8, max_size=12), st.sampled_from(RANKED)
)
def test_the_last_of_a_test_gains_nothing_by_having_taken_it(ids, profile):
    takers = [named(id_) for id_ in ids]
    marks = [10.0, *(60.0 + number for number in range(len(takers) - 1))]
    index = imported(*(own(of, mark, "our-code-quiz") for of, mark in zip(takers, marks, strict=True)))
    of = takers[0]
    before, after = BEFORE.quality(of, profile), index.quality(of, profile)
    assert after.multiplier <= before.multiplier + 1e-9
    if after.score <= before.score:
        assert kept(index, of, profile) <= kept(BEFORE, of, profile) + 1e-9
