"""One adapter of the file: what becomes of it on each of its targets, and everything that was found of it."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.adapter import Adapter, AdapterVerdict, RecordAdapter, ServedAdapter
from reconciler.domain.document import Frozen
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action, Plan, Reason, Row
from reconciler.engine.look import find_adapter
from reconciler.engine.world import Planned

Standing = Literal["changes", "kept", "held", "deferred", "blocked"]
"""The part of the plan that a row stands in."""


class ExplainedAdapter(Frozen):
    """What becomes of it on one target under one name, and why."""

    target: str
    name: str
    """Request-model name there."""
    base: str | None = None
    """Canonical name of the model it is for there; None: there is none."""
    standing: Standing
    action: Action
    reason: Reason
    message: str = ""
    command: str | None = None
    served: ServedAdapter | None = None
    """What answers to the name now, whoever attached it."""
    recorded: RecordAdapter | None = None
    """What we attached under the name."""
    verdict: AdapterVerdict | None = None
    """What its source was found to be; None: nobody needed to look, or could."""


class AdapterExplanation(Frozen):
    """Everything of one adapter."""

    adapter: Adapter
    places: tuple[ExplainedAdapter, ...]
    """In the order of the plan."""
    notes: tuple[str, ...] = ()


def explain_adapter(found: Planned, adapter: Adapter) -> AdapterExplanation:
    """What a plan says of one adapter of its file."""
    places = tuple(_place(found, row, standing) for row, standing in _rows(found.plan, adapter.name))
    notes = tuple(note for note in found.plan.warnings if note.startswith(f"adapter/{adapter.name}:"))
    return AdapterExplanation(adapter=adapter, places=places, notes=notes)


def _rows(plan: Plan, name: str) -> list[tuple[Row, Standing]]:
    parts: tuple[tuple[Standing, tuple[Row, ...]], ...] = (
        ("changes", plan.changes),
        ("kept", plan.kept),
        ("held", plan.held),
        ("deferred", plan.deferred),
        ("blocked", plan.blocked),
    )
    return [
        (row, standing)
        for standing, rows in parts
        for row in rows
        if row.adapter is not None and row.adapter.adapter == name
    ]


def _place(found: Planned, row: Row, standing: Standing) -> ExplainedAdapter:
    name = row.adapter.name if row.adapter is not None else row.name
    target = found.observation.target(row.target)
    return ExplainedAdapter(
        target=row.target,
        name=name,
        base=row.name or None,
        standing=standing,
        action=row.action,
        reason=row.reason,
        message=row.message,
        command=row.command,
        served=find_adapter(target, name) if isinstance(target, ObservedTarget) else None,
        recorded=found.record.adapter(row.target_key, name),
        verdict=row.adapter.verdict if row.adapter is not None else None,
    )
