"""The row that takes an adapter away, and what rows about adapters say in words."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.adapter import (
    Adapter,
    AdapterVerdict,
    RecordAdapter,
    ServedAdapter,
    address_of,
    outtype_of_place,
)
from reconciler.domain.advice import quoted
from reconciler.domain.finding import Finding
from reconciler.domain.plan import Action, AdapterMove, Reason, Row
from reconciler.domain.units import Bytes

_MOST_TOLD = 3
"""Errors of one adapter that its row has in words; ``explain`` has all of them."""


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
        address=address_of(ours.adapter),
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
