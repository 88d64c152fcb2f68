import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.estimate import EvidencePart
from reconciler.ranking.evidence import LADDER
from reconciler.ranking.merge import combined_weight, merge, source_weight


def part(value=80.0, evidence="direct", recency=1.0, source=1.0) -> EvidencePart:
    weight = combined_weight(evidence, recency, source)
    return EvidencePart("b", "s", "2026-05-01", value, value, evidence, LADDER[evidence], recency, source, weight)


def test_nothing_merges_to_nothing():
    merged = merge([])
    assert (merged.score, merged.confidence, merged.weight) == (0.0, "low", 0.0)


def test_one_observation_is_its_value_whatever_its_weight():
    direct, reported = merge([part(80)]), merge([part(80, "self-reported")])
    assert direct.score == reported.score == pytest.approx(80)
    assert (direct.confidence, reported.confidence) == ("high", "low")


def test_a_blend_favours_the_direct_one():
    assert 70 < merge([part(80), part(60, "interpolated")]).score < 80
    assert merge([part(80), part(60, "interpolated")]).score == pytest.approx((80 + 30) / 1.5)


def test_a_fresh_observation_weighs_more_than_one_of_18_months():
    assert merge([part(80), part(60, recency=0.25)]).score > 75


def test_fresh_and_direct_is_high():
    assert merge([part(80, recency=0.8)]).confidence == "high"


def test_a_source_without_weight_gives_nothing_and_is_not_high():
    merged = merge([part(80, source=0.0)])
    assert merged.score == 0
    assert merged.confidence != "high"


@pytest.mark.parametrize("evidence", ["base", "variant"])
def test_base_and_variant_are_medium(evidence):
    assert merge([part(evidence=evidence)]).confidence == "medium"


@pytest.mark.parametrize("evidence", ["interpolated", "self-reported"])
def test_only_interpolated_or_self_reported_is_low(evidence):
    assert merge([part(evidence=evidence), part(evidence=evidence)]).confidence == "low"


def test_all_below_0_3_is_low():
    assert merge([part(recency=0.29), part(recency=0.2)]).confidence == "low"


def test_a_lower_source_weight_moves_the_score_towards_the_others():
    assert merge([part(90, source=0.25), part(60)]).score < merge([part(90), part(60)]).score


def test_known_and_unknown_sources():
    assert source_weight("open-llm-leaderboard") == 1.0
    assert source_weight("hf-popularity") == 0.25
    assert source_weight("somebody's blog") == 0.5
    assert source_weight("https://livebench.ai table_2026_06_25.csv") == 1.0


def test_a_callers_table_replaces_ours():
    assert source_weight("open-llm-leaderboard", {"mine": 2.0}) == 0.5


@pytest.mark.parametrize(
    ("parts", "multiplier"),
    [
        ([part()], 1.0), ([part(recency=0.8)], 1.0), ([part(evidence="variant")], 0.85),
        ([part(evidence="base", recency=0.95)], 0.85), ([part(evidence="interpolated")], 0.6), ([], 0.6),
        ([part(recency=0.5)], 0.85), ([part(recency=0.05)], 0.6),
    ],
)  # fmt: skip
def test_what_confidence_leaves_of_a_score(parts, multiplier):
    assert merge(parts).multiplier == pytest.approx(multiplier)


@given(st.floats(0.05, 1.0), st.floats(0.0, 0.001))
def test_ageing_by_a_day_never_costs_a_jump(recency, day):
    """Changed from the origin (1 → 0.85 → 0.6 in two steps): a score must not change by the calendar alone."""
    before, after = merge([part(recency=recency)]), merge([part(recency=max(0.05, recency - day))])
    assert 0 <= before.multiplier - after.multiplier < 0.002


def test_shares_shift_the_mean_and_not_the_confidence():
    parts = [part(90), part(50)]
    assert merge(parts, [1.0, 0.25]).score == pytest.approx((90 + 12.5) / 1.25)
    assert merge(parts, [1.0, 0.25]).confidence == "high"
