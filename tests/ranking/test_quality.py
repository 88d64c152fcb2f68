from datetime import date, timedelta

import pytest

from reconciler.domain.estimate import PROFILES
from reconciler.integrations.catalog.bundled import load_bundled
from reconciler.ranking.quality import EvidenceIndex
from reconciler.ranking.quants import normalise
from tests.ranking.made import SEED_DAY, catalogue, model, observation, seed

A8, A32 = (
    model("acme/alpha-8B", billions=8, lineage="alpha"),
    model("acme/alpha-32B", billions=32, lineage="alpha"),
)
OTHER = model("other/alpha-8B-tuned", billions=8, lineage="alpha")


def quality(of, *observations, models=(A8, A32, OTHER), profile="general", today=SEED_DAY):
    return EvidenceIndex.of(catalogue(models, observations), today).quality(of, profile)


def test_what_was_measured_of_a_model_is_its_quality():
    found = quality(A8, observation(A8.id, 70.0))
    assert (found.score, found.evidence, found.confidence, found.multiplier) == (70.0, "direct", "high", 1.0)
    assert [part.benchmark for part in found.parts] == ["mmlu-pro"]


def test_a_mirrors_id_names_the_same_model():
    assert quality(A8, observation("acme/Alpha-8B-GGUF", 70.0)).score == 70.0


def test_an_observation_is_of_its_own_model_only():
    assert quality(OTHER, observation(A8.id, 70.0)).parts == ()


def test_a_sibling_inherits_with_less_confidence_and_a_wider_interval():
    large = quality(A32, observation(A32.id, 70.0))
    small = quality(A8, observation(A32.id, 70.0))
    assert (small.evidence, small.confidence) == ("base", "low")
    assert small.score < large.score
    assert small.multiplier < large.multiplier
    assert small.deviation > large.deviation


def test_a_smaller_sibling_is_lower_by_the_logarithm_of_its_size():
    """Changed from the origin, whose line through zero gave an 8B a quarter of its 32B sibling's score."""
    small, large = quality(A8, observation(A32.id, 70.0)), quality(A32, observation(A32.id, 70.0))
    assert large.score / 2 < small.score < large.score


def test_a_fine_tune_inherits_nothing_by_its_name():
    tuned = quality(OTHER, observation(A8.id, 95.0))
    assert tuned.score == quality(OTHER).score
    assert tuned.evidence == "interpolated"


def test_a_successor_inherits_less_from_an_older_generation():
    old = model("acme/alpha1-32B", billions=32, lineage="alpha", generation_rank=1)
    new, newest = (
        model(f"acme/alpha{rank}-32B", billions=32, lineage="alpha", generation_rank=rank) for rank in (2, 4)
    )
    models, taken = (old, new, newest), observation(old.id, 90.0)
    next_one = quality(new, taken, models=models)
    later = quality(newest, taken, models=models)
    assert next_one.score > later.score
    assert next_one.multiplier > later.multiplier
    assert next_one.deviation < later.deviation


def test_nothing_known_is_low_and_wide_and_below_measured_peers_of_its_size():
    unknown = model("nobody/zeta-8B", lineage="zeta")
    found = quality(unknown, observation(A8.id, 50.0), models=(A8, unknown))
    measured = quality(A8, observation(A8.id, 50.0), models=(A8, unknown))
    assert found.score * found.multiplier < measured.score * measured.multiplier
    assert found.deviation > measured.deviation
    assert (found.evidence, found.confidence, found.multiplier) == ("interpolated", "low", 0.6)


def test_old_observations_lose_against_fresh_ones():
    fresh = observation(A8.id, 80.0, benchmark="one")
    old = observation(A8.id, 40.0, benchmark="two", observed_at=SEED_DAY - timedelta(days=540))
    assert quality(A8, fresh, old).score > 70


@pytest.mark.parametrize("second", [0.0, 40.0, 79.0])
def test_a_second_benchmark_that_places_a_model_lower_lowers_it(second):
    """Never the maximum: the best of several scales would be whichever is the easiest."""
    one, two = observation(A8.id, 80.0, benchmark="one"), observation(A8.id, second, benchmark="two")
    assert second < quality(A8, one, two).score < quality(A8, one).score


def test_several_modes_of_one_benchmark_count_once():
    modes = [
        observation(A8.id, value, benchmark="one", variant=name) for name, value in (("low", 40.0), ("high", 60.0))
    ]
    other = observation(A8.id, 80.0, benchmark="two")
    assert quality(A8, *modes, other).score == pytest.approx(65.0)


def test_a_profile_is_judged_by_its_own_benchmarks():
    both = (observation(A8.id, 80.0, benchmark="humaneval"), observation(A8.id, 40.0, benchmark="gsm8k"))
    assert quality(A8, *both, profile="coding").score == 80.0
    assert quality(A8, *both, profile="reasoning").score == 40.0


def test_general_stands_in_for_a_profile_nobody_measured_and_is_wider():
    general = quality(A8, observation(A8.id, 80.0))
    vision = quality(A8, observation(A8.id, 80.0), profile="vision")
    assert vision.score == general.score
    assert vision.deviation > general.deviation
    assert vision.multiplier < general.multiplier
    assert vision.confidence != "high"


def test_chat_benchmarks_do_not_stand_in_for_embeddings():
    assert quality(A8, observation(A8.id, 80.0), profile="embedding").parts == ()


def test_a_benchmark_that_says_little_decides_little():
    hallucination = observation(A8.id, 99.0, benchmark="vectara_hallucination_rate")
    bare = quality(A8)
    assert abs(quality(A8, hallucination).score - bare.score) < 8
    assert quality(A8, hallucination).confidence == "low"


def test_a_quant_costs_quality():
    found = quality(A8, observation(A8.id, 70.0))
    scores = [found.at(normalise(name)).score for name in ("Q2_K", "Q3_K_M", "Q4_K_M", "Q6_K", "Q8_0")]
    assert scores == sorted(scores)
    assert scores[2] == 70.0


def test_a_measurement_at_a_quant_is_charged_from_there():
    at_q8 = quality(A8, observation(A8.id, 70.0, quant="Q8_0"))
    assert at_q8.at(normalise("Q8_0")).score == pytest.approx(70.0)
    assert at_q8.at(normalise("Q4_K_M")).score < 70.0


def test_a_measurement_at_a_quant_is_graded_against_each_quant():
    index = EvidenceIndex.of(catalogue([A8], [observation(A8.id, 70.0, quant="Q8_0")]), SEED_DAY)
    assert index.quality(A8, "general", "Q8_0").evidence == "direct"
    assert index.quality(A8, "general", "Q4_K_M").evidence == "variant"


def test_the_combined_weights_of_the_seed():
    index = EvidenceIndex.of(seed(), SEED_DAY)
    weights = {of.publisher: index.quality(of, "general").parts[0].weight for of in seed().models}
    assert weights == pytest.approx({"Qwen": 0.6531, "deepseek-ai": 0.7750, "meta-llama": 0.8270}, abs=0.0005)


def test_the_day_is_the_observations_not_the_snapshots():
    """Changed from the origin, where nothing aged because today was the snapshot's own date."""
    one = EvidenceIndex.of(seed(), SEED_DAY)
    later = one.on(date(2027, 5, 28))
    of = seed().models[2]
    assert later.quality(of, "general").multiplier < one.quality(of, "general").multiplier


def test_an_empty_catalogue_has_no_evidence():
    assert EvidenceIndex.of(catalogue(), SEED_DAY).is_empty
    assert EvidenceIndex.of(seed(), SEED_DAY).observations("qwen/qwen3-32b")[0].value == 64.2


def test_the_parts_of_every_real_quality_recombine_to_it():
    known = load_bundled()
    index, quant = EvidenceIndex.of(known, known.generated_at), normalise("Q6_K")
    mixed = 0
    for of in known.models:
        for profile in PROFILES:
            found = index.quality(of, profile, "Q6_K").at(quant)
            score = 0.0
            if found.measured_score is not None:
                weights = [part.weight * part.share for part in found.parts]
                values = [max(0.0, part.normalised) for part in found.parts]
                mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
                assert mean == pytest.approx(found.measured_score)
                score += found.covered * mean
            score += (1.0 - found.covered) * (found.inherited_score or 0.0)
            score *= found.quant_factor / found.reference_quant_factor
            assert min(100.0, score) == pytest.approx(found.score, abs=1e-6), (of.id, profile)
            mixed += 0.0 < found.covered < 1.0
    assert mixed


def test_what_is_inherited_names_its_lender():
    small = quality(A8, observation(A32.id, 70.0))
    assert (small.covered, small.inherited_from, small.inherited_score) == (0.0, (A32.id,), small.score)
    assert quality(OTHER).inherited_from == ()
    assert quality(A8, observation(A8.id, 70.0)).inherited_score is None
