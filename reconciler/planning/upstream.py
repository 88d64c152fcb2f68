"""What to ask about models that are in sync: has their source moved on? Asked at a refresh only, never to apply."""

from __future__ import annotations

from reconciler.domain.artifact import HubArtifact
from reconciler.domain.desired import DesiredState
from reconciler.domain.observation import HubNeed, Need
from reconciler.domain.record import Record
from reconciler.planning.placing import registry_need


def upstream_needs(desired: DesiredState, record: Record) -> tuple[Need, ...]:
    """One need for each of our models that fills a slot and follows its source (no ``revision``)."""
    targets = {target.key: target for target in desired.targets}
    following = {address for slot in desired.slots if slot.revision is None for address in slot.addresses}
    needs: list[Need] = []
    for entry in record.entries:
        target = targets.get(entry.target_key)
        if target is None or not following.intersection(entry.slots):
            continue
        if isinstance(entry.artifact, HubArtifact):
            needs.append(HubNeed(repo=entry.artifact.repo, quant=entry.quant))
        elif entry.artifact is not None:
            needs.append(registry_need(target, entry.name))
    return tuple(dict.fromkeys(needs))
