"""What a look tells of a step about an adapter: whether it happened, and what the record says then."""

from __future__ import annotations

from reconciler.domain.adapter import RecordAdapter, ServedAdapter, is_same_scale
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Action, AdapterMove
from reconciler.domain.record import Intent, Record
from reconciler.domain.report import StepOutcome
from reconciler.engine.bookkeeping import Books
from reconciler.engine.look import find_adapter, same_model


def stands(target: ObservedTarget, wanted: RecordAdapter) -> ServedAdapter | None:
    """The adapter as it was to be served; None: it is not. What the target does not tell counts as so."""
    here = find_adapter(target, wanted.name)
    if here is None or here.damaged or not here.holds(wanted.digest):
        return None
    if here.base is not None and not same_model(target.key, here.base, wanted.base):
        return None
    if here.scale is not None and not is_same_scale(here.scale, wanted.scale):
        return None
    return here


def after_adapting(record: Record, intent: Intent, target: ObservedTarget) -> tuple[Record, str]:
    """Close an intent about an adapter. One that was there before us and is not ours is not taken by a look."""
    settled, wanted, place = record.without_intent(intent.id), intent.adapter, f"{intent.name} on {target.name}"
    here, ours = find_adapter(target, intent.name), record.adapter(intent.target_key, intent.name)
    if intent.action == "detach" or wanted is None:
        if here is None and ours is not None:
            return settled.without_adapter(intent.target_key, intent.name), f"adapter {place} is gone, as was begun"
        return settled, f"adapter {place} was not detached"
    served = None if intent.existed else stands(target, wanted)
    if served is not None:
        found = wanted.model_copy(update={"path": served.path or wanted.path})
        return settled.with_adapter(found), f"adapter {place} is served, as was begun"
    return settled, f"adapter {place} was not attached{'; what was served there still is' if here and ours else ''}"


async def adapter_as_seen(
    before: Record, outcome: StepOutcome, move: AdapterMove, target: ObservedTarget, books: Books
) -> StepOutcome:
    """The outcome of a step about an adapter as a second look has it. What we failed to detach is still ours."""
    if outcome.status != "done" or outcome.row.action is Action.FORGET:
        return outcome
    here, later = find_adapter(target, move.name), books.record.adapter(target.key, move.name)
    if move.after is None:
        ours = before.adapter(target.key, move.name)
        if here is None or ours is None or later is not None:  # gone, or attached again by a later step
            return outcome
        await books.enter_adapter(ours, event="restored")
        return not_so(outcome, "not-removed", f"{target.name} said {move.name} is detached, and serves it still")
    if later is None or stands(target, later) is not None:
        return outcome
    return not_so(outcome, "not-installed", f"{target.name} said it serves {move.name} so; it does not")


def not_so(outcome: StepOutcome, code: str, message: str) -> StepOutcome:
    """A step that was said to be done, and is not."""
    return outcome.model_copy(update={"status": "failed", "code": code, "message": message, "hint": "apply again"})
