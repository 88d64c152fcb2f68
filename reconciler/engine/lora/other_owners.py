"""What other documents' records say of an adapter: two that own one would take it from each other."""

from __future__ import annotations

from collections.abc import Iterable

from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import ObservedTarget
from reconciler.domain.record import Record
from reconciler.engine.world import World


async def owner_of(world: World, desired: DesiredState, target_key: str, name: str) -> Record | None:
    """The record of another document that owns what is served under this name; None: nobody's says so."""
    others = await world.records(desired).others()
    return next((other for other in others if other.adapter(target_key, name) is not None), None)


def owned_by(other: Record, name: str, target: str) -> tuple[str, str]:
    """That it is another document's, and what to do: message and hint."""
    message = f"the adapter {name} on {target} belongs to {other.name!r}, applied from {other.source or 'another file'}"
    return message, f"`localmodels disown` with the file of {other.name!r} lets it go first"


def is_served_for(others: Iterable[Record], target: ObservedTarget, digest: str) -> bool:
    """Everything on a target that is served from this content is other documents' by their records."""
    serving = [one.name for one in target.adapters if one.holds(digest)]
    return all(any(other.adapter(target.key, name) is not None for other in others) for name in serving)
