"""Bases that stay because an adapter of ours stands on them: their evictions become rows that are kept."""

from __future__ import annotations

from reconciler.domain.plan import Action, Reason
from reconciler.domain.record import RecordEntry
from reconciler.domain.units import Bytes
from reconciler.planning.adapter_holds import why_held
from reconciler.planning.diff import Diff
from reconciler.planning.scene import Scene
from reconciler.planning.select import Selection
from reconciler.planning.trust import distrust_of_artifact, distrust_of_model, distrust_of_names


def hold_bases(scene: Scene, rows: Diff, selection: Selection) -> None:
    """Move evictions of bases that adapters hold from the changes to what is kept."""
    for row in [row for row in rows.changes if row.action is Action.EVICT and row.reason is not Reason.OVER_BUDGET]:
        target, entry = scene.targets[row.target], scene.entry(row.target_key, row.name)
        if entry is None or selection.dropped.intersection(row.slots) or _is_forbidden(scene, entry):
            continue
        successor = next((pick.option for pick in selection.picks if pick.address in row.slots), None)
        if why := why_held(scene, target, row.name, successor):
            rows.changes.remove(row)
            update = {"action": Action.KEEP, "reason": Reason.HELD_BY_ADAPTER, "message": why, "slots": ()}
            rows.kept.append(row.model_copy(update={**update, "bytes_freed": Bytes(0), "after": row.before}))


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
