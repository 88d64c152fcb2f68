"""``lora inspect``: what an adapter is, and whether it can be served."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from reconciler.cli.commands.lora_report import Facts, failure_of, print_report
from reconciler.cli.views.lora_inspect import inspect_text
from reconciler.engine.lora.inspect import InspectRequest, accepted_in, inspect
from reconciler.errors import ReconcilerError, UsageError
from reconciler.integrations.files.adapter_files import LocalAdapterFiles
from reconciler.integrations.replace_file import replace_file
from reconciler.lora.dialect import DialectName
from reconciler.lora.inspection import InspectReport
from reconciler.lora.tool_format import TOOL_FORMATS, word_of


def show_lora_inspect(
    request: InspectRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool, accept: bool
) -> int:
    """Print the report. Exits 1 where something is wrong with the adapter, or it does not fit.

    Args:
        request: what is asked.
        base: selector of the base.
        provider: who serves it; None: inferred.
        dialect: whose defaults.
        as_json: whether ``--json`` was given.
        accept: write what was found into the lockfile instead of comparing it.
    """
    facts = Facts(dialect)
    lockfile = request.lockfile
    if accept and lockfile is None:
        raise UsageError("--update-lockfile needs --lockfile", hint="name the file to write")
    declared = word_of(request.tool_format, TOOL_FORMATS, "--tool-format") if request.tool_format is not None else None
    request = replace(
        request,
        tool_format=None if declared == "auto" else declared,
        lockfile=None if accept else lockfile,
        accepts=accept,
    )
    files = LocalAdapterFiles(os.environ)
    report = inspect(request, facts.route(base, provider), files, facts.dialect)
    if accept and lockfile is not None and report.ok:
        _accept(report, lockfile, files)
    failure = failure_of(
        report.findings, code="lora-inspect-failed", what=f"adapter {report.adapter.name} cannot be served like this"
    )
    return print_report(report, report.findings, inspect_text(report), failure, facts.dialect, as_json=as_json)


def _accept(report: InspectReport, lockfile: str, files: LocalAdapterFiles) -> None:
    """Write the adapter into the lockfile; what it holds of others stays.

    Raises:
        ReconcilerError: what stands there is no lockfile, or it cannot be written.
    """
    path = Path(os.path.realpath(Path(lockfile).expanduser()))
    content = accepted_in(str(path), files).having(report.adapter.name, report.as_locked).content
    try:
        replace_file(path, content, temporary=f".{path.name}.", mode=0o644)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ReconcilerError(f"{path} cannot be written: {reason}", code="file-unwritable") from error
