"""Files of adapters that nothing needs any more: let go of, and removed where nobody else holds them."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.observation import ObservedTarget, TargetObservation
from reconciler.domain.record import Record
from reconciler.engine.bookkeeping import Books
from reconciler.engine.lora.workshop import Workshop
from reconciler.engine.observe import look_at_targets
from reconciler.errors import ReconcilerError


async def released(workshop: Workshop, record: Record, targets: Iterable[TargetObservation]) -> tuple[str, ...]:
    """Let go of every adapter that the record does not name and no target serves; warnings about what did not work.

    While a target is unknown nothing goes: it may serve what was disowned.
    """
    if workshop.world.adapters is None:
        return ()
    seen = tuple(targets)
    if not all(isinstance(target, ObservedTarget) for target in seen):
        return ()
    needed = {one.digest for one in record.adapters}
    needed |= {intent.adapter.digest for intent in record.intents if intent.adapter is not None}
    places = [one.path or "" for target in seen if isinstance(target, ObservedTarget) for one in target.adapters]
    try:
        await workshop.store.sweep()
        for held in await workshop.store.held():
            served = any(held.digest in place for place in places)
            if workshop.holder in held.holders and held.digest not in needed and not served:
                await workshop.store.drop(held.digest, workshop.holder)
    except ReconcilerError as error:
        return (f"files of adapters that nothing needs were not removed: {error.message}",)
    return ()


async def still_held(workshop: Workshop, books: Books) -> frozenset[str]:
    """Digests that have files here once nothing is kept that nobody needs: every target is looked at for that."""
    seen = await look_at_targets(workshop.world, workshop.desired, workshop.runtimes)
    await released(workshop, books.record, seen)
    return frozenset(held.digest for held in await workshop.store.held())
