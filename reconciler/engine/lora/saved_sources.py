"""Whether the adapters that a saved plan would attach are still the ones it was made with."""

from __future__ import annotations

import asyncio

from reconciler.domain.adapter import AdapterVerdict
from reconciler.domain.plan import Plan
from reconciler.engine.lora.attach import content_of
from reconciler.engine.lora.workshop import Workshop
from reconciler.errors import OutsideError, PlanningError


async def moved_sources(workshop: Workshop, plan: Plan) -> tuple[str, ...]:
    """Those of this host whose files are others now, or cannot be read, in sentences. Nobody outside is asked."""
    moves = [row.adapter for row in plan.changes if row.adapter is not None and row.adapter.after is not None]
    judged = {move.adapter: move.verdict for move in moves if move.verdict is not None}
    found = [await _moved(workshop, name, verdict) for name, verdict in judged.items()]
    return tuple(sentence for sentence in found if sentence)


async def _moved(workshop: Workshop, name: str, verdict: AdapterVerdict) -> str:
    adapter = workshop.declared(name)
    if adapter is None or adapter.source.repo is not None or verdict.artifact is not None or verdict.is_held_copy:
        return ""
    try:
        await asyncio.to_thread(content_of, adapter, verdict, workshop)
    except PlanningError:
        return f"the source of adapter {name} holds other content"
    except OutsideError as error:
        return f"the source of adapter {name} cannot be read any more: {error.message}"
    return ""
