"""A tag of a Hub that means other content than when its adapter was attached: it is held until a person takes it.

What is attached goes on being judged, and repaired, from the copy that we hold of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from reconciler.domain.adapter import Adapter, AdapterSource, address_of
from reconciler.domain.observation import AdapterNeed
from reconciler.errors import ReconcilerError
from reconciler.planning.adapter_held import settled_content

if TYPE_CHECKING:
    from reconciler.engine.lora.verdict import FoundSource
    from reconciler.engine.lora.workshop import Workshop


async def as_accepted(
    shop: Workshop, adapter: Adapter, need: AdapterNeed, found: FoundSource
) -> tuple[FoundSource, str | None]:
    """What counts of a source: itself, or our copy of what its tag meant, with the commit that it means now.

    Args:
        shop: of the run that asks.
        adapter: as the file declares it.
        need: where it is served.
        found: at its source now.
    """
    artifact = found.content.artifact
    if artifact is None or shop.record is None or address_of(adapter.name) in shop.accepted:
        return found, None
    ours = settled_content(shop.record, adapter, shop.key_of(need.target))
    if ours is None or _is_known(shop, adapter.source, found.content.digest):
        return found, None
    try:
        held = await shop.held_place(adapter, ours.digest)
    except ReconcilerError:
        held = None
    return (held, artifact.commit) if held is not None else (found, None)


def _is_known(shop: Workshop, source: AdapterSource, digest: str) -> bool:
    """We attached this very content of this source."""
    known = shop.record.adapters if shop.record is not None else ()
    return any(one.digest == digest and one.source == source for one in known)
