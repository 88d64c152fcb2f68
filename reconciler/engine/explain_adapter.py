"""One adapter of the file: what becomes of it on each of its targets, and everything that was found of it."""

from __future__ import annotations

from typing import Literal

from reconciler.domain.adapter import ADDRESS, Adapter, AdapterVerdict, RecordAdapter, ServedAdapter
from reconciler.domain.advice import quoted
from reconciler.domain.desired import DesiredState
from reconciler.domain.document import Frozen
from reconciler.domain.names import nearest
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action, Plan, Reason, Row
from reconciler.engine.look import find_adapter
from reconciler.engine.world import Planned
from reconciler.errors import UsageError

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
    hint: str | None = None
    """What a person can do about it, where no command says it."""
    command: str | None = None
    served: ServedAdapter | None = None
    """What answers to the name now, whoever attached it."""
    recorded: RecordAdapter | None = None
    """What we attached under the name."""
    verdict: AdapterVerdict | None = None
    """What its source was found to be; None: nobody needed to look, or could."""


class AdapterExplanation(Frozen):
    """Everything of one adapter."""

    address: str
    """As ``plan`` prints it: ``adapter/NAME``."""
    adapter: Adapter | None = None
    """As the file declares it; None: it does not any more, and something of it is still ours."""
    places: tuple[ExplainedAdapter, ...]
    """In the order of the plan."""
    notes: tuple[str, ...] = ()


def explain_adapter(found: Planned, name: str, target: str | None = None) -> AdapterExplanation:
    """What a plan says of one adapter: of its file, or one that left the file and is ours still.

    Args:
        found: the plan and what it was made from.
        name: in the file.
        target: of its targets, the only one that is asked about; None: all of them.

    Raises:
        UsageError: there is no such adapter, or nothing of it on that target.
    """
    adapter = next((one for one in found.desired.adapters if one.name == name), None)
    everywhere = tuple(_place(found, row, standing) for row, standing in rows_of(found.plan, name))
    if adapter is None and not everywhere:
        raise unknown_adapter(name, found.desired)
    places = tuple(place for place in everywhere if target in (None, place.target))
    if target is not None and not places:
        known = ", ".join(dict.fromkeys(place.target for place in everywhere)) or "it is on no target"
        raise UsageError(f"nothing of {ADDRESS}{name} is on {target}", hint=known)
    notes = tuple(note for note in found.plan.warnings if note.startswith(f"{ADDRESS}{name}:"))
    return AdapterExplanation(address=f"{ADDRESS}{name}", adapter=adapter, places=places, notes=notes)


def unknown_adapter(name: str, desired: DesiredState) -> UsageError:
    """The error that says which adapters there are."""
    declared = [one.name for one in desired.adapters]
    known = ", ".join(nearest(name, declared) or sorted(declared))
    hint = f"the file has {known}" if known else "the file declares none"
    return UsageError(f"no adapter of the file is called {name}", code="unknown-adapter", hint=hint)


def rows_of(plan: Plan, name: str) -> list[tuple[Row, Standing]]:
    """The rows about one adapter, each with the part of the plan that it stands in."""
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
        hint=row.hint or _how_to_go_on(row),
        command=row.command,
        served=find_adapter(target, name) if isinstance(target, ObservedTarget) else None,
        recorded=found.record.adapter(row.target_key, name),
        verdict=row.adapter.verdict if row.adapter is not None else None,
    )


def _how_to_go_on(row: Row) -> str | None:
    """What a person may want of a row in which nothing is amiss."""
    if row.reason is Reason.UNMANAGED_MATCH:
        return f"`localmodels adopt {quoted(row.address)}` makes it ours"
    return None
