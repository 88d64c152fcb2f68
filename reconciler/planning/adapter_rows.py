"""Rows about LoRA adapters, built in one place so that every row of one kind says the same things."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.adapter import (
    Adapter,
    AdapterServing,
    AdapterVerdict,
    RecordAdapter,
    ServedAdapter,
    outtype_of_place,
)
from reconciler.domain.advice import quoted
from reconciler.domain.desired import Target
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, AdapterMove, Reason, Row
from reconciler.domain.units import Bytes

_MOST_TOLD = 3
"""Errors of one adapter that its row has in words; ``explain`` has all of them."""


def adapter_row(
    adapter: Adapter,
    serving: AdapterServing,
    target: Target,
    name: str,
    ours: RecordAdapter | None,
    *,
    action: Action,
    reason: Reason,
    message: str,
    base: str,
    verdict: AdapterVerdict | None,
    served: ServedAdapter | None,
) -> Row:
    """A row about an adapter that the file asks for. ``bytes_down`` is set once it is known what is held already."""
    changes = action in (Action.ATTACH, Action.UPDATE)
    now = (served.digest if served is not None else None) or (ours.digest if ours is not None else None)
    return Row(
        address=f"adapter/{adapter.name}",
        action=action,
        reason=reason,
        target=target.name,
        target_key=target.key,
        name=base,
        ours=changes or ours is not None,
        adapter=AdapterMove(
            adapter=adapter.name,
            name=name,
            base=base,
            before=None if action is Action.ATTACH else now,
            after=verdict.digest if changes and verdict is not None else now,
            scale=serving.scale,
            verdict=verdict,
            declared_base=adapter.base,
            rebased_from=ours.base if action is Action.UPDATE and ours is not None and ours.base != base else None,
        ),
        message=message,
    )


def detaching(target: str, ours: RecordAdapter, served: ServedAdapter | None, reason: Reason, message: str) -> Row:
    """A row that takes an adapter of ours away.

    Args:
        target: its name.
        ours: what we attached.
        served: what answers to its name now.
        reason: why it goes.
        message: the same, for a person.
    """
    base = (served.base if served is not None else None) or ours.base
    return Row(
        address=f"adapter/{ours.adapter}",
        action=Action.DETACH,
        reason=reason,
        target=target,
        target_key=ours.target_key,
        name=base,
        ours=True,
        adapter=AdapterMove(
            adapter=ours.adapter,
            name=ours.name,
            base=base,
            before=ours.digest,
            scale=ours.scale,
            declared_base=ours.declared_base,
        ),
        bytes_freed=Bytes(0),
        message=message,
    )


def made_otherwise(adapter: Adapter, ours: RecordAdapter, verdict: AdapterVerdict) -> str:
    """How what was made of its weights is not what the file asks for now; empty: it is, or nothing was made of them."""
    made = outtype_of_place(ours.path) if verdict.format == "peft" else None
    return f"GGUF as {adapter.convert} instead of {made}" if made not in (None, adapter.convert) else ""


def promotion_words(verdict: AdapterVerdict) -> str:
    """What the gate misses, in one sentence."""
    return "; ".join(finding.message for finding in verdict.unpromoted)


def rejection_words(verdict: AdapterVerdict) -> str:
    """What speaks against an adapter, the first things first."""
    told = [finding.message for finding in verdict.errors[:_MOST_TOLD]]
    more = len(verdict.errors) - len(told)
    return "; ".join([*told, f"{more} more"] if more else told)


def what_to_do(findings: Sequence[Finding], adapter: Adapter) -> str:
    """The hints of the first findings, each once; where they are many or say nothing, who says more."""
    hints = list(dict.fromkeys(finding.hint for finding in findings[:_MOST_TOLD] if finding.hint))
    if not hints or len(findings) > _MOST_TOLD:
        hints.append(f"`localmodels explain {quoted(adapter.name)}` says everything")
    return "; ".join(hints)
