"""Files of adapters that nothing needs any more: let go of, and removed where nobody else holds them."""

from __future__ import annotations

from collections.abc import Container, Iterable

from reconciler.domain.adapter import is_place_of
from reconciler.domain.observation import ObservedTarget, TargetObservation
from reconciler.domain.record import Record
from reconciler.engine.bookkeeping import Books
from reconciler.engine.lora.other_owners import is_served_for
from reconciler.engine.lora.workshop import Workshop, holder_of
from reconciler.engine.observe import look_at_targets
from reconciler.errors import ReconcilerError


async def released(workshop: Workshop, record: Record, targets: Iterable[TargetObservation]) -> tuple[str, ...]:
    """Let go of every adapter that the record does not name and no target serves; warnings about what did not work.

    What targets serve for other documents, which hold the files too, keeps nothing of ours.

    While a target is unknown nothing goes: it may serve what was disowned. What was disowned on a target that left the
    file stays until a look at that target does not find it any more.
    """
    if workshop.world.adapters is None:
        return ()
    seen = tuple(targets)
    if not all(isinstance(target, ObservedTarget) for target in seen):
        return ()
    needed = {one.digest for one in record.adapters}
    needed |= {intent.adapter.digest for intent in record.intents if intent.adapter is not None}
    answered = tuple(target for target in seen if isinstance(target, ObservedTarget))
    try:
        await workshop.store.sweep()
        others = await workshop.world.records(workshop.desired).others()
        for held in await workshop.store.held():
            idle = [target for target in answered if not _serves(target, held.digest)]
            for target in idle:
                if (note := workshop.disowned_on(target.key)) in held.holders:
                    await workshop.store.drop(held.digest, note)
            served = any(
                target not in idle and not is_served_for(_holding(others, held.holders), target, held.digest)
                for target in answered
            )
            if workshop.holder in held.holders and held.digest not in needed and not served:
                await workshop.store.drop(held.digest, workshop.holder)
    except ReconcilerError as error:
        return (f"files of adapters that nothing needs were not removed: {error.message}",)
    return ()


def _holding(others: Iterable[Record], holders: Container[str]) -> list[Record]:
    """Those whose documents hold the files too: what these let go of is not ours to keep for them."""
    return [other for other in others if holder_of(other.name, other.source) in holders]


def _serves(target: ObservedTarget, digest: str) -> bool:
    return any(is_place_of(one.path, digest) or one.digest == digest for one in target.adapters)


async def still_held(workshop: Workshop, books: Books) -> frozenset[str]:
    """Digests of what is here, whole or not, once what nobody needs is gone: every target is looked at for that."""
    seen = await look_at_targets(workshop.world, workshop.desired, workshop.runtimes)
    await released(workshop, books.record, seen)
    arrived = {half.name for half in await workshop.store.half_fetched()}
    return frozenset(held.digest for held in await workshop.store.held()) | arrived
