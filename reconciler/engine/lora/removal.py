"""The row that detaches an adapter of ours, whatever the file says: for ``destroy``."""

from __future__ import annotations

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.observation import ObservedTarget, UnknownTarget
from reconciler.domain.plan import Action, Reason, Row
from reconciler.engine.look import find_adapter
from reconciler.planning.adapter_rows import detaching

_TO_GO = "ours, and everything of ours is to go"


def removal_of_adapter(ours: RecordAdapter, target: ObservedTarget | UnknownTarget | None) -> Row:
    """Detach it; forget it where it is gone, or somebody put another there; keep it in use, and where nobody can look.

    The row is about the base that it is served on now.
    """
    if not isinstance(target, ObservedTarget):
        reason = target.in_words if target is not None else "it is not configured"
        name = target.name if target is not None else ours.target_name
        row = detaching(name, ours, None, Reason.NOT_DESIRED, _TO_GO)
        return _turned(row, Action.KEEP, Reason.TARGET_UNKNOWN, f"{ours.target_name} cannot be looked at: {reason}")
    here = find_adapter(target, ours.name)
    if here is None or here.is_foreign_to(ours):
        message = "it is gone already" if here is None else "what stands there now is not ours: it stays"
        return _turned(
            detaching(target.name, ours, None, Reason.NOT_DESIRED, _TO_GO), Action.FORGET, Reason.GONE, message
        )
    row = detaching(target.name, ours, here, Reason.NOT_DESIRED, _TO_GO)
    return _turned(row, Action.KEEP, Reason.IN_USE, "in use now: it stays, and stays ours") if here.loaded else row


def _turned(row: Row, action: Action, reason: Reason, message: str) -> Row:
    return row.model_copy(update={"action": action, "reason": reason, "message": message})
