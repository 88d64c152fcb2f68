"""What an apply did, as a person reads it: a line a step, what is left, how to go on."""

from __future__ import annotations

from reconciler.cli.views.door import view
from reconciler.cli.views.plan import summary_line, summary_words
from reconciler.cli.views.table import paint
from reconciler.domain.plan import Action, AdapterMove, AliasMove, Row
from reconciler.domain.report import Report, StepOutcome
from reconciler.domain.units import show_bytes, show_duration

_PAST = {
    Action.INSTALL: "installed",
    Action.UPDATE: "updated",
    Action.EVICT: "evicted",
    Action.FORGET: "forgot",
    Action.KEEP: "kept",
    Action.ATTACH: "attached",
    Action.DETACH: "detached",
}


@view
def outcome_line(outcome: StepOutcome) -> str:
    """One step: what happened, how much, how long; a hint where it failed."""
    row = outcome.row
    if row.alias is not None:
        return _name_line(outcome, row.alias)
    if row.adapter is not None:
        return _adapter_line(outcome, row.adapter)
    if outcome.status == "done":
        size = row.bytes_down or outcome.bytes_freed or row.bytes_freed
        parts = [show_bytes(size)] if size else []
        parts += [show_duration(outcome.seconds)] if outcome.seconds >= 0.1 else []
        detail = f" ({', '.join(parts)})" if parts else ""
        return f"{_PAST[row.action]} {row.name} on {row.target}{detail}"
    line = f"{outcome.status}: {row.action.value} {row.name} on {row.target}: {outcome.message}"
    return line + (f"\n  hint: {outcome.hint}" if outcome.hint else "")


@view
def change_words(row: Row) -> str:
    """What a step does: ``install org/repo/file.gguf``, ``name coder → org/repo/file.gguf``, ``remove name coder``."""
    if row.adapter is not None:
        return f"{row.action.value} adapter {row.adapter.name} {_where(row.adapter, row.action)}".rstrip()
    if row.alias is None:
        return f"{row.action.value} {row.name}"
    return f"name {row.alias.name} → {row.alias.after}" if row.alias.after else f"remove name {row.alias.name}"


def _name_line(outcome: StepOutcome, wanted: AliasMove) -> str:
    """A step about a stable name: ``named coder → org/repo/file.gguf on local``."""
    row, change = outcome.row, change_words(outcome.row)
    if outcome.status == "done":
        past = f"named {wanted.name} → {wanted.after}" if wanted.after else f"removed the name {wanted.name}"
        return f"{f'forgot the name {wanted.name}' if row.action is Action.FORGET else past} on {row.target}"
    line = f"{outcome.status}: {change} on {row.target}: {outcome.message}"
    return line + (f"\n  hint: {outcome.hint}" if outcome.hint else "")


def _adapter_line(outcome: StepOutcome, move: AdapterMove) -> str:
    """A step about an adapter: ``attached adapter sql-tools to org/repo/file.gguf on edge``."""
    row = outcome.row
    if outcome.status == "done":
        return f"{_PAST[row.action]} adapter {move.name} {_where(move, row.action)}".rstrip() + f" on {row.target}"
    line = f"{outcome.status}: {change_words(row)} on {row.target}: {outcome.message}"
    return line + (f"\n  hint: {outcome.hint}" if outcome.hint else "")


def _where(move: AdapterMove, action: Action) -> str:
    words = {Action.ATTACH: "to", Action.UPDATE: "to", Action.DETACH: "from"}
    return f"{words[action]} {move.base}" if action in words else ""


@view
def report_text(report: Report) -> str:
    """The end of a run: what was done, whether a second look agrees, what is left."""
    done = [outcome for outcome in report.outcomes if outcome.status == "done"]
    lines = [paint(f"warning: {warning}", "yellow") for warning in report.warnings]
    failed = [outcome for outcome in report.outcomes if outcome.status != "done"]
    if failed:
        lines.append(paint(f"{len(failed)} of {len(report.outcomes)} steps did not happen:", "red"))
        lines += [f"  {outcome_line(outcome)}" for outcome in failed]
    if report.remaining is not None and not report.remaining.in_sync:
        lines.append(f"Left: {summary_words(report.remaining.summary)}.")
        lines += [line for row in report.remaining.blocked if row.message for line in _left(row)]
        lines += [f"  {row.address}: {row.message}" for row in report.remaining.unfilled if row.message]
    if not report.outcomes:
        lines.append(summary_line(report.remaining or report.plan))
    else:
        lines.append(f"Done: {len(done)} of {len(report.outcomes)} steps; {_seen_again(report)}.")
    return "\n".join(lines)


def _left(row: Row) -> list[str]:
    return [f"  {row.address}: {row.message}", *([f"    hint: {row.hint}"] if row.hint else [])]


def _seen_again(report: Report) -> str:
    """Whether the steps came to what they were to; what is blocked or unfilled is no step, and is told with its row."""
    if report.verified:
        return "a second look agrees"
    left = report.remaining
    if left is None or left.changes or any(outcome.status != "done" for outcome in report.outcomes):
        return "a second look does not agree yet: run plan"
    return "a second look agrees; what is left is said above"
