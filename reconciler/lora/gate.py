"""Promotion: whether a receipt shows that this very adapter passed, lately, often enough, and everywhere.

Source:
    the origin's ``promote`` for ``promotion_probe_matrix_receipt`` and its cases; keys are read in either spelling.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.domain.adapter import Gate
from reconciler.domain.finding import Finding
from reconciler.domain.units import show_duration
from reconciler.formats.foreign_json import read_object
from reconciler.lora.artifacts import key_of, stated_hashes
from reconciler.lora.findings import error

RECEIPT_LIMIT_BYTES = 4 * 2**20
_AHEAD = timedelta(minutes=5)
"""Clocks of two machines differ; a receipt of the future beyond this is none."""
_ALREADY = frozenset({"pass", "passed", "ok", "not_applicable", "not-applicable"})
_DATES = ("promoted_at", "created_at", "generated_at", "finished_at", "date")
_CASES_AT_MOST = 3
_TRY_THESE = "try these very weights and name the receipt of that in gate.receipt"
_TRY_AGAIN = "try the adapter again, and put the new receipt there"


def read_receipt(raw: bytes) -> Mapping[str, Any]:
    """A promotion receipt.

    Raises:
        ValueError: not JSON, or not an object. Nothing else, for any bytes.
    """
    return read_object(raw, limit_bytes=RECEIPT_LIMIT_BYTES)


def judge_receipt(
    receipt: Mapping[str, Any], gate: Gate, *, contract_id: str | None, weights: Iterable[str], now: datetime
) -> tuple[Finding, ...]:
    """What keeps the receipt from being enough; empty: promoted.

    Args:
        receipt: of ``read_receipt``.
        gate: what the file asks for.
        contract_id: of the adapter; None: it has none.
        weights: hex SHA-256 of the adapter's files of weights.
        now: to which its age is counted.
    """
    return tuple(_missing(receipt, gate, contract_id, frozenset(one.lower() for one in weights), now))


def _missing(
    receipt: Mapping[str, Any], gate: Gate, contract_id: str | None, weights: frozenset[str], now: datetime
) -> Iterator[Finding]:
    claimed = _text(receipt, "contract_id") or _text(_part(receipt, "contract"), "id")
    if contract_id is not None and claimed != contract_id:
        text = f"the receipt is of contract {claimed or 'none'}, not of {contract_id}"
        yield error("receipt_contract_differs", text, _TRY_THESE)
    hashes = frozenset(each.sha256 for each in stated_hashes(receipt))
    if not hashes:
        text = "the receipt does not say which weights were tried (artifacts)"
        yield error("receipt_without_artifact", text, "have it written with `artifacts: [{name, sha256}]`")
    elif not weights or not weights <= hashes:
        yield error("receipt_artifact_differs", "the receipt is of other weights than these", _TRY_THESE)
    yield from _age(receipt, gate, now)
    yield from _trials(receipt, gate)
    yield from _cases(receipt)


def _age(receipt: Mapping[str, Any], gate: Gate, now: datetime) -> Iterator[Finding]:
    made = next((found for key in _DATES if (found := _moment(key_of(receipt, key)))), None)
    if made is not None and made > now + _AHEAD:
        text = f"the receipt is dated {made.isoformat()}, which has not come yet"
        yield error("receipt_from_the_future", text, "see the clocks of this host and of the one that wrote it")
    if gate.max_age_seconds is None:
        return
    if made is None:
        text = "the receipt does not say when it was made, and maxAge asks"
        yield error("receipt_undated", text, "have it written with `created_at`, or leave `maxAge` out")
    elif (now - made).total_seconds() > gate.max_age_seconds:
        limit = show_duration(gate.max_age_seconds)
        text = f"the receipt is of {made.date().isoformat()}, older than {limit}"
        yield error("receipt_too_old", text, f"{_TRY_AGAIN}; or allow more with `maxAge`")


def _trials(receipt: Mapping[str, Any], gate: Gate) -> Iterator[Finding]:
    if gate.minimum_trials is None:
        return
    counts = [_whole(part, key) for part in (receipt, *_rows(receipt)) for key in ("trials", "trial_count")]
    known = [count for count in counts if count is not None]
    if not known:
        text = "the receipt does not say how often each case was tried"
        yield error("receipt_without_trials", text, "have it written with `trials`, or leave `minimumTrials` out")
    elif min(known) < gate.minimum_trials:
        text = f"a case was tried {min(known)} times, and minimumTrials asks for {gate.minimum_trials}"
        yield error("receipt_too_few_trials", text, "try each case more often, or ask for less with `minimumTrials`")


def _cases(receipt: Mapping[str, Any]) -> Iterator[Finding]:
    rows = list(_rows(receipt))
    if not rows:
        text = "the receipt holds no case"
        yield error("receipt_without_cases", text, "have it written with `cases: [{case, status}]`")
    failed = [_named(row) for row in rows if not _passed(row)]
    if failed:
        text = f"cases that did not pass: {', '.join(failed[:_CASES_AT_MOST])} ({len(failed)} of {len(rows)})"
        yield error("receipt_case_failed", text, "train the adapter on: it must pass every case")
    elif key_of(receipt, "ok") is False:
        yield error("receipt_not_ok", "the receipt says of itself that it is not ok", _TRY_AGAIN)


def _passed(row: Mapping[str, Any]) -> bool:
    """By its own word, and by its counts where it has them."""
    status = key_of(row, "status")
    total, passed = _whole(row, "total_cases"), _whole(row, "passed_cases")
    if total is not None or passed is not None:
        counted = bool(total) and total == passed
        return counted and (status is None or str(status).lower() in _ALREADY)
    if status is None:
        return key_of(row, "passed") is True or key_of(row, "ok") is True
    return str(status).lower() in _ALREADY


def _named(row: Mapping[str, Any]) -> str:
    return _text(row, "case") or _text(row, "name") or _text(row, "id") or "one without a name"


def _rows(receipt: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    cases = key_of(receipt, "cases")
    if isinstance(cases, Mapping):
        yield from ({"case": name, **row} if isinstance(row, dict) else {"case": name, "status": row}
                    for name, row in cases.items())  # fmt: skip
    elif isinstance(cases, list):
        yield from (row if isinstance(row, dict) else {"status": None} for row in cases)


def _part(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = key_of(document, key)
    return found if isinstance(found, Mapping) else {}


def _text(document: Mapping[str, Any], key: str) -> str | None:
    found = key_of(document, key)
    return found if isinstance(found, str) and found else None


def _whole(document: Mapping[str, Any], key: str) -> int | None:
    found = key_of(document, key)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def _moment(found: object) -> datetime | None:
    if not isinstance(found, str):
        return None
    try:
        made = datetime.fromisoformat(found)
    except ValueError:
        return None
    return made if made.tzinfo else made.replace(tzinfo=UTC)
