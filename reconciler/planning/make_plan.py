"""``make_plan``: load, observe and rank have spoken; this says what would change and why.

Same inputs, same bytes. The order of slots matters; of mapping keys, candidates, targets' models it does not.
"""

from __future__ import annotations

from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import Observation
from reconciler.domain.plan import Action, Overrides, Plan, Reason, Row, Summary
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.planning.adapters import fit_adapters
from reconciler.planning.aliases import name_slots
from reconciler.planning.diff import diff
from reconciler.planning.findings import drift_of, findings, over_budget
from reconciler.planning.fingerprint import fingerprint_of
from reconciler.planning.guard import guard
from reconciler.planning.held_bases import hold_bases
from reconciler.planning.order import order
from reconciler.planning.room import Place, empty_room
from reconciler.planning.scene import Scene
from reconciler.planning.select import select
from reconciler.planning.trust import keep_pattern_for


def make_plan(
    desired: DesiredState, observation: Observation, record: Record, *, overrides: Overrides | None = None
) -> Plan:
    """The plan: select, diff, order, guard. Pure; time is ``observation.now``."""
    scene = Scene(desired, observation, record, overrides or Overrides())
    selection = select(scene, empty_room(scene, holding=_staying(scene)))
    rows = diff(scene, selection)
    hold_bases(scene, rows, selection)
    ordered = order(scene, rows.changes, waiting=(*rows.blocked, *rows.held))
    refused = guard(scene, ordered.changes, (*rows.kept, *ordered.kept))
    blocked = (*rows.blocked, *ordered.blocked)
    named = name_slots(scene, selection.picks, ordered.changes, blocked)
    blocked = (*blocked, *named.blocked)
    fitted = fit_adapters(scene, selection.picks, named.changes, blocked, ordered.budgets)
    held = [*rows.held, *fitted.held]
    deferred = [*rows.deferred, *named.deferred, *fitted.deferred]
    changes, budgets = fitted.changes, fitted.budgets
    if not desired.enabled:
        held.extend(_disabled(row) for row in changes)
        changes, refused, budgets = (), (), order(scene, ()).budgets
    blocked = (*blocked, *fitted.blocked)
    kept = (*rows.kept, *ordered.kept, *fitted.kept)
    needs = tuple(dict.fromkeys((*rows.needs, *fitted.needs))) if desired.enabled else ()
    return Plan(
        name=desired.name,
        made_at=observation.now,
        fingerprint=fingerprint_of(scene),
        applicable=not refused and not needs and all(row.resolved for row in changes),
        drift=drift_of(scene),
        changes=changes,
        kept=_sorted(kept),
        held=_sorted(held),
        deferred=_sorted(deferred),
        blocked=_sorted(blocked),
        unfilled=selection.unfilled,
        refused=refused,
        needs=needs,
        budgets=budgets,
        overrides=scene.overrides,
        warnings=(*findings(scene, selection.picks), *named.warnings, *fitted.warnings, *over_budget(budgets)),
        summary=_summary(changes, kept, held, deferred, blocked, selection.unfilled),
    )


def _staying(scene: Scene) -> tuple[Place, ...]:
    """Places of ours that stay whatever is picked: kept by name, or not pruned at all."""
    return tuple(
        (target.name, entry.name)
        for target in scene.desired.targets
        for entry in scene.record.entries
        if entry.target_key == target.key
        and (
            scene.desired.pool.prune == "never"
            or keep_pattern_for(scene.desired.pool, (entry.name, entry.model_id)) is not None
        )
    )


def _disabled(row: Row) -> Row:
    message = f"enabled: false; would {row.action.value} ({row.reason.value})"
    return row.model_copy(update={"action": Action.KEEP, "reason": Reason.DISABLED, "message": message})


def _sorted(rows: tuple[Row, ...] | list[Row]) -> tuple[Row, ...]:
    return tuple(sorted(rows, key=lambda row: (row.address, row.target, row.name, row.reason.value)))


def _summary(
    changes: tuple[Row, ...],
    kept: tuple[Row, ...],
    held: list[Row],
    deferred: list[Row],
    blocked: tuple[Row, ...],
    unfilled: tuple[Row, ...],
) -> Summary:
    def count(action: Action) -> int:
        return sum(1 for row in changes if row.action is action)

    named = sum(1 for row in changes if row.action is Action.UPDATE and row.alias is not None)
    return Summary(
        install=count(Action.INSTALL),
        update=count(Action.UPDATE) - named,
        evict=count(Action.EVICT),
        forget=count(Action.FORGET),
        named=named,
        attach=count(Action.ATTACH),
        detach=count(Action.DETACH),
        kept=len(kept),
        held=len(held),
        deferred=len(deferred),
        blocked=len(blocked),
        unfilled=len(unfilled),
        bytes_down=Bytes(sum(row.bytes_down for row in changes)),
        bytes_freed=Bytes(sum(row.bytes_freed for row in changes)),
    )
