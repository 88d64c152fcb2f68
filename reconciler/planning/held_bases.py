"""Bases that stay because an adapter stands on them: their evictions become rows that are kept, or blocked."""

from __future__ import annotations

from reconciler.domain.plan import Action, Reason, Row
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import Bytes
from reconciler.planning.adapter_base import means
from reconciler.planning.adapter_holds import declared, others_in_words, others_on, why_held
from reconciler.planning.adapter_standing import our_adapters
from reconciler.planning.diff import Diff
from reconciler.planning.scene import Scene
from reconciler.planning.select import Selection
from reconciler.planning.trust import distrust_of_artifact, distrust_of_model, distrust_of_names


def hold_bases(scene: Scene, rows: Diff, selection: Selection) -> None:
    """Take evictions of bases that adapters hold out of the changes: kept for one of ours, blocked for another's."""
    for row in [row for row in rows.changes if row.action is Action.EVICT]:
        if others := others_on(scene.observed[row.target], scene.record, row.name):
            _stays(
                rows,
                row,
                rows.blocked,
                Reason.UNMANAGED_CONFLICT,
                f"{row.message}, and stays: {others_in_words(others)}",
            )
        elif row.reason is not Reason.OVER_BUDGET and (why := _held_by_ours(scene, row, selection)):
            _stays(rows, row, rows.kept, Reason.HELD_BY_ADAPTER, why)


def _stays(rows: Diff, row: Row, where: list[Row], reason: Reason, message: str) -> None:
    rows.changes.remove(row)
    update = {"action": Action.KEEP, "reason": reason, "message": message, "slots": ()}
    where.append(row.model_copy(update={**update, "bytes_freed": Bytes(0), "after": row.before}))


def _held_by_ours(scene: Scene, row: Row, selection: Selection) -> str:
    """Why an adapter of ours keeps a model that may be kept, in words; empty: none does."""
    target, entry = scene.targets[row.target], scene.entry(row.target_key, row.name)
    if entry is None or selection.dropped.intersection(row.slots) or _is_forbidden(scene, entry):
        return ""
    named = _bases_of_adapters_on(scene, row)
    successor = next(
        (
            pick.option
            for pick in selection.picks
            if pick.address in row.slots or any(means(base, pick) for base in named)
        ),
        None,
    )
    return why_held(scene, target, row.name, successor, only_served=True)


def _bases_of_adapters_on(scene: Scene, row: Row) -> list[str]:
    """What its adapters call their base: a slot that was given to the successor already, or a model."""
    target = scene.targets[row.target]
    ours = [one for one in our_adapters(scene, target) if scene.same_model(target.name, one.base, row.name)]
    return [adapter.base for one in ours if (adapter := declared(scene, target, one)) is not None]


def _is_forbidden(scene: Scene, entry: RecordEntry) -> bool:
    pool, model = scene.desired.pool, scene.models.get(entry.model_id)
    if model is not None and distrust_of_model(pool, model) is not None:
        return True
    if entry.artifact is None:
        return distrust_of_names(pool, (entry.name, entry.model_id)) is not None
    registry = next(target.registry for target in scene.desired.targets if target.key == entry.target_key)
    distrust = distrust_of_artifact(
        pool, entry.artifact, model_id=entry.model_id, name=entry.name, trusted_registry=registry
    )
    return distrust is not None
