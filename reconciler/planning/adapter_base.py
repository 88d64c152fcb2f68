"""The model an adapter stands on: what its slot is filled with, or what its name means, on one target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.domain.adapter import Adapter
from reconciler.domain.desired import Target
from reconciler.domain.plan import Row
from reconciler.planning.adapter_named import is_slot, model_called
from reconciler.planning.scene import Scene
from reconciler.planning.select import Pick


@dataclass(frozen=True, slots=True)
class Base:
    """A model that an adapter is to be attached to."""

    model_id: str
    name: str
    """Canonical on its target."""
    is_there: bool
    comes: bool = False
    """A row of this plan fetches it, whole or anew."""
    is_resolved: bool = True
    """Its name will not change any more."""


def base_of(
    scene: Scene, adapter: Adapter, target: Target, picks: Sequence[Pick], changes: Sequence[Row]
) -> Base | None:
    """The base on one target; None: its slot is not filled, or nothing there goes by that name."""
    named = [pick for pick in picks if means(adapter.base, pick)]
    here = next((pick for pick in named if pick.option.target.name == target.name), None)
    if here is not None:
        return _picked(scene, here, target, changes)
    ids = {pick.option.candidate.model.id for pick in named} | {pick.option.candidate.repository.id for pick in named}
    found = model_called(scene, target, {adapter.base, *ids} if not is_slot(scene, adapter.base) else ids)
    if found is None:
        return None
    model_id = named[0].option.candidate.model.id if named else found.repo or found.name
    return Base(model_id, found.name, is_there=True)


def means(base: str, pick: Pick) -> bool:
    """A slot by its name; else a model by what a pin calls it, its catalogue id or its repository."""
    candidate = pick.option.candidate
    return base in (pick.slot.name, pick.slot.model, candidate.model.id, candidate.repository.id)


def _picked(scene: Scene, pick: Pick, target: Target, changes: Sequence[Row]) -> Base:
    row = next((row for row in changes if row.fetches and pick.address in row.slots), None)
    name = row.name if row is not None else pick.option.name
    installed = scene.installed(target.name, name)
    return Base(
        pick.option.candidate.model.id,
        installed.name if installed is not None else name,
        is_there=installed is not None,
        comes=row is not None,
        is_resolved=row is None or row.resolved,
    )


def started_with(scene: Scene, target: Target, name: str) -> tuple[str, tuple[str, ...]]:
    """What a vLLM is started with to serve a base, and the names that requests call it by where those are others.

    Args:
        scene: everything a decision may look at.
        target: where it is, or comes.
        name: canonical there.
    """
    installed = scene.installed(target.name, name)
    served = installed.served_as if installed is not None else ()
    if installed is not None and installed.served_from is not None:
        return installed.served_from, served
    return name.partition(":")[0], served
