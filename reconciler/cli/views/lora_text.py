"""What the views of all ``lora`` commands write alike."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from reconciler.cli.streams import harmless_line
from reconciler.cli.views.table import paint
from reconciler.domain.finding import Finding, Severity

_COLOURS: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "dim"}


def line(label: str, value: object) -> str:
    return harmless_line(f"  {label}: {value}")


def yes_or_no(value: bool | None) -> str:
    return "unknown" if value is None else "yes" if value else "no"


def listed(label: str, items: Iterable[str]) -> list[str]:
    """A label and each item below it; nothing where there is none."""
    found = [harmless_line(f"    - {item}") for item in items]
    return [f"  {label}:", *found] if found else []


def command(label: str, argv: Sequence[str]) -> list[str]:
    """A label and the command below it, to be pasted into a shell; nothing where there is none."""
    return [f"  {label}:", harmless_line(f"    {shlex.join(argv)}")] if argv else []


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Findings in the order they were found, each with its code; a hint on a line of its own."""
    lines = []
    for one in findings:
        lines.append(paint(harmless_line(f"  {one.severity}: {one.message} ({one.code})"), _COLOURS[one.severity]))
        if one.hint:
            lines.append(paint(harmless_line(f"    hint: {one.hint}"), "dim"))
    return lines
