"""Fuses: does this plan lose too much? The verdict is data in the plan; apply obeys it."""

from __future__ import annotations

from collections.abc import Sequence

from reconciler.domain.plan import Action, Refusal, Row
from reconciler.planning.room import owned_sizes
from reconciler.planning.scene import Scene

SHARE_APPLIES_FROM = 5
"""Owned models from which on the share of losses is judged: of two models, one is half."""


def guard(scene: Scene, changes: Sequence[Row], kept: Sequence[Row]) -> tuple[Refusal, ...]:
    """Every fuse the plan trips. A loss is an eviction whose slot has no replacement in the plan."""
    fuses, owned = scene.desired.fuses, len(owned_sizes(scene))
    losses = _losses(changes, kept)
    if scene.overrides.allow_evictions is not None and losses <= scene.overrides.allow_evictions:
        return ()
    hint = f"if this is meant: apply --allow-evictions {losses}"
    refused: list[Refusal] = []
    if losses > fuses.max_evictions:
        message = f"{losses} models would be lost, fuses.maxEvictions is {fuses.max_evictions}"
        refused.append(
            Refusal(rule="fuses.maxEvictions", limit=fuses.max_evictions, value=losses, message=message, hint=hint)
        )
    if owned >= SHARE_APPLIES_FROM and losses / owned > fuses.max_evict_share:
        share = round(losses / owned, 3)
        message = f"{losses} of {owned} owned models would be lost, fuses.maxEvictShare is {fuses.max_evict_share:g}"
        refused.append(
            Refusal(rule="fuses.maxEvictShare", limit=fuses.max_evict_share, value=share, message=message, hint=hint)
        )
    if losses and not fuses.allow_empty and _leaves_nothing(owned, changes):
        message = "nothing of ours would be left, and fuses.allowEmpty is false"
        refused.append(Refusal(rule="fuses.allowEmpty", limit=False, value=True, message=message, hint=hint))
    return tuple(refused)


def _losses(changes: Sequence[Row], kept: Sequence[Row]) -> int:
    """A slot filled by another model of this plan, there or about to be, is not lost."""
    filled = {
        address
        for row in (*changes, *kept)
        if row.action is not Action.EVICT and row.resolved and row.name and (row.after or row.before)
        for address in row.slots
    }
    return sum(1 for row in changes if row.action is Action.EVICT and not (row.slots and set(row.slots) <= filled))


def _leaves_nothing(owned: int, changes: Sequence[Row]) -> bool:
    evicted = sum(1 for row in changes if row.action is Action.EVICT)
    installed = sum(1 for row in changes if row.action in (Action.INSTALL, Action.UPDATE))
    return evicted >= owned and not installed
