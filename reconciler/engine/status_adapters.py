"""The adapters of ``status``: what is served on a target, whose it is, and what a person should know of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from reconciler.domain.adapter import RecordAdapter
from reconciler.domain.document import Frozen
from reconciler.domain.finding import Finding
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.plan import Plan
from reconciler.domain.record import Record
from reconciler.domain.units import Bytes
from reconciler.engine.lora.settled import stands


class StatusAdapter(Frozen):
    """One LoRA adapter on one target, served or recorded."""

    name: str
    """That requests use."""
    standing: Literal["ours", "drifted", "missing", "foreign", "unknown", "orphaned"]
    """``drifted``: ours, and served otherwise than we attached it."""
    adapter: str | None = None
    """Its name in the file."""
    base: str | None = None
    scale: float | None = None
    digest: str | None = None
    bytes: Bytes = Bytes(0)
    """Of its files in our store."""
    loaded: bool = False
    findings: tuple[Finding, ...] = ()
    """What a person should know of it as it stands; the plan warns of the same."""


def findings_of(plan: Plan) -> dict[tuple[str, str], tuple[Finding, ...]]:
    """What a plan found of adapters as they stand, by the subjects of their rows."""
    return {row.subject: row.adapter.findings for row in (*plan.kept, *plan.changes) if row.adapter is not None}


def served_adapters(
    target: ObservedTarget, record: Record, told: Mapping[tuple[str, str], tuple[Finding, ...]]
) -> tuple[StatusAdapter, ...]:
    """Every adapter that is served there, and every one of ours that is not.

    Args:
        target: that answered.
        record: what is ours.
        told: of ``findings_of``.
    """
    ours = {one.name: one for one in record.adapters if one.target_key == target.key}
    served = {one.name for one in target.adapters}
    found = [
        recorded_adapter(one, "missing").model_copy(update={"findings": told.get((target.key, f"adapter {name}"), ())})
        for name, one in ours.items()
        if name not in served
    ]
    for here in target.adapters:
        known = ours.get(here.name)
        if known is None:
            plain = StatusAdapter(
                name=here.name, standing="foreign", base=here.base, scale=here.scale, digest=here.digest
            )
        else:
            plain = recorded_adapter(known, "ours" if stands(target, known) is not None else "drifted")
            plain = plain.model_copy(update={"scale": known.scale if here.scale is None else here.scale})
        found.append(
            plain.model_copy(
                update={"loaded": here.loaded, "findings": told.get((target.key, f"adapter {here.name}"), ())}
            )
        )
    return tuple(sorted(found, key=lambda one: one.name))


def recorded_adapter(
    adapter: RecordAdapter, standing: Literal["ours", "drifted", "missing", "unknown", "orphaned"]
) -> StatusAdapter:
    """One of ours, by the record."""
    return StatusAdapter(
        name=adapter.name,
        standing=standing,
        adapter=adapter.adapter,
        base=adapter.base,
        scale=adapter.scale,
        digest=adapter.digest,
        bytes=adapter.bytes,
    )
