"""``lora export`` and ``lora preflight``: corpora made into training sets, and judged before."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.cli.commands.lora_report import Facts, print_report
from reconciler.cli.views.lora_corpus import export_text, preflight_text
from reconciler.domain.finding import Finding
from reconciler.engine.lora.export import ExportRequest, export
from reconciler.engine.lora.preflight import PreflightRequest, preflight
from reconciler.errors import ReconcilerError
from reconciler.integrations.files.corpus_files import LocalCorpusFiles
from reconciler.lora.dialect import DialectName


def show_lora_export(
    request: ExportRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool
) -> int:
    """Export, and print what became of it. Exits 1 where nothing was written because something is wrong."""
    facts = Facts(dialect)
    report = export(request, facts.route(base, provider), facts.dialect, LocalCorpusFiles())
    failure = (
        None
        if report.ok
        else _failure(code="lora-export-failed", what="nothing was exported", findings=report.findings)
    )
    return print_report(report, report.findings, export_text(report), failure, facts.dialect, as_json=as_json)


def show_lora_preflight(
    request: PreflightRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool
) -> int:
    """Print what is to be said of a corpus. Exits 1 where it is not ready and ``--check`` was given."""
    facts = Facts(dialect)
    report = preflight(request, facts.route(base, provider), facts.dialect, LocalCorpusFiles())
    failure = None
    if request.check and not report.ok:
        failure = _failure(code="lora-preflight-failed", what="the corpus is not ready", findings=report.findings)
    return print_report(report, report.findings, preflight_text(report), failure, facts.dialect, as_json=as_json)


def _failure(*, code: str, what: str, findings: Iterable[Finding]) -> ReconcilerError:
    wrong = [one for one in findings if one.severity == "error"]
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    first = next((one.hint for one in wrong if one.hint), None)
    hint = first or next((one.hint for one in findings if one.hint and one.severity == "warning"), None)
    return ReconcilerError(f"{what}: {wrong[0].message}{more}", code=code, hint=hint)
