from datetime import date

import pytest

from reconciler.ranking.scales import effective_weights, expected, scales
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
