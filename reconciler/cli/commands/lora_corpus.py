"""``lora export`` and ``lora preflight``: corpora made into training sets, and judged before."""

from __future__ import annotations

from reconciler.cli.commands.lora_report import Facts, failure_of, print_report
from reconciler.cli.views.lora_corpus import export_text, preflight_text
from reconciler.engine.lora.export import ExportRequest, export
from reconciler.engine.lora.preflight import PreflightRequest, preflight
from reconciler.integrations.files.corpus_files import LocalCorpusFiles
from reconciler.lora.dialect import DialectName


def show_lora_export(
    request: ExportRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool
) -> int:
    """Export, and print what became of it. Exits 1 where nothing was written because something is wrong."""
    facts = Facts(dialect)
    report = export(request, facts.route(base, provider), facts.dialect, LocalCorpusFiles())
    failure = failure_of(report.findings, code="lora-export-failed", what="nothing was exported")
    return print_report(report, report.findings, export_text(report), failure, facts.dialect, as_json=as_json)


def show_lora_preflight(
    request: PreflightRequest, base: str, provider: str | None, dialect: DialectName, *, as_json: bool
) -> int:
    """Print what is to be said of a corpus; its envelope is ok where it is ready, which only ``--check`` makes 1 of."""
    facts = Facts(dialect)
    report = preflight(request, facts.route(base, provider), facts.dialect, LocalCorpusFiles())
    failure = failure_of(report.findings, code="lora-preflight-failed", what="the corpus is not ready")
    text = preflight_text(report)
    return print_report(report, report.findings, text, failure, facts.dialect, as_json=as_json, fails=request.check)
