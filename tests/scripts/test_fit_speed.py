"""The protocol of the speed fit: what is in which fold, and what is left out by which reason."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.formats.measured_file import MeasuredPoint, parse_points
from tests.scripts.loading import load

fit_speed = load("score_peers_llmfit", "estimates_figures", "fit_speed")
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
        "spilled": "counted and fitted", "no bandwidth": "counted and fitted", "computed": "counted",
        "suspect: slow": "fitted",
    }  # fmt: skip
    assert told["suspect: slow"][1] == "suspect: slow"
