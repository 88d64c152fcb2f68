"""An export, and a preflight, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from reconciler.cli.streams import harmless_line
from reconciler.cli.views.door import view
from reconciler.cli.views.lora_text import finding_lines, line
from reconciler.cli.views.table import columns
from reconciler.domain.finding import Finding
from reconciler.engine.lora.export import ExportReport
from reconciler.engine.lora.preflight import PreflightReport

_SHOWN = 12
"""How many errors and problems a person is shown; the JSON has them all."""
_LONGEST = 5


@view
def export_text(report: ExportReport) -> str:
    """What became of the corpus, for whom, and where it is."""
    asked, stats = report.request, report.stats
    outcome = "checked" if asked.check else "exported"
    lines = [
        f"{asked.corpus} -> {report.base.id} via {report.base.provider}: {outcome if report.ok else 'not exported'}",
        line("tool format", f"{asked.effective_tool_format} (requested {asked.requested_tool_format})"),
        line("dataset format", asked.dataset_format),
        line("records", stats.records),
        line("emitted", stats.emitted),
        line("skipped", stats.skipped),
        line("tool calls", stats.tool_calls),
        line("tool results", stats.tool_results),
        line("splits", _counts(report.splits)),
        line("contract", report.contract.id),
        *([line("adapter name", report.serving.adapter_name)] if report.serving.adapter_name else []),
        *([line("dataset", report.output.path)] if report.output.path else []),
        *([line("sha256", report.output.sha256)] if report.output.sha256 else []),
        *([line("manifest", report.output.manifest_path)] if report.output.manifest_path else []),
    ]
    return "\n".join([*map(harmless_line, lines), *_findings(report.findings)])


@view
def preflight_text(report: PreflightReport) -> str:
    """What was counted, what the longest records are, and every check that failed."""
    stats, wanted, calls = report.stats, report.thresholds, report.stats.tool_calls
    asked = report.request
    lines = [
        f"{asked.corpus} for {report.base.id} via {report.base.provider}: {'ready' if report.ok else 'not ready'}",
        line("target format", f"{asked.target_tool_format} (requested {asked.requested_tool_format})"),
        line("records", f"{stats.trainable_records} of {stats.raw_records} can be trained on"),
        line(
            "fit",
            f"{stats.fit_ratio:.1%} within {wanted.max_seq_length} tokens by estimate "
            f"(at least {wanted.min_fit_ratio:.1%})",
        ),
        line("over the hard limit", f"{stats.hard_overflow_records} of more than {wanted.hard_token_limit} tokens"),
        line(
            "tool calls",
            f"{calls.structured_tool_calls} structured, {calls.json_tool_calls} JSON, {calls.text_tool_calls} text, "
            f"{calls.malformed_json_bodies} malformed, {calls.unknown_tool_blocks} unknown",
        ),
        line("expected", f"{wanted.expected_source_tool_format} (at least {wanted.min_tool_call_share:.1%})"),
        line("splits", _counts(report.splits)),
        line("languages", _counts(report.breakdown.languages)),
        line("task types", _counts(report.breakdown.task_types)),
        line("declared formats", _counts(report.breakdown.declared_tool_formats)),
    ]
    return "\n".join(
        [*map(harmless_line, [*lines, *_longest(report), *_problems(report)]), *_findings(report.findings)]
    )


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in found.items()) or "none"


def _longest(report: PreflightReport) -> list[str]:
    if not report.longest:
        return []
    rows = [
        [f"    {one.id}", f"line {one.line_number}", f"~{one.approx_tokens} tokens", f"{one.message_count} messages"]
        for one in report.longest[:_LONGEST]
    ]
    return ["  longest, by estimate:", *columns(rows, right=frozenset({2, 3}))]


def _problems(report: PreflightReport) -> list[str]:
    if not report.problem_examples:
        return []
    rows = [
        [f"    {one.id}", f"line {one.line_number}", one.kind, one.detail] for one in report.problem_examples[:_SHOWN]
    ]
    left = len(report.problem_examples) - _SHOWN
    return ["  problems:", *columns(rows), *([f"    and {left} more (--json has them)"] if left > 0 else [])]


def _findings(findings: Sequence[Finding]) -> list[str]:
    """The first errors, and everything that is none."""
    errors = [one for one in findings if one.severity == "error"]
    others = [one for one in findings if one.severity != "error"]
    left = len(errors) - _SHOWN
    more = [f"  and {left} more errors (--json has them)"] if left > 0 else []
    return [*finding_lines(errors[:_SHOWN]), *more, *finding_lines(others)]
