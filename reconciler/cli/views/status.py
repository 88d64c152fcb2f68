"""The status as a person reads it: each target with its models, the budget, what drifted, one line last."""

from __future__ import annotations

from datetime import datetime

from reconciler.cli.views.difference import drift_lines
from reconciler.cli.views.door import view
from reconciler.cli.views.plan import used_line
from reconciler.cli.views.table import columns, paint
from reconciler.cli.views.words import counted
from reconciler.domain.units import show_bytes, show_duration
from reconciler.engine.status import Status, StatusAlias, StatusModel, StatusTarget
from reconciler.engine.status_adapters import StatusAdapter

_COLOUR = {"ours": "green", "unmanaged-match": "green", "drifted": "yellow", "missing": "red", "unknown": "yellow"}


@view
def status_text(status: Status, *, now: datetime) -> str:
    """The whole status.

    Args:
        status: what was seen.
        now: ages are counted from here.
    """
    lines = [paint(f"{status.name} ({status.source})", "bold")]
    if not status.enabled:
        lines.append(paint("enabled: false: nothing is changed here", "yellow"))
    for target in status.targets:
        lines += ["", *_target(target, now)]
    lines += ["", *(used_line(budget) for budget in status.budgets)]
    lines += drift_lines(status.drift)
    for intent in status.intents:
        age = _ago(intent.begun_at, now)
        lines.append(f"unfinished: {intent.action} {intent.name} on {intent.target_name}, begun {age}")
    lines += [paint(f"warning: {warning}", "yellow") for warning in status.warnings]
    return "\n".join([*lines, _last_line(status, now)])


def _target(target: StatusTarget, now: datetime) -> list[str]:
    kind, _, place = target.key.partition("|")
    head = f"{target.name} ({target.runtime or kind} {place}".rstrip() + ")"
    head += f", version {target.version}" if target.version else ""
    if target.serves is not None:
        head += f": serves {target.serves} and {counted(len(target.adapters), 'adapter')}"
    lines = [paint(head, "bold") if target.state == "observed" else paint(f"{head}: {target.state}", "yellow")]
    lines += [f"  {target.reason}"] if target.reason else []
    lines += [f"  hint: {target.hint}"] if target.hint else []
    table = columns([_cells(model, now) for model in target.models], right=frozenset({2}))
    lines += [paint(row, _COLOUR.get(model.standing, "dim")) for model, row in zip(target.models, table, strict=True)]
    lines += [paint(f"  {_alias(alias)}", _COLOUR.get(alias.standing, "dim")) for alias in target.aliases]
    lines += [paint(f"  {_adapter(one)}", _COLOUR.get(one.standing, "dim")) for one in target.adapters]
    if not target.models and target.state == "observed" and target.runtime != "advisory":
        lines.append("  no models")
    if target.partial_bytes:
        names = f" ({', '.join(target.partial_names)})" if target.partial_names else ""
        lines.append(f"  unfinished downloads: {show_bytes(target.partial_bytes)}{names}")
    if target.disk:
        lines.append(f"  {show_bytes(target.disk.free_bytes)} of {show_bytes(target.disk.total_bytes)} disk free")
    return lines + [f"  note: {note}" for note in target.notes]


def _alias(alias: StatusAlias) -> str:
    """``name coder → org/repo/file.gguf (ours, 16,384 tokens, in use)``."""
    notes = [alias.standing, *([f"{alias.context:,} tokens"] if alias.context else [])]
    notes += ["in use"] if alias.loaded else []
    slots = f" for {', '.join(alias.slots)}" if alias.slots else ""
    return f"name {alias.name} → {alias.model or 'nothing that is there'}{slots} ({', '.join(notes)})"


def _adapter(adapter: StatusAdapter) -> str:
    """``adapter sql on org/repo/file.gguf (ours, scale 0.5, 12.3 MB, in use)``."""
    notes = [adapter.standing, *([f"scale {adapter.scale:g}"] if adapter.scale not in (None, 1.0) else [])]
    notes += [show_bytes(adapter.bytes)] if adapter.bytes else []
    notes += ["in use"] if adapter.loaded else []
    notes += [one.code.replace("_", " ") for one in adapter.findings]
    declared = f" for adapter/{adapter.adapter}" if adapter.adapter not in (None, adapter.name) else ""
    base = f" on {adapter.base}" if adapter.base else ""
    return f"adapter {adapter.name}{declared}{base} ({', '.join(notes)})"


def _cells(model: StatusModel, now: datetime) -> list[str]:
    notes = [*(["in use"] if model.loaded else []), *(["adopted"] if model.adopted else [])]
    notes += [f"installed {_ago(model.installed_at, now)}"] if model.installed_at else []
    return [model.standing, model.name, show_bytes(model.bytes), ", ".join(model.slots), ", ".join(notes)]


def _ago(then: datetime, now: datetime) -> str:
    seconds = (now - then).total_seconds()
    return f"{show_duration(seconds)} ago" if seconds >= 1 else "now"


def _last_line(status: Status, now: datetime) -> str:
    applied = _applied(status, now)
    if status.in_sync:
        return f"In sync; {applied}."
    waiting = (
        f"{counted(status.pending, 'change')} pending: see plan"
        if status.pending
        else "not everything can be met: see plan"
    )
    return f"Not in sync: {waiting}; {applied}."


def _applied(status: Status, now: datetime) -> str:
    """The newest of what the record holds: nothing tells when something was removed."""
    known = [("last install", status.last_applied_at), ("last attach", status.last_attached_at)]
    times = [(then, words) for words, then in known if then is not None]
    if not times:
        return "nothing applied yet"
    then, words = max(times, key=lambda one: one[0])
    return f"{words} {_ago(then, now)}"
