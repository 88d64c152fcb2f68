"""What the file names as the base of an adapter: a slot, or a model that stands on a target."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from reconciler.domain.desired import Target
from reconciler.domain.observation import Installed
from reconciler.planning.scene import Scene


def is_slot(scene: Scene, name: str) -> bool:
    """Whether a base is named by its slot, and not as a model."""
    return any(slot.name == name for slot in scene.desired.slots)


def is_named_by(scene: Scene, target: Target, model: str, base: str) -> bool:
    """Whether what a file names as a base, and is no slot, is a model that stands on a target.

    Args:
        scene: everything a decision may look at.
        target: where it stands.
        model: its canonical name there.
        base: as the file has it.
    """
    found = model_called(scene, target, {base}) if not is_slot(scene, base) else None
    return found is not None and scene.same_model(target.name, found.name, model)


def model_called(scene: Scene, target: Target, names: AbstractSet[str]) -> Installed | None:
    """By its name there, by the repository it came from, or as we recorded it; the first by name of several."""
    for name in sorted(names):
        found = scene.installed(target.name, name)
        if found is not None:
            return found
    there = sorted(scene.models_on.get(target.name, ()), key=lambda model: model.name)
    return next((model for model in there if not model.remote and names & _ids(scene, target, model)), None)


def _ids(scene: Scene, target: Target, model: Installed) -> set[str | None]:
    """The repository a model came from, and the catalogue's id of what we installed as it."""
    entry = scene.entry(target.key, model.name)
    return {model.repo, entry.model_id if entry is not None else None}
