"""The row that detaches an adapter of ours, whatever the file says: for ``destroy``."""

from __future__ import annotations

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action, AdapterMove, Reason, Row
from reconciler.engine.look import find_adapter


def removal_of_adapter(ours: RecordAdapter, target: ObservedTarget | UnknownTarget | None) -> Row:
    """Detach it; forget it where it is gone, or somebody put another there; keep it where nobody can look."""
    here = find_adapter(target, ours.name) if isinstance(target, ObservedTarget) else None
    row = Row(
        address=f"adapter/{ours.adapter}",
        action=Action.DETACH,
        reason=Reason.NOT_DESIRED,
        target=target.name if target is not None else ours.target_name,
        target_key=ours.target_key,
        name=ours.base,
        ours=True,
        adapter=AdapterMove(
            adapter=ours.adapter,
            name=ours.name,
            base=ours.base,
            before=ours.digest,
            scale=ours.scale,
            declared_base=ours.declared_base,
        ),
        message="ours, and everything of ours is to go",
    )
    if not isinstance(target, ObservedTarget):
        reason = target.in_words if target is not None else "it is not configured"
        return row.model_copy(
            update={
                "action": Action.KEEP,
                "reason": Reason.TARGET_UNKNOWN,
                "message": f"{ours.target_name} cannot be looked at: {reason}",
            }
        )
    if here is None or here.is_foreign_to(ours):
        message = "it is gone already" if here is None else "what stands there now is not ours: it stays"
        return row.model_copy(update={"action": Action.FORGET, "reason": Reason.GONE, "message": message})
    return row
