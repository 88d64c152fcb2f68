"""Findings made, and what follows from a number of them."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.finding import Finding, Severity


def error(code: str, message: str, hint: str | None = None) -> Finding:
    return Finding(code=code, severity="error", message=message, hint=hint)


def warning(code: str, message: str, hint: str | None = None) -> Finding:
    return Finding(code=code, severity="warning", message=message, hint=hint)


def note(code: str, message: str, hint: str | None = None) -> Finding:
    return Finding(code=code, severity="note", message=message, hint=hint)


def is_ok(findings: Iterable[Finding]) -> bool:
    """Whether a report with these findings is ok: no error among them.

    >>> is_ok([warning("remote_adapter", "not on this machine")])
    True
    """
    return all(one.severity != "error" for one in findings)


def messages(findings: Iterable[Finding], *severities: Severity) -> tuple[str, ...]:
    """The sentences of these severities, in the order they were found; warnings and errors where none is named."""
    wanted = severities or ("warning", "error")
    return tuple(one.message for one in findings if one.severity in wanted)
