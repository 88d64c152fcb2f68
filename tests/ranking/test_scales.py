from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.ranking.scales import dated, effective_weights, expected, scales
from tests.ranking.made import model, observation


def board(benchmark, values, scale="0-100", **more):
    return [
        observation(f"acme/{name}-8B", value, benchmark=benchmark, scale=scale, **more)
        for name, value in values.items()
    ]


NAMES = [f"m{index}" for index in range(9)]
MODELS = [model(f"acme/{name}-8B") for name in NAMES]


def test_a_percent_benchmark_that_fewer_than_8_took_stands_as_it_is():
    found = scales(board("x", dict.fromkeys(NAMES[:7], 67.8)), MODELS)
    assert found["x", None].normalise(67.8) == 67.8


def test_a_lower_is_better_percentage_is_turned_round():
    found = scales(board("x", {"m0": 5.0}, scale="0-100 (lower is better)"), MODELS)
    assert found["x", None].normalise(5.0) == 95.0


def test_from_8_models_on_the_position_counts_and_not_the_number():
    low = scales(board("x", {name: 1.0 + index for index, name in enumerate(NAMES)}), MODELS)["x", None]
    high = scales(board("x", {name: 81.0 + index for index, name in enumerate(NAMES)}), MODELS)["x", None]
    assert low.normalise(5.0) == pytest.approx(high.normalise(85.0))
    assert low.normalise(9.0) > low.normalise(5.0) > low.normalise(1.0)


def test_elo_and_percent_land_on_the_same_scale():
    values = {name: index * 10.0 for index, name in enumerate(NAMES)}
    elo = {name: 1000 + 3 * value for name, value in values.items()}
    found = scales(board("x", values) + board("arena", elo, scale="elo"), MODELS)
    assert found["x", None].normalise(70.0) == pytest.approx(found["arena", None].normalise(1210.0))


def test_an_elo_board_of_two_cannot_be_placed():
    assert ("arena_vision", None) not in scales(board("arena_vision", {"m0": 1200, "m1": 1300}, scale="elo"), MODELS)


def test_releases_of_a_benchmark_are_different_benchmarks():
    old = board("lb", {name: 40.0 + index for index, name in enumerate(NAMES)}, release="2024-11")
    new = board("lb", {name: 10.0 + index for index, name in enumerate(NAMES)}, release="2026-06")
    found = scales(old + new, MODELS)
    assert found["lb", "2024-11"].normalise(44.0) == pytest.approx(found["lb", "2026-06"].normalise(14.0))


def test_the_middle_of_a_board_of_strong_models_is_higher():
    strong = [model(f"acme/s{index}-200B", billions=200, released=date(2026, 6, 1)) for index in range(9)]
    weak = [model(f"acme/w{index}-1B", billions=1, released=date(2024, 1, 1)) for index in range(9)]
    taken = [
        observation(of.id, 50.0 + index, benchmark=of.id.split("/")[1][0])
        for models in (strong, weak)
        for index, of in enumerate(models)
    ]
    found = scales(taken, strong + weak)
    assert found["s", None].normalise(54.0) > found["w", None].normalise(54.0) + 30


def test_one_outlier_does_not_move_the_others():
    plain = {name: 50.0 + index for index, name in enumerate(NAMES)}
    wild = plain | {"m8": 5000.0}
    a, b = (scales(board("x", values, scale="elo"), MODELS)["x", None] for values in (plain, wild))
    assert a.normalise(52.0) == pytest.approx(b.normalise(52.0), abs=3)


def test_a_board_where_all_are_equal_says_nothing_and_divides_by_nothing():
    found = scales(board("x", dict.fromkeys(NAMES, 50.0), scale="elo"), MODELS)["x", None]
    assert 0 <= found.normalise(50.0) <= 100


def test_values_that_are_no_numbers_are_ignored():
    found = scales(board("x", {"m0": float("nan"), "m1": float("inf"), "m2": 60.0}), MODELS)
    assert found["x", None].normalise(60.0) == 60.0


def test_a_mixture_counts_as_a_dense_model_between_its_two_sizes():
    assert effective_weights(model(billions=30, active=3)) == pytest.approx((30e9 * 3e9) ** 0.5)
    assert effective_weights(model(billions=8)) == 8e9
    assert effective_weights(model(billions=None)) is None


def test_larger_and_newer_models_are_expected_to_be_better():
    assert expected(model(billions=8)) < expected(model(billions=32))
    assert expected(model(released=date(2024, 1, 1))) < expected(model(released=date(2026, 1, 1)))


def test_who_ties_stands_in_one_place():
    values = dict(zip(NAMES, [40.0, 40.0, 40.0, 50.0, 50.0, 50.0, 60.0, 60.0, 60.0], strict=True))
    found = scales(board("x", values), MODELS)["x", None]
    assert len({found.normalise(value) for value in values.values()}) == 3


@given(st.lists(st.floats(0, 100), min_size=8, max_size=20), st.lists(st.floats(-50, 150), min_size=2, max_size=8))
def test_a_higher_mark_never_stands_lower(taken, asked):
    models = [model(f"acme/m{index}-8B") for index in range(len(taken))]
    values = {f"m{index}": value for index, value in enumerate(taken)}
    found = scales(board("x", values), models)["x", None]
    places = [found.normalise(value) for value in sorted(asked)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)


@given(st.integers(0, 14), st.floats(0, 1e6), st.integers(0, 14))
def test_whatever_one_taker_writes_moves_another_by_a_few_points_only(which, value, other):
    models = [model(f"acme/m{index}-{2 + index}B", billions=2 + index) for index in range(15)]
    rows = [observation(of.id, 40.0 + 2 * index, benchmark="x", scale="elo") for index, of in enumerate(models)]
    wild = [replace(row, value=value) if index == which else row for index, row in enumerate(rows)]
    before, after = (scales(taken, models)["x", None].normalise(40.0 + 2 * other) for taken in (rows, wild))
    assert abs(before - after) < 5


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(chance):
    rows = board("x", {name: index**2 for index, name in enumerate(NAMES)}) + board(
        "y", {name: 1000 - index for index, name in enumerate(NAMES)}, scale="elo", variant="high"
    )
    shuffled, models = chance.sample(rows, len(rows)), chance.sample(MODELS, len(MODELS))
    assert scales(shuffled, models) == scales(rows, MODELS)


def test_rows_on_another_scale_than_most_are_left_out():
    elo = board("arena", {name: 1200.0 + 10 * index for index, name in enumerate(NAMES)}, scale="elo")
    mixed = scales([*elo, *board("arena", {"m9": 1.0}, scale="0-100 (lower is better)")], MODELS)
    assert mixed == scales(elo, MODELS)


def test_a_sister_dates_a_model_without_a_date_and_a_stranger_does_not():
    sister = model("acme/a-8B", lineage="a", generation="2", released=date(2026, 3, 1))
    of = [model(id_, lineage="a", generation="2", released=None) for id_ in ("acme/a-70B", "other/a-70B")]
    older = model("acme/a1-8B", lineage="a", generation="1", released=date(2025, 3, 1))
    assert [one.released for one in dated([*of, sister, older])] == [
        date(2026, 3, 1),
        None,
        sister.released,
        older.released,
    ]
