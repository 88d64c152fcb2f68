from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ranking.recency import parse_day, recency

TODAY = date(2026, 5, 28)


def weight(months, behind=0):
    return recency(TODAY - timedelta(days=months * 30), TODAY, behind).weight


@pytest.mark.parametrize(("months", "expected"), [(0, 1.0), (2, 0.857), (9, 0.5), (12, 0.397), (18, 0.25), (24, 0.157)])
def test_reference_weights(months, expected):
    assert weight(months) == pytest.approx(expected, abs=0.001)


def test_it_halves_every_half_life():
    assert weight(27) == pytest.approx(weight(18) / 2)


def test_a_future_observation_counts_as_todays():
    assert recency(TODAY + timedelta(days=40), TODAY).weight == 1.0


def test_one_generation_behind_weighs_0_6_of_it():
    assert weight(0, 1) == pytest.approx(0.6)
    assert weight(3, 1) < weight(3, 0)
    assert recency(TODAY, TODAY, 1).lineage_penalty_applied


def test_two_generations_behind_weigh_0_36():
    assert weight(0, 2) == pytest.approx(0.36)


def test_no_generation_behind_costs_nothing():
    assert not recency(TODAY, TODAY).lineage_penalty_applied
    assert weight(5, -1) == weight(5)


def test_the_floor_is_0_05():
    assert weight(200) == weight(60, 9) == 0.05


@pytest.mark.parametrize("text", ["", "soon", "2026-99-01", "05/01/2026"])
def test_a_malformed_date_is_no_date_and_counts_as_today(text):
    assert parse_day(text) is None
    assert recency(parse_day(text), TODAY).weight == 1.0


def test_a_time_is_read_as_its_day():
    assert parse_day("2026-05-01T12:00:00Z") == date(2026, 5, 1)


@given(st.none() | st.dates(), st.none() | st.dates(), st.integers(-3, 50))
def test_every_weight_lies_between_the_floor_and_one(observed, today, behind):
    found = recency(observed, today, behind)
    assert 0.05 <= found.weight <= 1.0
    assert found.age_months >= 0
