"""Promotion receipts: what is enough, what is not, and nothing that breaks the reader."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.domain.adapter import Gate
from reconciler.lora.gate import judge_receipt, read_receipt

NOW = datetime(2026, 11, 23, tzinfo=UTC)
HASH, ID = "a" * 64, "sha256:" + "c" * 64
GATE = Gate(receipt="/r.json", max_age_seconds=86400, minimum_trials=5)


def receipt(**changes: Any) -> dict[str, Any]:
    base = {
        "kind": "promotion_probe_matrix_receipt", "contract_id": ID, "created_at": "2026-11-22T12:00:00Z", "ok": True,
        "artifacts": {"adapter_files": [{"path": "adapter_model.safetensors", "sha256": HASH.upper()}]},
        "cases": [
            {"case": "no_tool_answer", "status": "pass", "trials": 5, "total_cases": 3, "passed_cases": 3},
            {"case": "parallel_tool_calls", "status": "not_applicable", "trials": 5},
        ],
    }  # fmt: skip
    return {key: value for key, value in (base | changes).items() if value != "GONE"}


def codes(document: dict[str, Any], gate: Gate = GATE, contract_id: str | None = ID, weights: str = HASH) -> list[str]:
    return [one.code for one in judge_receipt(document, gate, contract_id=contract_id, weights=[weights], now=NOW)]


def test_a_whole_receipt_is_enough() -> None:
    assert codes(receipt()) == []
    camel = receipt(contract_id="GONE", contractId=ID, created_at="GONE", createdAt="2026-11-22T12:00:00+00:00")
    assert codes(camel) == []
    assert codes(receipt(cases={"no_tool_answer": {"status": "pass", "trials": 9}})) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contract_id": "sha256:other"}, "receipt_contract_differs"),
        ({"contract_id": "GONE"}, "receipt_contract_differs"),
        ({"artifacts": "GONE"}, "receipt_without_artifact"),
        ({"artifacts": [{"sha256": "b" * 64}]}, "receipt_artifact_differs"),
        ({"created_at": "2026-11-21T12:00:00Z"}, "receipt_too_old"),
        ({"created_at": (NOW + timedelta(days=1)).isoformat()}, "receipt_from_the_future"),
        ({"created_at": "yesterday"}, "receipt_undated"),
        ({"cases": []}, "receipt_without_cases"),
        ({"cases": [{"case": "a", "status": "missing", "trials": 5}]}, "receipt_case_failed"),
        ({"cases": [{"case": "a", "status": "pass", "trials": 5, "total_cases": 0}]}, "receipt_case_failed"),
        ({"cases": [{"case": "a", "status": "pass", "trials": 5, "total_cases": 3, "passed_cases": 2}]}, "receipt_case_failed"),
        ({"cases": [{"case": "a", "status": "pass", "trials": 4}]}, "receipt_too_few_trials"),
        ({"ok": False}, "receipt_not_ok"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(changes: dict[str, Any], code: str) -> None:
    assert code in codes(receipt(**changes))


def test_an_adapter_without_a_contract_is_told_by_its_weights() -> None:
    assert codes(receipt(contract_id="GONE"), contract_id=None) == []


@given(raw=st.binary(max_size=200))
def test_any_bytes_are_a_receipt_or_a_value_error(raw: bytes) -> None:
    try:
        found = read_receipt(raw)
    except ValueError:
        return
    judge_receipt(found, GATE, contract_id=ID, weights=[HASH], now=NOW)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["cases", "status", "trials", "artifacts", "sha256", "contract", "id", "created_at", "ok"]),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(document=st.dictionaries(st.sampled_from(["cases", "artifacts", "contract", "trials", "ok", "createdAt"]), JSON))
def test_nothing_promotes_without_cases_that_pass(document: dict[str, Any]) -> None:
    assert judge_receipt(document, GATE, contract_id=ID, weights=[HASH], now=NOW)
