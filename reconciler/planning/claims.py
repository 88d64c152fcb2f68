"""Which slots each of our models fills after a plan, and which entry of the file asks for each of our adapters."""

from __future__ import annotations

from reconciler.domain.plan import Plan, Reason
from reconciler.domain.record import Record


def with_claims(record: Record, plan: Plan) -> Record:
    """The record with every claim that the plan settles; equal to ``record`` where nothing is new.

    What fills slots claims exactly those. What only waits (an eviction of a busy model, a swap without room) keeps its
    claim unless another fills the slot, or the plan found that nothing does.
    """
    filled = {(row.target_key, row.name): row.slots for row in plan.kept if row.slots}
    settled = {address for slots in filled.values() for address in slots}
    settled |= {address for row in plan.unfilled for address in row.slots}
    for entry in record.entries:
        waiting = tuple(address for address in entry.slots if address not in settled)
        slots = filled.get((entry.target_key, entry.name), waiting)
        if slots != entry.slots:
            record = record.with_entry(entry.model_copy(update={"slots": slots}))
    return _with_entries_of_adapters(record, plan)


def _with_entries_of_adapters(record: Record, plan: Plan) -> Record:
    """An adapter that stands as the file asks is that of the entry which asks for it, however it was called before."""
    for row in plan.kept:
        ours = record.adapter(row.target_key, row.adapter.name) if row.adapter is not None else None
        if row.adapter is None or ours is None or row.reason is not Reason.IN_SYNC or not row.ours:
            continue
        fresh = ours.model_copy(update={"adapter": row.adapter.adapter, "declared_base": row.adapter.declared_base})
        record = record if fresh == ours else record.with_adapter(fresh)
    return record
