"""The protocol of the speed fit: what is in which fold, and what is left out by which reason."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.formats.measured_file import MeasuredPoint, parse_points
from reconciler.ranking.decode import CONSTANTS
from tests.scripts.loading import load

fit_speed = load("score_peers_llmfit", "estimates_figures", "fit_constants", "fit_rows", "fit_prefill", "fit_speed")
FIT_CONSTANTS, FIT_PREFILL = sys.modules["fit_constants"], sys.modules["fit_prefill"]
POINTS = Path(__file__).parents[1] / "ranking" / "measured_points.json"


@pytest.fixture(scope="module")
def rows():
    return fit_speed.rows_of(parse_points(json.loads(POINTS.read_text())))


def test_five_folds_keep_a_device_and_its_model_together(rows):
    fold = fit_speed.five_folds(rows, fit_speed.SEED)
    together = {(row.device, row.subject.model.id, fold(row)) for row in rows}
    assert len(together) == len({(device, model) for device, model, _ in together}) < len(rows)
    assert {number for *_, number in together} == set(range(5))


def test_a_seed_makes_the_same_folds_whatever_the_order(rows):
    one, again = (fit_speed.five_folds(given, 1) for given in (rows, rows[::-1]))
    other = fit_speed.five_folds(rows, 2)
    assert [one(row) for row in rows] == [again(row) for row in rows]
    assert [one(row) for row in rows] != [other(row) for row in rows]


def test_every_row_that_is_left_out_has_its_reason():
    point = MeasuredPoint("a", "RTX 4090", "acme/a", 8.0, bw_gbps=1008.0, decode_tps=100.0)
    cpu = next(iter(fit_speed.CPU_BANDWIDTH))
    given = {
        "used": {}, "spilled": {"likely_spill": True}, "no bandwidth": {"bw_gbps": None},
        "computed": {"bw_gbps": None, "hardware": cpu}, "suspect: slow": {"suspect": "slow"},
    }  # fmt: skip
    points = [replace(point, id=id_, **changes) for id_, changes in given.items()]
    told = {id_: (what, why) for id_, what, why in fit_speed.exclusions(points)}
    assert set(told) == set(given) - {"used"}
    assert {id_: what for id_, (what, _) in told.items()} == {
        "spilled": "counted and fitted", "no bandwidth": "counted and fitted", "computed": "counted and fitted",
        "suspect: slow": "fitted",
    }  # fmt: skip
    assert told["suspect: slow"][1] == "suspect: slow"


def test_a_constant_is_fitted_or_assumed_never_both_and_all_of_them():
    constants = FIT_CONSTANTS
    assert not set(constants.GUESSED) & set(constants.ASSUMED)
    named = {f"efficiency.{name}" for name in CONSTANTS.backends}
    named |= {f"per_layer.{name}" for name in CONSTANTS.backends if name not in constants.SAME_LAYERS}
    single = {"moe_bytes", "moe_layers", "cache_bytes", "shared_memory", "apple_width", "wide_weights", "prompt_worth"}
    assert named | single == set(constants.GUESSED) | set(constants.ASSUMED)


def test_the_code_has_the_assumed_values():
    for name, one in fit_speed.ASSUMED.items():
        what, _, backend = name.partition(".")
        assert getattr(CONSTANTS.backends[backend] if backend else CONSTANTS, what) == one.value
        assert one.why


def test_the_fit_leaves_the_assumed_alone(rows):
    fitted = fit_speed.with_values({name: value * 0.9 for name, value in fit_speed.GUESSED.items()})
    assert fitted.shared_memory == fit_speed.ASSUMED["shared_memory"].value
    assert fitted.backends["cpu"].efficiency == fit_speed.ASSUMED["efficiency.cpu"].value
    assert fitted.backends["cuda"].efficiency == pytest.approx(0.9 * fit_speed.GUESSED["efficiency.cuda"])


def test_rows_of_a_computed_bandwidth_and_suspect_ones_are_not_fitted_on(rows):
    on = fit_speed.fitted_on(rows)
    assert 0 < len(on) < len(rows)
    assert all(row.is_stated and not row.point.suspect for row in on)


def test_what_a_constant_rests_on_is_counted(rows):
    on = fit_speed.rests_on(rows)
    assert set(on) == set(fit_speed.GUESSED)
    assert on["cache_bytes"]["rows"] == len(fit_speed.fitted_on(rows))
    assert on["moe_bytes"]["rows"] < on["cache_bytes"]["rows"]
    assert 1 < on["efficiency.cuda"]["devices"] <= on["efficiency.cuda"]["rows"]


def test_a_device_left_out_of_a_prompts_rate_is_asked_by_the_others():
    told = FIT_PREFILL.Told
    found = FIT_PREFILL.figures([told(1.0, "a"), told(1.2, "a"), told(2.0, "b"), told(2.2, "b")])
    assert (found["n"], found["devices"], found["withinTwo"]) == (4, 2, 0.75)
    assert found["deviceLeftOut"] == pytest.approx(0.671, abs=0.001)
    assert FIT_PREFILL.figures([told(1.0, "a")])["deviceLeftOut"] is None
