"""Promotion receipts in their other shapes: a case by its own word and by its counts, hashes wherever they stand."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from reconciler.domain.adapter import Gate
from reconciler.lora.gate import judge_receipt
from tests.lora.test_gate import GATE, HASH, ID, NOW, codes, receipt


def case(**row: Any) -> list[str]:
    """What is said of a receipt with this one case."""
    return codes(receipt(cases=[{"case": "a", "trials": 5, **row}]))


@pytest.mark.parametrize(
    ("row", "passes"),
    [
        ({"status": "pass"}, True),
        ({"status": "PASS"}, True),
        ({"status": "not_applicable"}, True),
        ({"status": "fail"}, False),
        ({"status": True}, False),
        ({}, False),
        ({"passed": True}, True),
        ({"ok": True}, True),
        ({"passed": "yes"}, False),
        ({"passed": False, "ok": False}, False),
        ({"status": "fail", "passed": True}, False),
        ({"total_cases": 3, "passed_cases": 3}, True),
        ({"totalCases": 3, "passedCases": 3}, True),
        ({"total_cases": 3, "passed_cases": 3, "status": "fail"}, False),
        ({"total_cases": 3, "passed_cases": 2, "status": "pass"}, False),
        ({"total_cases": 3, "status": "pass"}, False),
        ({"passed_cases": 3, "status": "pass"}, False),
        ({"total_cases": 0, "passed_cases": 0, "status": "pass"}, False),
    ],
)
def test_a_case_passes_by_its_own_word_and_by_its_counts(row: dict[str, Any], passes: bool) -> None:
    assert case(**row) == ([] if passes else ["receipt_case_failed"])


def test_a_case_that_is_no_object_did_not_pass() -> None:
    assert codes(receipt(cases=["pass", {"case": "a", "status": "pass", "trials": 5}])) == ["receipt_case_failed"]
    assert codes(receipt(trials=5, cases={"a": "pass", "b": "fail"})) == ["receipt_case_failed"]
    assert codes(receipt(trials=5, cases={"a": "pass"})) == []


@pytest.mark.parametrize(
    "artifacts",
    [
        [{"sha256": HASH}, "not an object", {"name": "without"}],
        {"adapter_files": [{"sha256": HASH.upper()}]},
        {"adapterFiles": [{"sha256": HASH}]},
        {"adapter_model.safetensors": HASH},
        {"adapter_model.safetensors": f"sha256:{HASH}"},
        {"adapter_model.safetensors": {"sha256": HASH}},
        {"adapter_reference": "./sql", "adapter_files": [{"path": "adapter_model.safetensors", "sha256": HASH}]},
    ],
)
def test_hashes_wherever_they_stand(artifacts: object) -> None:
    assert codes(receipt(artifacts=artifacts)) == []


def test_hashes_beside_the_artifacts() -> None:
    assert codes(receipt(artifacts="GONE", adapter_files=[{"sha256": HASH}])) == []


def test_every_file_of_weights_must_have_been_tried_and_there_must_be_one() -> None:
    def judged(*weights: str) -> list[str]:
        return [one.code for one in judge_receipt(receipt(), GATE, contract_id=ID, weights=weights, now=NOW)]

    assert judged(HASH) == []
    assert judged(HASH, "b" * 64) == ["receipt_artifact_differs"]
    assert judged() == ["receipt_artifact_differs"]


def test_ages_to_the_second() -> None:
    def made(age: timedelta) -> list[str]:
        return codes(receipt(created_at=(NOW - age).isoformat()))

    day = timedelta(seconds=86400)
    assert made(day) == []
    assert made(day + timedelta(seconds=1)) == ["receipt_too_old"]
    assert made(timedelta(0)) == []


def test_what_nobody_asks_for_is_not_missed() -> None:
    lax = Gate(receipt="/r.json")
    plain = receipt(created_at="GONE", cases=[{"case": "a", "status": "pass"}])
    assert codes(plain, gate=lax) == []
    assert codes(plain) == ["receipt_undated", "receipt_without_trials"]
    assert codes(receipt(created_at=(NOW + timedelta(days=2)).isoformat()), gate=lax) == ["receipt_from_the_future"]


def test_trials_to_the_one() -> None:
    assert codes(receipt(cases=[{"case": "a", "status": "pass", "trials": 5}])) == []
    assert codes(receipt(cases=[{"case": "a", "status": "pass", "trial_count": 4}])) == ["receipt_too_few_trials"]
    assert codes(receipt(trials=3)) == ["receipt_too_few_trials"]
