"""A plan as a person reads it: rows by what becomes of them, the budget, warnings, one summary line last."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.cli.views.difference import standing_lines
from reconciler.cli.views.door import view
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.plan import Action, AdapterMove, Budget, Plan, Row, Summary
from reconciler.domain.units import show_bytes

_COLOUR = {
    Action.INSTALL: "green",
    Action.UPDATE: "yellow",
    Action.EVICT: "red",
    Action.FORGET: "dim",
    Action.KEEP: "dim",
    Action.ATTACH: "green",
    Action.DETACH: "red",
}


@view
def plan_text(plan: Plan, *, source: str = "", machine: str = "") -> str:
    """The whole plan. Sizes in GB (10⁹); ``≈`` marks a size that nobody stated exactly.

    Args:
        plan: to show.
        source: the file it is of.
        machine: a line on the machine it is for, where that is another one than this.
    """
    lines = [paint(f"Plan for {plan.name}{f' ({source})' if source else ''}", "bold"), *([machine] if machine else [])]
    for title, rows in (
        ("", plan.changes),
        ("Held back", plan.held),
        ("Deferred", plan.deferred),
        ("Blocked", plan.blocked),
        ("Unfilled", plan.unfilled),
        ("Kept", plan.kept),
    ):
        if rows:
            lines += ["", *([title + ":"] if title else []), *_rows(rows, with_action=not title)]
    if not plan.changes:
        lines += ["", "Nothing to change."]
    lines += ["", *(budget_line(budget) for budget in plan.budgets)]
    lines += [paint(f"refused: {refusal.message}; {refusal.hint}", "red") for refusal in plan.refused]
    lines += [paint(f"warning: {warning}", "yellow") for warning in plan.warnings]
    if plan.needs:
        lines.append(f"{counted(len(plan.needs), 'question')} open: this plan cannot be applied yet")
    return "\n".join([*lines, summary_line(plan)])


@view
def summary_line(plan: Plan) -> str:
    """The last line: what would happen, in one breath."""
    if plan.in_sync and not (plan.held or plan.deferred):
        return f"In sync: {plan.summary.kept} kept."
    words = summary_words(plan.summary, approximate=any(not row.resolved for row in plan.changes))
    return f"Plan: {words}{_obstacle(plan)}."


def _obstacle(plan: Plan) -> str:
    """Why the changes cannot be applied as they stand; nothing where they can, or where there are none."""
    unresolved = sum(not row.resolved for row in plan.changes)
    if plan.applicable or not plan.changes:
        return ""
    if plan.refused:
        return "; cannot be applied: refused"
    if unresolved:
        return f"; cannot be applied yet: the files of {counted(unresolved, 'change')} are not known"
    return f"; cannot be applied yet: {counted(len(plan.needs), 'question')} open"


def summary_words(summary: Summary, *, approximate: bool = False) -> str:
    """``1 install (9.0 GB), 1 evict (8.1 GB), 6 kept``; what is zero is left out."""
    sign = "≈" if approximate else ""
    down = f" ({sign}{show_bytes(summary.bytes_down)})" if summary.bytes_down else ""
    freed = f" ({show_bytes(summary.bytes_freed)})" if summary.bytes_freed else ""
    parts = [
        (summary.install, f"install{down if summary.install else ''}"),
        (summary.update, f"update{down if not summary.install else ''}"),
        (summary.evict, f"evict{freed}"),
        (summary.forget, "forget"),
        (summary.attach, f"attach{down if not (summary.install or summary.update) else ''}"),
        (summary.detach, "detach"),
        (summary.named, "name" if summary.named == 1 else "names"),
        (summary.kept, "kept"),
        (summary.held, "held"),
        (summary.deferred, "deferred"),
        (summary.blocked, "blocked"),
        (summary.unfilled, "unfilled"),
    ]
    return ", ".join(f"{count} {word}" for count, word in parts if count) or "nothing"


def _rows(rows: Sequence[Row], *, with_action: bool) -> list[str]:
    table = [_cells(row, with_action=with_action) for row in rows]
    lines = columns(table, right=frozenset({4}))
    shown: list[str] = []
    for row, line in zip(rows, lines, strict=True):
        shown.append(paint(line, _COLOUR[row.action]) if with_action else line)
        detail = _numbers(row)
        if detail and row.action is not Action.KEEP:
            shown += [f"      {line}" for line in (detail, "; ".join(row.evidence.notes)) if line]
        if row.action is Action.UPDATE and row.before is not None and row.after is not None:
            shown += [f"      {line}" for line in standing_lines(row.before, row.after)]
        if row.message:
            shown.append(f"      {row.message}")
        if row.hint:
            shown.append(f"      hint: {row.hint}")
        if row.evidence.nearest:
            shown.append(f"      nearest: {row.evidence.nearest}")
        if row.command:
            shown.append(f"      run: {row.command}")
    return shown


def _cells(row: Row, *, with_action: bool) -> list[str]:
    what = f"{row.model_id} {row.quant or ''}".strip() if row.model_id else (row.name or "–")
    address = ", ".join(row.slots) or row.address
    if row.alias is not None:
        word = "name" if row.alias.after or row.action is not Action.UPDATE else "unname"
        sign, first, last = (row.action.sign, word, row.reason.value) if with_action else (" ", row.reason.value, "")
        changed = f"{row.alias.name} → {row.alias.after}" if row.alias.after else row.alias.name
        return [sign, address, first, changed, "", row.target, last]
    what = what if row.adapter is None else adapter_words(row.adapter, row.action)
    size = row.bytes_down or row.bytes_freed or (row.before.bytes if row.before else 0)
    shown = f"{'' if row.resolved else '≈'}{show_bytes(size)}" if size else ""
    sign = row.action.sign if with_action else " "
    word = row.action.value if with_action else ""
    return [sign, address, word or row.reason.value, what, shown, row.target, row.reason.value if word else ""]


def adapter_words(move: AdapterMove, action: Action) -> str:
    """``sql-tools → org/repo/file.gguf``: the name requests use, and the model it stands on."""
    if not move.base:
        return move.name
    scale = f" at scale {move.scale:g}" if move.scale != 1.0 and action is not Action.DETACH else ""
    return f"{move.name} {'←' if action is Action.DETACH else '→'} {move.base}{scale}"


def _numbers(row: Row) -> str:
    """The evidence in one line: score with its interval, speed, memory at the context."""
    said, parts = row.evidence, []
    if said.score and said.low is not None and said.high is not None:
        parts.append(f"score {said.score:.1f} ({said.low:.0f} to {said.high:.0f})")
    if said.tokens_per_second:
        parts.append(f"about {said.tokens_per_second:.0f} tokens/s")
    if said.memory_bytes and said.capacity_bytes:
        parts.append(
            f"{show_bytes(said.memory_bytes)} of {show_bytes(said.capacity_bytes)} memory at {said.context} tokens"
        )
    return ", ".join(parts)


@view
def budget_line(budget: Budget) -> str:
    """What a budget holds, and what it will."""
    scope = "Disk budget" if budget.scope == "host" else f"Disk budget of {budget.scope}"
    sign = "" if budget.exact else "≈"
    line = (
        f"{scope}: {show_bytes(budget.used_bytes)} used, {sign}{show_bytes(budget.after_bytes)} after "
        f"(peak {sign}{show_bytes(budget.peak_bytes)}) of {show_bytes(budget.limit_bytes)}"
    )
    return line + _free_disk(budget)


@view
def used_line(budget: Budget) -> str:
    """What a budget holds now."""
    scope = "Disk budget" if budget.scope == "host" else f"Disk budget of {budget.scope}"
    return f"{scope}: {show_bytes(budget.used_bytes)} used of {show_bytes(budget.limit_bytes)}" + _free_disk(budget)


def _free_disk(budget: Budget) -> str:
    if budget.free_disk_bytes is not None and budget.min_free_bytes is not None:
        return f"; {show_bytes(budget.free_disk_bytes)} free on disk, {show_bytes(budget.min_free_bytes)} stay free"
    return ""


@view
def plan_markdown(plan: Plan, *, limit: int = 60_000) -> str:
    """For a pull request: summary first, sections dropped whole beyond ``limit`` characters, a marker to update by."""
    head = [f"<!-- localmodels-plan:{plan.name} -->", f"### localmodels: {plan.name}", "", f"**{summary_line(plan)}**"]
    head += ["", *(f"- {_escaped(budget_line(budget))}" for budget in plan.budgets)] if plan.budgets else []
    head += ["", *(f"- refused: {_escaped(refusal.message)}" for refusal in plan.refused)] if plan.refused else []
    text, left_out = "\n".join(head), 0
    for section in _sections(plan):
        if len(text) + len(section) > limit:
            left_out += 1
            continue
        text += "\n\n" + section
    if left_out:
        text += f"\n\n_{left_out} section(s) left out for length; `localmodels plan --json` has everything._"
    return text


def _sections(plan: Plan) -> list[str]:
    titles = (
        ("Changes", plan.changes), ("Held back", plan.held), ("Deferred", plan.deferred),
        ("Blocked", plan.blocked), ("Unfilled", plan.unfilled), ("Kept", plan.kept),
    )  # fmt: skip
    found = [_markdown_table(title, rows) for title, rows in titles if rows]
    if plan.warnings:
        found.append("#### Warnings\n\n" + "\n".join(f"- {_escaped(warning)}" for warning in plan.warnings))
    return found


def _markdown_table(title: str, rows: Sequence[Row]) -> str:
    lines = [f"#### {title}", "", "| | slot | model | size | target | why |", "|---|---|---|--:|---|---|"]
    for row in rows:
        cells = _cells(row, with_action=True)
        numbers = "" if row.action is Action.KEEP else _numbers(row)
        said = "; ".join(part for part in (row.message, row.hint, numbers) if part)
        said += f"; nearest: {row.evidence.nearest}" if row.evidence.nearest else ""
        why = f"{row.reason.value}{f': {said}' if said else ''}"
        sign = "unfilled" if title == "Unfilled" else f"`{cells[0]}` {cells[2]}"
        words = (sign, cells[1], cells[3], cells[4], row.target, why)
        command = f" Run: `{row.command.replace('|', chr(92) + '|')}`" if row.command else ""
        lines.append("| " + " | ".join(_escaped(word) for word in words) + f"{command} |")
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
