"""``lora inspect``: what an adapter is, and whether it can be served."""

from __future__ import annotations

import os
from dataclasses import replace

from reconciler.cli.commands.lora_report import Facts, print_report
from reconciler.cli.views.lora_inspect import inspect_text
from reconciler.engine.lora.inspect import InspectRequest, inspect
from reconciler.errors import ReconcilerError
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.lora.dialect import DialectName
from reconciler.lora.tool_format import TOOL_FORMATS, word_of


def show_lora_inspect(
    request: InspectRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool
) -> int:
    """Print the report. Exits 1 where something is wrong with the adapter, or it does not fit."""
    facts = Facts(dialect)
    declared = word_of(request.tool_format, TOOL_FORMATS, "--tool-format") if request.tool_format is not None else None
    request = replace(request, tool_format=None if declared == "auto" else declared)
    report = inspect(request, facts.route(base, provider), LocalAdapterFiles(os.environ), facts.dialect)
    wrong = [one for one in report.findings if one.severity == "error"]
    failure = None
    if not report.ok:
        failure = ReconcilerError(
            f"adapter {report.adapter.name} cannot be served like this: {wrong[0].message}",
            code="lora-inspect-failed",
            hint=next((one.hint for one in wrong if one.hint), None),
        )
    return print_report(report, report.findings, inspect_text(report), failure, facts.dialect, as_json=as_json)
