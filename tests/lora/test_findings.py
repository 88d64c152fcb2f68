"""Findings: what makes a report not ok, and what is told of it."""

from __future__ import annotations

from reconciler.lora.findings import error, is_ok, messages, note, warning

MIXED = (note("a", "one"), warning("b", "two", "do"), error("c", "three"))


def test_only_an_error_makes_a_report_not_ok() -> None:
    assert is_ok(())
    assert is_ok(MIXED[:2])
    assert not is_ok(MIXED)


def test_sentences_in_the_order_they_were_found() -> None:
    assert messages(MIXED) == ("two", "three")
    assert messages(MIXED, "note") == ("one",)


def test_a_finding_is_a_document() -> None:
    assert MIXED[1].model_dump() == {"code": "b", "severity": "warning", "message": "two", "hint": "do"}
